//! The handle to an open journal.

use std::{
    fs, io, mem,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{
    clock::{Clock, system_clock},
    damage::Damage,
    durability::Durability,
    error::{AppendError, Error},
    frame::{self, MAX_BODY},
    reader::{self, Reader, Start, backward::BackwardReader},
    recover::{self, Purpose, Recovered},
    segment,
    shared::{Queue, Shared},
    stats::Stats,
    threads::Threads,
    wait::Durable,
    writer::{Active, Writer},
};

/// An appended record's place in the journal. The record is not durable yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Its sequence number.
    pub seq: u64,
    /// Its timestamp, Unix milliseconds.
    pub at_ms: u64,
}

/// A point in time. No record appended later is stamped before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Barrier {
    /// The time, Unix milliseconds. Later records are stamped with it or a later time.
    pub end_ms: u64,
    /// Once this sequence number is durable, every record stamped before `end_ms` can be read.
    pub seq: u64,
}

/// The result of [`Journal::open`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenReport {
    /// The last sequence number; 0 in a new journal.
    pub last_seq: u64,
    /// Bytes of an unfinished write that were cut off at the end.
    pub cut_bytes: u64,
    /// The missing records in the last segment, the only one that was checked. The others are checked when they are
    /// read.
    pub damage: Vec<Damage>,
}

impl OpenReport {
    fn of(recovered: &Recovered) -> Self {
        let Recovered { last_seq, cut_bytes, damage, .. } = recovered;
        Self { last_seq: *last_seq, cut_bytes: *cut_bytes, damage: damage.clone() }
    }
}

/// A segment's place in the journal, for backup and retention.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentInfo {
    /// The file.
    pub path: PathBuf,
    /// The first sequence number in it. It ends before the next segment's first.
    pub first_seq: u64,
    /// The timestamp of its first record, Unix milliseconds. `None` if no record in it can be read.
    pub first_at_ms: Option<u64>,
    /// Bytes of durable records in the file.
    pub bytes: u64,
}

/// A handle to the journal. Clones are cheap. Dropping the last one closes the journal, which waits up to five seconds.
#[derive(Debug, Clone)]
pub struct Journal {
    pub(super) shared: Arc<Shared>,
    threads: Arc<Threads>,
}

impl Journal {
    /// Opens the journal in `dir`, and creates the directory if needed. No other process may have it open.
    pub fn open(dir: &Path, durability: Durability) -> Result<(Self, OpenReport), Error> {
        Self::open_with_clock(dir, durability, system_clock)
    }

    /// Opens the journal with another clock.
    pub fn open_with_clock(dir: &Path, durability: Durability, clock: Clock) -> Result<(Self, OpenReport), Error> {
        let io = |e| Error::io(dir, e);
        segment::make_dir(dir).map_err(io)?;
        let mut recovered = recover::recover(dir, Purpose::Write(durability))?;
        let active = match recovered.output.take() {
            Some((segment, output)) => Active::resume(segment, output),
            None => Active::begin(dir, 1, None, durability).map_err(io)?,
        };
        if recovered.cut_bytes > 0 {
            tracing::warn!(bytes = recovered.cut_bytes, "an unfinished write at the end of the journal was cut off");
        }
        let report = OpenReport::of(&recovered);
        let shared = Shared::new(dir, durability, clock, recovered);
        let writer = Writer::new(shared.clone(), active);
        let threads = Threads::start(shared.clone(), writer).map_err(io)?;
        Ok((Self { shared, threads: Arc::new(threads) }, report))
    }

    /// Opens the journal in `dir` for reading in its current state, even while another process writes it. Changes
    /// nothing: damage at its end is reported and left in place.
    pub fn open_read_only(dir: &Path) -> Result<(Self, OpenReport), Error> {
        let recovered = recover::recover_to_read(dir)?;
        let report = OpenReport::of(&recovered);
        let shared = Shared::new(dir, Durability::Process, system_clock, recovered);
        shared.queue.lock().closing = true;
        let threads = Threads::none(shared.clone());
        Ok((Self { shared, threads: Arc::new(threads) }, report))
    }

