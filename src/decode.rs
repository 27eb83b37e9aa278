//! Decodes encoded bodies: customers' requests, and answers that an upstream encoded although identity encoding was
//! requested.
//!
//! * A body is decoded as it arrives. Each piece is returned as soon as it can be decoded, and has at most [`PIECE`]
//!   bytes, so a small input that decodes to a huge output does not fill the memory.
//! * The memory of a decoder is bounded by [`Decoded::poll_begin`]'s result.
//! * A body is valid only if its encoded data are complete and nothing follows them. The data may consist of several
//!   gzip members (RFC 1952) or zstd frames (RFC 8878).

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use async_compression::{
    tokio::bufread::{BrotliDecoder, DeflateDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder},
    zstd::DParameter,
};
use bytes::{Buf, Bytes, BytesMut};
use futures_core::Stream;
use tokio::io::{AsyncBufRead, AsyncRead, ReadBuf};

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

/// Largest decoded piece, in bytes.
const PIECE: usize = 16 << 10;

/// Largest zstd window that is accepted, as a power of two: the maximum of the content encoding (RFC 9659).
const ZSTD_WINDOW_LOG: u32 = 23;

/// libzstd's error for a larger window.
const ZSTD_WINDOW_TOO_LARGE: &str = "Frame requires too much memory for decoding";

/// A content encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// `gzip`
    Gzip,
    /// `deflate`: the zlib format by RFC 9110, but some peers send the data without its frame.
    Deflate,
    /// `br`
    Brotli,
    /// `zstd`
    Zstd,
}

impl Encoding {
    /// Parses the values of the `content-encoding` headers. Returns `Ok(None)` if the body is not encoded, and an error
    /// if it cannot be decoded.
    pub fn parse<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<Self>, UnknownEncoding> {
        let names = values.into_iter().flat_map(|value| value.split(|byte| *byte == b','));
        let mut found = None;
        for name in names.map(<[u8]>::trim_ascii) {
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

    /// The name in a `content-encoding` header.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    /// Most memory that a decoder uses for data that begin with the byte `first`, in bytes.
    fn memory(self, first: Option<u8>) -> u64 {
        match self {
            // The window of 32 KiB and the state.
            Self::Gzip | Self::Deflate => 48 << 10,
            // The window, beside a smaller one from which it grows, and 768 tables of at most 4.2 KiB.
            Self::Brotli => first.and_then(brotli_window).map_or(0, |window| window + window / 2 + (4 << 20)),
            // The window, four blocks of 128 KiB, and the state.
            Self::Zstd => (1 << ZSTD_WINDOW_LOG) + (1 << 20),
        }
    }
}

/// The window that the first byte of Brotli data declares (RFC 7932, section 9.1), in bytes. `None` for a large window,
/// which is not part of the content encoding; it can have a gigabyte.
fn brotli_window(first: u8) -> Option<u64> {
    let bits = match (first & 1, first >> 1 & 7, first >> 4 & 7) {
        (0, ..) => 16,
        (_, 0, 0) => 17,
        (_, 0, 1) => return None,
        (_, 0, bits) => 8 + bits,
        (_, bits, _) => 17 + bits,
    };
    Some(1 << bits)
}

/// An error returned for a content encoding that cannot be decoded, or for several encodings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownEncoding;

/// An error returned for a body that cannot be decoded completely.
#[derive(Debug, PartialEq, Eq)]
pub enum DecodeError<E> {
    /// The error of the encoded body itself.
    Source(E),
    /// The fault of its data.
    Data(Fault),
}

/// The fault of data that cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The data are not of this encoding, or damaged: the decoder's words.
    Invalid(String),
    /// The data end early.
    Incomplete,
    /// Other data follow.
    Trailing,
    /// The data declare a window that is too large.
    Window,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(words) => write!(f, "the data are not valid ({words})"),
            Self::Incomplete => f.write_str("the data are incomplete"),
            Self::Trailing => f.write_str("other data follow the encoded ones"),
            Self::Window => write!(f, "the window is larger than {} MiB", 1 << (ZSTD_WINDOW_LOG - 20)),
        }
    }
}

/// A body that is decoded as it arrives. `S` is the encoded body.
pub struct Decoded<S, E> {
    encoding: Encoding,
    state: State<S, E>,
}

enum State<S, E> {
    /// Nothing has arrived yet.
    Waiting(Source<S, E>),
    Running(Decoder<Source<S, E>>),
    Ended,
}

