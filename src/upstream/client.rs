//! The HTTP/1.1 client towards model servers.
//!
//! One client belongs to one worker thread: nothing in it is locked and its futures stay on that thread. The socket is
//! read in the very task that serves the customer, so a chunk costs one read, one write and no task switch.
//!
//! What holds:
//! - A connection carries one exchange at a time. It goes back to the pool only when the request was written to its end
//!   and the answer was read to its end, by a framing that both sides agree on; in every other case it is closed.
//!   Dropping the future of [`Client::send`] or a [`Body`] that has not ended therefore cancels the upstream.
//! - Reading goes on while the request is being written, so an early refusal of a large body is seen.
//! - A request is sent a second time only if its connection came from the pool and died before a byte of the answer.
//! - What an upstream can make us hold is bounded: the head, the chunk framing, the trailers, interim answers.
//! - No redirect is followed and nothing is decompressed: every request asks for identity encoding.

use std::{net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use tokio::time::Instant;

mod body;
mod connection;
mod decoder;
mod error;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod head;
mod origin;
mod pool;
mod request;
pub mod resolve;
mod tls;

pub use body::{Body, BodyError};
pub use error::{InvalidRequest, SendError, SendErrorKind};
pub use head::Headers;
pub use origin::Origin;
pub use request::{Method, Request, Template};

use connection::{Connection, ExchangeError};
use pool::Pool;

/// Beyond this a timeout means "never"; it keeps sums of instants and durations in range.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// How long to wait for an upstream.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For a connection: name resolution, TCP and TLS together.
    pub connect: Duration,
    /// For the head of the answer, from when sending of the request starts.
    pub first_byte: Duration,
    /// Between two reads of the body, while someone waits for it.
    pub idle: Duration,
}

/// The client of one worker thread. Clones share the pool of idle connections.
///
/// It needs a tokio runtime with I/O and time.
#[derive(Clone)]
pub struct Client {
    timeouts: Timeouts,
    listeners: Arc<[SocketAddr]>,
    pool: Rc<Pool>,
}

/// An answer whose head has been read.
pub struct Response {
    /// 200 to 599.
    pub status: u16,
    /// The header fields as the upstream sent them.
    pub headers: Headers,
    /// The body, as it comes in.
    pub body: Body,
}

impl Client {
    /// A client that never connects to `listeners`, the addresses that this process listens on.
    pub fn new(timeouts: Timeouts, listeners: Arc<[SocketAddr]>) -> Self {
        let timeouts = Timeouts {
            connect: timeouts.connect.min(LONGEST_TIMEOUT),
            first_byte: timeouts.first_byte.min(LONGEST_TIMEOUT),
            idle: timeouts.idle.min(LONGEST_TIMEOUT),
        };
        Self { timeouts, listeners, pool: Rc::default() }
    }

    /// When the first byte of an answer is due to a request that is sent now.
    pub fn first_byte_by(&self) -> Instant {
        Instant::now() + self.timeouts.first_byte
    }

    /// Sends `request` and waits for the head of its answer, whatever its status.
    pub async fn send(&self, mut request: Request) -> Result<Response, SendError> {
        if let Some(reused) = self.pool.take(&request.origin, Instant::now()) {
            match self.exchange(reused, &mut request).await {
                // The upstream closed the connection as we took it: it has not seen this request, or not begun with it.
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
        let deadline = self.first_byte_by();
        let head = connection.exchange(&mut request.outgoing, deadline).await?;
        let unsent = (!request.outgoing.is_sent()).then(|| std::mem::take(&mut request.outgoing));
        let body = Body::new(connection, head.framing, head.reusable_for, unsent, self.timeouts.idle, &self.pool);
        Ok(Response { status: head.status, headers: head.headers, body })
    }

    /// Closes idle connections when their time is up or their upstream closed them. Runs until the last clone of this
    /// client is gone; without it they are closed only as later requests to the same origin come upon them.
    pub fn sweep_idle(&self) -> impl Future<Output = ()> + use<> {
        pool::sweep_each_second(Rc::downgrade(&self.pool))
    }
}

#[cfg(test)]
mod tests;
