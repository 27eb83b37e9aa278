//! Finds the frames in one segment's file, and skips damaged places.
//!
//! Where no valid frame starts, the file is searched byte by byte for the next marker with a valid frame, because the
//! length in a damaged header cannot be trusted. Reads are in large pieces. A frame is returned as a range of the
//! buffer.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt};

use memchr::memmem;

use super::frame::{self, HEADER, Header, MARKER};

/// Bytes per read: few at first, for callers that read one frame, then more and more for a long scan.
const FIRST_PIECE: usize = 16 << 10;
const PIECE: usize = 256 << 10;

/// A valid frame.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) header: Header,
    /// The offset of the frame in the file.
    pub(super) offset: u64,
    /// Its length in bytes, including the header.
    pub(super) len: u64,
    /// The position of its body in [`Scanner::bytes`], valid until the next call.
    pub(super) body: Range<usize>,
    /// The invalid bytes before it, if there were any.
    pub(super) bad: Option<Range<u64>>,
}

/// A scan of one file.
#[derive(Debug)]
pub(super) struct Scanner {
    file: File,
    /// The bytes of the file from `base` on. Those before `at` have been scanned.
    buf: Vec<u8>,
    base: u64,
    at: usize,
    bad_from: Option<u64>,
    /// The size of the next read, in bytes.
    piece: usize,
}

impl Scanner {
    pub(super) fn new(file: File, offset: u64) -> Self {
        Self { file, buf: Vec::new(), base: offset, at: 0, bad_from: None, piece: FIRST_PIECE }
    }

    /// Continues at another offset, as if the scan had started there.
    pub(super) fn go_to(&mut self, offset: u64) {
        self.buf.clear();
        (self.base, self.at, self.bad_from, self.piece) = (offset, 0, None, FIRST_PIECE);
    }

    /// The buffer that [`Found::body`] refers to.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buf
    }

    /// Returns the file after the scan.
    pub(super) fn into_file(self) -> File {
        self.file
    }

    /// The next valid frame before the offset `end` whose number is in `owned`. Other frames are skipped. `None`: there
    /// are no more before `end`; the caller may call again with a later `end`.
    pub(super) fn next(&mut self, end: u64, owned: Range<u64>) -> io::Result<Option<Found>> {
        while self.offset() < end {
            let Some((header, total)) = self.frame_here(end)? else {
                self.bad_from.get_or_insert(self.offset());
                self.seek_marker(end)?;
                continue;
            };
            let start = self.at;
            let offset = self.offset();
            self.at += total;
            if owned.contains(&header.seq) {
                let bad = self.bad_from.take().map(|from| from..offset);
                return Ok(Some(Found { header, offset, len: total as u64, body: start + HEADER..self.at, bad }));
            }
        }
        Ok(None)
    }

    /// The invalid bytes at the end of the scan, if there are any.
    pub(super) fn trailing_bad(&self) -> Option<Range<u64>> {
        self.bad_from.map(|from| from..self.offset())
    }

    fn offset(&self) -> u64 {
        self.base.saturating_add(self.at as u64)
    }

    /// The frame at the current offset.
    fn frame_here(&mut self, end: u64) -> io::Result<Option<(Header, usize)>> {
        if !self.fill(HEADER, end)? {
            return Ok(None);
        }
        let Some(total) = frame::total_len(&self.buf[self.at..]) else { return Ok(None) };
        if !self.fill(total, end)? {
            return Ok(None);
        }
        Ok(frame::open(&self.buf[self.at..self.at + total]).map(|header| (header, total)))
    }

    /// Moves to the next marker after the current offset, or to `end`.
    fn seek_marker(&mut self, end: u64) -> io::Result<()> {
        self.at += 1;
        loop {
            if !self.fill(MARKER.len(), end)? {
                self.buf.clear();
                (self.base, self.at) = (end, 0);
                return Ok(());
            }
            let have = &self.buf[self.at..];
            if let Some(found) = memmem::find(have, &MARKER) {
                self.at += found;
                return Ok(());
            }
            // A marker may start in the last three bytes.
            self.at += have.len() - (MARKER.len() - 1);
        }
    }

    /// Reads until the buffer holds `want` bytes from the current offset on, none of them beyond `end`. Returns false
    /// if there are fewer.
    fn fill(&mut self, want: usize, end: u64) -> io::Result<bool> {
        let mut have = self.buf.len().saturating_sub(self.at);
        if have >= want {
            return Ok(true);
        }
        let left = usize::try_from(end.saturating_sub(self.offset())).unwrap_or(usize::MAX);
        if left < want {
            return Ok(false);
        }
        self.base = self.offset();
        // After a search for a marker, the offset may be beyond the bytes in the buffer.
        self.buf.drain(..self.at.min(self.buf.len()));
        self.at = 0;
        self.buf.resize(want.max(self.piece).min(left), 0);
        self.piece = PIECE.min(2 * self.piece);
        // Releases the memory of a very large frame.
        self.buf.shrink_to(PIECE.max(self.buf.len()));
        while have < self.buf.len() {
            match self.file.read_at(&mut self.buf[have..], self.base + have as u64) {
                Ok(0) => break,
                Ok(read) => have += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.buf.truncate(have);
                    return Err(error);
                }
            }
        }
        self.buf.truncate(have);
        Ok(have >= want)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn scan(bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let mut scanner = Scanner::new(file, 0);
        let mut found = Vec::new();
        while let Some(frame) = scanner.next(bytes.len() as u64, 1..u64::MAX).unwrap() {
            found.push((frame.header.seq, scanner.bytes()[frame.body].to_vec()));
        }
        found
    }

    fn frame(seq: u64, body: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        frame::push(&mut frame, seq, 0, body);
        frame::seal(&mut frame).unwrap();
        frame
    }

    proptest! {
        #[test]
        fn valid_frames_are_found_between_any_bytes(
            parts in prop::collection::vec(
                (prop::collection::vec(any::<u8>(), 0..60), any::<bool>(), prop::collection::vec(any::<u8>(), 0..60)),
                0..12,
            )
        ) {
            let mut bytes = Vec::new();
            let mut expected = Vec::new();
            for (seq, (garbage, marked, body)) in (1..).zip(&parts) {
                bytes.extend_from_slice(garbage);
                if *marked {
                    bytes.extend_from_slice(&MARKER);
                }
                bytes.extend_from_slice(&frame(seq, body));
                expected.push((seq, body.clone()));
            }
            prop_assert_eq!(scan(&bytes), expected);
        }
    }

    #[test]
    fn a_marker_across_two_reads_is_found() {
        for before in FIRST_PIECE - 8..FIRST_PIECE + 8 {
            let mut bytes = vec![0xAA; before];
            bytes.extend_from_slice(&frame(9, b"body"));
            assert_eq!(scan(&bytes), [(9, b"body".to_vec())], "{before} bytes before the frame");
        }
    }
}
