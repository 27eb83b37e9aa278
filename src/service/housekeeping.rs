//! What is done now and then so that a start is quick and the disk does not fill: days are closed, snapshots written,
//! and what is past its retention removed.
//!
//! Whole segments of the journal go, oldest first, and only those that nobody needs any more: all of their events are
//! older than `events_retention`, the rollups of their days are in files, a store can be built without them from either
//! of two snapshots, and enabled webhooks have delivered them. Those are waited for up to twice the retention; a disabled
//! one keeps nothing.

use std::time::{Duration, Instant};

use tracing::info;

use super::Gateway;
use crate::{
    journal::SegmentInfo,
    store::{FoldError, StoreError, snapshot},
};

/// A snapshot takes at most this part of the time: the larger the store, the rarer they are.
const BETWEEN_SNAPSHOTS: u32 = 20;

/// How often it is looked what is past its retention.
const RETENTION_INTERVAL: Duration = Duration::from_secs(60);

/// What is due when.
pub(super) struct Housekeeping {
    /// The last record that the newest snapshot contains.
    newest_snapshot: u64,
    no_snapshot_before: Instant,
    no_removal_before: Instant,
}

impl Housekeeping {
    pub(super) fn new(gateway: &Gateway) -> Self {
        let snapshots = snapshot::list(&gateway.config.data_dir).unwrap_or_default();
        let now = Instant::now();
        Self {
            newest_snapshot: snapshots.first().map_or(0, |newest| newest.applied),
            no_snapshot_before: now,
            no_removal_before: now,
        }
    }

    /// Does what is due. The store has just taken in what was durable.
    pub(super) fn round(&mut self, gateway: &Gateway) -> Result<(), FoldError> {
        gateway.close_days()?;
        let has_turned = gateway.journal.newest_segment() > self.newest_snapshot.saturating_add(1);
        if has_turned && Instant::now() >= self.no_snapshot_before {
            self.snapshot(gateway)?;
        }
        if Instant::now() >= self.no_removal_before {
            self.no_removal_before = Instant::now() + RETENTION_INTERVAL;
            gateway.remove_old_segments()?;
        }
        Ok(())
    }

    /// Writes a snapshot if there is anything new to keep.
    pub(super) fn snapshot(&mut self, gateway: &Gateway) -> Result<(), StoreError> {
        if gateway.store.applied()? == self.newest_snapshot {
            return Ok(());
        }
        let began = Instant::now();
        let written = gateway.store.write_snapshot();
        // One that failed is not tried again at once either.
        self.no_snapshot_before = Instant::now() + began.elapsed() * BETWEEN_SNAPSHOTS + Duration::from_secs(1);
        let snapshot = written?;
        self.newest_snapshot = snapshot.applied;
        self.no_removal_before = Instant::now();
        info!(record = snapshot.applied, bytes = snapshot.bytes, took = ?began.elapsed(), "a snapshot was written");
        Ok(())
    }
}

impl Gateway {
    /// Puts the rollups of days that have ended into files, once all their records have been taken in.
    fn close_days(&self) -> Result<(), StoreError> {
        let today = self.now().day();
        if self.store.first_open_day()?.is_none_or(|first| first >= today) {
            return Ok(());
        }
        let midnight = self.journal.barrier(today.start_unix_ms());
        if self.store.applied()? < midnight.seq {
            return Ok(());
        }
        for day in self.store.close_days(today)? {
            info!(day = day.date(), "the day's rollups were written");
        }
        self.store.flush()
    }

    fn remove_old_segments(&self) -> Result<(), FoldError> {
        let failed = |error: &dyn std::fmt::Display| FoldError::Journal(error.to_string());
        let snapshots = snapshot::list(&self.config.data_dir).map_err(|error| failed(&error))?;
        let Some(older) = snapshots.get(1) else { return Ok(()) };
        let segments = self.journal.segments().map_err(|error| failed(&error))?;
        let kept_ms = u64::try_from(self.config.events_retention.as_millis()).unwrap_or(u64::MAX);
        let now_ms = self.journal.now_ms();
        let webhooks = self.needed_by_webhooks();
        let retention = Retention {
            before_ms: now_ms.saturating_sub(kept_ms),
            open_day_ms: self.store.first_open_day()?.map_or(u64::MAX, |open| open.start_unix_ms()),
            base: older.applied,
            webhooks_from: webhooks.iter().map(|(_, first)| *first).min().unwrap_or(u64::MAX),
            webhooks_before_ms: now_ms.saturating_sub(kept_ms.saturating_mul(2)),
        };
        let Some(first_kept) = retention.first_kept(&segments) else { return Ok(()) };
        for (webhook, first) in webhooks {
            if first < first_kept {
                self.skip_for_webhook(&webhook, first_kept);
            }
        }
        self.store.keep_from(first_kept)?;
        let removed = self.journal.remove_before(first_kept).map_err(|error| failed(&error))?;
        info!(segments = removed, first_record = first_kept, "events past their retention were removed");
        Ok(())
    }
}

/// What keeps a segment of the journal. Times are Unix ms.
struct Retention {
    /// Younger events are kept.
    before_ms: u64,
    /// So are those of the first day whose rollups are not in a file, and of later ones.
    open_day_ms: u64,
    /// The last record that the older snapshot contains.
    base: u64,
    /// The first record that an enabled webhook has not delivered.
    webhooks_from: u64,
    /// Older events are not kept for webhooks any more.
    webhooks_before_ms: u64,
}

impl Retention {
    /// The first record that is to be kept; `None` if all of them are.
    fn first_kept(&self, segments: &[SegmentInfo]) -> Option<u64> {
        // A segment is old if the one after it begins with a record that is.
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
    fn what_is_old_and_needed_by_nobody_goes() {
        assert_eq!(OLD.first_kept(&segments()), Some(501));
        assert_eq!(Retention { before_ms: 99, ..OLD }.first_kept(&segments()), None);
        assert_eq!(Retention { before_ms: u64::MAX, ..OLD }.first_kept(&segments()), Some(901), "the last one stays");
        assert_eq!(Retention { open_day_ms: 300, ..OLD }.first_kept(&segments()), Some(301));
        assert_eq!(Retention { base: 250, ..OLD }.first_kept(&segments()), Some(201));
        assert_eq!(OLD.first_kept(&[]), None);
    }

    #[test]
    fn a_webhook_that_is_behind_keeps_its_events_for_as_long_again() {
        for (webhooks_from, first_kept) in [(1, None), (200, Some(101)), (201, Some(201)), (9000, Some(501))] {
            assert_eq!(Retention { webhooks_from, ..OLD }.first_kept(&segments()), first_kept, "{webhooks_from}");
        }
        let given_up = Retention { webhooks_from: 1, webhooks_before_ms: 250, ..OLD };
        assert_eq!(given_up.first_kept(&segments()), Some(201));
    }
}
