//! A minimal HTTP/1.1 for both ends: heads, and bodies with a length or in chunks, on one kept-alive connection, which
//! may use TLS.

use std::io;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

const READ_BYTES: usize = 16 * 1024;

/// The part of a body that is still to be read.
#[derive(Clone, Copy)]
enum Body {
    Length(u64),
    /// The next line is a chunk's size.
    ChunkSize,
    /// The bytes left of a chunk, including the line end after it.
    Chunk(u64),
    Trailer,
}

/// The bytes of a connection.
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// One side of a connection.
pub(crate) struct Connection {
    stream: Stream,
    input: BytesMut,
    body: Body,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self::over(Stream::Plain(stream)))
    }

    pub(crate) fn over_tls(stream: TlsStream<TcpStream>) -> Self {
        Self::over(Stream::Tls(Box::new(stream)))
    }

    fn over(stream: Stream) -> Self {
        Self { stream, input: BytesMut::with_capacity(READ_BYTES), body: Body::Length(0) }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(bytes).await,
            Stream::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
        }
    }

    /// Reads the head of a request and returns its path, or `None` if the peer has closed the connection between two
    /// requests.
    pub(crate) async fn request(&mut self) -> io::Result<Option<String>> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 32];
            let mut head = httparse::Request::new(&mut headers);
            if let httparse::Status::Complete(len) = head.parse(&self.input).map_err(io::Error::other)? {
                let path = head.path.unwrap_or_default().to_owned();
                self.body = framing(head.headers)?;
                self.input.advance(len);
                return Ok(Some(path));
            }
            let between = self.input.is_empty();
            if self.fill().await? == 0 {
                return if between { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    /// Reads the head of a response and returns its status.
    pub(crate) async fn response(&mut self) -> io::Result<u16> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 32];
            let mut head = httparse::Response::new(&mut headers);
            if let httparse::Status::Complete(len) = head.parse(&self.input).map_err(io::Error::other)? {
                let status = head.code.unwrap_or(0);
                self.body = framing(head.headers)?;
                self.input.advance(len);
                return Ok(status);
            }
            self.fill_more().await?;
        }
    }

    /// Appends the next piece of the body to `out`. Waits only if no part of the body has arrived. Returns true at the
    /// end of the body.
    pub(crate) async fn body(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        let before = out.len();
        loop {
            if self.decode(out)? {
                return Ok(true);
            }
            if out.len() > before {
                return Ok(false);
            }
            self.fill_more().await?;
        }
    }

    /// Moves the part of the body that has arrived to `out`. Returns true at the end of the body.
    fn decode(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        loop {
            match self.body {
                Body::Length(0) => return Ok(true),
                Body::Length(left) => {
                    let len = self.input.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    out.extend_from_slice(&self.input[..len]);
                    self.input.advance(len);
                    self.body = Body::Length(left - len as u64);
                    if len == 0 {
                        return Ok(false);
                    }
                }
                Body::ChunkSize => match httparse::parse_chunk_size(&self.input) {
                    Ok(httparse::Status::Complete((len, size))) => {
                        self.input.advance(len);
                        self.body = if size == 0 { Body::Trailer } else { Body::Chunk(size.saturating_add(2)) };
                    }
                    Ok(httparse::Status::Partial) => return Ok(false),
                    Err(_) => return Err(io::Error::other("a chunk has no valid size")),
                },
                Body::Chunk(0) => self.body = Body::ChunkSize,
                Body::Chunk(left) => {
                    let here = self.input.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    let text = here.min(usize::try_from(left - 2.min(left)).unwrap_or(usize::MAX));
                    out.extend_from_slice(&self.input[..text]);
                    self.input.advance(here);
                    self.body = Body::Chunk(left - here as u64);
                    if here == 0 {
                        return Ok(false);
                    }
                }
                Body::Trailer => {
                    let Some(end) = memchr::memchr(b'\n', &self.input) else {
                        return Ok(false);
                    };
                    let blank = self.input[..end].trim_ascii().is_empty();
                    self.input.advance(end + 1);
                    if blank {
                        self.body = Body::Length(0);
                    }
                }
            }
        }
    }

    async fn fill(&mut self) -> io::Result<usize> {
        self.input.reserve(READ_BYTES);
        match &mut self.stream {
            Stream::Plain(stream) => stream.read_buf(&mut self.input).await,
            Stream::Tls(stream) => stream.read_buf(&mut self.input).await,
        }
    }

    async fn fill_more(&mut self) -> io::Result<()> {
        if self.fill().await? == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

fn framing(headers: &[httparse::Header<'_>]) -> io::Result<Body> {
    let mut body = Body::Length(0);
    for header in headers {
        if header.name.eq_ignore_ascii_case("content-length") {
            let length = std::str::from_utf8(header.value).ok().and_then(|text| text.trim().parse().ok());
            body = Body::Length(length.ok_or_else(|| io::Error::other("the content-length is not a number"))?);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Ok(Body::ChunkSize);
        }
    }
    Ok(body)
}
