//! A connection to an upstream: how it is opened, and an exchange up to the head of the answer.

use std::{
    borrow::Cow,
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::BytesMut;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use super::{
    connect::connect_tcp,
    error::{SendError, SendErrorKind},
    head::{Head, HeadReader},
    origin::Origin,
    request::Outgoing,
    stream::Stream,
    tls,
};

/// Initial size of a read buffer, in bytes. An idle connection keeps no more than this.
const READ_SIZE: usize = 16 * 1024;
/// Largest size of a read buffer, in bytes. A buffer grows when reads fill it.
const READ_SIZE_MAX: usize = 128 * 1024;
/// Smallest free space for a read, in bytes.
const READ_SIZE_MIN: usize = 4 * 1024;

/// A connection, with the bytes that were read from it and not consumed yet.
pub(super) struct Connection {
    pub(super) origin: Origin,
    pub(super) stream: Stream,
    pub(super) buf: BytesMut,
    pub(super) timer: Timer,
    read_size: usize,
}

/// The reason why an exchange did not yield the head of an answer. The details are text for the operator.
pub(super) enum ExchangeError {
    /// The connection ended before the first byte of an answer.
    Closed(Cow<'static, str>),
    /// The deadline passed.
    TimedOut,
    /// The upstream sent something other than a valid head.
    Protocol(Cow<'static, str>),
}

impl ExchangeError {
    pub(super) fn at(self, origin: Origin) -> SendError {
        match self {
            Self::Closed(detail) => SendError::new(SendErrorKind::Closed, origin, detail),
            Self::TimedOut => SendError::new(SendErrorKind::FirstByteTimeout, origin, ""),
            Self::Protocol(detail) => SendError::new(SendErrorKind::Protocol, origin, detail),
        }
    }
}

impl Connection {
    /// Connects to `origin` within `timeout`, unless it is one of `listeners`.
    pub(super) async fn open(
        origin: &Origin,
        timeout: Duration,
        listeners: &[SocketAddr],
    ) -> Result<Box<Self>, SendError> {
        let deadline = Instant::now() + timeout;
        let opened = timeout_at(deadline, async {
            let tcp = connect_tcp(origin, deadline, listeners).await?;
            let stream = match origin.tls_name() {
                None => Stream::Plain(tcp),
                Some(name) => Stream::Tls(tls::connect(tcp, name.clone()).await.map_err(|e| (SendErrorKind::Tls, e))?),
            };
            let (buf, timer) = (BytesMut::new(), Timer::default());
            Ok(Box::new(Self { origin: origin.clone(), stream, buf, timer, read_size: READ_SIZE }))
        });
        match opened.await {
            Ok(opened) => opened.map_err(|(kind, detail): (_, String)| SendError::new(kind, origin.clone(), detail)),
            Err(_) => Err(SendError::new(SendErrorKind::ConnectTimeout, origin.clone(), "")),
        }
    }

    /// Sends `outgoing` and reads the head of the final answer at the same time, because an upstream may refuse a body
    /// before it has read it. The head can therefore arrive before all of `outgoing` is sent.
    pub(super) async fn exchange(&mut self, outgoing: &mut Outgoing, deadline: Instant) -> Result<Head, ExchangeError> {
        let mut reader = HeadReader::default();
        let mut answered = false;
        poll_fn(|cx| {
            loop {
                outgoing.advance(&mut self.stream, cx);
                let ended = match self.poll_read(cx) {
                    Poll::Pending => return self.timer.poll(cx, deadline).map(|()| Err(ExchangeError::TimedOut)),
                    Poll::Ready(Ok(0)) => Cow::Borrowed("end of stream"),
                    Poll::Ready(Ok(_)) => match reader.read(&mut self.buf) {
                        Ok(None) => {
                            answered = true;
                            continue;
                        }
                        Ok(Some(head)) => return Poll::Ready(Ok(head)),
                        Err(reason) => return Poll::Ready(Err(ExchangeError::Protocol(reason.into()))),
                    },
                    Poll::Ready(Err(error)) => Cow::Owned(error.to_string()),
                };
                return Poll::Ready(Err(match answered {
                    true => ExchangeError::Protocol(format!("the connection ended within the head: {ended}").into()),
                    false => ExchangeError::Closed(ended),
                }));
            }
        })
        .await
    }

    /// Reads once, at most as much as the buffer has room for. Returns 0 at the end of the stream.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // `reserve` reuses the same memory once all pieces split from the buffer have been dropped.
        if self.buf.capacity() - self.buf.len() < READ_SIZE_MIN {
            self.buf.reserve(self.read_size);
        }
        let room = self.buf.capacity() - self.buf.len();
        let read = ready!(self.stream.poll_read(cx, &mut self.buf))?;
        if read == room && room >= self.read_size {
            self.read_size = (self.read_size * 2).min(READ_SIZE_MAX);
        }
        Poll::Ready(Ok(read))
    }

    /// Whether an idle connection can carry another exchange: it is open, and no unexpected bytes have arrived.
    pub(super) fn is_quiet(&mut self) -> bool {
        // No task needs to be woken: the next exchange polls again with its own task.
        self.buf.is_empty() && self.poll_read(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    /// Frees the buffer if a large body made it grow.
    pub(super) fn shrink(&mut self) {
        if self.read_size > READ_SIZE {
            self.read_size = READ_SIZE;
            self.buf = BytesMut::new();
        }
    }
}

/// A timer for deadlines that are usually moved later before they pass. It stays armed for the earlier deadline and is
/// armed again for the current one when it fires, so moving a deadline costs nothing.
#[derive(Default)]
pub(super) struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Ready when `deadline` has passed.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}
