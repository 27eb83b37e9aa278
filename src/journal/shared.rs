//! The state of an open journal, and the queue of records that wait for the writer.

use std::{
    mem,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

use super::{
    clock::Clock,
    damage::{Damage, DamageList},
    durability::Durability,
    frame,
    recover::Recovered,
    segment::Table,
    stats::Meter,
    upkeep::Upkeep,
    wait::Progress,
};

/// The state that handles, readers and the two threads share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) dir: PathBuf,
    pub(super) durability: Durability,
    pub(super) clock: Clock,
    pub(super) queue: Mutex<Queue>,
    /// Wakes the writer: records are queued, or the journal is closing.
    pub(super) queued: Condvar,
    pub(super) progress: Arc<Progress>,
    /// Bytes of the batch that is being written.
    pub(super) in_flight: AtomicUsize,
    /// The sequence number and the timestamp (Unix milliseconds) of that batch's first record.
    pub(super) in_flight_seq: AtomicU64,
    pub(super) in_flight_ms: AtomicU64,
    /// When the oldest record of that batch was appended: microseconds after `epoch`, plus one; 0: none.
    pub(super) in_flight_since: AtomicU64,
    pub(super) epoch: Instant,
    pub(super) table: Table,
    pub(super) damage: DamageList,
    pub(super) upkeep: Upkeep,
    pub(super) meter: Meter,
    /// A copy of `queue.last_ms` that can be read without the lock.
    pub(super) last_ms: AtomicU64,
    /// Why the last attempt to write failed. Cleared when an attempt succeeds.
    pub(super) last_error: Mutex<Option<String>>,
}

/// The records that were appended and that the writer has not taken yet.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) frames: Vec<u8>,
    pub(super) last_seq: u64,
    /// The earliest time of the next record: the last record's time, or a barrier's if that is later.
    pub(super) last_ms: u64,
    /// The last record's time.
    pub(super) last_record_ms: u64,
    /// When the first of `frames` was appended.
    pub(super) since: Option<Instant>,
    /// The writer is idle and must be woken.
    pub(super) writer_idle: bool,
    pub(super) closing: bool,
    /// Records that cannot be written are dropped.
    pub(super) abandoned: bool,
}

impl Shared {
    pub(super) fn new(dir: &Path, durability: Durability, clock: Clock, recovered: Recovered) -> Arc<Self> {
        let Recovered { segments, last_seq, last_ms, damage, .. } = recovered;
        let shared = Arc::new(Self {
            dir: dir.to_owned(),
            durability,
            clock,
            queue: Mutex::new(Queue {
                frames: Vec::new(),
                last_seq,
                last_ms,
                last_record_ms: last_ms,
                since: None,
                writer_idle: false,
                closing: false,
                abandoned: false,
            }),
            queued: Condvar::new(),
            progress: Arc::new(Progress::new(last_seq)),
            in_flight: AtomicUsize::new(0),
            in_flight_seq: AtomicU64::new(0),
            in_flight_ms: AtomicU64::new(0),
            in_flight_since: AtomicU64::new(0),
            epoch: Instant::now(),
            table: Table::new(segments),
            damage: DamageList::default(),
            upkeep: Upkeep::new(dir.to_owned(), durability),
            meter: Meter::new(),
            last_ms: AtomicU64::new(last_ms),
            last_error: Mutex::new(None),
        });
        damage.into_iter().for_each(|damage| shared.note_damage(damage));
        shared
    }

    /// Waits for queued records and swaps them into `batch`, which must be empty. Returns false if the journal is
    /// closed and no records are left.
    pub(super) fn take_batch(&self, batch: &mut Vec<u8>) -> bool {
        let mut queue = self.queue.lock();
        while queue.frames.is_empty() {
            if queue.closing {
                return false;
            }
            queue.writer_idle = true;
            self.queued.wait(&mut queue);
        }
        mem::swap(&mut queue.frames, batch);
        let since = queue.since.take().unwrap_or(self.epoch).saturating_duration_since(self.epoch).as_micros();
        if let Some((seq, at_ms)) = frame::first(batch) {
            self.in_flight_seq.store(seq, Ordering::Relaxed);
            self.in_flight_ms.store(at_ms, Ordering::Relaxed);
        }
        self.in_flight.store(batch.len(), Ordering::Release);
        self.in_flight_since.store(u64::try_from(since).unwrap_or(u64::MAX - 1).saturating_add(1), Ordering::Relaxed);
        true
    }

    /// Publishes that the batch is durable up to the sequence number `last`.
    pub(super) fn batch_stored(&self, last: u64) {
        let since = self.in_flight_since.swap(0, Ordering::Relaxed).saturating_sub(1);
        self.meter.waits.count(self.epoch.elapsed().saturating_sub(Duration::from_micros(since)));
        self.in_flight.store(0, Ordering::Relaxed);
        self.progress.publish(last);
    }

    /// Pauses the writer after a failure. Returns false if the records that cannot be written are to be dropped.
    pub(super) fn back_off(&self, pause: Duration) -> bool {
        let mut queue = self.queue.lock();
        if !queue.abandoned {
            self.queued.wait_for(&mut queue, pause);
        }
        !queue.abandoned
    }

    pub(super) fn note_damage(&self, damage: Damage) {
        let Damage { missing, file, offset, bytes, .. } = &damage;
        let (first, last, file, offset, bytes) =
            (*missing.start(), *missing.end(), file.display().to_string(), *offset, *bytes);
        if self.damage.note(damage) {
            tracing::error!(first, last, file, offset, bytes, "journal records are missing or unreadable");
        }
    }
}
