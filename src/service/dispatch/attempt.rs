//! One attempt to have a request answered by a target.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tracing::{info, warn};

use super::{Dispatcher, Plan};
use crate::{
    domain::circuit::{Availability, Ticket},
    upstream::{health::Health, target::Target},
};

/// A request's place at a target. It is given up when dropped, and the next request in turn gets it. An attempt whose
/// outcome is not reported is neither a success nor a failure of the target: the customer hung up.
pub struct Attempt {
    /// The target.
    pub target: Arc<Target>,
    /// The target's index among the endpoint's targets.
    pub index: u16,
    dispatcher: Arc<Dispatcher>,
    /// `None` once the outcome has been reported.
    ticket: Option<Ticket>,
}

impl Attempt {
    pub(super) fn begin(dispatcher: &Arc<Dispatcher>, plan: &Plan, index: usize) -> Self {
        let target = plan.targets[index].clone();
        let ticket = target.health.begin(dispatcher.clock.monotonic_ms());
        let ends_pause = ticket.ends_pause();
        let attempt = Self { target, index: index as u16, dispatcher: dispatcher.clone(), ticket: Some(ticket) };
        if ends_pause {
            attempt.log_in_again();
        }
        attempt
    }

    /// Reports that the target answers.
    pub fn answered(&mut self) {
        let Some(ticket) = self.ticket.take() else { return };
        if self.target.health.succeeded(ticket, self.dispatcher.clock.now()) {
            self.log_in_again();
            self.dispatcher.serve();
        }
    }

    /// Reports that the target refused the request as the customer's fault. Its circuit counts that as a success.
    pub fn refused(&mut self) {
        let Some(ticket) = self.ticket.take() else { return };
        if self.target.health.refused(ticket, self.dispatcher.clock.now()) {
            self.log_in_again();
            self.dispatcher.serve();
        }
    }

    /// Reports a failure, with the reason for the operator.
    pub fn failed(&mut self, reason: &str) {
        let Some(ticket) = self.ticket.take() else { return };
        let pause = self.target.health.failed(ticket, reason.to_owned(), self.dispatcher.clock.now());
        self.is_left_out(pause, reason);
    }

    /// Reports that the target is at its own limit. It is left out for the time that it asks for.
    pub fn limited(&mut self, reason: &str, retry_after: Option<Duration>) {
        let Some(ticket) = self.ticket.take() else { return };
        let now = self.dispatcher.clock.now();
        let pause = self.target.health.limited(ticket, reason.to_owned(), retry_after, now);
        self.is_left_out(pause, reason);
    }

    fn log_in_again(&self) {
        info!(model = &*self.dispatcher.plan.load().slug, target_index = self.index, "a target is in again");
    }

    /// Logs the pause, and serves the requests that wait when it is over.
    fn is_left_out(&self, pause: Option<Duration>, why: &str) {
        let Some(pause) = pause else { return };
        let (pause_ms, plan) = (pause.as_millis() as u64, self.dispatcher.plan.load());
        warn!(model = &*plan.slug, target_index = self.index, pause_ms, why, "a target is left out");
        tokio::spawn(serve_when_in(Arc::downgrade(&self.dispatcher), self.target.health.clone()));
    }
}

/// Serves the requests that wait when a target's pause is over, which may be extended meanwhile. The end of a probe
/// serves them itself.
async fn serve_when_in(dispatcher: Weak<Dispatcher>, health: Arc<Health>) {
    while let Some(dispatcher) = dispatcher.upgrade() {
        let now_ms = dispatcher.clock.monotonic_ms();
        let left_ms = match health.availability(now_ms) {
            Availability::Out { until_ms } => until_ms.saturating_sub(now_ms),
            Availability::In => 0,
        };
        if left_ms == 0 {
            return dispatcher.serve();
        }
        drop(dispatcher);
        tokio::time::sleep(Duration::from_millis(left_ms)).await;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.target.health.abandoned(ticket);
        }
        self.target.health.end();
        self.dispatcher.serve();
    }
}
