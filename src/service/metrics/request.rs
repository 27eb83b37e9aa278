//! The measurement of one request.

use std::{
    cell::{Cell, OnceCell},
    time::{Duration, Instant},
};

use super::worker::{ModelMetrics, WorkerMetrics};
use crate::domain::{
    id::{EndpointId, GroupId},
    route::Route,
};

/// The status under which a request is counted whose customer hung up before it was answered.
const HUNG_UP: u16 = 499;

/// Measures a request from its arrival. The request is counted when this is dropped: with the status that was set, or
/// as one whose customer hung up.
pub struct RequestMetrics {
    worker: WorkerMetrics,
    /// `None` for a probe, which is not counted.
    route: Option<&'static str>,
    at: Instant,
    model: OnceCell<ModelMetrics>,
    group: Cell<Option<GroupId>>,
    status: Cell<u16>,
}

impl RequestMetrics {
    /// Begins to measure a request that arrived at `at`. `route` is a word of a closed list; `None` for a request that
    /// is not counted.
    pub fn begin(worker: &WorkerMetrics, route: Option<&'static str>, at: Instant) -> Self {
        let (model, group, status) = (OnceCell::new(), Cell::new(None), Cell::new(HUNG_UP));
        Self { worker: worker.clone(), route, at, model, group, status }
    }

    /// Sets the group of the request's key.
    pub fn set_group(&self, group: GroupId) {
        self.group.set(Some(group));
    }

    /// Sets the endpoint that the request is for. Returns the writer of its model's metrics.
    pub fn set_model(&self, endpoint: EndpointId) -> &ModelMetrics {
        self.model.get_or_init(|| self.worker.model(endpoint))
    }

    /// Sets the status that the customer gets.
    pub fn set_status(&self, status: u16) {
        self.status.set(status);
    }

    /// Counts an error with this code, which is a word of a closed list.
    pub fn refused(&self, code: &'static str) {
        if self.route.is_some() {
            self.with_model(|model| model.refused(self.group.get(), code));
        }
    }

    fn with_model(&self, count: impl FnOnce(&ModelMetrics)) {
        match self.model.get() {
            Some(model) => count(model),
            None => count(self.worker.other()),
        }
    }
}

impl Drop for RequestMetrics {
    fn drop(&mut self) {
        if let Some(route) = self.route {
            let (group, status, took) = (self.group.get(), self.status.get(), self.at.elapsed());
            self.with_model(|model| model.answered(route, group, status, took));
        }
    }
}

/// The time that the gateway itself adds to a request, while the end of the answer is still to come.
pub struct Overhead {
    /// The metrics of the model that answers.
    pub metrics: ModelMetrics,
    /// The route that was called.
    pub route: Route,
    /// The request's arrival.
    pub at: Instant,
    /// The time spent waiting for the customer, for a free target and for the upstream.
    pub waited: Duration,
}

impl Overhead {
    /// Counts the time when the last byte of the answer is handed over.
    pub fn record(self) {
        let took = self.at.elapsed().saturating_sub(self.waited);
        self.metrics.overhead(self.route, took);
    }
}
