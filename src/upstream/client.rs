//! The HTTP/1.1 client that calls model servers.
//!
//! Each worker thread has its own client: it needs no locks, and its futures stay on that thread. The task that serves
//! the customer also reads the socket, so a chunk costs one read, one write and no task switch.
//!
//! Invariants:
//! - A connection carries one exchange at a time. It returns to the pool only after the whole request was written and
//!   the whole answer was read, with framing that leaves no doubt where the answer ends. In every other case it is
//!   closed. Dropping the future of [`Client::send`], or a [`Body`] before its end, therefore cancels the upstream
//!   request.
//! - The client reads while it writes the request, so it sees an early refusal of a large body.
//! - A request is sent a second time only if its connection came from the pool and closed before the first byte of an
//!   answer.
//! - The memory that an upstream can make the client use is bounded: head, chunk framing, trailers, interim answers.
//! - No redirect is followed and nothing is decompressed. Every request asks for identity encoding.

use std::{net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use tokio::time::Instant;

mod body;
mod connect;
mod connection;
mod decoder;
mod error;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod head;
mod invalid;
mod origin;
mod pool;
mod request;
pub mod resolve;
mod stream;
mod tls;

pub use body::{Body, BodyError};
pub use error::{SendError, SendErrorKind};
pub use head::Headers;
pub use invalid::InvalidRequest;
pub use origin::Origin;
pub use request::{Method, Request, Template};

use connection::{Connection, ExchangeError};
use pool::Pool;

/// The longest timeout. Longer ones are lowered to it, so that adding one to an instant cannot overflow.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// The longest times to wait for an upstream.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Time to open a connection: name resolution, TCP and TLS together.
    pub connect: Duration,
    /// Time from the start of sending the request to the head of the answer.
    pub first_byte: Duration,
    /// Time between two reads of the body. It counts only while a caller waits for a piece.
    pub idle: Duration,
}

/// The client of one worker thread. Clones share the pool of idle connections.
///
/// Requires a tokio runtime with I/O and time enabled.
#[derive(Clone)]
pub struct Client {
    timeouts: Timeouts,
    listeners: Arc<[SocketAddr]>,
    pool: Rc<Pool>,
}

/// An answer. Its head has been read, its body has not.
pub struct Response {
    /// The status, 200 to 599.
    pub status: u16,
    /// The header fields as the upstream sent them.
    pub headers: Headers,
    /// The body, read as it arrives.
    pub body: Body,
}

impl Client {
    /// Creates a client that never connects to `listeners`, the addresses that this process listens on.
    pub fn new(timeouts: Timeouts, listeners: Arc<[SocketAddr]>) -> Self {
        let timeouts = Timeouts {
            connect: timeouts.connect.min(LONGEST_TIMEOUT),
            first_byte: timeouts.first_byte.min(LONGEST_TIMEOUT),
            idle: timeouts.idle.min(LONGEST_TIMEOUT),
        };
        Self { timeouts, listeners, pool: Rc::default() }
    }

    /// The deadline for the head of the answer to a request that is sent at this time.
    pub fn first_byte_by(&self, sent_at: Instant) -> Instant {
        sent_at + self.timeouts.first_byte
    }

    /// Sends `request` and waits for the head of its answer. Every status from 200 to 599 is a success here.
    pub async fn send(&self, mut request: Request) -> Result<Response, SendError> {
        if let Some(reused) = self.pool.take(&request.origin, Instant::now()) {
            match self.exchange(reused, &mut request).await {
                // The upstream closed the idle connection, so it has not started to work on this request.
                Err(ExchangeError::Closed(_)) => request.outgoing.rewind(),
                outcome => return outcome.map_err(|error| error.at(request.origin)),
            }
        }
        let fresh = Connection::open(&request.origin, self.timeouts.connect, &self.listeners).await?;
        self.exchange(fresh, &mut request).await.map_err(|error| error.at(request.origin))
    }

    async fn exchange(
        &self,
        mut connection: Box<Connection>,
        request: &mut Request,
    ) -> Result<Response, ExchangeError> {
        let deadline = self.first_byte_by(Instant::now());
        let head = connection.exchange(&mut request.outgoing, deadline).await?;
        let unsent = (!request.outgoing.is_sent()).then(|| std::mem::take(&mut request.outgoing));
        let body = Body::new(connection, head.framing, head.reusable_for, unsent, self.timeouts.idle, &self.pool);
        Ok(Response { status: head.status, headers: head.headers, body })
    }

    /// Closes idle connections that have expired or that their upstream has closed. Runs until the last clone of this
    /// client is dropped. Without it, such a connection is closed only when a later request to its origin finds it.
    pub fn sweep_idle(&self) -> impl Future<Output = ()> + use<> {
        pool::sweep_each_second(Rc::downgrade(&self.pool))
    }
}

#[cfg(test)]
mod tests;
