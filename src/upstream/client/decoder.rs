//! Removes the framing from a body.
//!
//! The decoder works in the connection's read buffer. It returns the data of one read as one piece, even if it spans
//! several chunks, because each piece costs a write to the customer. The data of the first chunk stays in place. The
//! data of later chunks is moved down over the framing between them.
//!
//! Data that precedes an error is returned before the error.

use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};

/// Longest chunk-size line including extensions, in bytes.
const MAX_SIZE_LINE: u32 = 4 * 1024;
/// Largest size of all trailers of a body together, in bytes.
const MAX_TRAILERS: u32 = 16 * 1024;

/// Decodes a body by its framing, and keeps its position in it.
pub(super) struct Decoder(Framing);

enum Framing {
    /// The number of bytes that are left.
    Length(u64),
    Chunked(Chunked),
    UntilClose,
}

impl Decoder {
    pub(super) fn length(bytes: u64) -> Self {
        Self(Framing::Length(bytes))
    }

    pub(super) fn chunked() -> Self {
        Self(Framing::Chunked(Chunked::SizeStart))
    }

    pub(super) fn until_close() -> Self {
        Self(Framing::UntilClose)
    }

    /// Whether the whole body has been returned.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.0, Framing::Length(0) | Framing::Chunked(Chunked::Done))
    }

    /// Takes all body data out of `buf`. Returns `None` if it contains none: then either the body has ended, or more
    /// must be read. Bytes after the end of the body stay in `buf`.
    pub(super) fn take(&mut self, buf: &mut BytesMut) -> Result<Option<Bytes>, &'static str> {
        let data = match &mut self.0 {
            Framing::Length(left) => {
                let len = usize::try_from(*left).map_or(buf.len(), |left| left.min(buf.len()));
                *left -= len as u64;
                buf.split_to(len)
            }
            Framing::Chunked(chunked) => {
                let (data, consumed) = chunked.decode(buf);
                if data.is_empty() {
                    buf.advance(consumed);
                    return if let Chunked::Bad(reason) = *chunked { Err(reason) } else { Ok(None) };
                }
                buf.advance(data.start);
                let taken = buf.split_to(data.len());
                buf.advance(consumed - data.end);
                taken
            }
            Framing::UntilClose => buf.split(),
        };
        Ok((!data.is_empty()).then(|| data.freeze()))
    }

    /// Whether the upstream can end the body by closing the connection.
    pub(super) fn may_end_by_close(&self) -> bool {
        matches!(self.0, Framing::UntilClose)
    }
}

/// The position of the next byte in the chunked framing.
#[derive(Clone, Copy)]
enum Chunked {
    /// The first digit of a chunk's size.
    SizeStart,
    /// In the size line. `line` counts its bytes.
    Size { size: u64, line: u32 },
    /// After the size, in the extensions, which are ignored.
    Extension { size: u64, line: u32 },
    /// The LF of the size line.
    SizeEnd { size: u64 },
    /// In a chunk's data, of which `left` bytes remain, at least one.
    Data { left: u64 },
    /// The CR after a chunk's data.
    DataCr,
    /// The LF after a chunk's data.
    DataLf,
    /// The first byte of a trailer line, or the CR of the empty line that ends the body.
    TrailerStart { seen: u32 },
    /// In a trailer line.
    Trailer { seen: u32 },
    /// The LF of a trailer line.
    TrailerEnd { seen: u32 },
    /// The LF that ends the body.
    EndLf,
    /// The body has ended.
    Done,
    /// The framing is invalid. This state is final.
    Bad(&'static str),
}

impl Chunked {
    /// Decodes `bytes` up to their end or the end of the body, and moves the data together into one range. Returns that
    /// range and the number of bytes consumed. The range ends at or before that number.
    fn decode(&mut self, bytes: &mut [u8]) -> (Range<usize>, usize) {
        let mut data = 0..0;
        let mut at = 0;
        while at < bytes.len() {
            if let Self::Data { left } = *self {
                let len = usize::try_from(left).map_or(bytes.len() - at, |left| left.min(bytes.len() - at));
                if data.is_empty() {
                    data = at..at + len;
                } else {
                    bytes.copy_within(at..at + len, data.end);
                    data.end += len;
                }
                at += len;
                let left = left - len as u64;
                *self = if left == 0 { Self::DataCr } else { Self::Data { left } };
            } else if matches!(self, Self::Done | Self::Bad(_)) {
                break;
            } else {
                *self = self.step(bytes[at]);
                at += 1;
            }
        }
        (data, at)
    }

