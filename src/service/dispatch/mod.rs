//! Decides which target of an endpoint gets a request, and when.
//!
//! Each endpoint has one dispatcher for the whole process, which outlives changes of the endpoint.
//!
//! * A request takes a place at a target ([`Attempt`]) before it is sent, and holds the place until the answer has been
//!   read or given up. So the number of places taken is the number of requests that run there.
//! * With PRIORITY and without `max_concurrent`, a choice only reads atomics. Otherwise it is made under the
//!   dispatcher's lock, so that two requests cannot take the same place.
//! * A request waits only while every target that it could use is full. Whenever a place may have become free (an
//!   attempt ended, a target is in again, the plan changed), [`Dispatcher::serve`] gives free places to the requests
//!   that wait, in turn (`domain::fair_queue`). A place is given up before the waiting requests are counted, and a
//!   request is counted as waiting before it looks for a free place once more. So none waits beside a free place.
//! * A request that looks for a place first serves those that wait, under the same lock, so that it is never ahead of
//!   them.

mod attempt;
mod attempts;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use arrayvec::ArrayVec;
use parking_lot::Mutex;
use tokio::sync::oneshot;

pub use self::{
    attempt::Attempt,
    attempts::{Attempts, Path, QueueFull},
};
use super::clock::Clock;
use crate::{
    domain::{
        durations::Durations,
        endpoint::{MAX_TARGETS, Routing},
        routing::Candidate,
        scheduler::Scheduler,
    },
    upstream::target::Target,
};

/// The most requests that wait for the targets of one endpoint.
const MAX_WAITING: usize = 10_000;

/// The dispatcher of an endpoint.
pub struct Dispatcher {
    clock: Arc<Clock>,
    plan: ArcSwap<Plan>,
    queue: Mutex<Queue>,
    /// The number of requests in `queue`.
    waiting: AtomicUsize,
    timed_out: AtomicU64,
    waits: Durations,
}

/// The targets of an endpoint and how requests are distributed over them.
pub struct Plan {
    /// The slug that customers call, for the log.
    pub slug: Arc<str>,
    /// How the target of a request is chosen.
    pub routing: Routing,
    /// The longest wait of a request for a free place.
    pub queue_timeout: Duration,
    /// The targets in order of priority; never empty.
    pub targets: Vec<Arc<Target>>,
}

/// The requests that wait.
#[derive(Default)]
struct Queue {
    scheduler: Scheduler<oneshot::Sender<Grant>>,
    /// The number of the latest request that began to wait.
    arrivals: u64,
}

/// The end of a wait.
enum Grant {
    /// A place has become free.
    Place(Attempt),
    /// The plan has changed, so the request has to look for a target again.
    NewPlan,
}

/// A place, and the sender that tells its request.
type Granted = (oneshot::Sender<Grant>, Attempt);

/// The requests that wait for the targets of an endpoint, and the waits since the start of the process.
pub struct QueueStanding {
    /// The number of requests that wait now.
    pub waiting: usize,
    /// The number of waits that have ended.
    pub waited: u64,
    /// The number of requests that got no place in time, those that could not wait included.
    pub timed_out: u64,
    /// The median wait.
    pub wait_p50: Duration,
    /// The 99th percentile of the waits.
    pub wait_p99: Duration,
}

impl Plan {
    /// Whether a choice depends on the number of running requests, so that it must be made under the lock.
    fn is_shared(&self) -> bool {
        self.spreads() || self.has_capacity()
    }

    fn spreads(&self) -> bool {
        self.routing == Routing::Spread && self.targets.len() > 1
    }

    /// Whether a target has a maximum of running requests, so that requests may have to wait.
    pub fn has_capacity(&self) -> bool {
        self.targets.iter().any(|target| target.max_concurrent.is_some())
    }

