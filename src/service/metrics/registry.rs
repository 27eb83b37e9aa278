//! The cells of all workers.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;

use super::{
    cells::{Histogram, Series},
    groups::{GroupCells, GroupKey},
    model::ModelCells,
};
use crate::domain::{id::EndpointId, route::Route};

/// The cells of all workers.
pub struct Metrics {
    workers: Mutex<Vec<Arc<WorkerCells>>>,
    has_groups: bool,
    /// The length of the latest scrape's text, in bytes.
    latest_length: AtomicUsize,
}

/// The cells of one worker. Its locks are taken by a scrape, and by the worker when it adds a cell.
#[derive(Default)]
pub(super) struct WorkerCells {
    pub(super) models: Mutex<HashMap<EndpointId, Arc<ModelCells>>>,
    pub(super) groups: Mutex<HashMap<GroupKey, Arc<GroupCells>>>,
    /// The cells of requests without a model that the caller may use.
    pub(super) other: Arc<ModelCells>,
    pub(super) overhead: Series<Route, Histogram>,
}

impl Metrics {
    /// A registry without workers. `has_groups` says whether groups are counted.
    pub fn new(has_groups: bool) -> Self {
        Self { workers: Mutex::default(), has_groups, latest_length: AtomicUsize::new(0) }
    }

    /// The length of the latest scrape's text, in bytes. The next one is about as long.
    pub(super) fn latest_length(&self) -> usize {
        self.latest_length.load(Ordering::Relaxed)
    }

    pub(super) fn set_latest_length(&self, bytes: usize) {
        self.latest_length.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn has_groups(&self) -> bool {
        self.has_groups
    }

    /// Adds the cells of a worker.
    pub(super) fn register(&self) -> Arc<WorkerCells> {
        let cells = Arc::<WorkerCells>::default();
        self.workers.lock().push(cells.clone());
        cells
    }

    /// The cells of each worker.
    pub(super) fn workers(&self) -> Vec<Arc<WorkerCells>> {
        self.workers.lock().clone()
    }
}
