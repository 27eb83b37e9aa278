//! The journal and the store for readers, and the waits until both contain the records that a query asks for.
//!
//! * A window of events is closed before it is read, so that no event is added to it later.
//! * The store follows the journal a moment later (`upkeep`). A reader that needs a record in the store waits for it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::{sleep, timeout};

use super::{core::Core, error::Error, upkeep::handle::Handle};
use crate::{
    journal::{Barrier, Damage},
    store::Store,
};

/// How far in the future a window's end may be for a read to wait for it. A later end means now.
const AHEAD: Duration = Duration::from_secs(5);

/// The longest wait of a read for records that are not durable yet.
const DURABLE_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest wait for the store to catch up.
const CATCH_UP: Duration = Duration::from_secs(30);

/// The journal and the store.
pub struct Storage {
    /// Configuration, clocks, catalog and journal.
    pub core: Arc<Core>,
    /// The tables computed from the journal.
    pub store: Store,
    /// The background thread, which applies records to the store.
    pub(super) upkeep: Handle,
    /// Why the store has stopped following the journal; `None` while it follows.
    pub(super) fold_error: Mutex<Option<String>>,
    /// Why days cannot be closed, snapshots written or old events removed; `None` while they can.
    pub(super) housekeeping_error: Mutex<Option<String>>,
}

impl Storage {
    pub(super) fn new(core: Arc<Core>, store: Store, upkeep: Handle) -> Self {
        Self { core, store, upkeep, fold_error: Mutex::default(), housekeeping_error: Mutex::default() }
    }

    /// Closes a window that ends at `end_ms` (Unix ms), or now. Afterwards all of its events are readable and no more
    /// are added. Fails as unavailable if its records do not become durable in time.
    pub(super) async fn close_window(&self, end_ms: Option<u64>) -> Result<Barrier, Error> {
        let journal = &self.core.journal;
        let wanted_end = end_ms.unwrap_or(u64::MAX);
        let ahead = Duration::from_millis(wanted_end.saturating_sub(journal.now_ms()));
        if !ahead.is_zero() && ahead <= AHEAD {
            sleep(ahead).await;
        }
        let window = journal.barrier(wanted_end);
        if timeout(DURABLE_TIMEOUT, journal.durable(window.seq)).await.is_err() {
            let why = self.core.metering_error();
            return Err(Error::Unavailable(why.unwrap_or_else(|| "The journal is slow. Try again later.".to_owned())));
        }
        Ok(window)
    }

    /// Waits until the store has applied the record `seq`, which must be durable. Fails as unavailable if the store
    /// does not catch up in time.
    pub(super) async fn folded(&self, seq: u64) -> Result<(), Error> {
        timeout(CATCH_UP, self.upkeep.folded(seq)).await.map_err(|_| {
            let why = self.fold_error.lock().clone();
            Error::Unavailable(why.unwrap_or_else(|| "The store is behind the journal. Try again later.".to_owned()))
        })
    }

    /// Waits until the store has applied every record that exists now.
    pub(super) async fn folded_by_now(&self) -> Result<(), Error> {
        let window = self.close_window(None).await?;
        self.folded(window.seq).await
    }

    /// The records that totals do not include, in order. Totals (sums, rollups) permanently lack a record that was
    /// already damaged when the store reached it.
    pub fn missing_from_totals(&self) -> Vec<Damage> {
        // A store that cannot be read is reported elsewhere.
        self.store.missing().unwrap_or_default()
    }

    /// The records that are known to be unreadable, in order. Lists of events lack all of them.
    pub fn unreadable(&self) -> Vec<Damage> {
        self.unreadable_beside(self.missing_from_totals())
    }

    /// The same, if [`Self::missing_from_totals`] has been read already.
    pub(super) fn unreadable_beside(&self, missing: Vec<Damage>) -> Vec<Damage> {
        let known = missing.into_iter().chain(self.core.journal.damage());
        let by_first: BTreeMap<u64, Damage> = known.map(|damage| (*damage.missing.start(), damage)).collect();
        by_first.into_values().collect()
    }
}
