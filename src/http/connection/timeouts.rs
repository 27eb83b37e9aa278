//! The timeouts of a connection.
//!
//! actix-http has timers for the first head of a connection ([`FIRST_HEAD`]) and for the time between requests
//! ([`KEEP_ALIVE`]). Where both apply, its timers fire first, since it responds with a 408. [`ConnectionTimeouts`] has
//! the other timeouts: a head must be complete [`HEAD`] after its first byte, a connection without a request ends after
//! [`IDLE`], and a client that reads nothing for [`UNREAD`] is disconnected. A timer is armed only while the connection
//! waits for the client. The idle timer stays armed from request to request, so a request that arrives in one piece
//! arms no timer.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// The time from the beginning of a connection to the end of its first head.
pub(super) const FIRST_HEAD: Duration = Duration::from_secs(10);

/// The time from the first byte of a head to its last.
const HEAD: Duration = Duration::from_secs(10);

/// The time from the end of a response to the next request.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// The time from the end of a response to the next request, if bytes have arrived that are not a complete head.
const IDLE: Duration = Duration::from_secs(90);

/// How long a client may leave a response unread.
const UNREAD: Duration = Duration::from_secs(120);

/// How long a client may continue to send after a response that ends the connection.
pub(super) const LINGER: Duration = Duration::from_secs(2);

/// The timers of one connection.
#[derive(Default)]
pub(super) struct ConnectionTimeouts {
    head: Timer,
    idle: Timer,
    unread: Timer,
    linger: Timer,
}

impl ConnectionTimeouts {
    /// A request is being answered, so the client does not have to send anything.
    pub(super) fn expect_nothing(&mut self) {
        self.head.disarm();
    }

    /// A head has begun. Pending until its timeout.
    pub(super) fn expect_head<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        self.head.wait(cx, || Instant::now() + HEAD)
    }

    /// Nothing has arrived since the latest response. Pending until the timeout of the next request.
    pub(super) fn expect_request<T>(&mut self, cx: &mut Context<'_>, idle_since: Instant) -> Poll<io::Result<T>> {
        self.head.disarm();
        let deadline = idle_since + IDLE;
        while self.idle.wait::<T>(cx, || deadline).is_ready() {
            if deadline <= Instant::now() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            // The timer was armed before an earlier request.
            self.idle.disarm();
        }
        Poll::Pending
    }

    /// The client does not read the response. Pending until the timeout.
    pub(super) fn write_blocked<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        self.unread.wait(cx, || Instant::now() + UNREAD)
    }

    /// A write has succeeded.
    pub(super) fn written(&mut self) {
        self.unread.disarm();
    }

    /// Whether the latest write is blocked.
    pub(super) fn is_write_blocked(&self) -> bool {
        self.unread.0.is_some()
    }

    /// The connection ends, and the client may still be sending. Pending until the timeout.
    pub(super) fn linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.linger.wait::<()>(cx, || Instant::now() + LINGER).map(drop)
    }
}

/// A timer that exists only while it is armed.
#[derive(Default)]
struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    fn disarm(&mut self) {
        self.0 = None;
    }

    /// Pending until the deadline, then an error. `deadline` is called when the timer is armed.
    fn wait<T>(&mut self, cx: &mut Context<'_>, deadline: impl FnOnce() -> Instant) -> Poll<io::Result<T>> {
        let timer = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline())));
        timer.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}
