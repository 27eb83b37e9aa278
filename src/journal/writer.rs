//! The writer thread: takes all queued records, writes them, syncs them, publishes that they are durable, and repeats.
//!
//! Records that were appended during a sync share the next one, so the batch grows with the load. If writing is so fast
//! that batches would stay small under load, a short pause gathers more records, because waking this thread and the
//! waiters costs more than the write. A single record never waits for others.
//!
//! After a failure, the contents of the file are unknown. A repeated sync may report a success that covers nothing,
//! because the kernel has already dropped the pages that it could not write. So the segment is abandoned at its last
//! synced position, and the batch is written again, with the same sequence numbers, into new segments until that works.
//! The new segment's name says that it owns those numbers, so frames with those numbers in the old one are ignored.
//!
//! A panic of this thread aborts the process. Otherwise appended records would wait forever, and it would be unknown
//! what is written.

use std::{
    io, mem,
    path::Path,
    process,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use super::{
    durability::Durability,
    error::Error,
    frame::{self, Header},
    segment::{self, Blank, FIRST_CAPACITY, FULL_CAPACITY, GROWTH, Output, Segment},
    shared::Shared,
};

/// A batch of at least this many records is a sign of load.
const LOADED_BATCH: u64 = 4;

/// How long the next batch is gathered under load.
const GATHER: Duration = Duration::from_micros(250);

/// The pause between two attempts to write a batch.
const BACKOFF: Duration = Duration::from_millis(200);

/// The batch buffer is shrunk to this many bytes.
const KEPT_BUFFER: usize = 8 << 20;

/// The state of the thread.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    active: Active,
    batch: Vec<u8>,
    /// The capacity of the segment that was ordered last. Segments grow with each order, even if the writer had to
    /// create small ones in between.
    ordered: u64,
}

/// The segment that is being written.
#[derive(Debug)]
pub(super) struct Active {
    segment: Arc<Segment>,
    output: Output,
    /// It holds records and is in the readers' table.
    listed: bool,
    /// Its successor has been ordered.
    next_ordered: bool,
    /// A write or sync failed. Nothing more is written to it.
    given_up: bool,
}

impl Active {
    /// Continues the segment of an earlier run.
    pub(super) fn resume(segment: Arc<Segment>, output: Output) -> Self {
        let listed = output.end() > 0;
        Self { segment, output, listed, next_ordered: false, given_up: false }
    }

    /// Starts the segment whose first sequence number is `first`, in `blank` or in a new small file.
    pub(super) fn begin(dir: &Path, first: u64, blank: Option<Blank>, durability: Durability) -> io::Result<Self> {
        let segment = Arc::new(Segment::new(dir, first, 0));
        let blank = match blank {
            Some(blank) => blank,
            None => Blank::make(dir, "new", FIRST_CAPACITY, |_| Ok(()))?,
        };
        let output = blank.become_segment(&segment.path)?;
        #[cfg(test)]
        crate::crash::point("segment named");
        if durability == Durability::Disk {
            segment::sync_dir(dir)?;
        }
        Ok(Self::resume(segment, output))
    }
}

