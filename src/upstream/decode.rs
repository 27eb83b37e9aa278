//! Decodes an answer that an upstream encoded although identity encoding was requested.
//!
//! The answer is decoded as it arrives. Each piece is returned as soon as it can be decoded, and has at most [`PIECE`]
//! bytes, so a small input that decodes to a huge output does not fill the memory.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use async_compression::{
    tokio::bufread::{BrotliDecoder, DeflateDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder},
    zstd::DParameter,
};
use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncBufRead, AsyncRead, ReadBuf};

use super::{body_error::BodyError, client};

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

/// Largest decoded piece, in bytes.
const PIECE: usize = 16 << 10;

/// Largest zstd window that is accepted, as a power of two. RFC 8878 requires decoders to support at least this size.
const ZSTD_WINDOW_LOG: u32 = 23;

/// A content encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// `gzip`
    Gzip,
    /// `deflate`: the zlib format by RFC 9110, but some servers send the data without its frame.
    Deflate,
    /// `br`
    Brotli,
    /// `zstd`
    Zstd,
}

impl Encoding {
    /// Parses the value of a `content-encoding` header. Returns `Ok(None)` if the body is not encoded, and an error if
    /// it cannot be decoded.
    pub fn parse(value: &[u8]) -> Result<Option<Self>, UnknownEncoding> {
        let mut found = None;
        for name in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            let encoding = match () {
                () if is("identity") || is("") => continue,
                () if is("gzip") || is("x-gzip") => Self::Gzip,
                () if is("deflate") => Self::Deflate,
                () if is("br") => Self::Brotli,
                () if is("zstd") => Self::Zstd,
                () => return Err(UnknownEncoding),
            };
            if found.replace(encoding).is_some() {
                return Err(UnknownEncoding);
            }
        }
        Ok(found)
    }
}

/// An error returned for a content encoding that cannot be decoded, or for several encodings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownEncoding;

/// A body that is decoded as it arrives.
pub struct Decoded {
    state: State,
}

enum State {
    /// Nothing has arrived yet.
    Waiting(Encoding, Source),
    Running(Pin<Box<dyn AsyncRead>>),
    Ended,
}

impl Decoded {
    /// Decodes `body`.
    pub fn new(encoding: Encoding, body: client::Body) -> Self {
        Self { state: State::Waiting(encoding, Source { body, piece: Bytes::new() }) }
    }

    /// Returns the next piece as soon as it can be decoded, or `None` at the end and after an error.
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let piece = ready!(self.poll_piece(cx)).transpose();
        if !matches!(piece, Some(Ok(_))) {
            self.state = State::Ended;
        }
        Poll::Ready(piece.map(|piece| piece.map_err(body_error)))
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        if let State::Waiting(_, source) = &mut self.state {
            let first = ready!(Pin::new(&mut *source).poll_fill_buf(cx))?.first().copied();
            let State::Waiting(encoding, source) = std::mem::replace(&mut self.state, State::Ended) else {
                return Poll::Ready(Ok(None));
            };
            self.state = State::Running(decoder(encoding, first, source));
        }
        let State::Running(decoder) = &mut self.state else { return Poll::Ready(Ok(None)) };
        let mut room = BytesMut::zeroed(PIECE);
        let mut buffer = ReadBuf::new(&mut room);
        ready!(decoder.as_mut().poll_read(cx, &mut buffer))?;
        let length = buffer.filled().len();
        room.truncate(length);
        Poll::Ready(Ok((length > 0).then(|| room.freeze())))
    }
}

fn decoder(
    encoding: Encoding,
    first: Option<u8>,
    source: impl AsyncBufRead + Unpin + 'static,
) -> Pin<Box<dyn AsyncRead>> {
    match encoding {
        Encoding::Gzip => {
            let mut decoder = GzipDecoder::new(source);
            decoder.multiple_members(true);
            Box::pin(decoder)
        }
        // The low four bits of a zlib frame's first byte are the method, 8. In raw deflate data, they would start a
        // stored block with a nonzero padding bit, which encoders do not write.
        Encoding::Deflate if first.is_some_and(|byte| byte & 0x0f == 8) => Box::pin(ZlibDecoder::new(source)),
        Encoding::Deflate => Box::pin(DeflateDecoder::new(source)),
        Encoding::Brotli => Box::pin(BrotliDecoder::new(source)),
        Encoding::Zstd => Box::pin(ZstdDecoder::with_params(source, &[DParameter::window_log_max(ZSTD_WINDOW_LOG)])),
    }
}

/// Returns the error of the body itself, or else the decoder's.
fn body_error(error: io::Error) -> BodyError {
    match error.downcast::<client::BodyError>() {
        Ok(error) => BodyError::Body(error),
        Err(error) => BodyError::Encoding(error.to_string()),
    }
}

/// The encoded body, in the form that decoders read from.
struct Source {
    body: client::Body,
    piece: Bytes,
}

impl AsyncBufRead for Source {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        while this.piece.is_empty() {
            match ready!(this.body.poll_chunk(cx)) {
                Some(Ok(piece)) => this.piece = piece,
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => break,
            }
        }
        Poll::Ready(Ok(&this.piece))
    }

    fn consume(self: Pin<&mut Self>, amount: usize) {
        self.get_mut().piece.advance(amount);
    }
}

impl AsyncRead for Source {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let piece = ready!(self.as_mut().poll_fill_buf(cx))?;
        let length = piece.len().min(buffer.remaining());
        buffer.put_slice(&piece[..length]);
        self.consume(length);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoding_is_recognized_by_its_name() {
        for (value, encoding) in [
            ("identity", None),
            ("", None),
            (" GZip ", Some(Encoding::Gzip)),
            ("x-gzip", Some(Encoding::Gzip)),
            ("deflate", Some(Encoding::Deflate)),
            ("br", Some(Encoding::Brotli)),
            ("zstd", Some(Encoding::Zstd)),
            ("identity, identity", None),
            ("gzip, identity", Some(Encoding::Gzip)),
            ("identity,br", Some(Encoding::Brotli)),
        ] {
            assert_eq!(Encoding::parse(value.as_bytes()), Ok(encoding), "{value}");
        }
        for unknown in ["gzip, br", "gzip, gzip", "compress", "gzip;q=1"] {
            assert_eq!(Encoding::parse(unknown.as_bytes()), Err(UnknownEncoding), "{unknown}");
        }
    }
}
