//! The attempts of one request, one target after the other.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use arrayvec::ArrayVec;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

use super::{Attempt, Dispatcher, Grant, MAX_WAITING, Plan, Queue, tell};
use crate::{
    domain::{
        endpoint::MAX_TARGETS,
        fair_queue::Place,
        group::MAX_LEVELS,
        id::GroupId,
        routing::{Choice, TargetSet, choose},
        scheduler::Request,
    },
    upstream::health::Health,
};

/// The groups from the root down to the one that a request belongs to.
pub type Path = ArrayVec<GroupId, MAX_LEVELS>;

/// The attempts of one request. No target is tried twice.
pub struct Attempts {
    dispatcher: Arc<Dispatcher>,
    path: Path,
    affinity: Option<u64>,
    /// The targets that have been tried. Their health identifies them across changes of the plan.
    tried: ArrayVec<Arc<Health>, MAX_TARGETS>,
    /// The request's number in the queue, given at its first look. It keeps the number, so that it does not lose its
    /// place by a target that failed.
    arrival: Option<u64>,
    waited: Duration,
}

/// The error for a request that got no place in time, or that found the queue full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueFull;

/// The result of a look for a target.
enum Look {
    Place(Attempt),
    Wait(Waiting),
    Full,
    NoneLeft,
}

impl Dispatcher {
    /// The attempts of a request of the last group of `path`. With SPREAD, requests of the same affinity go to the same
    /// target.
    pub fn attempts(self: &Arc<Self>, path: Path, affinity: Option<u64>) -> Attempts {
        let (dispatcher, tried) = (self.clone(), ArrayVec::new());
        Attempts { dispatcher, path, affinity, tried, arrival: None, waited: Duration::ZERO }
    }
}

impl Attempts {
    /// Takes a place at the next target, and waits for it if all targets are full. `None` if all have been tried.
    pub async fn next(&mut self) -> Result<Option<Attempt>, QueueFull> {
        let found = self.find().await;
        if found.is_err() {
            self.dispatcher.timed_out.fetch_add(1, Ordering::Relaxed);
        }
        // More targets than an endpoint has can be tried only if the plan changes meanwhile.
        found.map(|attempt| attempt.filter(|attempt| self.tried.try_push(attempt.target.health.clone()).is_ok()))
    }

    async fn find(&mut self) -> Result<Option<Attempt>, QueueFull> {
        let search = Search { waited_before: self.waited, attempts: self };
        loop {
            match search.attempts.look() {
                Look::Place(attempt) => break Ok(Some(attempt)),
                Look::NoneLeft => break Ok(None),
                Look::Full => break Err(QueueFull),
                Look::Wait(waiting) => match search.attempts.wait(waiting).await {
                    Some(attempt) => break Ok(Some(attempt)),
                    None => continue,
                },
            }
        }
    }

    /// The time spent waiting so far.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    fn look(&mut self) -> Look {
        let dispatcher = &self.dispatcher;
        let plan = dispatcher.plan.load();
        if !plan.is_shared() {
            return match self.choose(&plan) {
                Choice::Target(index) => Look::Place(Attempt::begin(dispatcher, &plan, index)),
                Choice::Full => Look::Full,
                Choice::NoneLeft => Look::NoneLeft,
            };
        }
        let mut queue = dispatcher.queue.lock();
        // The plan changes only under the lock.
        let plan = dispatcher.plan.load();
        let arrival = *self.arrival.get_or_insert_with(|| {
            queue.arrivals += 1;
            queue.arrivals
        });
        let grants = dispatcher.grant(&mut queue);
        let look = match self.choose(&plan) {
            Choice::Target(index) => Look::Place(Attempt::begin(dispatcher, &plan, index)),
            Choice::NoneLeft => Look::NoneLeft,
            Choice::Full if self.may_wait(&plan, &queue) => Look::Wait(self.enter(&plan, &mut queue, arrival)),
            Choice::Full => Look::Full,
        };
        drop(queue);
        tell(grants);
        // A place may have become free since the choice.
        dispatcher.serve();
        look
    }

    /// A request that has waited before may come back to a full queue, so at most that many more wait.
    fn may_wait(&self, plan: &Plan, queue: &Queue) -> bool {
        self.waited < plan.queue_timeout && (self.has_waited() || queue.scheduler.len() < MAX_WAITING)
    }

    fn enter(&self, plan: &Plan, queue: &mut Queue, arrival: u64) -> Waiting {
        let (granted, grant) = oneshot::channel();
        let request = Request { path: &self.path, arrival, tried: self.tried_in(plan), affinity: self.affinity };
        let place = queue.scheduler.push(request, granted);
        self.dispatcher.waiting.store(queue.scheduler.len(), Ordering::SeqCst);
        let left = plan.queue_timeout - self.waited;
        Waiting { dispatcher: self.dispatcher.clone(), place, grant, left }
    }

    fn has_waited(&self) -> bool {
        !self.waited.is_zero()
    }

    fn choose(&self, plan: &Plan) -> Choice {
        let candidates = plan.candidates(self.dispatcher.clock.monotonic_ms());
        choose(plan.routing, &candidates, self.tried_in(plan), self.affinity)
    }

    fn tried_in(&self, plan: &Plan) -> TargetSet {
        let mut tried = TargetSet::EMPTY;
        if !self.tried.is_empty() {
            let is_tried = |health| self.tried.iter().any(|tried| Arc::ptr_eq(tried, health));
            let indices = plan.targets.iter().enumerate().filter(|(_, target)| is_tried(&target.health));
            indices.for_each(|(index, _)| tried.insert(index));
        }
        tried
    }

    /// Waits for a place. `None` if the plan has changed or the time is over, so that the request has to look again.
    async fn wait(&mut self, mut waiting: Waiting) -> Option<Attempt> {
        let _timer = Timer { began: Instant::now(), waited: &mut self.waited };
        let granted = match timeout(waiting.left, &mut waiting.grant).await {
            Ok(granted) => granted.ok(),
            Err(_) => {
                waiting.leave();
                // A place may have been granted at the last moment.
                waiting.grant.try_recv().ok()
            }
        };
        match granted? {
            Grant::Place(attempt) => Some(attempt),
            Grant::NewPlan => None,
        }
    }
}

/// The search for the next target. Its waits are counted when it is dropped: at its end, or by a hang-up.
struct Search<'a> {
    attempts: &'a mut Attempts,
    waited_before: Duration,
}

impl Drop for Search<'_> {
    fn drop(&mut self) {
        let waited = self.attempts.waited - self.waited_before;
        if !waited.is_zero() {
            self.attempts.dispatcher.waits.count(waited);
        }
    }
}

/// Adds the time until it is dropped to `waited`.
struct Timer<'a> {
    began: Instant,
    waited: &'a mut Duration,
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        *self.waited += self.began.elapsed();
    }
}

/// A request in the queue. It leaves the queue when dropped. If it has been granted a place meanwhile, the place is
/// dropped after that with the receiver.
struct Waiting {
    dispatcher: Arc<Dispatcher>,
    place: Place,
    grant: oneshot::Receiver<Grant>,
    /// The longest wait.
    left: Duration,
}

impl Waiting {
    fn leave(&self) {
        let mut queue = self.dispatcher.queue.lock();
        queue.scheduler.remove(&self.place);
        self.dispatcher.waiting.store(queue.scheduler.len(), Ordering::SeqCst);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.leave();
    }
}
