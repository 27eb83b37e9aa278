//! One inference request from start to end: read it, admit it, find a target that answers, pass the answer on.
//!
//! All of this runs on the worker thread that accepted the connection, in the handler's future or in the response body
//! that it returns. When the customer hangs up, these are dropped, and the drop of their values releases or settles
//! what the request held (see `admission`). One exception: if only the usage of the answer is missing, another task of
//! the same worker reads on for up to two seconds (`worker::USAGE_TIMEOUT`).

pub mod admission;
mod affinity;
mod answer_body;
mod beginning;
mod error_object;
mod failure;
mod forward;
pub mod inflight;
mod kept_alive;
pub mod meter;
mod passed_on;
mod running;
mod skipped;
mod stream;
mod targets;
mod worker;

use std::sync::Arc;

use bytes::Bytes;

use self::{
    admission::{Admission, Arrived, NotAdmitted},
    affinity::affinity,
    forward::{Admitted, Forwarded, forward, refused},
    kept_alive::forward_within,
};
use super::{
    capacity::bodies::Room,
    catalog::{Catalog, KeyEntry, Model},
    metrics::{ModelMetrics, RequestMetrics},
};
use crate::{
    domain::ledger::Standings,
    upstream::request::{self, Request},
};

pub use self::{
    answer_body::AnswerBody,
    error_object::error_frame,
    failure::{Limited, Refused, RequestFailure},
    kept_alive::{CustomerBody, KeptAlive, KeptAliveStep},
    passed_on::PassedOn,
    stream::AnswerStream,
    worker::InferenceWorker,
};

/// A request as HTTP hands it over.
pub struct Call {
    /// The request's id, key, route and time of arrival.
    pub arrived: Arrived,
    /// The whole body.
    pub body: Bytes,
    /// The memory reserved for the body, freed when a target has answered.
    pub room: Room,
    /// The headers that are forwarded to the upstream.
    pub passed_on: PassedOn,
    /// The header `x-session-affinity`.
    pub session_affinity: Option<Bytes>,
    /// Whether the URL has `beta=true` in its query.
    pub beta: bool,
}

/// The answer for the customer.
pub struct Answer {
    /// The upstream's status.
    pub status: u16,
    /// The upstream's content type if it matches the answer's form, else the right one for the form.
    pub content_type: Bytes,
    /// The tightest limits, for the `x-ratelimit-*` headers.
    pub standings: Standings,
    /// The body: whole, a stream, or a stream that waits for its beginning.
    pub body: CustomerBody,
}

/// Answers one call, and counts it if it failed. Sets the model of `measured`.
pub async fn answer_call(
    worker: &InferenceWorker,
    call: Call,
    measured: &RequestMetrics,
) -> Result<Answer, RequestFailure> {
    let answered = admit_and_forward(worker, call, measured).await;
    answered.inspect_err(|failure| failure.count(&worker.core))
}

async fn admit_and_forward(
    worker: &InferenceWorker,
    call: Call,
    measured: &RequestMetrics,
) -> Result<Answer, RequestFailure> {
    let core = &worker.core;
    let Call { arrived, body, room, passed_on, session_affinity, beta } = call;
    let key = arrived.key.clone();
    let (content_type, route) = (content_type(&passed_on), arrived.route);
    let request = request::read(&body, content_type, route).map_err(|bad| {
        let slug = request::slug_of(&body, content_type, route);
        let model = slug.and_then(|slug| callable(&core.catalog.load(), &key, &slug));
        if let Some(model) = &model {
            measured.set_model(model.endpoint);
        }
        refused(core, &key, model.as_ref(), Refused::Invalid(Box::new(bad)))
    })?;
    let model = callable(&core.catalog.load(), &key, &request.model)
        .ok_or_else(|| Refused::ModelNotFound(request.model.to_string()))?;
    let metrics = measured.set_model(model.endpoint);
    if let Some(why) = core.metering_error() {
        return Err(refused(core, &key, Some(&model), Refused::CannotMeter(why)));
    }
    let metadata = request.metadata(&body).and_then(|json| std::str::from_utf8(json).ok());
    let Admission { reservation, output_max, standings } = admit(worker, arrived, &model, &request, metadata, metrics)?;
    let spreads = model.dispatcher.spreads();
    let affinity = spreads.then(|| affinity(key.group.id, session_affinity.as_deref(), &request, &body)).flatten();
    let interval = core.config.stream_keepalive.filter(|_| request.stream);
    let admitted =
        Box::new(Admitted { key, model, request, body, room, passed_on, beta, output_max, affinity, reservation });
    let (status, content_type, body) = match interval {
        None => {
            let Forwarded { status, content_type, body } = forward(worker, admitted).await?;
            (status, content_type, CustomerBody::Answered(body))
        }
        Some(interval) => forward_within(worker, admitted, interval).await?,
    };
    Ok(Answer { status, content_type, standings, body })
}

/// The content type among the headers that are forwarded.
fn content_type(passed_on: &PassedOn) -> &[u8] {
    passed_on.iter().find(|(name, _)| *name == "content-type").map_or(&[], |(_, value)| value)
}

/// The model of this slug, if the key's group carries the slug and an endpoint has it.
pub fn callable(catalog: &Catalog, key: &KeyEntry, slug: &str) -> Option<Arc<Model>> {
    let model = catalog.model(slug)?;
    key.group.group().model(model.slug_id).map(|_| model.clone())
}

fn admit(
    worker: &InferenceWorker,
    arrived: Arrived,
    model: &Arc<Model>,
    request: &Request,
    metadata: Option<&str>,
    metrics: &ModelMetrics,
) -> Result<Admission, RequestFailure> {
    worker.metering.admit(arrived, model, request, metadata, metrics).map_err(|not_admitted| match not_admitted {
        NotAdmitted::NoRandom(error) => Refused::Internal(error.to_string()).into(),
        NotAdmitted::Limit(refusal) => {
            worker.core.counts.refused();
            let time_zone = worker.core.config.time_zone.name().to_owned();
            let standings = Some(Box::new(refusal.standings));
            let limited = Limited { slug: model.slug.clone(), time_zone, refusal };
            RequestFailure { standings, model: Some(model.clone()), refused: Refused::Limit(Box::new(limited)) }
        }
    })
}
