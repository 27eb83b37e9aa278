//! Replaces ranges of bytes and leaves the rest as it is.

use std::ops::Range;

use bytes::Bytes;

/// A replacement of the bytes at `at` by `with`. An empty range inserts, an empty `with` removes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Splice {
    /// The range to replace, as offsets in the original bytes.
    pub at: Range<usize>,
    /// The replacement.
    pub with: Bytes,
}

/// Returns `bytes` with `splices` applied. The splices must be in ascending order and must not overlap; one that
/// overlaps or is out of range is ignored. Without splices, nothing is copied.
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

/// Largest body, in bytes, that is copied to apply splices.
const MAX_COPIED: usize = 64 << 10;

/// Like [`splice`], but returns a body above [`MAX_COPIED`] in pieces that share the memory of the original, so that a
/// large body is not in memory twice.
pub fn splice_in_pieces(bytes: &Bytes, splices: &[Splice]) -> Vec<Bytes> {
    if bytes.len() <= MAX_COPIED {
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
    fn a_splice_that_overlaps_or_is_out_of_range_is_ignored() {
        let bytes = Bytes::from_static(b"0123456789");
        assert_eq!(splice(&bytes, &[at(2..5, "x"), at(4..6, "y"), at(9..11, "z")]), "01x56789");
    }

    #[test]
    fn a_large_body_is_changed_without_a_copy() {
        let bytes = Bytes::from(vec![b'x'; 2 * MAX_COPIED]);
        let splices = [at(1..3, "ab"), at(2..5, "no"), at(3..3, "!"), at(9..9 + MAX_COPIED, "")];
        let pieces = splice_in_pieces(&bytes, &splices);
        assert_eq!(pieces.concat(), splice(&bytes, &splices));
        let last = pieces.last().unwrap();
        assert_eq!(last.as_ptr(), bytes[9 + MAX_COPIED..].as_ptr());
    }

    #[test]
    fn without_splices_nothing_is_copied() {
        let bytes = Bytes::from_static(b"0123456789");
        assert_eq!(splice(&bytes, &[]).as_ptr(), bytes.as_ptr());
    }
}
