//! Walks the frames of one segment's file, over damaged places.
//!
//! A place where no valid frame begins is searched byte by byte for the next marker with a valid frame: the length in
//! a damaged head is not believed. Reads are in large pieces; a frame is handed out as a range of the buffer.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt};

use memchr::memmem;

use super::frame::{self, HEADER, Header, MARKER};

/// Bytes read at once: few at first, for whoever looks at one frame, and more and more in a long walk.
const FIRST_PIECE: usize = 16 << 10;
const PIECE: usize = 256 << 10;

/// A frame that was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) header: Header,
    /// Where in the file the frame begins.
    pub(super) offset: u64,
    /// Its bytes, head included.
    pub(super) len: u64,
    /// Where in [`Scanner::bytes`] its body lies, until the next step.
    pub(super) body: Range<usize>,
    /// The bytes before it that were no frame, if there were any.
    pub(super) bad: Option<Range<u64>>,
}

/// A walk over one file.
#[derive(Debug)]
pub(super) struct Scanner {
    file: File,
    /// Bytes of the file from `base` on; those before `at` have been walked over.
    buf: Vec<u8>,
    base: u64,
    at: usize,
    bad_from: Option<u64>,
    /// Bytes to be read next.
    piece: usize,
}

impl Scanner {
    pub(super) fn new(file: File, offset: u64) -> Self {
        Self { file, buf: Vec::new(), base: offset, at: 0, bad_from: None, piece: FIRST_PIECE }
    }

    /// Goes on at another place, as if it had begun there.
    pub(super) fn go_to(&mut self, offset: u64) {
        self.buf.clear();
        (self.base, self.at, self.bad_from, self.piece) = (offset, 0, None, FIRST_PIECE);
    }

    /// The bytes that [`Found::body`] is a range of.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buf
    }

    /// The file, when the walk is over.
    pub(super) fn into_file(self) -> File {
        self.file
    }

    /// The next valid frame that lies before the offset `end` and whose number is in `owned`; others are passed over.
    /// `None`: nothing more up to `end`, which may have moved on when called again.
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

    /// The bytes up to here that are no frame, if the walk ends with such.
    pub(super) fn trailing_bad(&self) -> Option<Range<u64>> {
        self.bad_from.map(|from| from..self.offset())
    }

    fn offset(&self) -> u64 {
        self.base.saturating_add(self.at as u64)
    }

    /// The frame at this very place.
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

    /// Goes to the next marker after this place, or to `end`.
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
            // A marker may begin in the last three bytes.
            self.at += have.len() - (MARKER.len() - 1);
        }
    }

    /// Has `want` bytes of the file in the buffer from this place on, none of them beyond `end`; false if there are
    /// not so many.
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
        // After a marker was sought the place may lie beyond what has been read.
        self.buf.drain(..self.at.min(self.buf.len()));
        self.at = 0;
        self.buf.resize(want.max(self.piece).min(left), 0);
        self.piece = PIECE.min(2 * self.piece);
        // One giant frame should not keep its memory.
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
