//! Background work beside the writer, on its own thread. It creates the next segment before it is needed, and with
//! [`Durability::Process`] it syncs written data each second.

use std::{
    fs::File,
    io, mem,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

use super::{
    durability::Durability,
    segment::{Blank, FIRST_CAPACITY},
};

/// The interval of background syncs, and of retries after a segment could not be created.
const ROUND: Duration = Duration::from_secs(1);

/// The state of the next segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextSegment {
    /// The current segment has enough room left.
    NotNeededYet,
    /// It is being created.
    Preparing,
    /// It has been created.
    Ready,
    /// It could not be created, for this reason. It is retried each second.
    Failed(String),
}

/// The requests to the thread, and its results.
#[derive(Debug)]
pub(super) struct Upkeep {
    dir: PathBuf,
    durability: Durability,
    state: Mutex<State>,
    changed: Condvar,
    /// Whether `state.failure` is set, for callers on the request path.
    failing: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// The capacity of the requested segment.
    wanted: Option<u64>,
    ready: Option<Blank>,
    failure: Option<String>,
    /// Files (and the directory) that were written and not synced yet.
    dirty: Vec<Arc<File>>,
    sync_failure: Option<String>,
    stop: bool,
}

impl Upkeep {
    pub(super) fn new(dir: PathBuf, durability: Durability) -> Self {
        Self { dir, durability, state: Mutex::default(), changed: Condvar::new(), failing: AtomicBool::new(false) }
    }

    /// Requests the next segment.
    pub(super) fn prepare(&self, capacity: u64) {
        self.state.lock().wanted = Some(capacity);
        self.changed.notify_one();
    }

    /// The next segment, if it is ready.
    pub(super) fn take_prepared(&self) -> Option<Blank> {
        let mut state = self.state.lock();
        state.wanted = None;
        self.set_failure(&mut state, None);
        state.ready.take()
    }

    /// Requests a sync of `file` within a second.
    pub(super) fn sync_soon(&self, file: &Arc<File>) {
        let mut state = self.state.lock();
        if !state.dirty.iter().any(|dirty| Arc::ptr_eq(dirty, file)) {
            state.dirty.push(file.clone());
            self.changed.notify_one();
        }
    }

    pub(super) fn next_segment(&self) -> NextSegment {
        let state = self.state.lock();
        match (&state.ready, &state.failure, state.wanted) {
            (Some(_), ..) => NextSegment::Ready,
            (None, Some(failure), _) => NextSegment::Failed(failure.clone()),
            (None, None, Some(_)) => NextSegment::Preparing,
            (None, None, None) => NextSegment::NotNeededYet,
        }
    }

    /// Whether the next segment could not be created. Takes no lock.
    pub(super) fn failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// The last error of a background sync or of creating the next segment. Cleared when it succeeds.
    pub(super) fn failure(&self) -> Option<String> {
        let state = self.state.lock();
        state.sync_failure.clone().or_else(|| state.failure.clone())
    }

    pub(super) fn stop(&self) {
        self.state.lock().stop = true;
        self.changed.notify_all();
    }

    /// Runs the thread.
    pub(super) fn run(&self) {
        let mut state = self.state.lock();
        // No sync and no retry happens before this time.
        let mut next_round = Instant::now();
        while !state.stop {
            let now = Instant::now();
            let rested = next_round <= now;
            let wanted = state.wanted.filter(|_| state.ready.is_none() && (rested || state.failure.is_none()));
            let dirty = if rested { mem::take(&mut state.dirty) } else { Vec::new() };
            if wanted.is_none() && dirty.is_empty() {
                if rested {
                    self.changed.wait(&mut state);
                } else {
                    self.changed.wait_until(&mut state, next_round);
                }
                continue;
            }
            let failed_before = state.failure.is_some();
            drop(state);
            let synced = sync_all(&dirty);
            let made = wanted.map(|capacity| self.make(capacity, failed_before));
            if !dirty.is_empty() || made.as_ref().is_some_and(Result::is_err) {
                next_round = now + ROUND;
            }
            state = self.state.lock();
            if !dirty.is_empty() {
                self.note_sync(&mut state, synced, dirty);
            }
            match made {
                Some(Ok(blank)) => {
                    (state.ready, state.wanted) = (Some(blank), None);
                    self.set_failure(&mut state, None);
                }
                // No longer needed: the writer has created one itself in the meantime, or the thread is stopping.
                Some(Err(_)) if state.wanted.is_none() || state.stop => {}
                Some(Err(error)) => {
                    if !failed_before {
                        tracing::error!(%error, "the journal's next segment cannot be created");
                    }
                    self.set_failure(&mut state, Some(error.to_string()));
                }
                None => {}
            }
        }
        state.ready = None;
    }

    fn set_failure(&self, state: &mut State, failure: Option<String>) {
        self.failing.store(failure.is_some(), Ordering::Relaxed);
        state.failure = failure;
    }

    fn note_sync(&self, state: &mut State, synced: io::Result<()>, dirty: Vec<Arc<File>>) {
        match synced {
            Ok(()) => state.sync_failure = None,
            Err(error) => {
                if state.sync_failure.is_none() {
                    tracing::error!(%error, "the journal cannot be synced in the background");
                }
                state.sync_failure = Some(error.to_string());
                state.dirty.extend(dirty);
            }
        }
    }

    /// Creates a segment of `capacity`, or a small one if there is no room for it. If that fails too, later attempts
    /// create small ones only, because each attempt at a large one takes the last free space of the disk from other
    /// programs.
    fn make(&self, capacity: u64, failed_before: bool) -> io::Result<Blank> {
        if !failed_before && let Ok(blank) = self.make_blank(capacity) {
            return Ok(blank);
        }
        self.make_blank(FIRST_CAPACITY)
    }

    fn make_blank(&self, capacity: u64) -> io::Result<Blank> {
        Blank::make(&self.dir, "next", capacity, |file| {
            if self.state.lock().stop {
                return Err(io::ErrorKind::Interrupted.into());
            }
            match self.durability {
                // Synced piece by piece, so that the writer's own syncs never wait for a long one.
                Durability::Disk => file.sync_data(),
                Durability::Process => Ok(()),
            }
        })
    }
}

fn sync_all(files: &[Arc<File>]) -> io::Result<()> {
    files.iter().try_for_each(|file| file.sync_all())
}
