//! How long a connection may keep us waiting.
//!
//! actix bounds the first head of a connection and the time between requests. This bounds the rest: each later head has
//! to be complete [`HEAD`] after its first byte, a connection without a request ends after [`IDLE`] whatever lies half
//! read in it, and whoever reads nothing for [`UNREAD`] is gone. Timers are armed only when something is late, and the
//! one for idleness lives on from request to request: one that comes in one piece costs two looks at the clock.

use std::{
    cell::Cell,
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep_until},
};

/// From the first byte of a head to its last.
const HEAD: Duration = Duration::from_secs(10);

/// From the end of an answer to the next request; actix ends most connections before.
const IDLE: Duration = Duration::from_secs(90);

/// How long what was written may go unread.
const UNREAD: Duration = Duration::from_secs(120);

/// What a connection is at; shared with the requests on it.
pub(super) struct Activity {
    /// A request is being answered.
    is_answering: Cell<bool>,
    /// When the first byte of a head came that is not complete.
    head_since: Cell<Option<Instant>>,
    /// When the connection began, or the last answer ended.
    idle_since: Cell<Instant>,
}

/// A request is being answered while this lives.
pub(super) struct Answering(Rc<Activity>);

impl Answering {
    pub(super) fn begin(activity: Rc<Activity>) -> Self {
        activity.is_answering.set(true);
        activity.head_since.set(None);
        Self(activity)
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.is_answering.set(false);
        self.0.idle_since.set(Instant::now());
    }
}

/// A customer's connection, with its patience.
pub(super) struct Patient {
    io: TcpStream,
    activity: Rc<Activity>,
    head: Late,
    idle: Late,
    unread: Late,
}

impl Patient {
    pub(super) fn new(io: TcpStream) -> Self {
        let activity = Activity {
            is_answering: Cell::new(false),
            head_since: Cell::new(None),
            idle_since: Cell::new(Instant::now()),
        };
        let (head, idle, unread) = (Late::default(), Late::default(), Late::default());
        Self { io, activity: Rc::new(activity), head, idle, unread }
    }

    pub(super) fn activity(&self) -> Rc<Activity> {
        self.activity.clone()
    }

    fn note_written<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match written {
            Poll::Ready(written) => {
                self.unread.disarm();
                Poll::Ready(written)
            }
            Poll::Pending => self.unread.wait(cx, || Instant::now() + UNREAD),
        }
    }
}

/// A timer that is there only while something is late.
#[derive(Default)]
struct Late(Option<Pin<Box<Sleep>>>);

impl Late {
    fn disarm(&mut self) {
        self.0 = None;
    }

    /// Pending until the deadline, which is asked for when the wait begins; an error from then on.
    fn wait<T>(&mut self, cx: &mut Context<'_>, deadline: impl FnOnce() -> Instant) -> Poll<io::Result<T>> {
        let timer = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline())));
        timer.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    /// The same with a deadline that may have moved on by the time the timer fires.
    fn wait_and_see<T>(&mut self, cx: &mut Context<'_>, deadline: impl Fn() -> Instant) -> Poll<io::Result<T>> {
        while self.wait::<T>(cx, &deadline).is_ready() {
            if deadline() <= Instant::now() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.disarm();
        }
        Poll::Pending
    }
}

impl AsyncRead for Patient {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let filled = buffer.filled().len();
        let read = Pin::new(&mut this.io).poll_read(cx, buffer);
        let activity = &this.activity;
        if activity.is_answering.get() {
            this.head.disarm();
            return read;
        }
        match (read, activity.head_since.get()) {
            (Poll::Pending, Some(since)) => this.head.wait(cx, || since + HEAD),
            (Poll::Pending, None) => {
                this.head.disarm();
                this.idle.wait_and_see(cx, || activity.idle_since.get() + IDLE)
            }
            (Poll::Ready(Ok(())), None) if buffer.filled().len() > filled => {
                activity.head_since.set(Some(Instant::now()));
                Poll::Ready(Ok(()))
            }
            (Poll::Ready(read), _) => Poll::Ready(read),
        }
    }
}

impl AsyncWrite for Patient {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write(cx, bytes);
        this.note_written(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write_vectored(cx, slices);
        this.note_written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
