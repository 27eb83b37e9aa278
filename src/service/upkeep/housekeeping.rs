//! Periodic work that keeps starts fast and keeps the disk from filling up: it closes days, writes snapshots and
//! removes segments past their retention.
//!
//! The journal is removed in whole segments, oldest first. A segment is removed when all of these hold:
//! * all of its events are older than `events_retention`,
//! * the rollups of its days are in files,
//! * a store can be built without it from either of the two snapshots,
//! * all enabled webhooks have delivered it, or its events are older than twice the retention. Disabled webhooks keep
//!   no segment.

use std::time::{Duration, Instant};

use tracing::info;

use crate::{
    journal::SegmentInfo,
    service::{storage::Storage, webhooks::Webhooks},
    store::{FoldError, StoreError, snapshot},
};

/// The pause after a snapshot is this many times the time that the snapshot took, so a larger store is snapshotted less
/// often.
const BETWEEN_SNAPSHOTS: u32 = 20;

/// How often segments past their retention are looked for.
const RETENTION_INTERVAL: Duration = Duration::from_secs(60);

/// The periodic work and its schedule.
pub(super) struct Housekeeping<'a> {
    storage: &'a Storage,
    webhooks: &'a Webhooks,
    /// The last record that the newest snapshot contains.
    newest_snapshot: u64,
    no_snapshot_before: Instant,
    no_removal_before: Instant,
}

impl<'a> Housekeeping<'a> {
    pub(super) fn new(storage: &'a Storage, webhooks: &'a Webhooks) -> Self {
        let snapshots = snapshot::list(&storage.core.config.data_dir).unwrap_or_default();
        let now = Instant::now();
        Self {
            storage,
            webhooks,
            newest_snapshot: snapshots.first().map_or(0, |newest| newest.applied),
            no_snapshot_before: now,
            no_removal_before: now,
        }
    }

    /// Does the work that is due. Called after the store has applied all durable records.
    pub(super) fn round(&mut self) -> Result<(), FoldError> {
        self.close_days()?;
        let has_turned = self.storage.core.journal.newest_segment() > self.newest_snapshot.saturating_add(1);
        if has_turned && Instant::now() >= self.no_snapshot_before {
            self.snapshot()?;
        }
        if Instant::now() >= self.no_removal_before {
            self.no_removal_before = Instant::now() + RETENTION_INTERVAL;
            self.remove_old_segments()?;
        }
        Ok(())
    }

    /// Writes a snapshot unless the newest one is up to date.
    pub(super) fn snapshot(&mut self) -> Result<(), StoreError> {
        let store = &self.storage.store;
        if store.applied()? == self.newest_snapshot {
            return Ok(());
        }
        let began = Instant::now();
        let written = store.write_snapshot();
        // The pause also applies after a failed attempt.
        self.no_snapshot_before = Instant::now() + began.elapsed() * BETWEEN_SNAPSHOTS + Duration::from_secs(1);
        let snapshot = written?;
        self.newest_snapshot = snapshot.applied;
        self.no_removal_before = Instant::now();
        info!(record = snapshot.applied, bytes = snapshot.bytes, took = ?began.elapsed(), "a snapshot was written");
        Ok(())
    }

    /// Writes the rollups of ended days to files, once the store has applied all of their records.
    fn close_days(&self) -> Result<(), StoreError> {
        let Storage { core, store, .. } = self.storage;
        let today = core.now().day();
        if store.first_open_day()?.is_none_or(|first| first >= today) {
            return Ok(());
        }
        let midnight = core.journal.barrier(today.start_unix_ms());
        if store.applied()? < midnight.seq {
            return Ok(());
        }
        for day in store.close_days(today)? {
            info!(day = day.date(), "the day's rollups were written");
        }
        store.flush()
    }

