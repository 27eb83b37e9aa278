//! The frame: the layout of one record in a segment. All integers are little-endian.
//!
//! ```text
//! marker u32 | len u32 | crc u32 | version u8 | seq u64 | at_ms u64 | body, len bytes
//!                                 '----------------- covered by crc ---------------'
//! ```
//!
//! The four bytes of the marker never occur in UTF-8. So when a damaged segment is searched for the next frame, no text
//! that a customer put into a body looks like the start of a frame. A wrong `len` also makes the CRC wrong, because it
//! is then computed over other bytes. The layout before `version` never changes, so that a frame of a newer version is
//! recognized and not treated as damage.

use std::ops::Range;

/// The version that is written, and the newest one that can be read. It covers the frame and the encoding of its body.
/// Readers get it with each frame, so that they can decode bodies of older versions.
pub const VERSION: u8 = 5;

/// The largest body, in bytes.
pub const MAX_BODY: usize = 64 << 20;

/// The first bytes of every frame.
pub(super) const MARKER: [u8; 4] = [0xF8, 0xFF, 0xC1, 0xFE];

/// The number of bytes before the body.
pub(super) const HEADER: usize = 29;

const LEN: Range<usize> = 4..8;
const CRC: Range<usize> = 8..12;
const VERSION_AT: usize = 12;
const SEQ: Range<usize> = 13..21;
const AT_MS: Range<usize> = 21..29;

/// The header of a frame, without marker, length and CRC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) version: u8,
    pub(super) seq: u64,
    pub(super) at_ms: u64,
}

/// Adds a frame to `buf` without its CRC, which [`seal`] adds. The caller has checked that `body` is at most
/// [`MAX_BODY`].
pub(super) fn push(buf: &mut Vec<u8>, seq: u64, at_ms: u64, body: &[u8]) {
    let mut header = [0; HEADER];
    header[..4].copy_from_slice(&MARKER);
    header[LEN].copy_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    header[VERSION_AT] = VERSION;
    header[SEQ].copy_from_slice(&seq.to_le_bytes());
    header[AT_MS].copy_from_slice(&at_ms.to_le_bytes());
    buf.reserve(HEADER + body.len());
    buf.extend_from_slice(&header);
    buf.extend_from_slice(body);
}

/// Writes the CRC into the frame at the start of `bytes`, which [`push`] made. Returns its header and length; `None` at
/// the end.
pub(super) fn seal(bytes: &mut [u8]) -> Option<(Header, usize)> {
    let total = total_len(bytes)?;
    let frame = bytes.get_mut(..total)?;
    let crc = crc32c::crc32c(&frame[CRC.end..]);
    frame[CRC].copy_from_slice(&crc.to_le_bytes());
    Some((header(frame), total))
}

/// The length of the frame at the start of `bytes`, according to its header. `None` if no frame starts here, or if
/// there are fewer than [`HEADER`] bytes.
pub(super) fn total_len(bytes: &[u8]) -> Option<usize> {
    if bytes.len() < HEADER || bytes[..4] != MARKER {
        return None;
    }
    let len = u32::from_le_bytes(array(&bytes[LEN])) as usize;
    (len <= MAX_BODY).then_some(HEADER + len)
}

/// The sequence number and timestamp of the frame at the start of `bytes`, which [`push`] made. `None` at the end.
pub(super) fn first(bytes: &[u8]) -> Option<(u64, u64)> {
    total_len(bytes).map(|_| header(bytes)).map(|Header { seq, at_ms, .. }| (seq, at_ms))
}

/// Checks one complete frame of the length given by [`total_len`].
pub(super) fn open(frame: &[u8]) -> Option<Header> {
    if total_len(frame) != Some(frame.len()) {
        return None;
    }
    let crc = u32::from_le_bytes(array(&frame[CRC]));
    // Version 0 was never written, so this is a run of zeros whose CRC happens to match.
    (crc32c::crc32c(&frame[CRC.end..]) == crc && frame[VERSION_AT] != 0).then(|| header(frame))
}

fn header(frame: &[u8]) -> Header {
    Header {
        version: frame[VERSION_AT],
        seq: u64::from_le_bytes(array(&frame[SEQ])),
        at_ms: u64::from_le_bytes(array(&frame[AT_MS])),
    }
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(bytes);
    array
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sealed(seq: u64, at_ms: u64, body: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        push(&mut frame, seq, at_ms, body);
        seal(&mut frame).unwrap();
        frame
    }

    proptest! {
        #[test]
        fn a_frame_is_read_as_it_was_written(
            seq in 1u64.., at_ms in 0u64.., body in prop::collection::vec(any::<u8>(), 0..400)
        ) {
            let frame = sealed(seq, at_ms, &body);
            prop_assert_eq!(total_len(&frame), Some(frame.len()));
            prop_assert_eq!(open(&frame), Some(Header { version: VERSION, seq, at_ms }));
            prop_assert_eq!(&frame[HEADER..], &body[..]);
        }

        #[test]
        fn invalid_bytes_are_rejected(mut bytes in prop::collection::vec(any::<u8>(), 0..200), marked: bool) {
            if marked && bytes.len() >= 4 {
                bytes[..4].copy_from_slice(&MARKER);
            }
            prop_assert_eq!(open(&bytes), None);
            let _ = seal(&mut bytes);
        }

        #[test]
        fn a_flipped_bit_is_detected(
            body in prop::collection::vec(any::<u8>(), 0..100), place in any::<prop::sample::Index>(), bit in 0u8..8
        ) {
            let mut frame = sealed(7, 8, &body);
            let place = place.index(frame.len());
            frame[place] ^= 1 << bit;
            prop_assert_eq!(open(&frame), None);
        }
    }

    #[test]
    fn no_text_contains_a_marker() {
        for byte in [MARKER[0], MARKER[1], MARKER[2], MARKER[3]] {
            assert!(std::str::from_utf8(&[byte]).is_err() && byte > 0xF4 || byte == 0xC1, "{byte:x} occurs in UTF-8");
        }
    }
}
