//! The background thread. It applies new journal records to the store, makes alerts (`alerts`), does the periodic work
//! on the data directory (`housekeeping`), reads the counters (`activity`), frees empty cells of the ledgers, and logs
//! when billing stops and resumes.

use std::{
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tracing::{error, info};

use super::{
    activity::{CounterReader, Recorder},
    alerts::Alerts,
    handle::Wake,
    housekeeping::Housekeeping,
};
use crate::{
    service::{storage::Storage, webhooks::Webhooks},
    store::{FoldError, Folder, StoreError},
};

/// How often the store applies new durable records.
const FOLD_INTERVAL: Duration = Duration::from_millis(500);

/// The shortest time between two attempts to rebuild a failed store.
const BUILD_INTERVAL: Duration = Duration::from_secs(2);

/// How often the ledgers are swept, and how many cells are swept under one lock, which bounds the wait of an admission.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);
const SWEEP_CELLS: usize = 256;

/// The running thread.
pub(in crate::service) struct Upkeep {
    storage: Arc<Storage>,
    thread: thread::JoinHandle<()>,
    /// Disconnected when the thread ends.
    running: mpsc::Receiver<()>,
}

/// The parts of the gateway that the thread works on.
pub(in crate::service) struct Work {
    pub(in crate::service) storage: Arc<Storage>,
    pub(in crate::service) webhooks: Arc<Webhooks>,
    pub(in crate::service) activity: Arc<Recorder>,
}

impl Upkeep {
    pub(in crate::service) fn start(work: Work, woken: mpsc::Receiver<Wake>) -> std::io::Result<Self> {
        let storage = work.storage.clone();
        let (ends, running) = mpsc::channel();
        let run = move || {
            let _ends: mpsc::Sender<()> = ends;
            work.keep_up(&woken);
        };
        let thread = thread::Builder::new().name("upkeep".to_owned()).spawn(run)?;
        Ok(Self { storage, thread, running })
    }

    /// Applies the remaining records and ends the thread. Returns false after `timeout`, so that a hanging disk cannot
    /// block the shutdown.
    pub(in crate::service) fn stop(self, timeout: Duration) -> bool {
        let _ = self.storage.upkeep.wake.send(Wake::Stop);
        if self.running.recv_timeout(timeout) == Err(mpsc::RecvTimeoutError::Timeout) {
            error!("the store could not be written completely; the next start catches up from the journal");
            return false;
        }
        if self.thread.join().is_err() {
            error!("the upkeep thread panicked");
        }
        true
    }
}

impl Work {
    fn keep_up(&self, woken: &mpsc::Receiver<Wake>) {
        let Self { storage, webhooks, activity } = self;
        let mut folder = match Folder::new(&storage.store, &storage.core.journal) {
            Ok(folder) => folder,
            Err(error) => return self.note_fold(Err(error.into())),
        };
        let mut housekeeping = Housekeeping::new(storage, webhooks);
        let mut alerts = Alerts::new(storage);
        let mut reading = CounterReader::begin(activity);
        let (mut swept, mut built) = (Instant::now(), None);
        let mut could_meter = true;
        // The first round makes the alerts that a crash has prevented.
        let mut wait = Duration::ZERO;
        loop {
            let is_last = matches!(woken.recv_timeout(wait), Ok(Wake::Stop));
            wait = FOLD_INTERVAL;
            let folded = self.build_failed_store(&mut built).and_then(|()| self.fold(&mut folder, &mut alerts));
            let kept_up = folded.is_ok();
            self.note_fold(self.give_up_on_failure(folded));
            could_meter = self.note_metering(could_meter);
            reading.round(could_meter);
            // On a full disk, leave the free space to the journal.
            if kept_up && could_meter {
                let done = housekeeping.round();
                self.note_housekeeping(self.give_up_on_failure(done));
            }
            if is_last {
                reading.write();
                return self.note_housekeeping(housekeeping.snapshot().map_err(FoldError::from));
            }
            if swept.elapsed() >= SWEEP_INTERVAL {
                self.sweep_ledgers();
                swept = Instant::now();
            }
        }
    }

    /// Gives up the store after an error of sled or damage, since it can no longer be trusted.
    fn give_up_on_failure(&self, done: Result<(), FoldError>) -> Result<(), FoldError> {
        if let Err(FoldError::Store(StoreError::Sled(_) | StoreError::Damaged(_))) = &done {
            // Reports wait until a new store has caught up.
            self.storage.upkeep.applied.send_replace(0);
            self.storage.store.give_up()?;
        }
        done
    }

    /// Rebuilds the store if it was given up. After a failure this is tried again every [`BUILD_INTERVAL`].
    fn build_failed_store(&self, built: &mut Option<Instant>) -> Result<(), FoldError> {
        if !self.storage.store.is_closed() {
            return Ok(());
        }
        if built.is_some_and(|built| built.elapsed() < BUILD_INTERVAL) {
            return Err(StoreError::Closed.into());
        }
        *built = Some(Instant::now());
        self.storage.store.rebuild(&self.storage.core.journal)?;
        info!("the store was rebuilt after it had failed");
        Ok(())
    }

    fn fold(&self, folder: &mut Folder<'_>, alerts: &mut Alerts<'_>) -> Result<(), FoldError> {
        let records = folder.catch_up()?;
        self.storage.upkeep.applied.send_replace(self.storage.store.applied()?);
        alerts.round()?;
        let used = self.storage.core.catalog.load().operators_used();
        let is_new = self.storage.store.note_operators_used(&used)?;
        if records > 0 || is_new { Ok(self.storage.store.flush()?) } else { Ok(()) }
    }

    /// Logs when the store stops following the journal and when it follows again, but not each failed round in between.
    fn note_fold(&self, folded: Result<(), FoldError>) {
        if matches!(folded, Err(FoldError::Store(StoreError::Closed))) && self.storage.fold_error.lock().is_some() {
            return; // the reason has been logged
        }
        let now = folded.err().map(|error| format!("The store does not follow the journal: {error}."));
        match note(&self.storage.fold_error, now) {
            Some(Some(error)) => error!("{error} Tollgate is retrying. Nothing is lost: the journal has every record."),
            Some(None) => info!("the store follows the journal again"),
            None => {}
        }
    }

    fn note_housekeeping(&self, done: Result<(), FoldError>) {
        let now = done.err().map(|error| format!("Rollups, snapshots or retention are delayed: {error}."));
        match note(&self.storage.housekeeping_error, now) {
            Some(Some(error)) => error!("{error} Tollgate is retrying."),
            Some(None) => info!("rollups, snapshots and retention are up to date again"),
            None => {}
        }
    }

    /// Logs when requests begin to be refused because they cannot be billed, and when that ends.
    fn note_metering(&self, could_meter: bool) -> bool {
        let problem = self.storage.core.metering_error();
        match &problem {
            Some(why) if could_meter => error!("requests are refused because they cannot be billed: {why}"),
            None if !could_meter => info!("requests are accepted again"),
            _ => {}
        }
        problem.is_none()
    }

    /// Frees empty cells of the ledgers.
    fn sweep_ledgers(&self) {
        let moment = self.storage.core.moment();
        for node in self.storage.core.catalog.load().groups().values().filter(|node| node.parent.is_none()) {
            let ledger = &node.tree.ledger;
            let cells = ledger.lock().cells();
            (0..cells).step_by(SWEEP_CELLS).for_each(|_| ledger.lock().sweep(moment, SWEEP_CELLS));
        }
    }
}

/// Stores the current error, or that there is none. Returns it if it has changed.
fn note(known: &Mutex<Option<String>>, now: Option<String>) -> Option<Option<String>> {
    let mut known = known.lock();
    (*known != now).then(|| {
        known.clone_from(&now);
        now
    })
}
