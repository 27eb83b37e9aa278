//! Decides which of the waiting requests of an endpoint goes to which target: the next in turn that can use a free slot
//! ([`FairQueue`]), to the target that [`choose`] names for it.
//!
//! Invariant: after [`Scheduler::next`] has returned `None`, no target has a free slot that a waiting request could
//! use.
//! The scheduler knows nothing of running requests. The caller counts them and passes the counts with each call.

use super::{
    endpoint::Routing,
    fair_queue::{FairQueue, Place, Waiting},
    id::GroupId,
    routing::{Candidate, Choice, TargetSet, choose},
};

/// A request that wants a slot.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Its group and the group's ancestors, the root first.
    pub path: &'a [GroupId],
    /// The number of its arrival. A request keeps it when it comes back after a failed attempt.
    pub arrival: u64,
    /// The targets that it has tried.
    pub tried: TargetSet,
    /// The hash that leads requests of one session to the same target.
    pub affinity: Option<u64>,
}

/// The waiting requests of an endpoint. `W` is the caller's handle of a request.
#[derive(Debug)]
pub struct Scheduler<W> {
    queue: FairQueue<(Option<u64>, W)>,
}

impl<W> Default for Scheduler<W> {
    fn default() -> Self {
        Self { queue: FairQueue::default() }
    }
}

impl<W> Scheduler<W> {
    /// The number of requests that wait.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Adds a request. It waits until [`Self::next`] returns it. One that has tried all targets waits until it is
    /// removed or a target is added.
    pub fn push(&mut self, request: Request<'_>, waiter: W) -> Place {
        let Request { path, arrival, tried, affinity } = request;
        self.queue.push(path, arrival, tried, (affinity, waiter))
    }

    /// Takes out a request that no longer waits for a slot. `None` if it was taken out before.
    pub fn remove(&mut self, place: &Place) -> Option<W> {
        self.queue.remove(place).map(|(_, waiter)| waiter)
    }

    /// Takes out all requests, in turn.
    pub fn drain(&mut self) -> Vec<W> {
        std::iter::from_fn(|| self.queue.pop(|_| true)).map(|Waiting { waiter: (_, waiter), .. }| waiter).collect()
    }

    /// The next request that goes to a target, and the target's position. The caller raises the `running` of that
    /// target and calls again, until there is none.
    pub fn next(&mut self, routing: Routing, candidates: &[Candidate]) -> Option<(W, usize)> {
        let target = |tried, affinity| match choose(routing, candidates, tried, affinity) {
            Choice::Target(target) => Some(target),
            Choice::Full | Choice::NoneLeft => None,
        };
        // An affinity affects which target is chosen, but not whether there is one.
        let Waiting { tried, waiter: (affinity, waiter) } = self.queue.pop(|tried| target(tried, None).is_some())?;
        target(tried, affinity).map(|target| (waiter, target))
    }
}

#[cfg(test)]
mod tests;
