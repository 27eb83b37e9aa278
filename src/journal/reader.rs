//! Reads the journal: durable records in order of sequence number, across segments, while the writer appends and
//! retention removes.
//!
//! At the durable end a reader returns `None`, and continues from there when called again. The store and the webhooks
//! follow the journal this way.

pub(super) mod backward;

use std::{fs::File, io, ops::Range, path::PathBuf, sync::Arc};

use super::{
    damage::Damage,
    error::Error,
    frame::{Header, VERSION},
    scan::{Found, Scanner},
    segment::Segment,
    shared::Shared,
};

/// The most bytes before the wanted record at which a reader starts, plus one frame.
pub(super) const NEAR: u64 = 64 << 10;

/// A record as it is stored in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its sequence number.
    pub seq: u64,
    /// When it was appended, Unix milliseconds; never before the previous record.
    pub at_ms: u64,
    /// The [`VERSION`] it was written with, which says how the body is encoded.
    pub version: u8,
    /// The appended bytes.
    pub body: &'a [u8],
}

/// A position in the journal. See [`Journal::reader`](super::Journal::reader).
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    from: Start,
    /// The last sequence number that was passed, whether or not it was returned.
    passed: u64,
    /// The timestamp of that record; 0 if it is not known.
    passed_ms: u64,
    /// `None` until the journal has a segment.
    place: Option<Place>,
    /// Unreadable bytes at the end of the previous segment.
    left_bad: Option<(Arc<Segment>, Range<u64>)>,
    /// The file and version of a frame of a newer version. Nothing after it can be read.
    newer: Option<(PathBuf, u8)>,
}

/// Where to start. Earlier records are skipped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start {
    pub(super) seq: u64,
    pub(super) at_ms: u64,
}

#[derive(Debug)]
struct Place {
    segment: Arc<Segment>,
    scanner: Scanner,
    /// The known end of its durable bytes.
    end: u64,
    /// The sequence numbers that it is known to own.
    owned: Range<u64>,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, from: Start) -> Self {
        Self {
            shared,
            from,
            passed: from.seq.saturating_sub(1),
            passed_ms: 0,
            place: None,
            left_bad: None,
            newer: None,
        }
    }

    /// The last sequence number that this reader has passed: returned, found missing, or before its start. Once
    /// `position() + 1` is [durable](super::Journal::durable) there is more to read.
    pub fn position(&self) -> u64 {
        self.passed.max(self.from.seq.saturating_sub(1))
    }

    /// The next durable record. `None` at the durable end: call again when there are more.
    ///
    /// Damaged places are skipped and added to [`Journal::damage`](super::Journal::damage). An error is returned again
    /// by the next call until its cause is gone. An error skips no records.
    #[allow(clippy::should_implement_trait, reason = "a frame borrows from the reader, which no iterator's item can")]
    pub fn next(&mut self) -> Result<Option<Frame<'_>>, Error> {
        let Some(Found { header, body, .. }) = self.advance()? else { return Ok(None) };
        let Some(place) = &self.place else { return Ok(None) };
        let body = &place.scanner.bytes()[body];
        Ok(Some(Frame { seq: header.seq, at_ms: header.at_ms, version: header.version, body }))
    }

    fn advance(&mut self) -> Result<Option<Found>, Error> {
        loop {
            if let Some((path, version)) = &self.newer {
                return Err(Error::Newer { path: path.clone(), version: *version });
            }
            if self.place.is_none() && !self.begin()? {
                return Ok(None);
            }
            let Some(place) = &mut self.place else { continue };
            let found = place.scanner.next(place.end, place.owned.clone());
            let Some(found) = found.map_err(|e| Error::io(&place.segment.path, e))? else {
                if self.move_on()? {
                    continue;
                }
                return Ok(None);
            };
            let Header { version, seq, at_ms } = found.header;
            if version > VERSION {
                self.newer = Some((place.segment.path.clone(), version));
                continue;
            }
            self.pass(&found);
            if seq >= self.from.seq && at_ms >= self.from.at_ms {
                return Ok(Some(found));
            }
        }
    }

    /// Records that a frame was passed, and reports records that are missing before it.
    fn pass(&mut self, found: &Found) {
        let Some(place) = &mut self.place else { return };
        let Header { seq, at_ms, .. } = found.header;
        let left_bad = self.left_bad.take();
        if seq > self.passed + 1 {
            let here = || (place.segment.clone(), found.offset..found.offset);
            let bad = found.bad.clone().map(|bad| (place.segment.clone(), bad));
            let (segment, bytes) = bad.or(left_bad).unwrap_or_else(here);
            self.shared.note_damage(Damage {
                missing: self.passed + 1..=seq - 1,
                from_ms: self.passed_ms,
                to_ms: at_ms,
                file: segment.path.clone(),
                offset: bytes.start,
                bytes: bytes.end - bytes.start,
            });
        }
        (self.passed, self.passed_ms) = (seq, at_ms);
        place.owned.start = seq.saturating_add(1);
    }

    /// Finds the place to start: a frame shortly before the wanted record, or the start of its segment. Returns false
    /// if the journal has no records yet.
    fn begin(&mut self) -> Result<bool, Error> {
        self.from.seq = self.position() + 1;
        let Some(segment) = find(&self.shared, self.from)? else { return Ok(false) };
        let near = near(&self.shared, &segment, self.from)?;
        // Earlier records do not matter to this reader.
        let (passed, passed_ms, offset) = match near {
            Some((Header { seq, at_ms, .. }, offset)) => (seq.saturating_sub(1), at_ms, offset),
            None => (segment.first.saturating_sub(1), 0, 0),
        };
        (self.passed, self.passed_ms) = (passed, passed_ms);
        self.enter(segment, offset)?;
        Ok(true)
    }

    /// Called at the end of a segment. Returns whether there is more to read, in it or in the next one.
    fn move_on(&mut self) -> Result<bool, Error> {
        let Some(place) = &mut self.place else { return Ok(true) };
        // Look for a next segment before reading this one's end: once there is a next one, this one's end is final.
        let (next, listed) = self.shared.table.after(place.segment.first);
        let end = place.segment.end();
        if end > place.end {
            place.end = end;
            place.owned.end = next.map_or(u64::MAX, |next| next.first);
            return Ok(true);
        }
        let Some(next) = next else { return Ok(false) };
        if !listed {
            // Retention has removed the segments in between. Their records do not count as missing.
            self.passed = self.passed.max(next.first.saturating_sub(1));
        }
        self.left_bad = place.scanner.trailing_bad().map(|bad| (place.segment.clone(), bad));
        self.enter(next, 0)?;
        Ok(true)
    }

    fn enter(&mut self, segment: Arc<Segment>, offset: u64) -> Result<(), Error> {
        self.place = match File::open(&segment.path) {
            Ok(file) => {
                let owned = self.passed.saturating_add(1)..u64::MAX;
                Some(Place { segment, scanner: Scanner::new(file, offset), end: 0, owned })
            }
            // Removed since the lookup. Look it up again.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.shared.table.lists(&segment) => None,
            Err(error) => return Err(Error::io(&segment.path, error)),
        };
        Ok(())
    }
}

