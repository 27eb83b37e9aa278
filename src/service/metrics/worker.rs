//! The writers of cells. They cannot leave their thread.

use std::{
    cell::RefCell,
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

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
    shared: Rc<Shared>,
    other: ModelMetrics,
    /// The worker's own index of its cells, for lookups without a lock.
    models: RefCell<HashMap<EndpointId, ModelMetrics, BuildIdHasher>>,
}

/// The parts of a worker that the writers of its models use.
struct Shared {
    cells: Arc<WorkerCells>,
    has_groups: bool,
    groups: RefCell<HashMap<GroupKey, Arc<GroupCells>, BuildIdHasher>>,
}

/// Writes the cells of one model on one worker thread. Clones share it.
#[derive(Clone)]
pub struct ModelMetrics(Rc<ModelWriter>);

struct ModelWriter {
    shared: Rc<Shared>,
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
        let (cells, has_groups) = (metrics.register(), metrics.has_groups());
        let of_other = cells.other.clone();
        let shared = Rc::new(Shared { cells, has_groups, groups: RefCell::default() });
        let other = ModelMetrics(Rc::new(ModelWriter { shared: shared.clone(), endpoint: None, cells: of_other }));
        Self(Rc::new(Worker { shared, other, models: RefCell::default() }))
    }

    /// The writer of an endpoint's model.
    pub fn model(&self, endpoint: EndpointId) -> ModelMetrics {
        let known = self.0.models.borrow().get(&endpoint).filter(|model| !model.0.cells.is_gone()).cloned();
        known.unwrap_or_else(|| self.add_model(endpoint))
    }

    fn add_model(&self, endpoint: EndpointId) -> ModelMetrics {
        let (shared, cells) = (self.0.shared.clone(), Arc::<ModelCells>::default());
        shared.cells.models.lock().insert(endpoint, cells.clone());
        let model = ModelMetrics(Rc::new(ModelWriter { shared, endpoint: Some(endpoint), cells }));
        let mut models = self.0.models.borrow_mut();
        models.retain(|_, model| !model.0.cells.is_gone());
        models.insert(endpoint, model.clone());
        model
    }

    /// The writer of requests without a model that the caller may use.
    pub(super) fn other(&self) -> &ModelMetrics {
        &self.0.other
    }
}

impl Shared {
    fn group(&self, key: GroupKey) -> Arc<GroupCells> {
        let known = self.groups.borrow().get(&key).filter(|cells| !cells.is_gone()).cloned();
        known.unwrap_or_else(|| {
            let cells = Arc::<GroupCells>::default();
            self.cells.groups.lock().insert(key, cells.clone());
            let mut groups = self.groups.borrow_mut();
            groups.retain(|_, cells| !cells.is_gone());
            groups.insert(key, cells.clone());
            cells
        })
    }
}

impl ModelMetrics {
    /// Counts a request that was admitted.
    pub fn admitted(&self) {
        self.0.cells.admitted.add(1);
    }

    /// Counts the end of a request that was admitted. `queued` is the time that it waited for a free target.
    pub fn ended(&self, queued: Duration) {
        self.0.cells.ended.add_released(1);
        if !queued.is_zero() {
            self.0.cells.queue_wait.count(queued, &ANSWERS);
        }
    }

    /// Counts an attempt at the target with this index.
    pub fn attempted(&self, target: u16, outcome: Outcome) {
        self.0.cells.attempts.of(target)[outcome as usize].add(1);
    }

    /// Counts an answer that was billed.
    pub fn billed(&self, answer: &Billed<'_>) {
        let Billed { route, group, day, ttft_ms, usage, cost } = *answer;
        let Usage { input, output, cached, cache_write } = *usage;
        for (counter, tokens) in self.0.cells.tokens.iter().zip([input, output, cached, cache_write]) {
            counter.add(tokens);
        }
        if let Some(Cost { currency, amount }) = cost {
            self.0.cells.costs.of(currency).add(amount);
        }
        if let Some(ms) = ttft_ms {
            self.0.cells.routes.of(route.path()).first_byte.count(Duration::from_millis(ms), &ANSWERS);
        }
        if self.0.shared.has_groups {
            self.0.shared.group((group, self.0.endpoint)).billed(usage.total(), day);
        }
    }

    /// Counts the time that the gateway itself has added to a request.
    pub(super) fn overhead(&self, route: Route, took: Duration) {
        self.0.shared.cells.overhead.of(route).count(took, &OVERHEADS);
    }

    /// Counts a refusal.
    pub(super) fn refused(&self, group: Option<GroupId>, code: &'static str) {
        self.0.cells.refusals.of(code).add(1);
        if let Some(group) = group.filter(|_| self.0.shared.has_groups) {
            self.0.shared.group((group, self.0.endpoint)).refusals.add(1);
        }
    }

    /// Counts a request that has ended with this status.
    pub(super) fn answered(&self, route: &'static str, group: Option<GroupId>, status: u16, took: Duration) {
        let cells = self.0.cells.routes.of(route);
        cells.statuses.of(status).add(1);
        cells.duration.count(took, &ANSWERS);
        if let Some(group) = group.filter(|_| self.0.shared.has_groups) {
            self.0.shared.group((group, self.0.endpoint)).requests.add(1);
        }
    }
}

/// Hashes ids, whose last bits are random, without the cost of a hash that resists chosen keys: only the gateway makes
/// ids.
#[derive(Default)]
struct IdHasher(u64);

type BuildIdHasher = BuildHasherDefault<IdHasher>;

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, part: u64) {
        // The multiplier of Fibonacci hashing: 2^64 divided by the golden ratio.
        self.0 = (self.0.rotate_left(5) ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_u128(&mut self, id: u128) {
        self.write_u64((id >> 64) as u64 ^ id as u64);
    }

    fn write_isize(&mut self, variant: isize) {
        self.write_u64(variant as u64);
    }
}
