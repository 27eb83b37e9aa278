//! The state that the requests on one worker thread share, and the task that reads on after hang-ups.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::{admission::Metering, running::Running};
use crate::{
    service::{
        capacity::out_of_files::OutOfFiles,
        core::Core,
        gateway::Gateway,
        metrics::{RequestMetrics, WorkerMetrics},
    },
    upstream::client::{Client, Timeouts},
};

/// How long we keep reading after a hang-up, for the usage of an answer that has been generated.
const USAGE_TIMEOUT: Duration = Duration::from_secs(2);

/// The state of one worker thread. Clones share it.
#[derive(Clone)]
pub struct InferenceWorker {
    pub(super) core: Arc<Core>,
    pub(super) metering: Arc<Metering>,
    pub(super) out_of_files: Arc<OutOfFiles>,
    pub(super) client: Client,
    metrics: WorkerMetrics,
    /// Takes the answers to read on after a hang-up.
    pub(super) abandoned: mpsc::UnboundedSender<Running>,
}

impl InferenceWorker {
    /// Creates the worker of the current thread and starts its background tasks.
    pub fn start(gateway: &Gateway) -> Self {
        let (core, metering, out_of_files) =
            (gateway.core.clone(), gateway.metering.clone(), gateway.out_of_files.clone());
        let upstream = &core.config.upstream;
        let timeouts = Timeouts {
            connect: upstream.connect_timeout,
            first_byte: upstream.first_byte_timeout,
            idle: upstream.idle_timeout,
        };
        let client = Client::new(timeouts, core.listeners());
        tokio::task::spawn_local(client.sweep_idle());
        let (abandoned, mut received) = mpsc::unbounded_channel::<Running>();
        tokio::task::spawn_local(async move {
            while let Some(running) = received.recv().await {
                tokio::task::spawn_local(tokio::time::timeout(USAGE_TIMEOUT, running.read_on()));
            }
        });
        let metrics = WorkerMetrics::start(&gateway.metrics);
        Self { core, metering, out_of_files, client, metrics, abandoned }
    }

    /// Begins to measure a request that arrived at `at`. `route` is a word of a closed list; `None` for a request that is
    /// not counted.
    pub fn measure(&self, route: Option<&'static str>, at: Instant) -> RequestMetrics {
        RequestMetrics::begin(&self.metrics, route, at)
    }
}
