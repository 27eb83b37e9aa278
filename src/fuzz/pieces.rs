//! Input in pieces, as a network delivers it.

/// Cuts `input` into pieces of 1 to 13 bytes. Their lengths depend only on the input, so that a failure can be
/// replayed.
pub(crate) fn cut(input: &[u8]) -> Vec<&[u8]> {
    let hash = blake3::hash(input);
    let mut lengths = hash.as_bytes().iter().cycle().map(|byte| usize::from(byte % 13) + 1);
    let (mut pieces, mut rest) = (Vec::new(), input);
    while !rest.is_empty() {
        let (piece, remaining) = rest.split_at(rest.len().min(lengths.next().unwrap_or(1)));
        pieces.push(piece);
        rest = remaining;
    }
    pieces
}
