//! The writers of cells. They cannot leave their thread.

use std::{cell::RefCell, collections::HashMap, hash::Hash, rc::Rc, sync::Arc, time::Duration};

use super::{
    cells::{ANSWERS, OVERHEADS},
    groups::{GroupCells, GroupKey},
    model::{ModelCells, Outcome},
    registry::{Metrics, WorkerCells},
};
use crate::domain::{
    id::{EndpointId, GroupId},
    money::Cost,
    route::Route,
    usage::Usage,
};

/// Writes the cells of one worker thread. Clones share it.
#[derive(Clone)]
pub struct WorkerMetrics(Rc<Worker>);

struct Worker {
    cells: Arc<WorkerCells>,
    has_groups: bool,
    /// The worker's own index of its cells, for lookups without a lock.
    models: RefCell<HashMap<EndpointId, Arc<ModelCells>>>,
    groups: RefCell<HashMap<GroupKey, Arc<GroupCells>>>,
}

/// Writes the cells of one model on one worker thread.
#[derive(Clone)]
pub struct ModelMetrics {
    worker: WorkerMetrics,
    /// `None` for requests without a model.
    endpoint: Option<EndpointId>,
    cells: Arc<ModelCells>,
}

/// The facts about an answer that was billed.
pub struct Billed<'a> {
    /// The route that was called.
    pub route: Route,
    /// The group of the key.
    pub group: GroupId,
    /// The start of the day, in Unix ms.
    pub day: u64,
    /// The time to the first byte, if there was one.
    pub ttft_ms: Option<u64>,
    /// The billed tokens.
    pub usage: &'a Usage,
    /// The cost, if the model has prices.
    pub cost: Option<Cost>,
}

impl WorkerMetrics {
    /// Registers the current thread as a worker.
    pub fn start(metrics: &Metrics) -> Self {
        let (models, groups) = (RefCell::default(), RefCell::default());
        Self(Rc::new(Worker { cells: metrics.register(), has_groups: metrics.has_groups(), models, groups }))
    }

    /// The cells of an endpoint's model.
    pub fn model(&self, endpoint: EndpointId) -> ModelMetrics {
        let known = self.0.models.borrow().get(&endpoint).filter(|cells| !cells.is_gone()).cloned();
        let cells = known.unwrap_or_else(|| {
            let mut models = self.0.models.borrow_mut();
            models.retain(|_, cells| !cells.is_gone());
            add(&mut models, &mut self.0.cells.models.lock(), endpoint)
        });
        ModelMetrics { worker: self.clone(), endpoint: Some(endpoint), cells }
    }

    /// The cells of requests without a model that the caller may use.
    pub(super) fn other(&self) -> ModelMetrics {
        ModelMetrics { worker: self.clone(), endpoint: None, cells: self.0.cells.other.clone() }
    }

    /// Whether groups are counted.
    pub(super) fn has_groups(&self) -> bool {
        self.0.has_groups
    }

    fn group(&self, key: GroupKey) -> Arc<GroupCells> {
        let known = self.0.groups.borrow().get(&key).filter(|cells| !cells.is_gone()).cloned();
        known.unwrap_or_else(|| {
            let mut groups = self.0.groups.borrow_mut();
            groups.retain(|_, cells| !cells.is_gone());
            add(&mut groups, &mut self.0.cells.groups.lock(), key)
        })
    }
}

/// Adds new cells to the worker's index and to those that a scrape reads.
fn add<K: Copy + Eq + Hash, C: Default>(
    index: &mut HashMap<K, Arc<C>>,
    read: &mut HashMap<K, Arc<C>>,
    key: K,
) -> Arc<C> {
    let cells = Arc::<C>::default();
    index.insert(key, cells.clone());
    read.insert(key, cells.clone());
    cells
}

impl ModelMetrics {
    /// Counts a request that was admitted.
    pub fn admitted(&self) {
        self.cells.admitted.add(1);
    }

    /// Counts the end of a request that was admitted. `queued` is the time that it waited for a free target.
    pub fn ended(&self, queued: Duration) {
        self.cells.ended.add(1);
        if !queued.is_zero() {
            self.cells.queue_wait.count(queued, &ANSWERS);
        }
    }

    /// Counts an attempt at the target with this index.
    pub fn attempted(&self, target: u16, outcome: Outcome) {
        self.cells.attempts.of(target)[outcome as usize].add(1);
    }

    /// Counts an answer that was billed.
    pub fn billed(&self, answer: &Billed<'_>) {
        let Billed { route, group, day, ttft_ms, usage, cost } = *answer;
        let Usage { input, output, cached, cache_write } = *usage;
        for (counter, tokens) in self.cells.tokens.iter().zip([input, output, cached, cache_write]) {
            counter.add(tokens);
        }
        if let Some(Cost { currency, amount }) = cost {
            self.cells.costs.of(currency).add(amount);
        }
        if let Some(ms) = ttft_ms {
            self.cells.routes.of(route.path()).first_byte.count(Duration::from_millis(ms), &ANSWERS);
        }
        if self.worker.has_groups() {
            self.worker.group((group, self.endpoint)).billed(usage.total(), day);
        }
    }

    /// Counts the time that the gateway itself has added to a request.
    pub(super) fn overhead(&self, route: Route, took: Duration) {
        self.worker.0.cells.overhead.of(route).count(took, &OVERHEADS);
    }

    /// Counts a refusal.
    pub(super) fn refused(&self, group: Option<GroupId>, code: &'static str) {
        self.cells.refusals.of(code).add(1);
        if let Some(group) = group.filter(|_| self.worker.has_groups()) {
            self.worker.group((group, self.endpoint)).refusals.add(1);
        }
    }

    /// Counts a request that has ended with this status.
    pub(super) fn answered(&self, route: &'static str, group: Option<GroupId>, status: u16, took: Duration) {
        let cells = self.cells.routes.of(route);
        cells.statuses.of(status).add(1);
        cells.duration.count(took, &ANSWERS);
        if let Some(group) = group.filter(|_| self.worker.has_groups()) {
            self.worker.group((group, self.endpoint)).requests.add(1);
        }
    }
}