    /// The state after one byte of framing.
    fn step(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::SizeStart, _) => match hex(byte) {
                Some(size) => Self::Size { size, line: 1 },
                None => Self::Bad("a chunk does not begin with its size"),
            },
            (Self::Size { size, .. } | Self::Extension { size, .. }, b'\r') => Self::SizeEnd { size },
            (Self::Size { line, .. } | Self::Extension { line, .. }, _) if line >= MAX_SIZE_LINE => {
                Self::Bad("a chunk's size line is too long")
            }
            (Self::Size { size, line }, b';' | b' ' | b'\t') => Self::Extension { size, line: line + 1 },
            (Self::Size { size, line }, _) => match hex(byte) {
                // The four bits that the shift would lose must be clear.
                Some(digit) if size >> 60 == 0 => Self::Size { size: size << 4 | digit, line: line + 1 },
                Some(_) => Self::Bad("a chunk's size is out of range"),
                None => Self::Bad("a chunk's size is not a number"),
            },
            (Self::Extension { .. }, b'\n') => Self::Bad("a chunk's size line ends without CR"),
            (Self::Extension { size, line }, _) => Self::Extension { size, line: line + 1 },
            (Self::SizeEnd { size: 0 }, b'\n') => Self::TrailerStart { seen: 0 },
            (Self::SizeEnd { size }, b'\n') => Self::Data { left: size },
            (Self::SizeEnd { .. }, _) => Self::Bad("a chunk's size line ends without LF"),
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::SizeStart,
            (Self::DataCr | Self::DataLf, _) => Self::Bad("a chunk is longer than its size"),
            (Self::TrailerStart { .. }, b'\r') => Self::EndLf,
            (Self::TrailerStart { seen } | Self::Trailer { seen }, _) if seen >= MAX_TRAILERS => {
                Self::Bad("the trailers are too long")
            }
            (Self::Trailer { seen }, b'\r') => Self::TrailerEnd { seen: seen + 1 },
            (Self::TrailerStart { .. } | Self::Trailer { .. }, b'\n') => Self::Bad("a trailer ends without CR"),
            (Self::TrailerStart { seen } | Self::Trailer { seen }, _) => Self::Trailer { seen: seen + 1 },
            (Self::TrailerEnd { seen }, b'\n') => Self::TrailerStart { seen: seen + 1 },
            (Self::TrailerEnd { .. }, _) => Self::Bad("a trailer ends without LF"),
            (Self::EndLf, b'\n') => Self::Done,
            (Self::EndLf, _) => Self::Bad("the body ends without LF"),
            (Self::Data { .. } | Self::Done | Self::Bad(_), _) => self,
        }
    }
}

