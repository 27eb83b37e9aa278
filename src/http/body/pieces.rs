//! The pieces of a body as they arrive: within the time for reading a body, and decoded if the body is encoded.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use actix_http::Payload;
use bytes::Bytes;
use futures_core::Stream;
use tokio::time::Sleep;

use crate::decode::{DecodeError, Decoded, Encoding, Fault};

/// The longest time between two pieces of a body, before it is decoded.
pub(in crate::http) const IDLE: Duration = Duration::from_secs(30);

/// The minimum average rate of a body before it is decoded, in bytes per second, not counting the first
/// [`START_ALLOWANCE`]. Without a minimum, a slow client could hold memory that all clients share.
const MIN_RATE: u64 = 16 << 10;
const START_ALLOWANCE: Duration = Duration::from_secs(60);

/// Why a body could not be read completely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::http) enum Unread {
    /// It is larger than the maximum.
    TooLarge,
    /// It stopped for longer than [`IDLE`], or its average rate is too low.
    TooSlow,
    /// It ended before it was complete.
    Broken,
    /// It cannot be decoded.
    Encoding(Fault),
    /// The memory for all bodies is in use.
    NoRoom,
}

/// The pieces of a body.
pub(super) enum Pieces<'a> {
    Plain(Arriving<'a>),
    Encoded(Box<Decoded<Arriving<'a>, Unread>>),
}

impl<'a> Pieces<'a> {
    /// The pieces of a body of at most `max` bytes, before it is decoded.
    pub(super) fn new(payload: &'a mut Payload, encoding: Option<Encoding>, max: u64) -> Self {
        let arriving = Arriving { payload, max, begun: Instant::now(), received: 0, idle: None };
        match encoding {
            None => Self::Plain(arriving),
            Some(encoding) => Self::Encoded(Box::new(Decoded::new(encoding, arriving))),
        }
    }

    /// Waits for the first bytes of an encoded body. Returns the memory that its decoder will use, in bytes.
    pub(super) async fn decoder_memory(&mut self) -> Result<u64, Unread> {
        match self {
            Self::Plain(_) => Ok(0),
            Self::Encoded(decoded) => poll_fn(|cx| decoded.poll_begin(cx)).await.map_err(Unread::from),
        }
    }

    /// The next piece, or `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Unread> {
        let piece = match self {
            Self::Plain(arriving) => poll_fn(|cx| Pin::new(&mut *arriving).poll_next(cx)).await.transpose()?,
            Self::Encoded(decoded) => poll_fn(|cx| decoded.poll_chunk(cx)).await.transpose()?,
        };
        Ok(piece)
    }
}

/// The pieces of a body as they arrive.
pub(super) struct Arriving<'a> {
    payload: &'a mut Payload,
    /// The largest body, in bytes.
    max: u64,
    begun: Instant,
    received: u64,
    /// Ends a wait for the next piece. Most bodies arrive with their head, so it is only set during a wait.
    idle: Option<Pin<Box<Sleep>>>,
}

impl Stream for Arriving<'_> {
    type Item = Result<Bytes, Unread>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let Poll::Ready(piece) = Pin::new(&mut *this.payload).poll_next(cx) else {
            let idle = this.idle.get_or_insert_with(|| Box::pin(tokio::time::sleep(IDLE)));
            ready!(idle.as_mut().poll(cx));
            return Poll::Ready(Some(Err(Unread::TooSlow)));
        };
        this.idle = None;
        Poll::Ready(piece.map(|piece| {
            let piece = piece.map_err(|_| Unread::Broken)?;
            this.received += piece.len() as u64;
            if this.received > this.max {
                return Err(Unread::TooLarge);
            }
            let allowed = START_ALLOWANCE + Duration::from_secs(this.received / MIN_RATE);
            if this.begun.elapsed() > allowed { Err(Unread::TooSlow) } else { Ok(piece) }
        }))
    }
}

impl From<DecodeError<Unread>> for Unread {
    fn from(error: DecodeError<Unread>) -> Self {
        match error {
            DecodeError::Source(unread) => unread,
            DecodeError::Data(fault) => Self::Encoding(fault),
        }
    }
}