    /// Appends a record without waiting for the disk. Callers limit the backlog if the disk is too slow.
    pub fn append(&self, body: &[u8]) -> Result<Appended, AppendError> {
        if body.len() > MAX_BODY {
            return Err(AppendError::TooLarge);
        }
        let now = (self.shared.clock)();
        let mut queue = self.shared.queue.lock();
        if queue.closing {
            return Err(AppendError::Closed);
        }
        queue.last_ms = queue.last_ms.max(now);
        queue.last_record_ms = queue.last_ms;
        self.shared.last_ms.store(queue.last_ms, Ordering::Relaxed);
        queue.last_seq += 1;
        let Queue { last_seq: seq, last_ms: at_ms, .. } = *queue;
        if queue.frames.is_empty() {
            queue.since = Some(Instant::now());
        }
        frame::push(&mut queue.frames, seq, at_ms, body);
        let wake = mem::take(&mut queue.writer_idle);
        drop(queue);
        if wake {
            self.shared.queued.notify_one();
        }
        Ok(Appended { seq, at_ms })
    }

    /// Waits until the record `seq`, and every one before it, is durable. The record may not exist yet.
    pub fn durable(&self, seq: u64) -> Durable {
        Durable::new(self.shared.progress.clone(), seq)
    }

    /// Blocks the thread until the record `seq` is durable. Returns false after `timeout`.
    pub fn durable_blocking(&self, seq: u64, timeout: Duration) -> bool {
        self.shared.progress.wait_blocking(seq, timeout)
    }

    /// The last sequence number that is durable.
    pub fn durable_seq(&self) -> u64 {
        self.shared.progress.durable()
    }

    /// The first sequence number that is still stored; 0 in an empty journal.
    pub fn first_seq(&self) -> u64 {
        self.shared.table.all().first().map_or(0, |first| first.first)
    }

    /// The first sequence number of the segment that is being written; 0 in an empty journal.
    pub fn newest_segment(&self) -> u64 {
        self.shared.table.all().last().map_or(0, |last| last.first)
    }

    /// The last sequence number that was assigned.
    pub fn last_seq(&self) -> u64 {
        self.shared.queue.lock().last_seq
    }

    /// The time for records, Unix milliseconds: the clock's time, but never before the last record's. Takes no lock.
    pub fn now_ms(&self) -> u64 {
        (self.shared.clock)().max(self.last_ms())
    }

    /// The latest assigned time, Unix milliseconds. No later record is stamped before it.
    pub fn last_ms(&self) -> u64 {
        self.shared.last_ms.load(Ordering::Relaxed)
    }

    /// Makes sure that no later record is stamped before `end_ms`. An `end_ms` in the future becomes now, or the
    /// millisecond after the last record if that is later. All records appended before this call are before the
    /// barrier.
    pub fn barrier(&self, end_ms: u64) -> Barrier {
        let now = (self.shared.clock)();
        let mut queue = self.shared.queue.lock();
        let latest = queue.last_record_ms.saturating_add(1).max(queue.last_ms).max(now);
        let end_ms = end_ms.min(latest);
        queue.last_ms = queue.last_ms.max(end_ms);
        self.shared.last_ms.store(queue.last_ms, Ordering::Relaxed);
        // Records that are not durable yet do not matter if they are stamped at `end_ms` or later.
        let (waiting_seq, waiting_ms) = match self.shared.in_flight.load(Ordering::Acquire) {
            0 => frame::first(&queue.frames).unwrap_or((queue.last_seq + 1, end_ms)),
            _ => (self.shared.in_flight_seq.load(Ordering::Relaxed), self.shared.in_flight_ms.load(Ordering::Relaxed)),
        };
        Barrier { end_ms, seq: if end_ms <= waiting_ms { waiting_seq.saturating_sub(1) } else { queue.last_seq } }
    }

    /// A reader of the records after `seq` (0: all records).
    pub fn reader(&self, after: u64) -> Reader {
        Reader::new(self.shared.clone(), Start { seq: after.saturating_add(1), at_ms: 0 })
    }

    /// A reader of the records stamped `at_ms` or later.
    pub fn reader_from_time(&self, at_ms: u64) -> Reader {
        Reader::new(self.shared.clone(), Start { seq: 1, at_ms })
    }