    /// Whether the requests that wait under the plan `before` can go on waiting: their time is not shorter, and their
    /// targets are still the first ones, in the same order.
    fn keeps_queue_of(&self, before: &Self) -> bool {
        let is_same = |(new, old): (&Arc<Target>, &Arc<Target>)| Arc::ptr_eq(&new.health, &old.health);
        self.queue_timeout >= before.queue_timeout
            && self.targets.len() >= before.targets.len()
            && self.targets.iter().zip(&before.targets).all(is_same)
    }

    fn candidates(&self, now_ms: u64) -> ArrayVec<Candidate, MAX_TARGETS> {
        self.targets.iter().map(|target| candidate(target, now_ms)).take(MAX_TARGETS).collect()
    }
}

fn candidate(target: &Target, now_ms: u64) -> Candidate {
    Candidate {
        identity: target.identity(),
        weight: target.weight.into(),
        max_concurrent: target.max_concurrent,
        running: target.health.running(),
        availability: target.health.availability(now_ms),
    }
}

impl Dispatcher {
    pub(in crate::service) fn new(clock: Arc<Clock>, plan: Plan) -> Self {
        Self {
            clock,
            plan: ArcSwap::from_pointee(plan),
            queue: Mutex::default(),
            waiting: AtomicUsize::new(0),
            timed_out: AtomicU64::new(0),
            waits: Durations::default(),
        }
    }

    /// The current plan.
    pub fn plan(&self) -> Arc<Plan> {
        self.plan.load_full()
    }

    /// Whether requests are spread over several targets, so that their affinity matters.
    pub fn spreads(&self) -> bool {
        self.plan.load().spreads()
    }

    /// Replaces the plan. The requests that wait keep their turns if they can, else they look for a target again.
    pub(in crate::service) fn replace(self: &Arc<Self>, plan: Plan) {
        let mut queue = self.queue.lock();
        let keeps_queue = plan.keeps_queue_of(&self.plan.load());
        self.plan.store(Arc::new(plan));
        if keeps_queue {
            drop(queue);
            return self.serve();
        }
        let waiting = queue.scheduler.drain();
        self.waiting.store(0, Ordering::SeqCst);
        drop(queue);
        for granted in waiting {
            // A request that has been given up needs nothing.
            let _ = granted.send(Grant::NewPlan);
        }
    }

    /// The number of requests that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// The requests that wait, and the waits since the start.
    pub fn queue_standing(&self) -> QueueStanding {
        QueueStanding {
            waiting: self.waiting(),
            waited: self.waits.total(),
            timed_out: self.timed_out.load(Ordering::Relaxed),
            wait_p50: self.waits.quantile(50),
            wait_p99: self.waits.quantile(99),
        }
    }

    /// Gives free places to the requests that wait.
    fn serve(self: &Arc<Self>) {
        while self.waiting.load(Ordering::SeqCst) > 0 {
            let grants = self.grant(&mut self.queue.lock());
            if grants.is_empty() {
                return;
            }
            tell(grants);
        }
    }

    /// Takes a free place for each of the next requests in turn. The caller tells them after it has released the lock,
    /// because an attempt that is dropped takes the lock.
    fn grant(self: &Arc<Self>, queue: &mut Queue) -> Vec<Granted> {
        let mut grants = Vec::new();
        if queue.scheduler.is_empty() {
            return grants;
        }
        let (plan, now_ms) = (self.plan.load(), self.clock.monotonic_ms());
        let mut candidates = plan.candidates(now_ms);
        while let Some((granted, index)) = queue.scheduler.next(plan.routing, &candidates) {
            let target = &plan.targets[index];
            grants.push((granted, Attempt::begin(self, &plan, index)));
            candidates[index] = candidate(target, now_ms);
        }
        self.waiting.store(queue.scheduler.len(), Ordering::SeqCst);
        grants
    }
}

/// Tells the requests that they have a place.
fn tell(grants: Vec<Granted>) {
    for (granted, attempt) in grants {
        // The attempt of a request that has been given up is dropped, which frees its place again.
        let _ = granted.send(Grant::Place(attempt));
    }
}

#[cfg(test)]
mod tests;
