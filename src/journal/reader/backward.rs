//! Reads the journal backwards, the newest record first.
//!
//! Frames can only be found forwards. So a segment is read in blocks, from its end to its start. In each block the
//! frames are read forwards, from the first complete one on, and returned in reverse; the previous block ends where the
//! first frame of this one starts. A block is about [`NEAR`] bytes, and longer only if a frame or a damaged place is.

use std::{fs::File, io, mem, ops::Range, sync::Arc};

use super::{Frame, NEAR, Reader, Start};
use crate::journal::{
    damage::Damage,
    error::Error,
    frame::{Header, VERSION},
    scan::Scanner,
    segment::Segment,
    shared::Shared,
};

/// A position in the journal from which records are read in descending order. See
/// [`Journal::backward_reader`](crate::journal::Journal::backward_reader).
#[derive(Debug)]
pub struct BackwardReader {
    shared: Arc<Shared>,
    /// It starts at the record before the first record of a [`Reader`] from here.
    upto: Start,
    has_begun: bool,
    /// The sequence number of that [`Reader`]'s first record.
    bound: u64,
    /// Also `None` when there are no more records.
    place: Option<Place>,
    block: Block,
    /// The frame after the next one to return.
    above: Option<Edge>,
}

#[derive(Debug)]
struct Place {
    segment: Arc<Segment>,
    scanner: Scanner,
    /// Where the next block ends.
    end: u64,
    /// The sequence numbers that may occur before that.
    owned: Range<u64>,
}

/// Records that were read but not yet returned, in ascending order.
#[derive(Debug, Default)]
struct Block {
    records: Vec<Record>,
    bodies: Vec<u8>,
}

#[derive(Debug)]
struct Record {
    header: Header,
    /// The position of its frame in the file.
    bytes: Range<u64>,
    /// The position of its body in [`Block::bodies`].
    body: Range<usize>,
}

/// A frame next to which records may be missing.
#[derive(Debug)]
struct Edge {
    seq: u64,
    at_ms: u64,
    segment: Arc<Segment>,
    bytes: Range<u64>,
}

impl BackwardReader {
    pub(in crate::journal) fn new(shared: Arc<Shared>, upto: Start) -> Self {
        let block = Block::default();
        Self { shared, upto, has_begun: false, bound: u64::MAX, place: None, block, above: None }
    }

    /// The sequence number of the first record after the range, known once `next` was called; `u64::MAX` if there is
    /// none.
    pub fn bound(&self) -> u64 {
        self.bound
    }

    #[cfg(test)]
    pub(in crate::journal) fn block_bytes(&self) -> usize {
        self.block.bodies.len()
    }

