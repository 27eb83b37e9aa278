//! The body of an answer, read as it arrives.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_core::Stream;
use tokio::time::Instant;

use super::{connection::Connection, decoder::Decoder, pool::Pool, request::Outgoing};

/// The body of an answer. Dropping it before its end closes the connection, which cancels the upstream request.
pub struct Body {
    /// `None` after the body has ended or failed.
    connection: Option<Box<Connection>>,
    framing: Decoder,
    reusable_for: Option<Duration>,
    /// The rest of the request, if its answer arrived before all of it was sent.
    unsent: Option<Outgoing>,
    idle_timeout: Duration,
    /// The idle deadline. Set while a caller waits for a piece.
    deadline: Option<Instant>,
    pool: Rc<Pool>,
}

/// An error returned for a body that did not arrive completely. All data that precedes the error has been returned.
/// `Display` is for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyError {
    /// The connection ended before the body did.
    BrokenOff(String),
    /// Nothing arrived for the idle timeout.
    TimedOut,
    /// The chunked framing is invalid.
    Protocol(&'static str),
}

impl Body {
    pub(super) fn new(
        connection: Box<Connection>,
        framing: Decoder,
        reusable_for: Option<Duration>,
        unsent: Option<Outgoing>,
        idle_timeout: Duration,
        pool: &Rc<Pool>,
    ) -> Self {
        let mut body = Self {
            connection: Some(connection),
            framing,
            reusable_for,
            unsent,
            idle_timeout,
            deadline: None,
            pool: pool.clone(),
        };
        if body.framing.is_done() {
            body.finish();
        }
        body
    }

    /// Whether the whole request was sent. An answer can arrive before that.
    pub fn is_request_sent(&self) -> bool {
        self.unsent.is_none()
    }

    /// Returns the next piece: the data of one read of the connection, without framing and never empty. Returns `None`
    /// at the end of the body and after an error. Cancel safe.
    pub async fn chunk(&mut self) -> Option<Result<Bytes, BodyError>> {
        poll_fn(|cx| self.poll_chunk(cx)).await
    }

    /// The poll function of [`Body::chunk`].
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
            match self.framing.take(&mut connection.buf) {
                Err(reason) => return self.fail(BodyError::Protocol(reason)),
                Ok(data) if self.framing.is_done() => {
                    self.finish();
                    return Poll::Ready(data.map(Ok));
                }
                Ok(Some(data)) => return Poll::Ready(Some(Ok(data))),
                Ok(None) => {}
            }
            if let Some(unsent) = &mut self.unsent {
                unsent.advance(&mut connection.stream, cx);
                self.unsent.take_if(|unsent| unsent.is_sent());
            }
            match connection.poll_read(cx) {
                Poll::Ready(Ok(0)) if self.framing.may_end_by_close() => {
                    self.connection = None;
                    return Poll::Ready(None);
                }
                Poll::Ready(Ok(0)) => return self.fail(BodyError::BrokenOff("end of stream".to_owned())),
                Poll::Ready(Ok(_)) => self.deadline = None,
                Poll::Ready(Err(error)) => return self.fail(BodyError::BrokenOff(error.to_string())),
                Poll::Pending => {
                    let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + self.idle_timeout);
                    ready!(connection.timer.poll(cx, deadline));
                    return self.fail(BodyError::TimedOut);
                }
            }
        }
    }

    /// Handles the end of the body. Returns the connection to the pool if it can carry another exchange.
    fn finish(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        if let Some(reusable_for) = self.reusable_for
            && self.unsent.is_none()
            && connection.buf.is_empty()
        {
            self.pool.put(connection, Instant::now() + reusable_for);
        }
    }

    fn fail(&mut self, error: BodyError) -> Poll<Option<Result<Bytes, BodyError>>> {
        self.connection = None;
        Poll::Ready(Some(Err(error)))
    }
}

impl Stream for Body {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_chunk(cx)
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BrokenOff(detail) => write!(f, "the answer broke off: {detail}"),
            Self::TimedOut => f.write_str("the answer stalled for longer than the idle timeout"),
            Self::Protocol(reason) => write!(f, "the answer is malformed: {reason}"),
        }
    }
}

impl std::error::Error for BodyError {}