impl<S: Stream<Item = Result<Bytes, E>> + Unpin, E: Unpin> Decoded<S, E> {
    /// Decodes `body`.
    pub fn new(encoding: Encoding, body: S) -> Self {
        Self { encoding, state: State::Waiting(Source::new(body)) }
    }

    /// Waits for the first bytes, unless some have been decoded. Returns the most memory that the decoder uses, in
    /// bytes. It is allocated only by [`Self::poll_chunk`].
    pub fn poll_begin(&mut self, cx: &mut Context<'_>) -> Poll<Result<u64, DecodeError<E>>> {
        let State::Waiting(source) = &mut self.state else { return Poll::Ready(Ok(0)) };
        let first = ready!(source.poll_first(cx));
        Poll::Ready(first.map(|first| self.encoding.memory(first)).map_err(|error| source.explain(&error)))
    }

    /// Returns the next piece as soon as it can be decoded, or `None` at the end and after an error.
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, DecodeError<E>>>> {
        let piece = ready!(self.poll_piece(cx)).transpose();
        if !matches!(piece, Some(Ok(_))) {
            self.state = State::Ended;
        }
        Poll::Ready(piece)
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, DecodeError<E>>> {
        if let State::Waiting(source) = &mut self.state {
            let first = ready!(source.poll_first(cx)).map_err(|error| source.explain(&error))?;
            let State::Waiting(source) = std::mem::replace(&mut self.state, State::Ended) else {
                return Poll::Ready(Ok(None));
            };
            if self.encoding == Encoding::Brotli && first.is_some_and(|first| brotli_window(first).is_none()) {
                return Poll::Ready(Err(DecodeError::Data(Fault::Window)));
            }
            self.state = State::Running(Decoder::new(self.encoding, first, source));
        }
        let State::Running(decoder) = &mut self.state else { return Poll::Ready(Ok(None)) };
        let mut room = BytesMut::zeroed(PIECE);
        let mut buffer = ReadBuf::new(&mut room);
        if let Err(error) = ready!(decoder.poll_read(cx, &mut buffer)) {
            return Poll::Ready(Err(decoder.source().explain(&error)));
        }
        let decoded = buffer.filled();
        if decoded.len() > PIECE / 2 {
            let length = decoded.len();
            room.truncate(length);
            return Poll::Ready(Ok(Some(room.freeze())));
        }
        if !decoded.is_empty() {
            return Poll::Ready(Ok(Some(Bytes::copy_from_slice(decoded))));
        }
        let source = decoder.source();
        let next = ready!(source.poll_first(cx)).map_err(|error| source.explain(&error))?;
        Poll::Ready(if next.is_none() { Ok(None) } else { Err(DecodeError::Data(Fault::Trailing)) })
    }
}

/// A decoder of each encoding.
enum Decoder<S> {
    Gzip(GzipDecoder<S>),
    Zlib(ZlibDecoder<S>),
    Deflate(DeflateDecoder<S>),
    Brotli(BrotliDecoder<S>),
    Zstd(ZstdDecoder<S>),
}

impl<S: AsyncBufRead + Unpin> Decoder<S> {
    /// Creates the decoder of data that begin with the byte `first`.
    fn new(encoding: Encoding, first: Option<u8>, source: S) -> Self {
        match encoding {
            Encoding::Gzip => {
                let mut decoder = GzipDecoder::new(source);
                decoder.multiple_members(true);
                Self::Gzip(decoder)
            }
            // The low four bits of a zlib frame's first byte are the method, 8. In raw deflate data, they would start a
            // stored block with a nonzero padding bit, which encoders do not write.
            Encoding::Deflate if first.is_some_and(|byte| byte & 0x0f == 8) => Self::Zlib(ZlibDecoder::new(source)),
            Encoding::Deflate => Self::Deflate(DeflateDecoder::new(source)),
            Encoding::Brotli => Self::Brotli(BrotliDecoder::new(source)),
            Encoding::Zstd => {
                let window = DParameter::window_log_max(ZSTD_WINDOW_LOG);
                let mut decoder = ZstdDecoder::with_params(source, &[window]);
                decoder.multiple_members(true);
                Self::Zstd(decoder)
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Gzip(decoder) => Pin::new(decoder).poll_read(cx, buffer),
            Self::Zlib(decoder) => Pin::new(decoder).poll_read(cx, buffer),
            Self::Deflate(decoder) => Pin::new(decoder).poll_read(cx, buffer),
            Self::Brotli(decoder) => Pin::new(decoder).poll_read(cx, buffer),
            Self::Zstd(decoder) => Pin::new(decoder).poll_read(cx, buffer),
        }
    }

    fn source(&mut self) -> &mut S {
        match self {
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Zlib(decoder) => decoder.get_mut(),
            Self::Deflate(decoder) => decoder.get_mut(),
            Self::Brotli(decoder) => decoder.get_mut(),
            Self::Zstd(decoder) => decoder.get_mut(),
        }
    }
}

/// The encoded body, in the form that decoders read from.
struct Source<S, E> {
    body: S,
    piece: Bytes,
    has_ended: bool,
    /// The body's own error. Decoders get only a mark of it.
    error: Option<E>,
}

impl<S: Stream<Item = Result<Bytes, E>> + Unpin, E: Unpin> Source<S, E> {
    fn new(body: S) -> Self {
        Self { body, piece: Bytes::new(), has_ended: false, error: None }
    }