    /// The previous record. `None` if there is none.
    ///
    /// As with [`Reader::next`], damaged places are skipped and reported, and an error is returned again until its
    /// cause is gone.
    #[allow(clippy::should_implement_trait, reason = "a frame borrows from the reader, which no iterator's item can")]
    pub fn next(&mut self) -> Result<Option<Frame<'_>>, Error> {
        let record = loop {
            match self.block.records.pop() {
                Some(record) => break record,
                None if self.load()? => {}
                None => return Ok(None),
            }
        };
        let Record { header: Header { version, seq, at_ms }, bytes, body } = record;
        if let Some(place) = &self.place {
            let here = Edge { seq, at_ms, segment: place.segment.clone(), bytes };
            self.note_missing_after(&here);
            self.above = Some(here);
        }
        Ok(Some(Frame { seq, at_ms, version, body: &self.block.bodies[body] }))
    }

    /// Reads a block, which may turn out to be empty. Returns false if there is nothing more to read.
    fn load(&mut self) -> Result<bool, Error> {
        if !self.has_begun {
            self.begin()?;
            self.has_begun = true;
        }
        let Some(place) = &mut self.place else { return Ok(false) };
        if place.end > 0 {
            let mut block = mem::take(&mut self.block);
            block.read(place)?;
            self.block = block;
            return Ok(true);
        }
        let first = place.segment.first;
        let Some(segment) = self.shared.table.before(first) else {
            // Records before its first one are missing, unless retention removed them with their segment.
            let start = Edge { seq: first.saturating_sub(1), at_ms: 0, segment: place.segment.clone(), bytes: 0..0 };
            self.note_missing_after(&start);
            self.place = None;
            return Ok(false);
        };
        self.place = match File::open(&segment.path) {
            Ok(file) => {
                let (end, owned) = (segment.end(), segment.first..first);
                Some(Place { segment, scanner: Scanner::new(file, 0), end, owned })
            }
            // Retention has removed it and everything before it.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.shared.table.lists(&segment) => None,
            Err(error) => return Err(Error::io(&segment.path, error)),
        };
        Ok(self.place.is_some())
    }

    /// Finds the place to start with a forward reader, which also reports records that are missing just before it.
    fn begin(&mut self) -> Result<(), Error> {
        let mut forward = Reader::new(self.shared.clone(), self.upto);
        let found = forward.advance()?;
        let Some(super::Place { segment, scanner, end, owned }) = forward.place else { return Ok(()) };
        let first = segment.first;
        let (end, owned) = match found {
            Some(found) => {
                let Header { seq, at_ms, .. } = found.header;
                let bytes = found.offset..found.offset.saturating_add(found.len);
                self.bound = seq;
                self.above = Some(Edge { seq, at_ms, segment: segment.clone(), bytes });
                (found.offset, first..seq)
            }
            None => (end, first..owned.end),
        };
        self.place = Some(Place { segment, scanner, end, owned });
        Ok(())
    }

    /// Reports the records that are missing between a frame and the frame that was read before it.
    fn note_missing_after(&self, below: &Edge) {
        let Some(above) = self.above.as_ref().filter(|above| above.seq > below.seq.saturating_add(1)) else { return };
        let (segment, bytes) = if below.segment.first == above.segment.first {
            (&above.segment, below.bytes.end..above.bytes.start)
        } else if above.bytes.start > 0 || below.bytes.end >= below.segment.end() {
            (&above.segment, 0..above.bytes.start)
        } else {
            (&below.segment, below.bytes.end..below.segment.end())
        };
        self.shared.note_damage(Damage {
            missing: below.seq + 1..=above.seq - 1,
            from_ms: below.at_ms,
            to_ms: above.at_ms,
            file: segment.path.clone(),
            offset: bytes.start,
            bytes: bytes.end.saturating_sub(bytes.start),
        });
    }
}

impl Block {
    /// Reads the frames before `place.end`, and moves `place.end` to the first of them.
    fn read(&mut self, place: &mut Place) -> Result<(), Error> {
        let mut length = NEAR;
        let start = loop {
            let start = place.end.saturating_sub(length);
            self.gather(place, start)?;
            if !self.records.is_empty() || start == 0 {
                break start;
            }
            length = length.saturating_mul(2);
        };
        match self.records.first() {
            Some(first) => (place.end, place.owned.end) = (first.bytes.start, first.header.seq),
            None => place.end = start,
        }
        Ok(())
    }

    fn gather(&mut self, place: &mut Place, start: u64) -> Result<(), Error> {
        self.records.clear();
        self.bodies.clear();
        place.scanner.go_to(start);
        let mut owned = place.owned.clone();
        let io = |error| Error::io(&place.segment.path, error);
        while let Some(found) = place.scanner.next(place.end, owned.clone()).map_err(io)? {
            let header = found.header;
            if header.version > VERSION {
                return Err(Error::Newer { path: place.segment.path.clone(), version: header.version });
            }
            owned.start = header.seq.saturating_add(1);
            let from = self.bodies.len();
            self.bodies.extend_from_slice(&place.scanner.bytes()[found.body]);
            let bytes = found.offset..found.offset.saturating_add(found.len);
            self.records.push(Record { header, bytes, body: from..self.bodies.len() });
        }
        Ok(())
    }
}
