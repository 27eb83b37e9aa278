//! Statistics of the journal, for status and metrics.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::upkeep::NextSegment;

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
    pub(super) syncs: Times,
    pub(super) waits: Times,
}

impl Meter {
    pub(super) fn new() -> Self {
        Self { records: AtomicU64::new(0), bytes: AtomicU64::new(0), syncs: Times::new(), waits: Times::new() }
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

/// A histogram of durations: four buckets for each doubling of microseconds.
#[derive(Debug)]
pub(super) struct Times([AtomicU64; BUCKETS]);

const BUCKETS: usize = 128;

impl Times {
    fn new() -> Self {
        Self([const { AtomicU64::new(0) }; BUCKETS])
    }

    pub(super) fn count(&self, took: Duration) {
        self.0[bucket(took)].fetch_add(1, Ordering::Relaxed);
    }

    /// The number of durations.
    pub(super) fn len(&self) -> u64 {
        self.0.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }

    /// The duration that `hundredths` percent of them did not exceed. At most a quarter too long, never too short; zero
    /// if there were none.
    pub(super) fn quantile(&self, hundredths: u64) -> Duration {
        let rank = (self.len().saturating_mul(hundredths)).div_ceil(100);
        let mut below = 0;
        for (index, bucket) in self.0.iter().enumerate() {
            below += bucket.load(Ordering::Relaxed);
            if below >= rank && below > 0 {
                return limit(index);
            }
        }
        Duration::ZERO
    }
}

/// The bucket of a duration. Durations below 4 microseconds have a bucket each; above, the leading bit and the next two
/// bits select the bucket.
fn bucket(took: Duration) -> usize {
    let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let Some(octave) = us.checked_ilog2().filter(|octave| *octave >= 2) else { return us as usize };
    let quarter = (us >> (octave - 2)) & 3;
    ((octave as usize - 1) * 4 + quarter as usize).min(BUCKETS - 1)
}

/// The upper limit of a bucket: the start of the next one.
fn limit(bucket: usize) -> Duration {
    let next = bucket + 1;
    if next < 4 {
        return Duration::from_micros(next as u64);
    }
    Duration::from_micros((4 + next as u64 % 4) << (next / 4 - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_at_most_a_quarter_too_long_and_never_too_short() {
        for us in (0..5000).chain([1 << 20, 123_456_789]) {
            let meter = Meter::new();
            meter.count(1, 1, Duration::from_micros(us));
            let shown = meter.syncs.quantile(50).as_micros() as u64;
            assert!(shown >= us && shown <= us + us / 4 + 1, "{us} µs is shown as {shown}");
        }
    }

    #[test]
    fn rare_slow_syncs_show_only_in_the_99th_percentile() {
        let meter = Meter::new();
        for us in [100; 95].into_iter().chain([9000; 5]) {
            meter.count(3, 10, Duration::from_micros(us));
        }
        assert_eq!((meter.records(), meter.bytes(), meter.syncs.len()), (300, 1000, 100));
        assert!(meter.syncs.quantile(50) < Duration::from_micros(150), "{:?}", meter.syncs.quantile(50));
        assert!(meter.syncs.quantile(99) > Duration::from_micros(8999), "{:?}", meter.syncs.quantile(99));
    }
}
