//! The state of one thread that serves inference requests: a worker of the inference listener, or a worker of the admin
//! listener once it makes trial calls.

use std::sync::Arc;

use crate::service::{Gateway, request::InferenceWorker};

/// The state of one thread that serves inference requests.
pub(in crate::http) struct Worker {
    pub(super) gateway: Arc<Gateway>,
    pub(super) requests: InferenceWorker,
}

impl Worker {
    /// Creates the state of the current thread and starts its background tasks.
    pub(in crate::http) fn start(gateway: Arc<Gateway>) -> Self {
        let requests = InferenceWorker::start(&gateway);
        Self { gateway, requests }
    }
}
