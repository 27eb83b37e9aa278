//! Reading a request's body: bounded alone, bounded together with all others, and never for longer than it moves.

use std::{future::poll_fn, pin::Pin, time::Duration};

use actix_http::{HttpMessage, Payload, Request, header};
use bytes::{Bytes, BytesMut};
use futures_core::Stream;

use super::error::Problem;
use crate::service::{Gateway, bodies::Room};

/// How long a body may stand still.
const IDLE: Duration = Duration::from_secs(30);

/// Reads the whole body, and the memory that it takes from the common room.
pub(super) async fn read_body(gateway: &Gateway, request: &mut Request) -> Result<(Bytes, Room), Problem> {
    let headers = request.headers();
    let encoding = headers.get(header::CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Problem::unsupported_encoding());
    }
    let max = gateway.config.max_body;
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|declared| declared > max) {
        return Err(Problem::request_too_large(max));
    }
    let mut room = Room::default();
    let mut payload = request.take_payload();
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(piece) = next(&mut payload).await? {
        let length = (joined.len().max(first.len()) + piece.len()) as u64;
        if length > max {
            return Err(Problem::request_too_large(max));
        }
        gateway.bodies.cover(&mut room, length).await.map_err(|_| Problem::overloaded())?;
        if first.is_empty() {
            first = piece;
            continue;
        }
        if joined.is_empty() {
            // Room for all of it at once, as far as it has been asked for honestly.
            joined.reserve(usize::try_from(declared.unwrap_or(length).min(4 << 20)).unwrap_or_default());
            joined.extend_from_slice(&first);
        }
        joined.extend_from_slice(&piece);
    }
    Ok((if joined.is_empty() { first } else { joined.freeze() }, room))
}

async fn next(payload: &mut Payload) -> Result<Option<Bytes>, Problem> {
    let mut poll = |cx: &mut std::task::Context<'_>| Pin::new(&mut *payload).poll_next(cx);
    // Most bodies are there with their head: a timer is set only for one that is not.
    let ready = poll_fn(|cx| std::task::Poll::Ready(poll(cx))).await;
    let piece = match ready {
        std::task::Poll::Ready(piece) => piece,
        std::task::Poll::Pending => {
            tokio::time::timeout(IDLE, poll_fn(poll)).await.map_err(|_| Problem::request_timeout())?
        }
    };
    piece.transpose().map_err(|_| Problem::broken_body())
}
