//! Tasks and threads that wait for records to become durable.
//!
//! Each thread that runs a tokio runtime has a [`WakerThread`] with its waiters, in order of sequence number, and one
//! `Notify`. After a sync, the writer notifies each worker that has a waiter to wake; a task of the worker's own
//! runtime then wakes the waiters. So the writer pays for one cross-thread wake per worker and sync, not one per
//! waiter, and each waiting task is woken cheaply by its own thread.
//!
//! No wake-up is lost. A waiter first publishes the number it waits for and then reads the durable position; the writer
//! first publishes the durable position and then reads the numbers waited for. At least one of them sees the other's
//! update.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    future::Future,
    mem,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use tokio::{
    runtime::{self, Handle},
    sync::Notify,
};

/// The durable position of the journal, and everything that waits for a later one.
#[derive(Debug)]
pub(super) struct Progress {
    /// Distinguishes this journal's workers from those of other journals on the same thread.
    id: u64,
    durable: AtomicU64,
    workers: Mutex<Vec<Arc<WakerThread>>>,
    /// Nothing more will become durable.
    closed: AtomicBool,
    /// Waiters outside any tokio runtime. The writer wakes them itself.
    outside: Arc<WakerThread>,
    /// Blocked threads wait here.
    blocked: Mutex<()>,
    unblock: Condvar,
}

impl Progress {
    pub(super) fn new(durable: u64) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            durable: AtomicU64::new(durable),
            workers: Mutex::default(),
            closed: AtomicBool::new(false),
            outside: Arc::default(),
            blocked: Mutex::default(),
            unblock: Condvar::new(),
        }
    }

    /// The last sequence number up to which everything is durable.
    pub(super) fn durable(&self) -> u64 {
        self.durable.load(Ordering::SeqCst)
    }

    /// Publishes that everything up to `seq` is durable.
    pub(super) fn publish(&self, seq: u64) {
        self.durable.store(seq, Ordering::SeqCst);
        for worker in self.workers.lock().iter().filter(|worker| worker.is_due(seq)) {
            worker.notify.notify_one();
        }
        if self.outside.is_due(seq) {
            self.outside.wake_due(&self.durable);
        }
        // A thread that holds this lock has read the old position and is about to wait.
        drop(self.blocked.lock());
        self.unblock.notify_all();
    }

    /// Blocks this thread until `seq` is durable. Returns false after `timeout`.
    pub(super) fn wait_blocking(&self, seq: u64, timeout: Duration) -> bool {
        let deadline = Instant::now().checked_add(timeout);
        let mut blocked = self.blocked.lock();
        while self.durable() < seq {
            match deadline {
                Some(deadline) if self.unblock.wait_until(&mut blocked, deadline).timed_out() => {
                    return self.durable() >= seq;
                }
                Some(_) => {}
                None => self.unblock.wait(&mut blocked),
            }
        }
        true
    }

    /// Ends the workers' tasks. Waiters for records that did not become durable keep waiting until their own timeouts.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        for worker in self.workers.lock().iter() {
            worker.notify.notify_one();
        }
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        let workers = self.workers.lock();
        workers.iter().chain([&self.outside]).map(|worker| worker.waiters.lock().by_seq.len()).sum()
    }

    #[cfg(test)]
    pub(super) fn workers(&self) -> usize {
        self.workers.lock().len()
    }

    /// The worker of the current runtime.
    fn worker(self: &Arc<Self>) -> Arc<WakerThread> {
        thread_local! {
            /// A list, because a test may have several journals, and several runtimes in turn, on one thread.
            static WORKERS: RefCell<Vec<(u64, runtime::Id, Arc<WakerThread>)>> = const { RefCell::new(Vec::new()) };
        }
        let Ok(runtime) = Handle::try_current() else { return self.outside.clone() };
        if self.closed.load(Ordering::SeqCst) {
            return self.outside.clone();
        }
        WORKERS.with_borrow_mut(|workers| {
            let ours = |(id, on, worker): &&(u64, runtime::Id, Arc<WakerThread>)| {
                *id == self.id && *on == runtime.id() && worker.is_alive()
            };
            if let Some((_, _, worker)) = workers.iter().find(ours) {
                return worker.clone();
            }
            workers.retain(|(_, _, worker)| worker.is_alive());
            let worker = Arc::new(WakerThread::default());
            self.workers.lock().push(worker.clone());
            let guard = DispatchGuard { progress: self.clone(), worker: worker.clone() };
            runtime.spawn(dispatch(guard));
            workers.push((self.id, runtime.id(), worker.clone()));
            worker
        })
    }
}

/// The waiters of one thread.
#[derive(Debug)]
struct WakerThread {
    notify: Notify,
    /// The lowest sequence number that is waited for here.
    wanted: AtomicU64,
    /// The runtime that was to wake the waiters has ended.
    dead: AtomicBool,
    waiters: Mutex<Waiters>,
}

