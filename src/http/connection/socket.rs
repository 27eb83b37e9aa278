//! The socket of a client's connection: TCP, or TLS over TCP.
//!
//! On a listener with TLS, the first byte decides: a TLS record begins the handshake, and a letter is plain HTTP, which
//! gets a refusal in words. The handshake is done while the connection waits for its first head, so it counts against
//! the timeout of that head, and against the number of open connections.

use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{Accept, TlsAcceptor, server::TlsStream};
use tracing::{debug, field::display};

/// The first byte of a TLS handshake: the type of its record.
const HANDSHAKE: u8 = 0x16;

/// The socket of a client's connection.
pub(super) enum Socket {
    Plain(TcpStream),
    /// A connection that uses TLS, before its first byte.
    New(TcpStream, Arc<ServerConfig>),
    Handshake(Box<Handshake>),
    Tls(Box<TlsStream<Counted>>),
    /// A connection that could not be opened.
    Failed,
}

/// A TLS handshake that goes on.
pub(super) struct Handshake {
    accept: Accept<Counted>,
    /// The client's address, for the log: a connection that the client has reset does not know it any more.
    peer: Option<SocketAddr>,
}

/// The reason why a connection cannot be used for requests.
pub(super) enum NotOpen {
    /// The client speaks plain HTTP to a listener with TLS. It can be answered.
    PlainHttp,
    Failed(io::Error),
}

impl Socket {
    /// The socket of a new connection, which uses TLS if there is a configuration.
    pub(super) fn new(tcp: TcpStream, tls: Option<Arc<ServerConfig>>) -> Self {
        match tls {
            None => Self::Plain(tcp),
            Some(config) => Self::New(tcp, config),
        }
    }

    /// Waits until requests can be read.
    #[inline]
    pub(super) fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), NotOpen>> {
        match self {
            Self::Plain(_) | Self::Tls(_) => Poll::Ready(Ok(())),
            _ => self.poll_handshake(cx),
        }
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), NotOpen>> {
        if let Self::New(tcp, _) = self {
            let mut first = [0];
            let length = ready!(tcp.poll_peek(cx, &mut ReadBuf::new(&mut first)));
            match (length, first[0]) {
                (Ok(1), HANDSHAKE) => {
                    if let Self::New(tcp, config) = std::mem::replace(self, Self::Failed) {
                        let peer = tcp.peer_addr().ok();
                        let accept = TlsAcceptor::from(config).accept(Counted::new(tcp));
                        *self = Self::Handshake(Box::new(Handshake { accept, peer }));
                    }
                }
                // An empty line may precede a request.
                (Ok(1), b'A'..=b'Z' | b'a'..=b'z' | b'\r' | b'\n') => {
                    if let Self::New(tcp, _) = std::mem::replace(self, Self::Failed) {
                        *self = Self::Plain(tcp);
                    }
                    return Poll::Ready(Err(NotOpen::PlainHttp));
                }
                (Ok(length), byte) => {
                    if length > 0 {
                        let peer = tcp.peer_addr().ok().map(display);
                        debug!(peer, byte, "the first byte is neither TLS nor HTTP");
                    }
                    return Poll::Ready(Err(self.fail(io::ErrorKind::InvalidData.into())));
                }
                (Err(error), _) => return Poll::Ready(Err(self.fail(error))),
            }
        }
        let Self::Handshake(handshake) = self else {
            return Poll::Ready(Err(NotOpen::Failed(io::ErrorKind::NotConnected.into())));
        };
        match ready!(Pin::new(&mut handshake.accept).poll(cx)) {
            Ok(stream) => {
                *self = Self::Tls(Box::new(stream));
                Poll::Ready(Ok(()))
            }
            Err(error) => {
                // Not louder, since every scanner on the network causes it.
                debug!(peer = handshake.peer.map(display), %error, "TLS handshake failed");
                Poll::Ready(Err(self.fail(error)))
            }
        }
    }

    fn fail(&mut self, error: io::Error) -> NotOpen {
        *self = Self::Failed;
        NotOpen::Failed(error)
    }

    /// Whether the client has accepted bytes since the last call. `written` is the outcome of the latest write.
    pub(super) fn has_progress<T>(&mut self, written: &Poll<io::Result<T>>) -> bool {
        match self {
            // A write to a TLS session can be ready although all of it stays in the session.
            Self::Tls(stream) => std::mem::take(&mut stream.get_mut().0.has_written),
            _ => written.is_ready(),
        }
    }

    pub(super) fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(tcp) | Self::New(tcp, _) => Some(tcp),
            Self::Handshake(handshake) => handshake.accept.get_ref().map(|counted| &counted.tcp),
            Self::Tls(stream) => Some(&stream.get_ref().0.tcp),
            Self::Failed => None,
        }
    }

    pub(super) fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}

/// The error of using a connection that is not open.
fn not_open<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, buffer),
            _ => not_open(),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, bytes),
            _ => not_open(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(cx, slices),
            _ => not_open(),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
            // TCP has no buffer here, and a handshake flushes its own.
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Ends the sending side. TLS tells the client so (`close_notify`), which can then tell an end from a cut.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
            _ => Poll::Ready(Ok(())),
        }
    }
}

/// A TCP stream that notes whether bytes were written.
pub(super) struct Counted {
    tcp: TcpStream,
    has_written: bool,
}

impl Counted {
    fn new(tcp: TcpStream) -> Self {
        Self { tcp, has_written: false }
    }

    fn note(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.has_written |= matches!(written, Poll::Ready(Ok(1..)));
        written
    }
}

impl AsyncRead for Counted {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.tcp).poll_write(cx, bytes);
        this.note(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.tcp).poll_write_vectored(cx, slices);
        this.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }
}
