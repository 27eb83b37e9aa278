//! The health of a target: its circuit, the attempts that run, and its last success and failure, so that operators can
//! see why customers get 502.
//!
//! * The circuit is behind a lock. A snapshot of it is published in an atomic word after each change, so choosing a
//!   target and beginning an attempt take no lock while the circuit is closed. An attempt that begins while the circuit
//!   changes counts as begun before the change.
//! * Each attempt has one outcome, which may be known before its answer ends. [`Health::begin`] counts it as running
//!   and [`Health::end`] ends that, each once.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;

use crate::domain::{
    circuit::{Availability, Circuit, Phase, Snapshot, Ticket},
    day::Now,
};

/// The health of a target.
#[derive(Default)]
pub struct Health {
    /// The word of the circuit's [`Snapshot`]. It is written under the lock.
    snapshot: AtomicU64,
    running: AtomicU32,
    history: Mutex<History>,
}

#[derive(Default)]
struct History {
    circuit: Circuit,
    attempts: AttemptCounts,
    /// The time of the last answer in Unix milliseconds.
    last_success_ms: Option<u64>,
    last_failure: Option<TargetFailure>,
    /// The latest outage.
    outage: Option<Outage>,
}

/// A failure of a target to answer, or a 429.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetFailure {
    /// The reason, as a text for the operator.
    pub reason: String,
    /// The time of the failure in Unix milliseconds.
    pub at_ms: u64,
    /// The number of failures since the last answer, 0 if the target has answered after this failure.
    pub count: u64,
}

/// A time in which a target is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// Its beginning in Unix milliseconds.
    pub since_ms: u64,
    /// The end of the present pause in Unix milliseconds.
    pub until_ms: u64,
    /// The failure that began the present pause, as a text for the operator.
    pub reason: String,
}

/// The numbers of attempts by their outcome. Those that customers gave up are not counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AttemptCounts {
    /// The target answered.
    pub answered: u64,
    /// The target refused the request, as any other would.
    pub refused: u64,
    /// The target did not answer, or with an error.
    pub failed: u64,
    /// The target answered 429.
    pub limited: u64,
}

/// The health of a target at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The state.
    pub state: State,
    /// The present outage: present if the state is `Out` or `Probing`.
    pub outage: Option<Outage>,
    /// The time of the last answer in Unix milliseconds.
    pub last_success_ms: Option<u64>,
    /// The last failure, even if the target has answered since.
    pub last_failure: Option<TargetFailure>,
    /// The number of attempts that run.
    pub running: u32,
    /// All attempts that ended.
    pub attempts: AttemptCounts,
}

/// The state of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing is known of it, because no attempt has ended.
    Unused,
    /// It answered last time.
    Ok,
    /// It did not answer last time. Requests still go to it.
    Failing,
    /// It is left out.
    Out,
    /// Its pause is over: one request tries it, or the next one will.
    Probing,
}

impl Health {
    /// Whether a request may go to the target. `now_ms` is the monotonic clock's.
    pub fn availability(&self, now_ms: u64) -> Availability {
        self.published().availability(now_ms)
    }

    /// The number of attempts that run.
    pub fn running(&self) -> u32 {
        self.running.load(Ordering::SeqCst)
    }

    /// Begins an attempt, which then runs until [`Self::end`]. `now_ms` is the monotonic clock's.
    pub fn begin(&self, now_ms: u64) -> Ticket {
        self.running.fetch_add(1, Ordering::SeqCst);
        self.published().ticket().unwrap_or_else(|| {
            let circuit = &mut self.history.lock().circuit;
            let ticket = circuit.begin(now_ms);
            self.publish(circuit);
            ticket
        })
    }