#[derive(Debug, Default)]
struct Waiters {
    /// By sequence number, then in order of arrival.
    by_seq: BTreeMap<(u64, u64), Waker>,
    arrivals: u64,
    /// Wakers taken out to be woken without the lock. The list is kept to reuse its memory.
    due: Vec<Waker>,
}

impl Default for WakerThread {
    fn default() -> Self {
        Self {
            notify: Notify::new(),
            wanted: AtomicU64::new(u64::MAX),
            dead: AtomicBool::new(false),
            waiters: Mutex::default(),
        }
    }
}

impl WakerThread {
    fn is_due(&self, durable: u64) -> bool {
        self.wanted.load(Ordering::SeqCst) <= durable
    }

    fn is_alive(&self) -> bool {
        !self.dead.load(Ordering::SeqCst)
    }

    /// Wakes all waiters whose sequence number is durable.
    fn wake_due(&self, durable: &AtomicU64) {
        let mut due = {
            let mut waiters = self.waiters.lock();
            let mut due = mem::take(&mut waiters.due);
            loop {
                let reached = durable.load(Ordering::SeqCst);
                while let Some(entry) = waiters.by_seq.first_entry()
                    && entry.key().0 <= reached
                {
                    due.push(entry.remove());
                }
                waiters.publish_wanted(&self.wanted);
                if !self.is_due(durable.load(Ordering::SeqCst)) {
                    break due;
                }
            }
        };
        for waker in due.drain(..) {
            waker.wake();
        }
        self.waiters.lock().due = due;
    }

    fn wake_all(&self) {
        let all = mem::take(&mut self.waiters.lock().by_seq);
        for waker in all.into_values() {
            waker.wake();
        }
    }
}

impl Waiters {
    fn publish_wanted(&self, wanted: &AtomicU64) {
        let first = self.by_seq.first_key_value().map_or(u64::MAX, |((seq, _), _)| *seq);
        wanted.store(first, Ordering::SeqCst);
    }
}

/// The task of a worker.
async fn dispatch(guard: DispatchGuard) {
    while !guard.progress.closed.load(Ordering::SeqCst) {
        guard.worker.notify.notified().await;
        guard.worker.wake_due(&guard.progress.durable);
    }
}

/// Marks a worker as dead when its task ends together with its runtime.
#[derive(Debug)]
struct DispatchGuard {
    progress: Arc<Progress>,
    worker: Arc<WakerThread>,
}

impl Drop for DispatchGuard {
    fn drop(&mut self) {
        self.worker.dead.store(true, Ordering::SeqCst);
        self.progress.workers.lock().retain(|worker| !Arc::ptr_eq(worker, &self.worker));
        // A waiter that outlives its runtime finds another worker when it is polled again.
        self.worker.wake_all();
    }
}

/// A future that waits until a record is durable, returned by [`Journal::durable`](super::Journal::durable). Drop it to
/// stop waiting.
#[derive(Debug)]
#[must_use = "a future does nothing unless it is polled"]
pub struct Durable {
    progress: Arc<Progress>,
    seq: u64,
    /// The worker that it waits in, and its arrival number there.
    place: Option<(Arc<WakerThread>, u64)>,
}

impl Durable {
    pub(super) fn new(progress: Arc<Progress>, seq: u64) -> Self {
        Self { progress, seq, place: None }
    }

    fn leave(&mut self) {
        let Some((worker, arrival)) = self.place.take() else { return };
        let mut waiters = worker.waiters.lock();
        let waker = waiters.by_seq.remove(&(self.seq, arrival));
        if waker.is_some() {
            waiters.publish_wanted(&worker.wanted);
        }
        drop(waiters);
    }
}

impl Future for Durable {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.progress.durable() >= self.seq {
            self.leave();
            return Poll::Ready(());
        }
        if self.place.as_ref().is_some_and(|(worker, _)| !worker.is_alive()) {
            self.leave();
        }
        let seq = self.seq;
        if let Some((worker, arrival)) = &self.place {
            // Still waiting, but possibly in another task.
            let replaced = worker.waiters.lock().by_seq.insert((seq, *arrival), context.waker().clone());
            // Dropped without the lock: this may be the last reference to a task.
            drop(replaced);
        } else {
            let worker = self.progress.worker();
            let arrival = {
                let mut waiters = worker.waiters.lock();
                waiters.arrivals += 1;
                let arrival = waiters.arrivals;
                waiters.by_seq.insert((seq, arrival), context.waker().clone());
                waiters.publish_wanted(&worker.wanted);
                arrival
            };
            self.place = Some((worker, arrival));
        }
        if self.progress.durable() >= seq {
            self.leave();
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl Drop for Durable {
    fn drop(&mut self) {
        self.leave();
    }
}