/// The last segment for which all wanted records are in it or after it.
fn find(shared: &Shared, from: Start) -> Result<Option<Arc<Segment>>, Error> {
    if from.at_ms == 0 {
        return Ok(shared.table.owner_of(from.seq));
    }
    let segments = shared.table.all();
    // All wanted records are in `low` or after it. `high` and later segments start too late, or cannot be read.
    let (mut low, mut high) = (segments.partition_point(|s| s.first <= from.seq).saturating_sub(1), segments.len());
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        let owned_to = segments.get(middle + 1).map_or(u64::MAX, |next| next.first);
        match head_ms(&segments[middle], owned_to)? {
            Some(at_ms) if at_ms < from.at_ms => low = middle,
            _ => high = middle,
        }
    }
    Ok(segments.get(low).cloned())
}

/// A frame before the wanted record, with its offset, at most [`NEAR`] bytes and a frame away from it. It is found by
/// bisection, because numbers and times ascend. `None`: the wanted record is near the start of the segment.
pub(super) fn near(shared: &Shared, segment: &Segment, from: Start) -> Result<Option<(Header, u64)>, Error> {
    // If the file is missing, `enter` decides whether that is an error.
    let Ok(file) = File::open(&segment.path) else { return Ok(None) };
    let (next, _) = shared.table.after(segment.first);
    let owned = segment.first..next.map_or(u64::MAX, |next| next.first);
    let mut scanner = Scanner::new(file, 0);
    let mut before = None;
    let (mut low, mut high) = (0, segment.end());
    while high - low > NEAR {
        let middle = low + (high - low) / 2;
        scanner.go_to(middle);
        let found = scanner.next(high, owned.clone()).map_err(|e| Error::io(&segment.path, e))?;
        let is_before = |Header { version, seq, at_ms }| version <= VERSION && (seq < from.seq || at_ms < from.at_ms);
        match found.filter(|found| is_before(found.header)) {
            Some(Found { header, offset, .. }) => (before, low) = (Some((header, offset)), offset),
            None => high = middle,
        }
    }
    Ok(before)
}

/// The timestamp of a segment's first record. `None` if no record in it can be read, or if it was removed.
pub(super) fn head_ms(segment: &Segment, owned_to: u64) -> Result<Option<u64>, Error> {
    if let Some(at_ms) = segment.head_ms.get() {
        return Ok(Some(*at_ms));
    }
    let file = match File::open(&segment.path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(&segment.path, error)),
    };
    let found = Scanner::new(file, 0).next(segment.end(), segment.first..owned_to);
    let found = found.map_err(|e| Error::io(&segment.path, e))?;
    Ok(found.map(|found| *segment.head_ms.get_or_init(|| found.header.at_ms)))
}
