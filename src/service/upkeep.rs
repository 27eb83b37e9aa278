//! The thread that works behind the requests: it keeps the store up to date with the journal and the data directory in
//! order (`housekeeping`), reads the counters (`activity`), frees what has run empty in the ledgers, and says in the log
//! when billing stops and when it goes on.

use std::{
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::{error, info};

use super::{Gateway, activity::Reading, error::Error, housekeeping::Housekeeping};
use crate::store::{FoldError, Folder, StoreError};

/// How often the store takes in what has become durable.
const FOLD_INTERVAL: Duration = Duration::from_millis(500);

/// How long is waited for the store to catch up.
const CATCH_UP: Duration = Duration::from_secs(30);

/// How often a store that has failed is built anew at most.
const BUILD_INTERVAL: Duration = Duration::from_secs(2);

/// How often the ledgers are looked through, and how many cells at a time: an admission waits no longer than for those.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);
const SWEEP_CELLS: usize = 256;

/// The running thread.
pub(super) struct Upkeep {
    gateway: Arc<Gateway>,
    thread: thread::JoinHandle<()>,
    /// Hung up when the thread ends.
    running: mpsc::Receiver<()>,
}

/// Why the thread is woken before its time.
pub(super) enum Wake {
    /// Somebody waits for the store to take in what is durable.
    Fold,
    /// The last round is due.
    Stop,
}

/// How the thread is reached.
pub(super) struct Handle {
    wake: mpsc::Sender<Wake>,
    /// The last record that the store has taken in.
    applied: watch::Sender<u64>,
}

impl Handle {
    pub(super) fn new() -> (Self, mpsc::Receiver<Wake>) {
        let (wake, woken) = mpsc::channel();
        (Self { wake, applied: watch::Sender::new(0) }, woken)
    }

    /// Waits until the store has taken in the record `seq`, which is durable.
    pub(super) async fn folded(&self, seq: u64) {
        let mut applied = self.applied.subscribe();
        if *applied.borrow() < seq {
            let _ = self.wake.send(Wake::Fold);
            let _ = applied.wait_for(|applied| *applied >= seq).await;
        }
    }
}

impl Upkeep {
    pub(super) fn start(gateway: &Arc<Gateway>, woken: mpsc::Receiver<Wake>) -> std::io::Result<Self> {
        let own = gateway.clone();
        let (ends, running) = mpsc::channel();
        let work = move || {
            let _ends: mpsc::Sender<()> = ends;
            own.keep_up(&woken);
        };
        let thread = thread::Builder::new().name("upkeep".to_owned()).spawn(work)?;
        Ok(Self { gateway: gateway.clone(), thread, running })
    }

    /// Takes in the rest and ends. False if that took longer than `timeout`: a disk that hangs keeps nobody here.
    pub(super) fn stop(self, timeout: Duration) -> bool {
        let _ = self.gateway.upkeep.wake.send(Wake::Stop);
        if self.running.recv_timeout(timeout) == Err(mpsc::RecvTimeoutError::Timeout) {
            error!("the store could not be written to its end; the next start goes on from the journal");
            return false;
        }
        if self.thread.join().is_err() {
            error!("the upkeep thread panicked");
        }
        true
    }
}

impl Gateway {
    /// Waits until the store has taken in the record `seq`, which is durable.
    pub(super) async fn folded(&self, seq: u64) -> Result<(), Error> {
        tokio::time::timeout(CATCH_UP, self.upkeep.folded(seq)).await.map_err(|_| {
            let why = self.fold_error.lock().clone();
            Error::Unavailable(why.unwrap_or_else(|| "The store is behind the journal. Try again later.".to_owned()))
        })
    }

    /// Waits until the store has taken in everything that was recorded before.
    pub(super) async fn folded_by_now(&self) -> Result<(), Error> {
        let window = self.close_window(None).await?;
        self.folded(window.seq).await
    }

    fn keep_up(&self, woken: &mpsc::Receiver<Wake>) {
        let mut folder = match Folder::new(&self.store, &self.journal) {
            Ok(folder) => folder,
            Err(error) => return self.note_fold(Err(error.into())),
        };
        let mut housekeeping = Housekeeping::new(self);
        let mut reading = Reading::begin(self);
        let (mut swept, mut built) = (Instant::now(), None);
        let mut could_meter = true;
        loop {
            let is_last = matches!(woken.recv_timeout(FOLD_INTERVAL), Ok(Wake::Stop));
            let folded = self.build_failed_store(&mut built).and_then(|()| self.fold(&mut folder));
            let kept_up = folded.is_ok();
            self.note_fold(self.give_up_on_failure(folded));
            could_meter = self.note_metering(could_meter);
            reading.round(self, could_meter);
            // On a full disk the journal needs every byte itself.
            if kept_up && could_meter {
                let done = housekeeping.round(self);
                self.note_housekeeping(self.give_up_on_failure(done));
            }
            if is_last {
                reading.write(self);
                return self.note_housekeeping(housekeeping.snapshot(self).map_err(FoldError::from));
            }
            if swept.elapsed() >= SWEEP_INTERVAL {
                self.sweep_ledgers();
                swept = Instant::now();
            }
        }
    }

    /// After an error the store is not believed any more.
    fn give_up_on_failure(&self, done: Result<(), FoldError>) -> Result<(), FoldError> {
        if let Err(FoldError::Store(StoreError::Sled(_) | StoreError::Damaged(_))) = &done {
            // Reports wait until another one has come as far.
            self.upkeep.applied.send_replace(0);
            self.store.give_up()?;
        }
        done
    }

    /// Builds the store anew if it was given up, every now and then until it works.
    fn build_failed_store(&self, built: &mut Option<Instant>) -> Result<(), FoldError> {
        if !self.store.is_closed() {
            return Ok(());
        }
        if built.is_some_and(|built| built.elapsed() < BUILD_INTERVAL) {
            return Err(StoreError::Closed.into());
        }
        *built = Some(Instant::now());
        self.store.build_anew(&self.journal)?;
        info!("the store was built anew after it had failed");
        Ok(())
    }

    fn fold(&self, folder: &mut Folder<'_>) -> Result<(), FoldError> {
        let records = folder.catch_up()?;
        self.upkeep.applied.send_replace(self.store.applied()?);
        let used = self.catalog.load().operators_used();
        let is_news = self.store.note_operators_used(&used)?;
        if records > 0 || is_news { Ok(self.store.flush()?) } else { Ok(()) }
    }

    /// Tells a trouble when it begins and when it ends, and not twice a second in between.
    fn note_fold(&self, folded: Result<(), FoldError>) {
        if matches!(folded, Err(FoldError::Store(StoreError::Closed))) && self.fold_error.lock().is_some() {
            return; // why it is closed is known
        }
        let now = folded.err().map(|error| format!("The store does not follow the journal: {error}."));
        match note(&self.fold_error, now) {
            Some(Some(error)) => error!("{error} It is tried again; nothing is lost, the journal has it all."),
            Some(None) => info!("the store follows the journal again"),
            None => {}
        }
    }

    fn note_housekeeping(&self, done: Result<(), FoldError>) {
        let now = done.err().map(|error| format!("Rollups, snapshots or retention are behind: {error}."));
        match note(&self.housekeeping_error, now) {
            Some(Some(error)) => error!("{error} It is tried again."),
            Some(None) => info!("rollups, snapshots and retention are up to date again"),
            None => {}
        }
    }

    /// Tells when requests begin to be refused since nothing can be billed, and when that ends.
    fn note_metering(&self, could_meter: bool) -> bool {
        let trouble = self.cannot_meter();
        match &trouble {
            Some(why) if could_meter => error!("requests are refused, since they could not be billed: {why}"),
            None if !could_meter => info!("requests are accepted again"),
            _ => {}
        }
        trouble.is_none()
    }

    /// Frees what has run empty in the ledgers.
    fn sweep_ledgers(&self) {
        let now = self.now();
        for node in self.catalog.load().groups().values().filter(|node| node.parent.is_none()) {
            let ledger = &node.tree.ledger;
            let cells = ledger.lock().cells();
            (0..cells).step_by(SWEEP_CELLS).for_each(|_| ledger.lock().sweep(now, SWEEP_CELLS));
        }
    }
}

/// Keeps a trouble, or that there is none; gives it if it is news.
fn note(known: &Mutex<Option<String>>, now: Option<String>) -> Option<Option<String>> {
    let mut known = known.lock();
    (*known != now).then(|| {
        known.clone_from(&now);
        now
    })
}
