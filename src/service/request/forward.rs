//! Forwards an admitted request to the targets of its model.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    admission::Reservation,
    answer_body::{self, AnswerBody},
    failure::{Refused, RequestFailure},
    passed_on::PassedOn,
    targets::{UpstreamCall, find_answer},
    worker::InferenceWorker,
};
use crate::{
    service::{
        capacity::bodies::Room,
        catalog::{KeyEntry, Model},
        core::Core,
        reading::limits::tightest,
    },
    upstream::request::Request,
};

/// An admitted request.
pub(super) struct Admitted {
    pub(super) key: Arc<KeyEntry>,
    pub(super) model: Arc<Model>,
    pub(super) request: Request,
    pub(super) body: Bytes,
    pub(super) room: Room,
    pub(super) passed_on: PassedOn,
    pub(super) beta: bool,
    pub(super) output_max: Option<u64>,
    /// Requests of the same affinity go to the same target.
    pub(super) affinity: Option<u64>,
    pub(super) reservation: Reservation,
}

/// The answer of a target, as HTTP sends it.
pub(super) struct Forwarded {
    pub(super) status: u16,
    pub(super) content_type: Bytes,
    pub(super) body: AnswerBody,
}

/// Forwards a request and returns its answer. The memory of the request's body is freed when a target has answered.
/// The request is boxed, since its values together are large and would be copied at each step.
pub(super) async fn forward(worker: &InferenceWorker, admitted: Box<Admitted>) -> Result<Forwarded, RequestFailure> {
    let refuse = |why| refused(&worker.core, &admitted.key, Some(&admitted.model), why);
    let call = UpstreamCall {
        model: &admitted.model,
        request: &admitted.request,
        body: &admitted.body,
        passed_on: &admitted.passed_on,
        beta: admitted.beta,
        output_max: admitted.output_max,
        affinity: admitted.affinity,
    };
    let (begun, origin) = find_answer(worker, &call, admitted.reservation).await.map_err(refuse)?;
    drop((admitted.body, admitted.room));
    let (status, content_type, body) = answer_body::hand_over(worker, begun, origin).await.map_err(refuse)?;
    Ok(Forwarded { status, content_type, body })
}

/// Makes the failure of a request. The limits are read now, so they no longer include what the request held.
pub(super) fn refused(core: &Core, key: &KeyEntry, model: Option<&Arc<Model>>, refused: Refused) -> RequestFailure {
    let standings = model.map(|model| Box::new(tightest(core.moment(), &key.group, model.slug_id)));
    RequestFailure { refused, model: model.cloned(), standings }
}
