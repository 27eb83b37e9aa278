//! The state of one worker thread of the inference listener.

use std::sync::Arc;

use crate::service::{Gateway, request::InferenceWorker};

/// The state of one worker thread.
pub(in crate::http) struct Worker {
    pub(super) gateway: Arc<Gateway>,
    pub(super) requests: InferenceWorker,
}

impl Worker {
    /// Creates the worker of the current thread.
    pub(in crate::http) fn start(gateway: Arc<Gateway>) -> Self {
        let requests = InferenceWorker::start(&gateway);
        Self { gateway, requests }
    }
}
