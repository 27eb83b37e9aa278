//! Which target answers: they are tried in order of priority until one does.
//!
//! A target is passed over when it cannot be reached, is too slow with its first byte, refuses our credential, is at
//! its own limit or fails (3xx, 5xx). What it refuses otherwise is the customer's to hear: a second target would say
//! the same.

use std::sync::Arc;

use bytes::Bytes;
use tracing::warn;

use super::{Worker, failure::Refused};
use crate::{
    domain::route::Route,
    service::{catalog::Model, metering::Reservation},
    upstream::{
        Response,
        client::{Request as HttpRequest, SendError, Template},
        provider::demo,
        refusal::{self, UpstreamRefusal},
        request::{Changes, OutputCap, Request},
        target::{Reach, Target},
    },
};

/// An answer's head.
pub(super) struct Found {
    /// 2xx.
    pub(super) response: Response,
    /// What the target calls the model.
    pub(super) upstream_model: Arc<str>,
    /// Still held.
    pub(super) reservation: Reservation,
}

/// Why a target was passed over.
enum Passed {
    Unusable,
    TooSlow,
    Failed,
    Limited(Box<UpstreamRefusal>),
}

/// What one target did.
#[expect(clippy::large_enum_variant, reason = "it is taken apart where it comes from")]
enum Outcome {
    Answered(Response),
    Refused(Box<UpstreamRefusal>),
    Passed(Passed),
}

pub(super) async fn find_answer(
    worker: &Worker,
    model: &Model,
    reservation: Reservation,
    request: &Request,
    body: &Bytes,
    passed_on: &[(&'static str, Bytes)],
    output_max: Option<u64>,
) -> Result<Found, Refused> {
    let route = reservation.route();
    let mut last = Passed::Unusable;
    let mut all_limited = true;
    for (index, target) in model.targets.iter().enumerate() {
        let cap = output_max.map(|tokens| OutputCap { parameter: target.output_parameter(route), tokens });
        let changes = Changes { model: &target.model, cap };
        let body = request.rewrite(body, &changes);
        match attempt(worker, model, target, route, body, passed_on).await {
            Outcome::Answered(response) => {
                return Ok(Found { response, upstream_model: target.model.clone(), reservation });
            }
            Outcome::Refused(refused) => {
                reservation.release(true);
                return Err(Refused::UpstreamRefused(refused));
            }
            Outcome::Passed(passed) => {
                all_limited &= matches!(passed, Passed::Limited(_));
                worker.gateway.counts.target_failed();
                tracing::debug!(model = &*model.slug, target = index, "a target was passed over");
                last = passed;
            }
        }
    }
    // A 429 that is passed on is an answer; a target that failed, was silent or refused our credential gave none.
    let answered = all_limited && matches!(last, Passed::Limited(_));
    reservation.release(answered);
    Err(match last {
        Passed::Limited(limited) if answered => Refused::UpstreamRefused(limited),
        Passed::Unusable => Refused::NoUpstream,
        Passed::TooSlow => Refused::UpstreamTimeout,
        Passed::Limited(_) | Passed::Failed => Refused::Upstream,
    })
}

async fn attempt(
    worker: &Worker,
    model: &Model,
    target: &Target,
    route: Route,
    body: Vec<Bytes>,
    passed_on: &[(&'static str, Bytes)],
) -> Outcome {
    let template = match &target.reach {
        Reach::Http(templates) => templates.get(route as usize),
        Reach::Demo => return Outcome::Answered(demo::answer(route, &body.concat())),
        Reach::Broken(why) => {
            warn!(model = &*model.slug, why, "a target cannot be used");
            return Outcome::Passed(Passed::Unusable);
        }
    };
    let Some(template) = template else { return Outcome::Passed(Passed::Unusable) };
    let request = match http_request(template, passed_on, body) {
        Ok(request) => request,
        Err(why) => {
            warn!(model = &*model.slug, why, "a request could not be put together");
            return Outcome::Passed(Passed::Failed);
        }
    };
    match worker.client.send(request).await {
        Ok(response) => judge(model, target, Response::from_http(response)).await,
        Err(error) => Outcome::Passed(unreachable(model, &error)),
    }
}

fn http_request(
    template: &Template,
    passed_on: &[(&'static str, Bytes)],
    body: Vec<Bytes>,
) -> Result<HttpRequest, String> {
    let headers: arrayvec::ArrayVec<(&str, &[u8]), 8> =
        passed_on.iter().take(8).map(|(name, value)| (*name, value.as_ref())).collect();
    template.request(&headers, body).map_err(|error| error.to_string())
}

fn unreachable(model: &Model, error: &SendError) -> Passed {
    warn!(model = &*model.slug, %error, "an upstream did not answer");
    if error.kind.is_timeout() { Passed::TooSlow } else { Passed::Failed }
}

async fn judge(model: &Model, target: &Target, response: Response) -> Outcome {
    let status = response.status;
    match status {
        200..=299 => Outcome::Answered(response),
        401..=403 => {
            warn!(model = &*model.slug, status, "an upstream refused our credential");
            Outcome::Passed(Passed::Failed)
        }
        429 => {
            warn!(model = &*model.slug, "an upstream is at its own limit");
            let limited = UpstreamRefusal {
                code: Some("upstream_rate_limited".to_owned()),
                ..refusal::read(response, &target.model, &model.slug).await
            };
            Outcome::Passed(Passed::Limited(Box::new(limited)))
        }
        400..=499 => Outcome::Refused(Box::new(refusal::read(response, &target.model, &model.slug).await)),
        _ => {
            warn!(model = &*model.slug, status, "an upstream failed");
            Outcome::Passed(Passed::Failed)
        }
    }
}