    /// Waits for the next byte. Returns it without taking it, or `None` at the end.
    fn poll_first(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<u8>>> {
        Pin::new(self).poll_fill_buf(cx).map_ok(|piece| piece.first().copied())
    }

    /// Explains a decoder's error.
    fn explain(&mut self, error: &io::Error) -> DecodeError<E> {
        let words = error.to_string();
        match self.error.take() {
            Some(error) => DecodeError::Source(error),
            // If the data were wrong, the decoder would have found it before their end.
            None if self.has_ended => DecodeError::Data(Fault::Incomplete),
            None if words == ZSTD_WINDOW_TOO_LARGE => DecodeError::Data(Fault::Window),
            None => DecodeError::Data(Fault::Invalid(words)),
        }
    }
}

impl<S: Stream<Item = Result<Bytes, E>> + Unpin, E: Unpin> AsyncBufRead for Source<S, E> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        while this.piece.is_empty() && !this.has_ended {
            match ready!(Pin::new(&mut this.body).poll_next(cx)) {
                Some(Ok(piece)) => this.piece = piece,
                Some(Err(error)) => {
                    this.error = Some(error);
                    return Poll::Ready(Err(io::ErrorKind::Other.into()));
                }
                None => this.has_ended = true,
            }
        }
        Poll::Ready(Ok(&this.piece))
    }

    fn consume(self: Pin<&mut Self>, amount: usize) {
        self.get_mut().piece.advance(amount);
    }
}

impl<S: Stream<Item = Result<Bytes, E>> + Unpin, E: Unpin> AsyncRead for Source<S, E> {
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
        let parse = |values: &[&str]| Encoding::parse(values.iter().map(|value| value.as_bytes()));
        for (values, encoding) in [
            (&[][..], None),
            (&["identity"], None),
            (&[""], None),
            (&[" GZip "], Some(Encoding::Gzip)),
            (&["x-gzip"], Some(Encoding::Gzip)),
            (&["deflate"], Some(Encoding::Deflate)),
            (&["br"], Some(Encoding::Brotli)),
            (&["zstd"], Some(Encoding::Zstd)),
            (&["identity, identity"], None),
            (&["gzip, identity"], Some(Encoding::Gzip)),
            (&["identity,br"], Some(Encoding::Brotli)),
            (&["identity", "br"], Some(Encoding::Brotli)),
        ] {
            assert_eq!(parse(values), Ok(encoding), "{values:?}");
        }
        for unknown in [&["gzip, br"][..], &["gzip, gzip"], &["gzip", "br"], &["compress"], &["gzip;q=1"]] {
            assert_eq!(parse(unknown), Err(UnknownEncoding), "{unknown:?}");
        }
    }

    #[test]
    fn the_first_byte_of_brotli_data_declares_the_window() {
        // RFC 7932, section 9.1: the bits are written from right to left.
        for (bits, window_log) in [
            (0b0, 16),
            (0b000_0001, 17),
            (0b0011, 18),
            (0b0101, 19),
            (0b1111, 24),
            (0b010_0001, 10),
            (0b011_0001, 11),
            (0b111_0001, 15),
        ] {
            assert_eq!(brotli_window(bits), Some(1 << window_log), "{bits:b}");
        }
        assert_eq!(brotli_window(0b001_0001), None);
        assert_eq!(brotli_window(0b1001_0001), None);
    }
}
