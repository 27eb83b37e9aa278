//! Recovery when the journal is opened: finds the segments of earlier runs and the end of the last one, and checks the
//! last one for damage.
//!
//! Only the last segment is read completely (the CRCs of its frames; no body is decoded). The others are checked when
//! they are read. Bytes after the last valid frame are an unfinished write. They are zeroed, so that no part of them
//! can be mistaken for a record after a new one. Invalid bytes before a valid frame are damage and stay unchanged.
//!
//! Opening for reading changes nothing, because another process may be writing.

use std::{fs::File, io, ops::Range, path::Path, sync::Arc};

use super::{
    damage::Damage,
    durability::Durability,
    error::Error,
    frame::{Header, VERSION},
    scan::Scanner,
    segment::{self, Output, Segment},
};

/// The state in which an earlier run left the journal.
#[derive(Debug, Default)]
pub(super) struct Recovered {
    /// The segments that hold records.
    pub(super) segments: Vec<Arc<Segment>>,
    /// The segment to continue in: the last one of `segments`, or an empty one after it. `None` in a new journal.
    pub(super) output: Option<(Arc<Segment>, Output)>,
    /// The last sequence number that was assigned, according to the files; 0 if there is none.
    pub(super) last_seq: u64,
    /// The timestamp of the last record; 0 if there is none.
    pub(super) last_ms: u64,
    /// Bytes of an unfinished write that were cut off.
    pub(super) cut_bytes: u64,
    pub(super) damage: Vec<Damage>,
}

/// The purpose of opening the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To read and append.
    Write(Durability),
    /// To read only.
    Read,
}

/// The attempts to read a journal that another process may be writing.
const READ_ATTEMPTS: usize = 5;

/// Reads the journal in `dir`.
pub(super) fn recover(dir: &Path, purpose: Purpose) -> Result<Recovered, Error> {
    let mut recovered = Recovered::default();
    if purpose != Purpose::Read {
        segment::remove_half_made(dir).map_err(|e| Error::io(dir, e))?;
    }
    let mut earlier = segment::list(dir).map_err(|e| Error::io(dir, e))?;
    let mut is_last = true;
    let mut owned_to = u64::MAX;
    // Goes back from the last segment to one that holds a record, which normally is the last one itself.
    while let Some(first) = earlier.pop() {
        let segment = Arc::new(Segment::new(dir, first, 0));
        let survey = Survey::of(&segment, first..owned_to, purpose)?;
        if std::mem::take(&mut is_last) {
            recovered.cut_bytes = survey.torn().map_err(|e| Error::io(&segment.path, e))?;
            recovered.last_seq = survey.last_seq;
            if purpose != Purpose::Read {
                survey.cut(recovered.cut_bytes).map_err(|e| Error::io(&segment.path, e))?;
                let output = Output::resume(&segment.path, survey.end).map_err(|e| Error::io(&segment.path, e))?;
                recovered.output = Some((segment.clone(), output));
            }
        }
        let empty = survey.end == 0;
        recovered.last_ms = survey.last_ms;
        if !empty {
            if purpose == Purpose::Write(Durability::Disk) {
                // A killed process may have left frames with the OS that were never synced. Readers treat them as
                // durable from now on, so they are synced here.
                survey.file.sync_data().map_err(|e| Error::io(&segment.path, e))?;
            }
            segment.set_end(survey.end);
            recovered.segments.push(segment);
        }
        recovered.damage.splice(..0, survey.damage);
        if !empty {
            break;
        }
        owned_to = first;
    }
    for first in earlier.into_iter().rev() {
        let segment = Segment::new(dir, first, 0);
        let metadata = segment.path.metadata().map_err(|e| Error::io(&segment.path, e))?;
        segment.set_end(metadata.len());
        recovered.segments.push(Arc::new(segment));
    }
    recovered.segments.reverse();
    Ok(recovered)
}

/// Reads the journal in `dir` while another process may be writing it. It may then look damaged, truncated or removed,
/// so it is read again until it looks intact or has the same damage twice.
pub(super) fn recover_to_read(dir: &Path) -> Result<Recovered, Error> {
    let mut previous = None;
    for _ in 0..READ_ATTEMPTS {
        match recover(dir, Purpose::Read) {
            Err(Error::Io { source, .. })
                if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof) => {}
            Ok(recovered) if !recovered.damage.is_empty() && previous.as_ref() != Some(&recovered.damage) => {
                previous = Some(recovered.damage);
            }
            outcome => return outcome,
        }
    }
    recover(dir, Purpose::Read)
}

/// One segment, read completely.
#[derive(Debug)]
struct Survey {
    file: File,
    len: u64,
    /// Where the last valid frame ends.
    end: u64,
    /// The last assigned number: the last valid frame's, or the one before the segment's first.
    last_seq: u64,
    last_ms: u64,
    damage: Vec<Damage>,
}

impl Survey {
    fn of(segment: &Segment, owned: Range<u64>, purpose: Purpose) -> Result<Self, Error> {
        let io = |e| Error::io(&segment.path, e);
        // Opened for writing because an unfinished write is zeroed.
        let file = File::options().read(true).write(purpose != Purpose::Read).open(&segment.path).map_err(io)?;
        let len = file.metadata().map_err(io)?.len();
        let mut scanner = Scanner::new(file, 0);
        let (mut end, mut last_seq, mut last_ms) = (0, owned.start.saturating_sub(1), 0);
        let mut damage = Vec::new();
        let mut missing = |from_seq: u64, to_seq: u64, from_ms: u64, to_ms: u64, bytes: Range<u64>| {
            if from_seq < to_seq {
                let (missing, file) = (from_seq..=to_seq - 1, segment.path.clone());
                let (offset, bytes) = (bytes.start, bytes.end.saturating_sub(bytes.start));
                damage.push(Damage { missing, from_ms, to_ms, file, offset, bytes });
            }
        };
        while let Some(found) = scanner.next(len, last_seq.saturating_add(1)..owned.end).map_err(io)? {
            let Header { version, seq, at_ms } = found.header;
            if version > VERSION {
                return Err(Error::Newer { path: segment.path.clone(), version });
            }
            missing(last_seq + 1, seq, last_ms, at_ms, found.bad.unwrap_or(found.offset..found.offset));
            (last_seq, last_ms) = (seq, at_ms);
            end = found.offset + found.len;
        }
        if owned.end < u64::MAX {
            // There is a later segment, so everything before its first number was durable here.
            missing(last_seq + 1, owned.end, last_ms, u64::MAX, end..len);
        }
        Ok(Self { file: scanner.into_file(), len, end, last_seq, last_ms, damage })
    }

    /// The number of bytes from the end to the last nonzero byte.
    fn torn(&self) -> std::io::Result<u64> {
        Ok(segment::end_of_nonzero(&self.file, self.end, self.len)? - self.end)
    }

    /// Zeroes `torn` bytes after the end.
    fn cut(&self, torn: u64) -> std::io::Result<()> {
        if torn > 0 {
            segment::zero(&self.file, self.end, self.end + torn)?;
            self.file.sync_data()?;
        }
        Ok(())
    }
}
