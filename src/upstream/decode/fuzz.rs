//! Encoded answers of untrusted servers.

use std::{
    io::Cursor,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use tokio::io::{AsyncRead, BufReader, ReadBuf};

use super::{Encoding, PIECE, decoder};

/// The most that is decoded of an input, in bytes.
const MAX_DECODED: usize = 256 << 10;

/// A decoder ends or fails, and does the same however its input is cut. The first byte chooses the encoding.
pub(crate) fn encoded(input: &[u8]) {
    let Some((choice, body)) = input.split_first() else { return };
    let encoding = [Encoding::Gzip, Encoding::Deflate, Encoding::Brotli, Encoding::Zstd][usize::from(choice % 4)];
    let (first, whole) = (body.first().copied(), Cursor::new(body.to_vec()));
    let (decoded, is_valid) = read(decoder(encoding, first, whole.clone()));
    let (in_bytes, is_valid_in_bytes) = read(decoder(encoding, first, BufReader::with_capacity(1, whole)));
    // libzstd checks a frame's length against its header only if it gets the whole frame at once.
    assert!(is_valid == is_valid_in_bytes || encoding == Encoding::Zstd, "it matters how a body is cut");
    if is_valid && is_valid_in_bytes && decoded.len() < MAX_DECODED {
        assert!(decoded == in_bytes, "it matters how a body is cut");
    }
}

/// The decoded bytes, and whether the input was valid.
fn read(mut decoder: Pin<Box<dyn AsyncRead>>) -> (Vec<u8>, bool) {
    let (mut decoded, mut room) = (Vec::new(), [0; PIECE]);
    while decoded.len() < MAX_DECODED {
        let mut buffer = ReadBuf::new(&mut room);
        match decoder.as_mut().poll_read(&mut Context::from_waker(Waker::noop()), &mut buffer) {
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => break,
            Poll::Ready(Ok(())) => decoded.extend_from_slice(buffer.filled()),
            Poll::Ready(Err(_)) => return (decoded, false),
            Poll::Pending => unreachable!("all of the input is there"),
        }
    }
    (decoded, true)
}
