//! Reads request bodies, on both listeners. The size of each body and of all bodies together is bounded, and so is the
//! time for reading one.

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

use crate::service::capacity::bodies::{Bodies, Holder, Room, SMALL};

/// The longest time between two pieces of a body.
pub(super) const IDLE: Duration = Duration::from_secs(30);

/// The minimum average rate of a body, in bytes per second, not counting the first [`START_ALLOWANCE`]. Without a
/// minimum, a slow client could hold memory that all clients share.
const MIN_RATE: u64 = 16 << 10;
const START_ALLOWANCE: Duration = Duration::from_secs(60);

/// Why a body could not be read completely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    /// It is larger than the maximum.
    TooLarge,
    /// It stopped for longer than [`IDLE`], or its average rate is too low.
    TooSlow,
    /// It ended before it was complete.
    Broken,
    /// The memory for all bodies is in use.
    NoRoom,
}

/// The length that a request declares for its body.
pub(super) fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok())
}

/// Reads a whole body of at most `max` bytes. Its memory is reserved from `bodies` and attributed to `holder`.
///
/// A body that arrives in several pieces first gets room for [`SMALL`] bytes. When that is full, it gets room for its
/// declared length, or, if it declared none, the room doubles each time it is full.
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
        if begun.elapsed() > START_ALLOWANCE + Duration::from_secs(length / MIN_RATE) {
            return Err(Unread::TooSlow);
        }
        if first.is_empty() {
            // Most bodies arrive in one piece, which is returned without a copy.
            cover(bodies, &mut room, length).await?;
            first = piece;
            continue;
        }
        if length > joined.capacity() as u64 {
            let most = declared.unwrap_or(max);
            let wanted = if length <= SMALL { SMALL } else { declared.unwrap_or(2 * length) };
            let wanted = wanted.min(most).max(length);
            // While a buffer is reallocated, the old and the new allocation exist together.
            cover(bodies, &mut room, joined.capacity() as u64 + wanted).await?;
            // Exactly the reserved size: a vector that grows by itself may double.
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

/// Extends the reservation `room` to `bytes` bytes. Waits for memory; fails if none becomes free.
pub(super) async fn cover(bodies: &Bodies, room: &mut Room, bytes: u64) -> Result<(), Unread> {
    bodies.cover(room, bytes).await.map_err(|_| Unread::NoRoom)
}

async fn next(payload: &mut Payload) -> Result<Option<Bytes>, Unread> {
    let mut poll = |cx: &mut std::task::Context<'_>| Pin::new(&mut *payload).poll_next(cx);
    // Most bodies arrive with their head, so a timer is armed only if nothing is ready.
    let piece = match poll_fn(|cx| Poll::Ready(poll(cx))).await {
        Poll::Ready(piece) => piece,
        Poll::Pending => tokio::time::timeout(IDLE, poll_fn(poll)).await.map_err(|_| Unread::TooSlow)?,
    };
    piece.transpose().map_err(|_| Unread::Broken)
}
