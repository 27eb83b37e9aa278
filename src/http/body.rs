//! Reads request bodies, on both listeners. The size of each body and of all bodies together is bounded, and so is the
//! time for reading one. Encoded bodies are decoded as they arrive.

mod pieces;

use actix_http::{
    Payload,
    header::{self, HeaderMap},
};
use bytes::Bytes;

use self::pieces::Pieces;
pub(super) use self::pieces::{IDLE, Unread};
use crate::{
    decode::{Encoding, UnknownEncoding},
    service::capacity::bodies::{Bodies, Holder, Room, SMALL},
};

/// The declarations of a request about its body.
#[derive(Clone, Copy)]
pub(super) struct Declared {
    /// The encoding of the body.
    pub(super) encoding: Option<Encoding>,
    /// The length of the body before it is decoded, in bytes.
    length: Option<u64>,
}

impl Declared {
    /// Reads the declarations in a request's head.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, UnknownEncoding> {
        let encoding = Encoding::parse(headers.get_all(header::CONTENT_ENCODING).map(|value| value.as_bytes()))?;
        let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(Self { encoding, length })
    }

    /// Whether the declared length is too large for a body of at most `max` bytes.
    pub(super) fn exceeds(&self, max: u64) -> bool {
        self.length.is_some_and(|length| length > self.most(max))
    }

    /// The most bytes that may arrive for a body of at most `max` bytes. Data that cannot be compressed become a little
    /// larger when they are encoded.
    fn most(&self, max: u64) -> u64 {
        if self.encoding.is_some() { max + max / 64 + SMALL } else { max }
    }
}

/// Reads and decodes a whole body of at most `max` bytes. Its memory is reserved from `bodies` and attributed to
/// `holder`; while it is decoded, so is the memory of the decoder.
///
/// A body that arrives in several pieces first gets room for [`SMALL`] bytes. When that is full, it gets room for its
/// declared length, or, if it declared none or is encoded, the room doubles each time it is full.
pub(super) async fn read(
    bodies: &Bodies,
    holder: Holder,
    payload: &mut Payload,
    declared: Declared,
    max: u64,
) -> Result<(Bytes, Room), Unread> {
    if declared.exceeds(max) {
        return Err(Unread::TooLarge);
    }
    let length = declared.length.filter(|_| declared.encoding.is_none());
    let mut pieces = Pieces::new(payload, declared.encoding, declared.most(max));
    let mut room = bodies.room(holder);
    let decoder = pieces.decoder_memory().await?;
    cover(bodies, &mut room, decoder).await?;
    let mut first = Bytes::new();
    let mut joined = Vec::new();
    while let Some(piece) = pieces.next().await? {
        let now = (first.len().max(joined.len()) + piece.len()) as u64;
        if now > max {
            return Err(Unread::TooLarge);
        }
        if first.is_empty() {
            // Most bodies arrive in one piece, which is returned without a copy.
            cover(bodies, &mut room, decoder + now).await?;
            first = piece;
            continue;
        }
        if now > joined.capacity() as u64 {
            let most = length.unwrap_or(max);
            let wanted = if now <= SMALL { SMALL } else { length.unwrap_or(2 * now) };
            let wanted = wanted.min(most).max(now);
            // While a buffer is reallocated, the old and the new allocation exist together.
            cover(bodies, &mut room, decoder + joined.capacity() as u64 + wanted).await?;
            // Exactly the reserved size: a vector that grows by itself may double.
            let more = usize::try_from(wanted).unwrap_or(usize::MAX).saturating_sub(joined.len());
            joined.try_reserve_exact(more).map_err(|_| Unread::NoRoom)?;
            room.shrink(decoder + wanted);
        }
        if joined.is_empty() {
            joined.extend_from_slice(&first);
        }
        joined.extend_from_slice(&piece);
        if declared.encoding.is_some() {
            // A small input can decode to many pieces. The other requests of this thread get their turn between them.
            tokio::task::yield_now().await;
        }
    }
    room.shrink(first.len().max(joined.capacity()) as u64);
    Ok((if joined.is_empty() { first } else { Bytes::from(joined) }, room))
}

/// Extends the reservation `room` to `bytes` bytes. Waits for memory; fails if none becomes free.
pub(super) async fn cover(bodies: &Bodies, room: &mut Room, bytes: u64) -> Result<(), Unread> {
    bodies.cover(room, bytes).await.map_err(|_| Unread::NoRoom)
}
