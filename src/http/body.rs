//! Reading a request's body, on both listeners: bounded alone, bounded together with all others, and never for longer than
//! it moves.

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
use bytes::Bytes;
use futures_core::Stream;

use crate::service::bodies::{Bodies, Holder, Room, SMALL};

/// How long a body may stand still.
pub(super) const IDLE: Duration = Duration::from_secs(30);

/// How slowly a body may come on the whole, in bytes a second, once it has been coming for a minute: memory that all
/// share must not be held by trickling.
const SLOWEST: u64 = 16 << 10;
const TO_BEGIN: Duration = Duration::from_secs(60);

/// Why a body was not read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    /// It is larger than its bound.
    TooLarge,
    /// It stood still, or came too slowly.
    TooSlow,
    /// It ended before all of it had come.
    Broken,
    /// All bodies together leave no room for it.
    NoRoom,
}

/// The length that a request declares for its body.
pub(super) fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok())
}

/// Reads a whole body of at most `max` bytes, and takes the memory that it needs from `bodies`, in its holder's name.
///
/// A body that comes in pieces has room for [`SMALL`] bytes at first. When that is full, it gets room for the length that it
/// declared; without one, room doubles as it fills.
pub(super) async fn read(
    bodies: &Bodies,
    holder: Holder,
    payload: &mut Payload,
    declared: Option<u64>,
    max: u64,
) -> Result<(Bytes, Room), Unread> {
    if declared.is_some_and(|declared| declared > max) {
        return Err(Unread::TooLarge);
    }
    let begun = Instant::now();
    let mut room = bodies.room(holder);
    let mut first = Bytes::new();
    let mut joined = Vec::new();
    while let Some(piece) = next(payload).await? {
        let length = (first.len().max(joined.len()) + piece.len()) as u64;
        if length > max {
            return Err(Unread::TooLarge);
        }
        if begun.elapsed() > TO_BEGIN + Duration::from_secs(length / SLOWEST) {
            return Err(Unread::TooSlow);
        }
        if first.is_empty() {
            // Most bodies are one piece, which is passed on without a copy.
            cover(bodies, &mut room, length).await?;
            first = piece;
            continue;
        }
        if length > joined.capacity() as u64 {
            let most = declared.unwrap_or(max);
            let wanted = if length <= SMALL { SMALL } else { declared.unwrap_or(2 * length) };
            let wanted = wanted.min(most).max(length);
            // Until it has moved, a buffer takes its old place and its new one.
            cover(bodies, &mut room, joined.capacity() as u64 + wanted).await?;
            // Exactly what was taken: a vector that grows by itself may double.
            let more = usize::try_from(wanted).unwrap_or(usize::MAX).saturating_sub(joined.len());
            joined.try_reserve_exact(more).map_err(|_| Unread::NoRoom)?;
            room.shrink(wanted);
        }
        if joined.is_empty() {
            joined.extend_from_slice(&first);
        }
        joined.extend_from_slice(&piece);
    }
    Ok((if joined.is_empty() { first } else { Bytes::from(joined) }, room))
}

/// Makes `room` cover so many bytes.
pub(super) async fn cover(bodies: &Bodies, room: &mut Room, bytes: u64) -> Result<(), Unread> {
    bodies.cover(room, bytes).await.map_err(|_| Unread::NoRoom)
}

async fn next(payload: &mut Payload) -> Result<Option<Bytes>, Unread> {
    let mut poll = |cx: &mut std::task::Context<'_>| Pin::new(&mut *payload).poll_next(cx);
    // Most bodies are there with their head: a timer is set only for one that is not.
    let piece = match poll_fn(|cx| Poll::Ready(poll(cx))).await {
        Poll::Ready(piece) => piece,
        Poll::Pending => tokio::time::timeout(IDLE, poll_fn(poll)).await.map_err(|_| Unread::TooSlow)?,
    };
    piece.transpose().map_err(|_| Unread::Broken)
}