    /// Ends an attempt, after its outcome.
    pub fn end(&self) {
        self.running.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether the target is in: it is neither left out nor on trial after a pause.
    pub fn is_in(&self, now_ms: u64) -> bool {
        self.published().phase(now_ms) == Phase::Closed
    }

    /// Records an answer. Returns whether it ended an outage.
    pub fn succeeded(&self, ticket: Ticket, now: Now) -> bool {
        self.served(ticket, now, |attempts| &mut attempts.answered)
    }

    /// Records a refusal of the request, which shows that the target works. Returns whether it ended an outage.
    pub fn refused(&self, ticket: Ticket, now: Now) -> bool {
        self.served(ticket, now, |attempts| &mut attempts.refused)
    }

    /// Records a failure. Returns the length of the pause if the target is left out from now on.
    pub fn failed(&self, ticket: Ticket, reason: String, now: Now) -> Option<Duration> {
        self.not_served(reason, now, |history| {
            history.attempts.failed += 1;
            history.circuit.failed(ticket, now.monotonic_ms())
        })
    }

    /// Records a 429. Without `retry_after` the circuit counts it as a failure. Returns the length of the pause if the
    /// target is left out from now on.
    pub fn limited(&self, ticket: Ticket, reason: String, retry_after: Option<Duration>, now: Now) -> Option<Duration> {
        self.not_served(reason, now, |history| {
            history.attempts.limited += 1;
            match retry_after {
                Some(time) => history.circuit.limited(ticket, time, now.monotonic_ms()),
                None => history.circuit.failed(ticket, now.monotonic_ms()),
            }
        })
    }

    /// Records that an attempt ended without an outcome, because the customer hung up or nothing was sent.
    pub fn abandoned(&self, ticket: Ticket) {
        if ticket.is_probe() {
            let circuit = &mut self.history.lock().circuit;
            circuit.abandoned(ticket);
            self.publish(circuit);
        }
    }

    /// The health at this time.
    pub fn standing(&self, now: Now) -> Standing {
        let history = self.history.lock();
        let state = match history.circuit.snapshot().phase(now.monotonic_ms()) {
            Phase::Open => State::Out,
            Phase::HalfOpen => State::Probing,
            Phase::Closed => match (&history.last_failure, history.last_success_ms) {
                (Some(failure), _) if failure.count > 0 => State::Failing,
                (_, Some(_)) => State::Ok,
                _ => State::Unused,
            },
        };
        Standing {
            state,
            outage: history.outage.clone().filter(|_| matches!(state, State::Out | State::Probing)),
            last_success_ms: history.last_success_ms,
            last_failure: history.last_failure.clone(),
            running: self.running(),
            attempts: history.attempts,
        }
    }

    fn served(&self, ticket: Ticket, now: Now, count: impl Fn(&mut AttemptCounts) -> &mut u64) -> bool {
        let history = &mut *self.history.lock();
        *count(&mut history.attempts) += 1;
        history.last_success_ms = Some(now.unix_ms);
        if let Some(failure) = &mut history.last_failure {
            failure.count = 0;
        }
        let ended = history.circuit.succeeded(ticket, now.monotonic_ms());
        if ended {
            self.publish(&history.circuit);
        }
        ended
    }

    fn not_served(
        &self,
        reason: String,
        now: Now,
        outcome: impl FnOnce(&mut History) -> Option<Duration>,
    ) -> Option<Duration> {
        let history = &mut *self.history.lock();
        let now_ms = now.monotonic_ms();
        let before = history.circuit.snapshot();
        let pause = outcome(history);
        let after = history.circuit.snapshot();
        if before != after
            && let Availability::Out { until_ms } = after.availability(now_ms)
        {
            let was_out = before.phase(now_ms) != Phase::Closed;
            let since_ms = history.outage.as_ref().filter(|_| was_out).map_or(now.unix_ms, |outage| outage.since_ms);
            let until_ms = now.unix_ms.saturating_add(until_ms.saturating_sub(now_ms));
            history.outage = Some(Outage { since_ms, until_ms, reason: reason.clone() });
        }
        let count = history.last_failure.as_ref().map_or(0, |last| last.count).saturating_add(1);
        history.last_failure = Some(TargetFailure { reason, at_ms: now.unix_ms, count });
        self.publish(&history.circuit);
        pause
    }

    fn published(&self) -> Snapshot {
        Snapshot::from_word(self.snapshot.load(Ordering::SeqCst))
    }

    fn publish(&self, circuit: &Circuit) {
        self.snapshot.store(circuit.snapshot().to_word(), Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests;
