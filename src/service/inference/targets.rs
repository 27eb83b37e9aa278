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
    /// Who answered.
    pub(super) target: Arc<Target>,
    /// Still held.
    pub(super) reservation: Reservation,
}

/// What one target did.
enum Outcome {
    Answered(Response),
    Refused(Box<UpstreamRefusal>),
    Passed(Passed),
}

/// A target was passed over.
struct Passed {
    why: Why,
    /// For the operator.
    words: String,
    /// It is at its own limit, and said this.
    limited: Option<Box<UpstreamRefusal>>,
}

/// What the customer is told if no other target answers either.
enum Why {
    Unusable,
    TooSlow,
    Failed,
}

impl Outcome {
    fn passed(why: Why, words: impl Into<String>) -> Self {
        Self::Passed(Passed { why, words: words.into(), limited: None })
    }
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
    let mut last = Why::Unusable;
    let mut limited = None;
    for (index, target) in model.targets.iter().enumerate() {
        let cap = output_max.map(|tokens| OutputCap { parameter: target.output_parameter(route), tokens });
        let body = request.rewrite(body, &Changes { model: &target.model, cap });
        match attempt(worker, model, target, route, body, passed_on).await {
            Outcome::Answered(response) => {
                target.health.succeeded(worker.gateway.now_ms());
                return Ok(Found { response, target: target.clone(), reservation });
            }
            Outcome::Refused(refused) => {
                target.health.succeeded(worker.gateway.now_ms());
                reservation.release(true);
                return Err(Refused::UpstreamRefused(refused));
            }
            Outcome::Passed(passed) => {
                warn!(model = &*model.slug, target = index, why = passed.words, "a target was passed over");
                target.health.failed(passed.words, worker.gateway.now_ms());
                worker.gateway.counts.target_failed();
                // What is passed on is the last one's, and only if every target is at its own limit.
                limited = passed.limited.filter(|_| index == 0 || limited.is_some());
                last = passed.why;
            }
        }
    }
    // A 429 that is passed on is an answer; a target that failed, was silent or refused our credential gave none.
    reservation.release(limited.is_some());
    Err(match (limited, last) {
        (Some(limited), _) => Refused::UpstreamRefused(limited),
        (None, Why::Unusable) => Refused::NoUpstream,
        (None, Why::TooSlow) => Refused::UpstreamTimeout,
        (None, Why::Failed) => Refused::Upstream,
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
        Reach::Broken(why) => return Outcome::passed(Why::Unusable, *why),
    };
    let Some(template) = template else { return Outcome::passed(Why::Unusable, "it does not have this route") };
    let headers: arrayvec::ArrayVec<(&str, &[u8]), 8> =
        passed_on.iter().take(8).map(|(name, value)| (*name, value.as_ref())).collect();
    let request = match template.request(&headers, body) {
        Ok(request) => request,
        Err(error) => return Outcome::passed(Why::Failed, error.to_string()),
    };
    match worker.client.send(request).await {
        Ok(response) => judge(model, target, Response::from_http(response)).await,
        Err(error) => {
            let why = if error.kind.is_timeout() { Why::TooSlow } else { Why::Failed };
            Outcome::passed(why, error.to_string())
        }
    }
}

async fn judge(model: &Model, target: &Target, response: Response) -> Outcome {
    let status = response.status;
    match status {
        200..=299 if response.is_encoded => {
            Outcome::passed(Why::Failed, "it answered with an encoded body, although identity was asked for")
        }
        200..=299 => Outcome::Answered(response),
        401..=403 => Outcome::passed(Why::Failed, format!("it refused our credential (status {status})")),
        429 => {
            let limited = UpstreamRefusal {
                code: Some("upstream_rate_limited".to_owned()),
                ..refusal::read(response, target, &model.slug).await
            };
            let words = "it is at its own limit (status 429)".to_owned();
            Outcome::Passed(Passed { why: Why::Failed, words, limited: Some(Box::new(limited)) })
        }
        400..=499 => Outcome::Refused(Box::new(refusal::read(response, target, &model.slug).await)),
        _ => Outcome::passed(Why::Failed, format!("it failed (status {status})")),
    }
}
