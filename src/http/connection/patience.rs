//! How long a client may keep a connection waiting.
//!
//! actix-http has timers for the first head of a connection ([`FIRST_HEAD`]) and for the time between requests
//! ([`KEEP_ALIVE`]); they fire first where both apply, since its 408 is the better answer. [`Patience`] bounds the rest: a
//! head must be complete [`HEAD`] after its first byte, a connection without a request ends after [`IDLE`], and a client
//! that reads nothing for [`UNREAD`] is disconnected. Its timers are armed only while something is late. The one for
//! idleness lives on from request to request, so a request that arrives in one piece arms none.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// From the beginning of a connection to the end of its first head.
pub(super) const FIRST_HEAD: Duration = Duration::from_secs(10);

/// From the first byte of a head to its last.
const HEAD: Duration = Duration::from_secs(10);

/// From the end of an answer to the next request.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// The same, if bytes that are no whole head have come meanwhile.
const IDLE: Duration = Duration::from_secs(90);

/// How long an answer may go unread.
const UNREAD: Duration = Duration::from_secs(120);

/// How long a client may go on sending after an answer that ends the connection.
pub(super) const LINGER: Duration = Duration::from_secs(2);

/// The timers of one connection.
#[derive(Default)]
pub(super) struct Patience {
    head: Timer,
    idle: Timer,
    unread: Timer,
    linger: Timer,
}

impl Patience {
    /// A request is being answered: nothing is expected of the client.
    pub(super) fn expect_nothing(&mut self) {
        self.head.disarm();
    }

    /// A head has begun: pending until the rest of it is late.
    pub(super) fn expect_head<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        self.head.wait(cx, || Instant::now() + HEAD)
    }

    /// Nothing has come since the latest answer: pending until the next request is late.
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

    /// The client does not read what is written: pending until that is late.
    pub(super) fn write_blocked<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        self.unread.wait(cx, || Instant::now() + UNREAD)
    }

    /// Something was written.
    pub(super) fn written(&mut self) {
        self.unread.disarm();
    }

    /// Whether the latest write did not go through.
    pub(super) fn is_write_blocked(&self) -> bool {
        self.unread.0.is_some()
    }

    /// The connection ends, and the client may still be sending: pending until that is late.
    pub(super) fn linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.linger.wait::<()>(cx, || Instant::now() + LINGER).map(drop)
    }
}

/// A timer that exists only while something is late.
#[derive(Default)]
struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    fn disarm(&mut self) {
        self.0 = None;
    }

    /// Pending until the deadline, which is asked for when the timer is armed; an error from then on.
    fn wait<T>(&mut self, cx: &mut Context<'_>, deadline: impl FnOnce() -> Instant) -> Poll<io::Result<T>> {
        let timer = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline())));
        timer.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}
