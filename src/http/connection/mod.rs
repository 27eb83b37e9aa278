//! A client's connection, on both listeners. It lies between the socket ([`socket`]: TCP or TLS) and actix-http.
//!
//! * actix-http gets only valid bytes ([`framing`]) and one request at a time: the bytes of the next request wait here
//!   until the response to the previous one has been written. After a response that closes the connection, nothing more
//!   is passed on. Every response to a request that was not read completely closes the connection.
//! * A request with a malformed head is answered here, by the listener's own [`Refuse`]. If a later part of a request
//!   is malformed, its handler sees a body that ends early, and refuses the request. In both cases the connection is
//!   closed.
//! * A client that has closed its sending side is treated as gone, even if requests from it wait here.
//! * Every wait for a client has a timeout ([`timeouts`]). The timeouts are the same on both listeners.
//! * Memory is bounded: a connection holds at most [`MAX_HELD`] bytes plus one read. A TLS session holds at most
//!   64 KiB more in each direction. The number of connections is bounded too ([`open`]).

mod activity;
pub(crate) mod framing;
mod open;
mod refusal;
mod socket;
mod timeouts;

use std::{
    fmt, future,
    io::{self, IoSlice},
    net::TcpListener,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_http::{
    HttpService, KeepAlive, Request, Response,
    body::{BoxBody, MessageBody},
    error::DispatchError,
};
use actix_server::{Server, ServerBuilder};
use actix_service::{ServiceFactory, ServiceFactoryExt, fn_service};
use bytes::{Buf, Bytes, BytesMut};
use rustix::net::{RecvFlags, recv};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

pub(in crate::http) use self::{
    activity::{Activity, AnswerGuard, Answered},
    framing::Fault,
    refusal::refusal,
};
use self::{
    framing::{Framing, MAX_HEAD},
    open::{Open, Place},
    socket::{NotOpen, Socket},
    timeouts::{ConnectionTimeouts, FIRST_HEAD, KEEP_ALIVE, LINGER},
};
use crate::service::certificates::ListenerCertificate;

/// The maximum number of bytes of the next request that are read ahead while a request is being answered. A hang-up is
/// noticed unless the client has sent more than this.
const MAX_HELD: usize = MAX_HEAD;

/// Makes the complete response, head and body, to a request whose head is malformed.
pub(in crate::http) type Refuse = fn(Fault) -> Bytes;

/// The settings of a listener's server. Each listener has its own server, so the connections of one do not count
/// against the other's maximum.
pub struct Serving {
    /// The number of threads, at least one.
    pub workers: usize,
    /// The maximum number of simultaneous connections. Each worker gets an equal share, and at least one.
    pub connections: usize,
    /// How long running requests may continue when the server is stopped.
    pub grace: Duration,
    /// The certificate of the listener; `None` if it speaks plain HTTP.
    pub certificate: Option<Arc<ListenerCertificate>>,
}

/// Opens a listener. `services` makes the two services of each worker: one that answers requests, and one that first
/// gets the requests with `Expect: 100-continue` and returns those whose body may be sent.
pub(in crate::http) fn listen<S, B, X>(
    serving: Serving,
    name: &str,
    listener: TcpListener,
    refuse: Refuse,
    services: impl Fn() -> (S, X) + Clone + Send + 'static,
) -> io::Result<ServerBuilder>
where
    S: ServiceFactory<Request, Config = (), InitError = ()> + 'static,
    S::Error: Into<Response<BoxBody>>,
    S::Response: Into<Response<B>>,
    B: MessageBody + 'static,
    X: ServiceFactory<Request, Config = (), Response = Request> + 'static,
    X::Error: Into<Response<BoxBody>>,
    X::InitError: fmt::Debug,
{
    let Serving { workers, connections, grace, certificate } = serving;
    let connections = (connections / workers).max(1);
    let server = Server::build()
        .disable_signals()
        .workers(workers)
        .max_concurrent_connections(connections)
        .shutdown_timeout(grace.as_secs() + u64::from(grace.subsec_nanos() > 0));
    let shutdown = server.graceful_shutdown_signal();
    server.listen(name, listener, move || {
        let open = Open::at_most(connections);
        let (shutdown, certificate) = (shutdown.clone(), certificate.clone());
        let (answers, continues) = services();
        let requests = HttpService::build()
            .keep_alive(KeepAlive::Timeout(KEEP_ALIVE))
            .client_request_timeout(FIRST_HEAD)
            .client_disconnect_timeout(LINGER)
            // Otherwise a hang-up would not be noticed.
            .h1_allow_half_closed(false)
            .on_connect_ext(|connection: &Connection, data| drop(data.insert(connection.activity.clone())))
            .graceful_shutdown_signal(move || {
                let shutdown = shutdown.clone();
                async move { shutdown.notified().await }
            })
            .expect(continues)
            .h1(answers);
        fn_service(move |stream: TcpStream| {
            // Otherwise Nagle's algorithm would delay the pieces of a stream.
            let _ = stream.set_nodelay(true);
            let peer = stream.peer_addr().ok();
            let socket = Socket::new(stream, certificate.as_ref().map(|certificate| certificate.session()));
            future::ready(Ok::<_, DispatchError>((Connection::new(socket, refuse, &open), peer)))
        })
        .and_then(requests)
    })
}

/// A client's connection. See the module's documentation.
struct Connection {
    io: Socket,
    /// The framing of the request that is being read.
    framing: Framing,
    /// Whether bytes of that request have been passed on.
    has_begun: bool,
    /// Bytes that were read and have not been passed on yet.
    held: BytesMut,
    /// The number of held bytes that may be passed on.
    passable: usize,
    reading: Reading,
    /// Whether the next read returns `Pending` once, so that the handler runs first: it may refuse the request before
    /// its body arrives.
    yields: bool,
    refuse: Refuse,
    timeouts: ConnectionTimeouts,
    activity: Rc<Activity>,
    _place: Place,
}

/// The state of reading from a connection.
enum Reading {
    /// Requests are being read.
    Requests,
    /// A refusal is being written, and no further request is read. This is the unwritten rest.
    Refusing(Bytes),
    /// No further request is read: for actix-http, the connection has ended.
    Ended,
}

impl Connection {
    fn new(io: Socket, refuse: Refuse, open: &Rc<Open>) -> Self {
        let activity = Rc::new(Activity::new());
        Self {
            io,
            framing: Framing::start(),
            has_begun: false,
            held: BytesMut::new(),
            passable: 0,
            reading: Reading::Requests,
            yields: false,
            refuse,
            timeouts: ConnectionTimeouts::default(),
            _place: open.enter(activity.clone()),
            activity,
        }
    }

    /// Whether bytes that arrive now may be passed on, because they belong to the request that is being read, or
    /// because the next request may begin.
    fn may_pass(&mut self) -> bool {
        if !self.framing.is_complete() {
            return true;
        }
        let may_begin = self.has_ended_answer() && !self.activity.is_last();
        if may_begin {
            self.framing = Framing::start();
            self.has_begun = false;
        }
        may_begin
    }

    /// Whether no request is being answered and the latest response has been written.
    fn has_ended_answer(&self) -> bool {
        !self.activity.is_answering() && !self.timeouts.is_write_blocked()
    }

    /// The number of these bytes that may be passed on; 0 if the request is malformed.
    fn pass(&mut self, bytes: &[u8]) -> usize {
        match self.framing.pass(bytes) {
            Ok(0) => 0,
            Ok(passable) => {
                if !std::mem::replace(&mut self.has_begun, true) {
                    self.activity.begin_answer(self.framing.is_tunnel());
                    self.yields = !self.framing.is_complete();
                }
                self.activity.set_complete(self.framing.is_complete());
                passable
            }
            Err(fault) => {
                self.fail(fault);
                0
            }
        }
    }

    /// Ends the reading of requests because of a fault. A request that no handler has seen is answered here.
    fn fail(&mut self, fault: Fault) {
        self.activity.set_fault(fault);
        self.reading = if self.has_begun { Reading::Ended } else { Reading::Refusing((self.refuse)(fault)) };
    }

    /// Passes on the held bytes that may be passed on.
    fn pass_held(&mut self, buffer: &mut ReadBuf<'_>) {
        let length = self.passable.min(buffer.remaining());
        buffer.put_slice(&self.held[..length]);
        self.held.advance(length);
        self.passable -= length;
        if self.held.is_empty() {
            self.held = BytesMut::new();
        }
    }

    /// Reads requests into the buffer until bytes have been passed on, the client has closed its side, or there is a
    /// fault.
    fn poll_requests(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.activity.is_last() && self.has_ended_answer() {
            self.reading = Reading::Ended;
        }
        while matches!(self.reading, Reading::Requests) {
            if self.passable == 0 && !self.held.is_empty() && self.may_pass() {
                let held = std::mem::take(&mut self.held);
                self.passable = self.pass(&held);
                self.held = held;
            }
            if self.passable > 0 {
                self.pass_held(buffer);
                return Poll::Ready(Ok(()));
            }
            if !matches!(self.reading, Reading::Requests) {
                break;
            }
            if self.held.len() > MAX_HELD {
                return self.wait(cx);
            }
            match self.io.poll_open(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Pending => return self.wait(cx),
                Poll::Ready(Err(NotOpen::PlainHttp)) => {
                    self.fail(Fault::PlainHttp);
                    break;
                }
                Poll::Ready(Err(NotOpen::Failed(error))) => return Poll::Ready(Err(error)),
            }
            let filled = buffer.filled().len();
            match Pin::new(&mut self.io).poll_read(cx, buffer) {
                Poll::Pending => return self.wait(cx),
                Poll::Ready(Ok(())) if buffer.filled().len() > filled => {}
                ended => return ended,
            }
            let is_first = self.held.is_empty();
            let read = &buffer.filled()[filled..];
            let passable = if is_first && self.may_pass() { self.pass(read) } else { 0 };
            self.held.extend_from_slice(&read[passable..]);
            buffer.set_filled(filled + passable);
            if passable > 0 {
                return Poll::Ready(Ok(()));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Waits until bytes can be passed on, with the timeout for the connection's current state.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.activity.is_displaced() && !self.has_unread() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let has_more = !self.held.is_empty();
        self.activity.wait(cx, has_more);
        if !self.has_ended_answer() {
            self.timeouts.expect_nothing();
            Poll::Pending
        } else if has_more {
            self.timeouts.expect_head(cx)
        } else {
            self.timeouts.expect_request(cx, self.activity.idle_since())
        }
    }

    fn note_written<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if self.io.has_progress(&written) && self.timeouts.is_write_blocked() {
            self.timeouts.written();
            if written.is_ready() {
                self.activity.wake_at_end();
            }
        }
        match written {
            Poll::Ready(written) => Poll::Ready(written),
            Poll::Pending => self.timeouts.write_blocked(cx),
        }
    }

    /// Reads and discards the rest of the client's bytes. Closing a connection with unread bytes would reset it, and
    /// the client might lose the response.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut scratch = [0; 4096];
        while self.timeouts.linger(cx).is_pending() {
            let mut buffer = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                _ => break,
            }
        }
        Poll::Ready(())
    }

    /// Whether unread bytes have arrived. This asks the kernel, since the runtime may not have noticed the first bytes
    /// of a new connection yet.
    fn has_unread(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        self.io.tcp().is_some_and(|tcp| recv(tcp, &mut [0], flags).is_ok_and(|(length, _)| length > 0))
    }

    fn check_not_cut(&self) -> io::Result<()> {
        if self.activity.is_cut() { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }

    fn check_not_displaced(&self) -> io::Result<()> {
        self.check_not_cut()?;
        if self.activity.is_displaced() { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check_not_cut()?;
        if std::mem::take(&mut this.yields) {
            // Otherwise actix-http would keep reading while there are bytes, up to 128 KiB.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Reading::Requests = this.reading {
            let filled = buffer.filled().len();
            ready!(this.poll_requests(cx, buffer))?;
            if buffer.filled().len() > filled {
                return Poll::Ready(Ok(()));
            }
        }
        this.check_not_displaced()?;
        while let Reading::Refusing(left) = &mut this.reading {
            if left.is_empty() {
                this.reading = Reading::Ended;
                break;
            }
            let written = Pin::new(&mut this.io).poll_write(cx, left);
            if let Poll::Ready(Ok(written)) = written {
                left.advance(written);
            }
            ready!(this.note_written(cx, written))?;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check_not_displaced()?;
        let written = Pin::new(&mut this.io).poll_write(cx, bytes);
        this.note_written(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check_not_displaced()?;
        let written = Pin::new(&mut this.io).poll_write_vectored(cx, slices);
        this.note_written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.io.is_tls() {
            return Poll::Ready(Ok(())); // nothing is buffered
        }
        let flushed = Pin::new(&mut this.io).poll_flush(cx);
        this.note_written(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check_not_displaced()?;
        let shut = Pin::new(&mut this.io).poll_shutdown(cx);
        ready!(this.note_written(cx, shut))?;
        let is_between_requests = !this.has_begun || this.framing.is_complete();
        let has_read_all = matches!(this.reading, Reading::Requests) && this.held.is_empty() && is_between_requests;
        if has_read_all { Poll::Ready(Ok(())) } else { this.poll_discard(cx).map(Ok) }
    }
}
