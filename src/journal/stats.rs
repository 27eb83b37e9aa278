//! Statistics of the journal, for status and metrics.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::upkeep::NextSegment;
use crate::domain::durations::Durations;

/// The journal's statistics. Counters start at zero with the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// Records that became durable.
    pub records: u64,
    /// Their bytes, including frame headers.
    pub bytes: u64,
    /// Writes that made them durable. On average, `records / syncs` records shared one.
    pub syncs: u64,
    /// The median duration of a write, including its sync if there is one.
    pub sync_p50: Duration,
    /// The 99th percentile of that duration.
    pub sync_p99: Duration,
    /// The median time that the first record of a write waited until it was durable.
    pub wait_p50: Duration,
    /// The 99th percentile of that time.
    pub wait_p99: Duration,
    /// The first sequence number that is still stored; 0 in an empty journal.
    pub first_seq: u64,
    /// The timestamp of that record, Unix milliseconds.
    pub first_at_ms: Option<u64>,
    /// The last sequence number that was assigned.
    pub last_seq: u64,
    /// The last durable sequence number.
    pub durable_seq: u64,
    /// Bytes of records that are not durable yet.
    pub pending_bytes: u64,
    /// Segments that hold records.
    pub segments: usize,
    /// Bytes of records in all segments.
    pub log_bytes: u64,
    /// The state of the next segment.
    pub next_segment: NextSegment,
}

/// Counters that only the writer thread updates.
#[derive(Debug)]
pub(super) struct Meter {
    records: AtomicU64,
    bytes: AtomicU64,
    pub(super) syncs: Durations,
    pub(super) waits: Durations,
}

impl Meter {
    pub(super) fn new() -> Self {
        Self {
            records: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            syncs: Durations::default(),
            waits: Durations::default(),
        }
    }

    pub(super) fn count(&self, records: u64, bytes: usize, took: Duration) {
        self.records.fetch_add(records, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.syncs.count(took);
    }

    pub(super) fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}