fn hex(byte: u8) -> Option<u64> {
    char::from(byte).to_digit(16).map(u64::from)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// Decodes `pieces` one after the other. Returns the body, whether it ended or its error, and the unused bytes.
    fn read(mut decoder: Decoder, pieces: &[&[u8]]) -> (Vec<u8>, Result<bool, &'static str>, Vec<u8>) {
        let (mut body, mut buf) = (Vec::new(), BytesMut::new());
        for piece in pieces {
            buf.extend_from_slice(piece);
            loop {
                match decoder.take(&mut buf) {
                    Ok(Some(data)) => body.extend_from_slice(&data),
                    Ok(None) => break,
                    Err(reason) => return (body, Err(reason), buf.to_vec()),
                }
            }
        }
        (body, Ok(decoder.is_done()), buf.to_vec())
    }

    fn read_at_every_split(decoder: fn() -> Decoder, bytes: &[u8]) -> (Vec<u8>, Result<bool, &'static str>) {
        let (body, end, rest) = read(decoder(), &[bytes]);
        for at in 0..bytes.len() {
            let (head, tail) = bytes.split_at(at);
            assert_eq!(read(decoder(), &[head, tail]).0, body, "split at {at}");
            assert_eq!(read(decoder(), &[head, tail]).1, end, "split at {at}");
        }
        let singles: Vec<&[u8]> = bytes.chunks(1).collect();
        let (singly, singly_end, singly_rest) = read(decoder(), &singles);
        assert_eq!((&singly, singly_end), (&body, end));
        assert!(end.is_err() || singly_rest == rest);
        (body, end)
    }

    #[test]
    fn a_body_decodes_the_same_wherever_it_is_split() {
        let chunked = b"5\r\nhello\r\n1;name=\"v\"\r\n,\r\n00006 \r\n world\r\n0\r\nx-trailer: 1\r\ny: 2\r\n\r\nHTTP";
        assert_eq!(read_at_every_split(Decoder::chunked, chunked), (b"hello, world".to_vec(), Ok(true)));
        assert_eq!(read_at_every_split(|| Decoder::length(5), b"helloHTTP"), (b"hello".to_vec(), Ok(true)));
        assert_eq!(read_at_every_split(Decoder::until_close, b"hello"), (b"hello".to_vec(), Ok(false)));
    }

    #[test]
    fn the_chunks_of_one_read_are_returned_as_one_piece() {
        let mut buf = BytesMut::from(&b"2\r\nab\r\n3\r\ncde\r\n4\r\nfg"[..]);
        let mut decoder = Decoder::chunked();
        assert_eq!(decoder.take(&mut buf), Ok(Some(Bytes::from_static(b"abcdefg"))));
        assert_eq!(decoder.take(&mut buf), Ok(None));
        buf.extend_from_slice(b"hi\r\n0\r\n\r\n");
        assert_eq!(decoder.take(&mut buf), Ok(Some(Bytes::from_static(b"hi"))));
        assert!(decoder.is_done());
    }

    #[test]
    fn bytes_after_the_end_stay_in_the_buffer() {
        assert_eq!(read(Decoder::chunked(), &[b"1\r\na\r\n0\r\n\r\nnext"]).2, b"next");
        assert_eq!(read(Decoder::length(1), &[b"anext"]).2, b"next");
    }

    #[test]
    fn invalid_framing_is_an_error_after_the_data_that_precedes_it() {
        for broken in [
            "\r\n",
            "x\r\n",
            "-1\r\n",
            "+1\r\na\r\n",
            "0x1\r\na\r\n",
            " 1\r\n",
            "1\na\r\n",
            "1\rxa",
            "1;a\nb\r\n",
            "1 1\n",
            "3\r\nabcd\r\n",
            "3\r\nabc\n",
            "3\r\nabc\rx",
            "10000000000000000\r\n",
            "ffffffffffffffffff\r\n",
            "0\r\n\rx",
            "0\r\na: b\nc",
            "0\r\n\n",
            "0\r\na\rb",
        ] {
            let bytes = [b"2\r\nok\r\n", broken.as_bytes()].concat();
            let (body, end) = read_at_every_split(Decoder::chunked, &bytes);
            assert!(body.starts_with(b"ok"), "{broken:?}");
            assert!(end.is_err(), "{broken:?}");
        }
    }

    #[test]
    fn framing_without_data_is_bounded() {
        for (start, filler) in [("1;", "e"), ("1 ", " "), ("", "0"), ("0\r\n", "t"), ("0\r\n", "t: 1\r\n")] {
            let mut decoder = Decoder::chunked();
            let mut buf = BytesMut::from(start);
            let fed = (0..).take_while(|_| {
                buf.extend_from_slice(filler.as_bytes());
                decoder.take(&mut buf).is_ok()
            });
            assert!(fed.count() * filler.len() <= 16 * 1024 + 8, "{start:?} {filler:?}");
        }
    }

    #[test]
    fn the_largest_chunk_size_is_read_without_overflow() {
        let (body, end, _) = read(Decoder::chunked(), &[b"ffffffffffffffff\r\nabc"]);
        assert_eq!((body, end), (b"abc".to_vec(), Ok(false)));
        assert_eq!(read(Decoder::length(u64::MAX), &[b"abc"]).0, b"abc");
    }

    proptest! {
        #[test]
        fn decoding_reverses_chunking(chunks in vec(vec(any::<u8>(), 1..40), 0..12), cut in 1_usize..64) {
            let mut bytes = Vec::new();
            for chunk in &chunks {
                bytes.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
            let pieces: Vec<&[u8]> = bytes.chunks(cut).collect();
            prop_assert_eq!(read(Decoder::chunked(), &pieces), (chunks.concat(), Ok(true), Vec::new()));
        }

        #[test]
        fn it_never_panics(bytes in "[0-9a-fx;\r\n\t -]{0,60}", cut in 1_usize..8) {
            let pieces: Vec<&[u8]> = bytes.as_bytes().chunks(cut).collect();
            let (body, end, _) = read(Decoder::chunked(), &pieces);
            let whole = read(Decoder::chunked(), &[bytes.as_bytes()]);
            prop_assert_eq!((body, end), (whole.0, whole.1));
        }
    }
}
