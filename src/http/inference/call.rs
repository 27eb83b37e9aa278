//! The steps that customers' calls and operators' trial calls share, from the check of the key on.

use std::{sync::Arc, time::Instant};

use tracing::info;
use uuid::Uuid;

use super::{
    api::Api,
    error::{Problem, millis_since},
    reply::Reply,
    worker::Worker,
};
use crate::{
    domain::trace_context::TraceId,
    service::{
        catalog::KeyEntry,
        metrics::RequestMetrics,
        request::{Call, answer_call},
    },
};

/// Returns the entry of a key that may call now. Fails if there is no key, or if its group is disabled.
pub(super) fn may_call(key: Option<Arc<KeyEntry>>) -> Result<Arc<KeyEntry>, Problem> {
    let key = key.ok_or_else(Problem::invalid_api_key)?;
    if key.group.is_disabled() { Err(Problem::access_disabled()) } else { Ok(key) }
}

/// Makes a call to a model: admits it, forwards it and meters its answer.
pub(super) async fn metered(worker: &Worker, call: Call, measured: &RequestMetrics) -> Result<Reply, Problem> {
    answer_call(&worker.requests, call, measured).await.map(Reply::from).map_err(Problem::from)
}

/// Logs and counts the outcome of a request, and returns its reply.
pub(super) fn log_outcome(
    answered: Result<Reply, Problem>,
    api: Api,
    id: Uuid,
    trace_id: Option<TraceId>,
    name: &'static str,
    at: Instant,
    measured: &RequestMetrics,
) -> Reply {
    let reply = match answered {
        Ok(reply) => {
            // Billed requests are logged at settlement. Health probes are frequent and are not logged.
            if name.starts_with("/v1/models") || name == "/v1/usage" {
                let trace_id = trace_id.map(tracing::field::display);
                info!(target: "tollgate::request", %id, trace_id, route = name, status = reply.status, duration_ms = millis_since(at), "answered");
            }
            reply
        }
        Err(problem) => {
            problem.log(id, trace_id, name, at);
            measured.refused(problem.logged_code());
            Reply::of_problem(problem, api, id)
        }
    };
    measured.set_status(reply.status);
    reply
}
