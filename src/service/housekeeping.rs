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
use crate::store::{FoldError, StoreError, snapshot};

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
        let kept_ms = u64::try_from(self.config.events_retention.as_millis()).unwrap_or(u64::MAX);
        let now_ms = self.journal.now_ms();
        let mut before_ms = now_ms.saturating_sub(kept_ms);
        if let Some(open) = self.store.first_open_day()? {
            before_ms = before_ms.min(open.start_unix_ms());
        }
        let waited_for_ms = now_ms.saturating_sub(kept_ms.saturating_mul(2));
        let webhooks = self.needed_by_webhooks();
        let needed = webhooks.iter().map(|(_, first)| *first).min().unwrap_or(u64::MAX);
        let failed = |error: &dyn std::fmt::Display| FoldError::Journal(error.to_string());
        let snapshots = snapshot::list(&self.config.data_dir).map_err(|error| failed(&error))?;
        let Some(older) = snapshots.get(1) else { return Ok(()) };
        let segments = self.journal.segments().map_err(|error| failed(&error))?;
        // A segment is old if the one after it begins with a record that is.
        let is_old = |segment: &&crate::journal::SegmentInfo| {
            let is_before = |end_ms| segment.first_at_ms.is_some_and(|at_ms| at_ms <= end_ms);
            let is_delivered = segment.first_seq <= needed || is_before(waited_for_ms);
            is_before(before_ms) && is_delivered && segment.first_seq <= older.applied
        };
        let Some(first_kept) = segments.iter().skip(1).take_while(is_old).last() else { return Ok(()) };
        for (webhook, first) in webhooks {
            if first < first_kept.first_seq {
                self.skip_for_webhook(&webhook, first_kept.first_seq);
            }
        }
        self.store.keep_from(first_kept.first_seq)?;
        let removed = self.journal.remove_before(first_kept.first_seq).map_err(|error| failed(&error))?;
        info!(segments = removed, first_record = first_kept.first_seq, "events past their retention were removed");
        Ok(())
    }
}