    fn remove_old_segments(&self) -> Result<(), FoldError> {
        let failed = |error: &dyn std::fmt::Display| FoldError::Journal(error.to_string());
        let Storage { core, store, .. } = self.storage;
        let snapshots = snapshot::list(&core.config.data_dir).map_err(|error| failed(&error))?;
        let Some(older) = snapshots.get(1) else { return Ok(()) };
        let segments = core.journal.segments().map_err(|error| failed(&error))?;
        let kept_ms = u64::try_from(core.config.events_retention.as_millis()).unwrap_or(u64::MAX);
        let now_ms = core.journal.now_ms();
        let webhooks = self.webhooks.needed_records();
        let retention = Retention {
            before_ms: now_ms.saturating_sub(kept_ms),
            open_day_ms: store.first_open_day()?.map_or(u64::MAX, |open| open.start_unix_ms()),
            base: older.applied,
            webhooks_from: webhooks.iter().map(|(_, first)| *first).min().unwrap_or(u64::MAX),
            webhooks_before_ms: now_ms.saturating_sub(kept_ms.saturating_mul(2)),
        };
        let Some(first_kept) = retention.first_kept(&segments) else { return Ok(()) };
        for (webhook, first) in webhooks {
            if first < first_kept {
                self.webhooks.skip_to(&webhook, first_kept);
            }
        }
        store.keep_from(first_kept)?;
        let removed = core.journal.remove_before(first_kept).map_err(|error| failed(&error))?;
        info!(segments = removed, first_record = first_kept, "events past their retention were removed");
        Ok(())
    }
}

/// The conditions that keep a segment of the journal. Times are Unix ms.
struct Retention {
    /// Events from this time on are kept.
    before_ms: u64,
    /// The start of the first day whose rollups are not in a file. Events from this time on are kept.
    open_day_ms: u64,
    /// The last record that the older snapshot contains. Later records are kept.
    base: u64,
    /// The first record that an enabled webhook has not delivered.
    webhooks_from: u64,
    /// Events before this time are not kept for webhooks.
    webhooks_before_ms: u64,
}

impl Retention {
    /// The first record to keep; `None` if all segments are kept.
    fn first_kept(&self, segments: &[SegmentInfo]) -> Option<u64> {
        // A segment can be removed if the first record of the next one is old enough.
        let may_begin_with = |next: &&SegmentInfo| {
            let is_before = |end_ms| next.first_at_ms.is_some_and(|at_ms| at_ms <= end_ms);
            let is_delivered = next.first_seq <= self.webhooks_from || is_before(self.webhooks_before_ms);
            is_before(self.before_ms.min(self.open_day_ms)) && is_delivered && next.first_seq <= self.base
        };
        segments.iter().skip(1).take_while(may_begin_with).last().map(|first| first.first_seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Segments of a hundred records and a hundred milliseconds each.
    fn segments() -> Vec<SegmentInfo> {
        let segment = |n: u64| SegmentInfo {
            path: std::path::PathBuf::new(),
            first_seq: 100 * n + 1,
            first_at_ms: Some(100 * n),
            bytes: 0,
        };
        (0..10).map(segment).collect()
    }

    const OLD: Retention = Retention {
        before_ms: 550,
        open_day_ms: u64::MAX,
        base: u64::MAX,
        webhooks_from: u64::MAX,
        webhooks_before_ms: 0,
    };

    #[test]
    fn old_segments_that_are_no_longer_needed_are_removed() {
        assert_eq!(OLD.first_kept(&segments()), Some(501));
        assert_eq!(Retention { before_ms: 99, ..OLD }.first_kept(&segments()), None);
        assert_eq!(Retention { before_ms: u64::MAX, ..OLD }.first_kept(&segments()), Some(901), "the last one stays");
        assert_eq!(Retention { open_day_ms: 300, ..OLD }.first_kept(&segments()), Some(301));
        assert_eq!(Retention { base: 250, ..OLD }.first_kept(&segments()), Some(201));
        assert_eq!(OLD.first_kept(&[]), None);
    }

    #[test]
    fn a_webhook_with_a_backlog_keeps_its_events_for_twice_the_retention() {
        for (webhooks_from, first_kept) in [(1, None), (200, Some(101)), (201, Some(201)), (9000, Some(501))] {
            assert_eq!(Retention { webhooks_from, ..OLD }.first_kept(&segments()), first_kept, "{webhooks_from}");
        }
        let given_up = Retention { webhooks_from: 1, webhooks_before_ms: 250, ..OLD };
        assert_eq!(given_up.first_kept(&segments()), Some(201));
    }
}
