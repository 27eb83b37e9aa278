//! Replacing some bytes and leaving the rest as they are.

use std::ops::Range;

use bytes::Bytes;

/// One replacement: `with` in the place of the bytes at `at`. An empty range inserts, an empty `with` removes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Splice {
    /// Offsets in the original bytes.
    pub at: Range<usize>,
    /// What stands there afterwards.
    pub with: Bytes,
}

/// `bytes` with every one of `splices`, which come in ascending order and do not overlap (one that does, or that lies
/// outside, is left out). Without splices these are the very same bytes, not a copy.
pub fn splice(bytes: &Bytes, splices: &[Splice]) -> Bytes {
    if splices.is_empty() {
        return bytes.clone();
    }
    let mut out = Vec::with_capacity(bytes.len() + splices.iter().map(|s| s.with.len()).sum::<usize>());
    let mut copied = 0;
    for Splice { at, with } in splices {
        if at.end < at.start {
            continue;
        }
        if let (Some(between), true) = (bytes.get(copied..at.start), at.end <= bytes.len()) {
            out.extend_from_slice(between);
            out.extend_from_slice(with);
            copied = at.end;
        }
    }
    out.extend_from_slice(&bytes[copied..]);
    out.into()
}

/// A body larger than this, in bytes, is not copied to change a few of them.
const WORTH_PIECES: usize = 64 << 10;

/// The same in pieces that share the original's memory, for a body too large to be there twice.
pub fn splice_in_pieces(bytes: &Bytes, splices: &[Splice]) -> Vec<Bytes> {
    if bytes.len() <= WORTH_PIECES {
        return vec![splice(bytes, splices)];
    }
    let mut pieces = Vec::with_capacity(2 * splices.len() + 1);
    let mut passed = 0;
    for Splice { at, with } in splices {
        if passed <= at.start && at.start <= at.end && at.end <= bytes.len() {
            pieces.extend([bytes.slice(passed..at.start), with.clone()]);
            passed = at.end;
        }
    }
    pieces.push(bytes.slice(passed..));
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(at: Range<usize>, with: &'static str) -> Splice {
        Splice { at, with: Bytes::from_static(with.as_bytes()) }
    }

    #[test]
    fn bytes_are_replaced_inserted_and_removed() {
        let bytes = Bytes::from_static(b"0123456789");
        assert_eq!(splice(&bytes, &[at(1..3, "ab"), at(3..3, "!"), at(5..9, "")]), "0ab!349");
        assert_eq!(splice(&bytes, &[at(0..0, "<"), at(10..10, ">")]), "<0123456789>");
    }

    #[test]
    fn what_overlaps_or_lies_outside_is_left_out() {
        let bytes = Bytes::from_static(b"0123456789");
        assert_eq!(splice(&bytes, &[at(2..5, "x"), at(4..6, "y"), at(9..11, "z")]), "01x56789");
    }

    #[test]
    fn a_large_body_is_changed_without_a_copy() {
        let bytes = Bytes::from(vec![b'x'; 2 * WORTH_PIECES]);
        let splices = [at(1..3, "ab"), at(2..5, "no"), at(3..3, "!"), at(9..9 + WORTH_PIECES, "")];
        let pieces = splice_in_pieces(&bytes, &splices);
        assert_eq!(pieces.concat(), splice(&bytes, &splices));
        let last = pieces.last().unwrap();
        assert_eq!(last.as_ptr(), bytes[9 + WORTH_PIECES..].as_ptr());
    }

    #[test]
    fn nothing_to_change_is_no_copy() {
        let bytes = Bytes::from_static(b"0123456789");
        assert_eq!(splice(&bytes, &[]).as_ptr(), bytes.as_ptr());
    }
}
