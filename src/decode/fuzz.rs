//! Fuzzes the decoding of encoded bodies from customers and untrusted servers.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use futures_core::Stream;

use super::{Decoded, Encoding};

/// Most bytes that are decoded from an input.
const MAX_DECODED: usize = 256 << 10;

/// Checks that a decoder ends or fails, with the same result wherever its input is split. The first byte selects the
/// encoding.
pub(crate) fn encoded(input: &[u8]) {
    let Some((choice, body)) = input.split_first() else { return };
    let encoding = [Encoding::Gzip, Encoding::Deflate, Encoding::Brotli, Encoding::Zstd][usize::from(choice % 4)];
    let (decoded, is_valid) = read(encoding, body, body.len().max(1));
    let (in_bytes, is_valid_in_bytes) = read(encoding, body, 1);
    // libzstd checks a frame's length against its header only if it gets the whole frame at once.
    assert!(is_valid == is_valid_in_bytes || encoding == Encoding::Zstd, "validity depends on where the body is split");
    if is_valid && is_valid_in_bytes && decoded.len() < MAX_DECODED {
        assert!(decoded == in_bytes, "the result depends on where the body is split");
    }
}

/// The decoded bytes of a body that arrives in pieces of `size` bytes, and whether it was valid.
fn read(encoding: Encoding, body: &[u8], size: usize) -> (Vec<u8>, bool) {
    let pieces = Pieces { left: Bytes::copy_from_slice(body), size };
    let (mut decoder, mut decoded) = (Decoded::new(encoding, pieces), Vec::new());
    while decoded.len() < MAX_DECODED {
        match decoder.poll_chunk(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(None) => break,
            Poll::Ready(Some(Ok(piece))) => decoded.extend_from_slice(&piece),
            Poll::Ready(Some(Err(_))) => return (decoded, false),
            Poll::Pending => unreachable!("the whole input is available"),
        }
    }
    (decoded, true)
}

struct Pieces {
    left: Bytes,
    size: usize,
}

impl Stream for Pieces {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let size = self.size.min(self.left.len());
        Poll::Ready((size > 0).then(|| Ok(self.left.split_to(size))))
    }
}