/// The contents of a batch.
#[derive(Debug, Default)]
struct Sealed {
    /// The first sequence number.
    first: u64,
    records: u64,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, active: Active) -> Self {
        let ordered = active.output.capacity();
        Self { shared, active, batch: Vec::new(), ordered }
    }

    /// Runs the thread. Returns when the journal is closed and all records are durable or abandoned.
    pub(super) fn run(mut self) {
        let _abort = AbortOnPanic;
        while self.shared.take_batch(&mut self.batch) {
            let sealed = self.seal();
            if !self.store_until_durable(&sealed) {
                return;
            }
            let is_loaded = sealed.records >= LOADED_BATCH;
            self.publish(&sealed);
            if is_loaded {
                thread::sleep(GATHER);
            }
        }
        if self.shared.durability == Durability::Process
            && let Err(error) = self.active.output.sync()
        {
            tracing::error!(%error, "the journal could not be synced while closing");
        }
    }

    /// Adds the CRCs to the frames. It is done here so that appending threads do not hold the lock for it.
    fn seal(&mut self) -> Sealed {
        let mut sealed = Sealed::default();
        let mut at = 0;
        while let Some((Header { seq, .. }, len)) = frame::seal(&mut self.batch[at..]) {
            if sealed.records == 0 {
                sealed.first = seq;
            }
            sealed.records += 1;
            at += len;
        }
        sealed
    }

    /// Writes the batch until it is durable. Returns false if the journal was closed and abandoned before that.
    fn store_until_durable(&mut self, sealed: &Sealed) -> bool {
        let mut failures = 0_u64;
        loop {
            let began = Instant::now();
            match self.store(sealed.first) {
                Ok(()) => {
                    let records = sealed.records;
                    self.shared.meter.count(records, self.batch.len(), began.elapsed());
                    if failures > 0 {
                        tracing::info!(failures, records, "the journal can be written again");
                        *self.shared.last_error.lock() = None;
                    }
                    return true;
                }
                Err(error) => {
                    self.give_up_segment();
                    if failures == 0 {
                        tracing::error!(%error, "the journal cannot be written; retrying in a new segment");
                    }
                    failures += 1;
                    *self.shared.last_error.lock() = Some(error.to_string());
                    if !self.shared.back_off(BACKOFF) {
                        tracing::error!(%error, lost = sealed.records, "the journal was closed with records that could not be written");
                        return false;
                    }
                }
            }
        }
    }

    /// Makes the batch durable.
    fn store(&mut self, first: u64) -> Result<(), Error> {
        if self.active.given_up || !self.active.output.takes(self.batch.len()) {
            self.turn(first)?;
        }
        let output = &mut self.active.output;
        output.write(&self.batch).map_err(|e| Error::io(output.path(), e))?;
        #[cfg(test)]
        crate::crash::point("appended, not synced");
        match self.shared.durability {
            Durability::Disk => output.sync().map_err(|e| Error::io(output.path(), e))?,
            Durability::Process => self.shared.upkeep.sync_soon(output.file()),
        }
        output.advance(self.batch.len());
        Ok(())
    }

    /// Starts the segment whose first sequence number is `first`.
    fn turn(&mut self, first: u64) -> Result<(), Error> {
        let Shared { dir, durability, upkeep, .. } = &*self.shared;
        if !self.active.given_up
            && let Err(error) = self.active.output.truncate()
        {
            // Its trailing zeros stay. They waste space but do no harm.
            tracing::warn!(%error, "a full journal segment could not be truncated");
        }
        let next = Active::begin(dir, first, upkeep.take_prepared(), *durability).map_err(|e| Error::io(dir, e))?;
        if *durability == Durability::Process
            && let Ok(dir) = std::fs::File::open(dir)
        {
            upkeep.sync_soon(&Arc::new(dir));
        }
        #[cfg(test)]
        crate::crash::point("new segment started");
        self.active = next;
        Ok(())
    }

    /// Removes the batch from the segment if possible. It is not required: readers ignore the frames that the next
    /// segment holds too.
    fn give_up_segment(&mut self) {
        if !mem::replace(&mut self.active.given_up, true)
            && let Err(error) = self.active.output.truncate()
        {
            tracing::warn!(%error, "the failed batch could not be removed from its journal segment");
        }
    }

    /// Makes the batch visible to readers and wakes the waiters.
    fn publish(&mut self, sealed: &Sealed) {
        let Active { segment, output, listed, next_ordered, .. } = &mut self.active;
        segment.set_end(output.end());
        if !mem::replace(listed, true) {
            self.shared.table.push(segment.clone());
        }
        self.shared.batch_stored(sealed.first + sealed.records - 1);
        self.batch.clear();
        if self.batch.capacity() > KEPT_BUFFER {
            self.batch.shrink_to(KEPT_BUFFER);
        }
        if output.end() >= output.capacity() / 2 && !mem::replace(next_ordered, true) {
            self.ordered = self.ordered.saturating_mul(GROWTH).clamp(FIRST_CAPACITY, FULL_CAPACITY);
            self.shared.upkeep.prepare(self.ordered);
        }
    }
}

struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            process::abort();
        }
    }
}
