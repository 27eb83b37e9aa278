//! The thread that works behind the requests: it keeps the store up to date with the journal, frees what has run empty
//! in the ledgers, and says in the log when billing stops and when it goes on.

use std::{
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use tracing::{error, info};

use super::Gateway;
use crate::store::{FoldError, Folder};

/// How often the store takes in what has become durable.
const FOLD_INTERVAL: Duration = Duration::from_millis(500);

/// How often the ledgers are looked through, and how many cells at a time: an admission waits no longer than for those.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);
const SWEEP_CELLS: usize = 256;

/// The running thread.
pub(super) struct Upkeep {
    stop: mpsc::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl Upkeep {
    pub(super) fn start(gateway: &Arc<Gateway>) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let gateway = gateway.clone();
        let thread = thread::Builder::new().name("upkeep".to_owned()).spawn(move || gateway.keep_up(&stopped))?;
        Ok(Self { stop, thread })
    }

    /// Takes in the rest and ends.
    pub(super) fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            error!("the upkeep thread panicked");
        }
    }
}

impl Gateway {
    fn keep_up(&self, stopped: &mpsc::Receiver<()>) {
        let mut folder = match Folder::new(&self.store, &self.journal) {
            Ok(folder) => folder,
            Err(error) => return self.note_fold(Err(error.into())),
        };
        let mut swept = Instant::now();
        let mut could_meter = true;
        loop {
            let is_last = stopped.recv_timeout(FOLD_INTERVAL) != Err(mpsc::RecvTimeoutError::Timeout);
            self.note_fold(self.fold(&mut folder));
            could_meter = self.note_metering(could_meter);
            if is_last {
                return;
            }
            if swept.elapsed() >= SWEEP_INTERVAL {
                self.sweep_ledgers();
                swept = Instant::now();
            }
        }
    }

    fn fold(&self, folder: &mut Folder<'_>) -> Result<(), FoldError> {
        let records = folder.catch_up()?;
        let used = self.catalog.load().operators_used();
        let is_news = self.store.note_operators_used(&used)?;
        if records > 0 || is_news { Ok(self.store.flush()?) } else { Ok(()) }
    }

    /// Tells a trouble when it begins and when it ends, and not twice a second in between.
    fn note_fold(&self, folded: Result<(), FoldError>) {
        let now = folded.err().map(|error| format!("The store does not follow the journal: {error}."));
        let mut known = self.fold_error.lock();
        if *known != now {
            match &now {
                Some(error) => error!("{error} It is tried again; nothing is lost, the journal has it all."),
                None => info!("the store follows the journal again"),
            }
            *known = now;
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
