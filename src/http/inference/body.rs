//! Reading a request's body: bounded alone, bounded together with all others, and never for longer than it moves.

use std::{
    future::poll_fn,
    pin::Pin,
    task::Poll,
    time::{Duration, Instant},
};

use actix_http::{
    Payload,
    header::{self, HeaderMap},
};
use bytes::{Bytes, BytesMut};
use futures_core::Stream;

use super::error::Problem;
use crate::service::{Gateway, bodies::Room};

/// How long a body may stand still.
const IDLE: Duration = Duration::from_secs(30);

/// How slowly a body may come on the whole, in bytes a second, once it has been coming for a minute: memory that all
/// share must not be held by trickling.
const SLOWEST: u64 = 16 << 10;
const TO_BEGIN: Duration = Duration::from_secs(60);

/// The first room of a body that comes in pieces, in bytes; it doubles as it fills.
const FIRST_ROOM: u64 = 64 << 10;

/// The length that a body is said to have, in bytes; a refusal if its head says that it cannot be accepted.
pub(super) fn declared_length(gateway: &Gateway, headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let encoding = headers.get(header::CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Problem::unsupported_encoding());
    }
    let max = gateway.config.max_body;
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|declared| declared > max) { Err(Problem::request_too_large(max)) } else { Ok(declared) }
}

/// Reads the whole body, and takes the memory that it needs from the common room.
pub(super) async fn read_body(
    gateway: &Gateway,
    headers: &HeaderMap,
    payload: &mut Payload,
) -> Result<(Bytes, Room), Problem> {
    let declared = declared_length(gateway, headers)?;
    let max = gateway.config.max_body;
    let begun = Instant::now();
    let mut room = Room::default();
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(piece) = next(payload).await? {
        let length = (first.len().max(joined.len()) + piece.len()) as u64;
        if length > max {
            return Err(Problem::request_too_large(max));
        }
        if begun.elapsed() > TO_BEGIN + Duration::from_secs(length / SLOWEST) {
            return Err(Problem::request_timeout());
        }
        if first.is_empty() {
            // Most bodies are one piece, which is passed on without a copy.
            cover(gateway, &mut room, length).await?;
            first = piece;
            continue;
        }
        let had = joined.capacity() as u64;
        if length > had {
            let wanted = (2 * had).max(FIRST_ROOM).min(declared.unwrap_or(max)).max(length);
            cover(gateway, &mut room, wanted).await?;
            joined.reserve(usize::try_from(wanted).unwrap_or(usize::MAX).saturating_sub(joined.len()));
        }
        if joined.is_empty() {
            joined.extend_from_slice(&first);
        }
        joined.extend_from_slice(&piece);
    }
    Ok((if joined.is_empty() { first } else { joined.freeze() }, room))
}

/// Takes the memory of a body that has come already from the common room, under the same bounds.
pub(super) async fn admit_body(gateway: &Gateway, body: &Bytes) -> Result<Room, Problem> {
    let (length, max) = (body.len() as u64, gateway.config.max_body);
    if length > max {
        return Err(Problem::request_too_large(max));
    }
    let mut room = Room::default();
    cover(gateway, &mut room, length).await?;
    Ok(room)
}

async fn cover(gateway: &Gateway, room: &mut Room, length: u64) -> Result<(), Problem> {
    gateway.bodies.cover(room, length).await.map_err(|_| {
        gateway.counts.failed();
        Problem::overloaded()
    })
}

async fn next(payload: &mut Payload) -> Result<Option<Bytes>, Problem> {
    let mut poll = |cx: &mut std::task::Context<'_>| Pin::new(&mut *payload).poll_next(cx);
    // Most bodies are there with their head: a timer is set only for one that is not.
    let piece = match poll_fn(|cx| Poll::Ready(poll(cx))).await {
        Poll::Ready(piece) => piece,
        Poll::Pending => tokio::time::timeout(IDLE, poll_fn(poll)).await.map_err(|_| Problem::request_timeout())?,
    };
    piece.transpose().map_err(|_| Problem::broken_body())
}