    /// A backward reader of the records before `seq`.
    pub fn backward_reader(&self, seq: u64) -> BackwardReader {
        BackwardReader::new(self.shared.clone(), Start { seq, at_ms: 0 })
    }

    /// A backward reader of the records stamped before `at_ms`.
    pub fn backward_reader_before_time(&self, at_ms: u64) -> BackwardReader {
        BackwardReader::new(self.shared.clone(), Start { seq: 1, at_ms })
    }

    /// How long the oldest record that is not durable has waited. `None` if all are durable. Takes no lock.
    pub fn stalled(&self, now: Instant) -> Option<Duration> {
        let since = self.shared.in_flight_since.load(Ordering::Relaxed).checked_sub(1)?;
        Some(now.saturating_duration_since(self.shared.epoch).saturating_sub(Duration::from_micros(since)))
    }

    /// Bytes of records that are in memory and not durable.
    pub fn pending_bytes(&self) -> u64 {
        let queued = self.shared.queue.lock().frames.len();
        (queued + self.shared.in_flight.load(Ordering::Relaxed)) as u64
    }

    /// Whether the next segment cannot be created while the current one is more than half full. Callers should then
    /// stop admitting requests that need a record. Takes no lock.
    pub fn running_out(&self) -> bool {
        self.shared.upkeep.failing()
    }

    /// The error that keeps records from becoming durable; `None` if there is none.
    pub fn last_error(&self) -> Option<String> {
        let written = self.shared.last_error.lock().clone();
        written.or_else(|| self.shared.upkeep.failure())
    }

    /// All known damage, in order.
    pub fn damage(&self) -> Vec<Damage> {
        self.shared.damage.all()
    }

    /// The segments that hold durable records, in order.
    pub fn segments(&self) -> Result<Vec<SegmentInfo>, Error> {
        let segments = self.shared.table.all();
        let mut infos = Vec::with_capacity(segments.len());
        for (index, segment) in segments.iter().enumerate() {
            let owned_to = segments.get(index + 1).map_or(u64::MAX, |next| next.first);
            infos.push(SegmentInfo {
                path: segment.path.clone(),
                first_seq: segment.first,
                first_at_ms: reader::head_ms(segment, owned_to)?,
                bytes: segment.end(),
            });
        }
        Ok(infos)
    }

    /// Removes the segments that hold only records before `seq` (retention), but never the last segment. Returns the
    /// number removed. A reader in one of them finishes it and continues after the gap.
    pub fn remove_before(&self, seq: u64) -> Result<usize, Error> {
        let removed = self.shared.table.take_before(seq);
        for segment in &removed {
            match fs::remove_file(&segment.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::io(&segment.path, error)),
                _ => {}
            }
        }
        if !removed.is_empty() {
            segment::sync_dir(&self.shared.dir).map_err(|e| Error::io(&self.shared.dir, e))?;
        }
        Ok(removed.len())
    }

    /// The journal's statistics.
    pub fn stats(&self) -> Stats {
        let Shared { meter, table, upkeep, progress, .. } = &*self.shared;
        let segments = table.all();
        let first = segments.first();
        let owned_to = segments.get(1).map_or(u64::MAX, |next| next.first);
        Stats {
            records: meter.records(),
            bytes: meter.bytes(),
            syncs: meter.syncs.total(),
            sync_p50: meter.syncs.quantile(50),
            sync_p99: meter.syncs.quantile(99),
            wait_p50: meter.waits.quantile(50),
            wait_p99: meter.waits.quantile(99),
            first_seq: first.map_or(0, |first| first.first),
            first_at_ms: first.and_then(|first| reader::head_ms(first, owned_to).ok().flatten()),
            last_seq: self.last_seq(),
            durable_seq: progress.durable(),
            pending_bytes: self.pending_bytes(),
            segments: segments.len(),
            log_bytes: segments.iter().map(|segment| segment.end()).sum(),
            next_segment: upkeep.next_segment(),
        }
    }

    /// Stops taking records, makes all of them durable, and ends the journal's threads. Returns false if that took
    /// longer than `timeout`; records that could not be written are then lost.
    pub fn close(&self, timeout: Duration) -> bool {
        self.threads.stop(timeout)
    }
}
