//! Fuzzes the decoding of encoded answers from untrusted servers.

use std::{
    io::Cursor,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use tokio::io::{AsyncRead, BufReader, ReadBuf};

use super::{Encoding, PIECE, decoder};

/// Most bytes that are decoded from an input.
const MAX_DECODED: usize = 256 << 10;

/// Checks that a decoder ends or fails, with the same result wherever its input is split. The first byte selects the
/// encoding.
pub(crate) fn encoded(input: &[u8]) {
    let Some((choice, body)) = input.split_first() else { return };
    let encoding = [Encoding::Gzip, Encoding::Deflate, Encoding::Brotli, Encoding::Zstd][usize::from(choice % 4)];
    let (first, whole) = (body.first().copied(), Cursor::new(body.to_vec()));
    let (decoded, is_valid) = read(decoder(encoding, first, whole.clone()));
    let (in_bytes, is_valid_in_bytes) = read(decoder(encoding, first, BufReader::with_capacity(1, whole)));
    // libzstd checks a frame's length against its header only if it gets the whole frame at once.
    assert!(is_valid == is_valid_in_bytes || encoding == Encoding::Zstd, "validity depends on where the body is split");
    if is_valid && is_valid_in_bytes && decoded.len() < MAX_DECODED {
        assert!(decoded == in_bytes, "the result depends on where the body is split");
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
            Poll::Pending => unreachable!("the whole input is available"),
        }
    }
    (decoded, true)
}
