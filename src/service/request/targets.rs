//! Finds the target that answers. The endpoint's dispatcher chooses the targets to try, one after the other, until one
//! answers.
//!
//! A target is passed over when it cannot be reached, is too slow with its first byte, refuses our credential or
//! account, is at its own limit, fails (3xx, 5xx) or answers without content. Any other refusal goes to the customer,
//! since a second target would refuse the request too. One exception: if a target refuses a parameter that we added, it
//! is asked again without that parameter. The lack of the route counts as a refusal.

use bytes::Bytes;
use tokio::time::Instant;
use tracing::warn;

use super::{
    admission::Reservation,
    beginning::{self, Asked, NoAnswer, StartedAnswer},
    failure::Refused,
    passed_on::{MAX_PASSED_ON, PassedOn},
    skipped::{SkipReason, SkippedTarget},
    stream::Origin,
    worker::InferenceWorker,
};
use crate::{
    domain::route::Route,
    service::{
        catalog::Model,
        dispatch::{Attempt, Attempts, QueueFull},
        metrics::Outcome,
    },
    upstream::{
        Response,
        client::SendErrorKind,
        provider::demo,
        refusal::{self, Meaning, UpstreamError, UpstreamRefusal},
        request::{Changes, OutputCap, Request},
        target::{Target, Transport},
    },
};

/// The call that each target gets in turn.
pub(super) struct UpstreamCall<'a> {
    pub(super) model: &'a Model,
    pub(super) request: &'a Request,
    pub(super) body: &'a Bytes,
    pub(super) passed_on: &'a PassedOn,
    /// Whether the URL has `beta=true` in its query.
    pub(super) beta: bool,
    /// The output maximum to send upstream, in strict admission.
    pub(super) output_max: Option<u64>,
    /// Requests of the same affinity go to the same target.
    pub(super) affinity: Option<u64>,
}

/// The outcome of one attempt.
enum TargetOutcome {
    Answered(Response),
    Refused(Box<UpstreamError>),
    /// The target does not have the route. Holds the reason, for the operator.
    NoRoute(String),
    Skipped(SkippedTarget),
    /// The target was not asked, because no file descriptor was free for a connection.
    NoFiles,
}

/// The end of an attempt that brought no answer.
enum Unanswered {
    /// The next target is tried, with the reservation.
    Skipped(SkippedTarget, Box<Reservation>),
    /// No other target is tried. The reservation has been released.
    Ended(Refused),
}

/// The search for the next free target. Tells the reservation how long the request has waited when it is dropped: at
/// its end, or by a hang-up.
struct Search<'a> {
    attempts: &'a mut Attempts,
    reservation: &'a mut Reservation,
}

impl Drop for Search<'_> {
    fn drop(&mut self) {
        self.reservation.set_queued(self.attempts.waited());
    }
}

/// Finds a target that answers. Releases the reservation if there is none.
pub(super) async fn find_answer(
    worker: &InferenceWorker,
    call: &UpstreamCall<'_>,
    mut reservation: Reservation,
) -> Result<(StartedAnswer, Origin), Refused> {
    let mut attempts = call.model.dispatcher.attempts(reservation.group_path(), call.affinity);
    let mut last = SkipReason::Unusable;
    // The last target's 429, if every target answered 429.
    let (mut limited, mut all_limited) = (None, true);
    loop {
        let search = Search { attempts: &mut attempts, reservation: &mut reservation };
        let next = search.attempts.next().await;
        drop(search);
        let attempt = match next {
            Ok(Some(attempt)) => attempt,
            Ok(None) => break,
            Err(QueueFull) => {
                reservation.release(false);
                return Err(Refused::QueueFull);
            }
        };
        match try_target(worker, call, attempt, reservation).await {
            Ok(answer) => return Ok(answer),
            Err(Unanswered::Ended(refused)) => return Err(refused),
            Err(Unanswered::Skipped(passed, held)) => {
                reservation = *held;
                all_limited &= passed.limited.is_some();
                (limited, last) = (passed.limited, passed.why);
            }
        }
    }
    let limited = limited.filter(|_| all_limited);
    // A 429 that is passed on counts as an answer. A failure, silence or a refused credential does not.
    reservation.release(limited.is_some());
    Err(match (limited, last) {
        (Some(limited), _) => Refused::UpstreamRefused(limited),
        (None, SkipReason::Unusable) => Refused::NoUpstream,
        (None, SkipReason::TooSlow) => Refused::UpstreamTimeout,
        (None, SkipReason::Failed(words)) => Refused::Upstream(words),
    })
}

/// Makes one attempt and reports its outcome to the target's circuit.
async fn try_target(
    worker: &InferenceWorker,
    call: &UpstreamCall<'_>,
    mut attempt: Attempt,
    mut reservation: Reservation,
) -> Result<(StartedAnswer, Origin), Unanswered> {
    let core = &worker.core;
    let (target, index, now) = (attempt.target.clone(), attempt.index, Instant::now());
    let first_byte_by = worker.client.first_byte_by(now);
    let (id, route, slug) = (reservation.id(), reservation.route(), &*call.model.slug);
    let metrics = reservation.metrics().clone();
    reservation.asks(now.into_std());
    let passed = match ask(worker, call, &target, route).await {
        TargetOutcome::Answered(response) => {
            let (stream, hides_usage) = (call.request.stream, call.request.hides_usage());
            let asked = Asked { route, body: call.body, stream, hides_usage };
            let origin = Origin { target, index, first_byte_by };
            match beginning::begin(worker, &origin, response, attempt, reservation, asked).await {
                Ok(begun) => {
                    metrics.attempted(index, Outcome::Answered);
                    return Ok((begun, origin));
                }
                Err(NoAnswer { passed, held }) => {
                    (attempt, reservation) = held.ok_or(Unanswered::Ended(Refused::Upstream(None)))?;
                    passed
                }
            }
        }
        TargetOutcome::Refused(error) => {
            attempt.refused();
            metrics.attempted(index, Outcome::Refused);
            reservation.release(true);
            return Err(Unanswered::Ended(Refused::UpstreamRefused(Box::new(error.into_refusal()))));
        }
        TargetOutcome::NoRoute(why) => {
            warn!(%id, model = slug, target_index = index, why, "a target lacks a route");
            attempt.refused();
            metrics.attempted(index, Outcome::Refused);
            reservation.release(true);
            let refusal = UpstreamRefusal::no_route(slug, route);
            return Err(Unanswered::Ended(Refused::UpstreamRefused(Box::new(refusal))));
        }
        TargetOutcome::NoFiles => {
            worker.out_of_files.note(core.now_ms());
            reservation.release(false);
            return Err(Unanswered::Ended(Refused::Overloaded));
        }
        TargetOutcome::Skipped(passed) => passed,
    };
    warn!(%id, model = slug, target_index = index, why = passed.words, "a target was passed over");
    core.counts.target_failed();
    match &passed.limited {
        Some(refusal) => {
            attempt.limited(&passed.words, refusal.wait(core.now_ms()));
            metrics.attempted(index, Outcome::Limited);
        }
        None => {
            attempt.failed(&passed.words);
            metrics.attempted(index, Outcome::Failed);
        }
    }
    reservation.has_read(Instant::now().into_std());
    Err(Unanswered::Skipped(passed, Box::new(reservation)))
}

/// Asks one target. If it refuses a parameter that we added, asks it again without that parameter.
async fn ask(worker: &InferenceWorker, call: &UpstreamCall<'_>, target: &Target, route: Route) -> TargetOutcome {
    let now_ms = worker.core.now_ms();
    let cap = call.output_max.zip(target.output_parameter(route));
    let cap = cap.map(|(tokens, parameter)| OutputCap { parameter, tokens });
    let mut changes = Changes {
        model: &target.model,
        cap,
        without_options: target.declined.has_options(now_ms),
        without_second_maximum: target.declined.has_second_maximum(now_ms),
    };
    for _ in 0..2 {
        let outcome = attempt(worker, call, target, route, &changes).await;
        let TargetOutcome::Refused(error) = &outcome else { return outcome };
        let without_options =
            call.request.sends_options(&changes) && error.refuses_parameter("stream_options", call.body);
        let without_second =
            call.request.adds_second_maximum(&changes).is_some_and(|name| error.refuses_parameter(name, call.body));
        if without_options {
            target.declined.options(now_ms);
            changes.without_options = true;
        } else if without_second {
            target.declined.second_maximum(now_ms);
            changes.without_second_maximum = true;
        } else {
            return outcome;
        }
    }
    attempt(worker, call, target, route, &changes).await
}

async fn attempt(
    worker: &InferenceWorker,
    call: &UpstreamCall<'_>,
    target: &Target,
    route: Route,
    changes: &Changes<'_>,
) -> TargetOutcome {
    let body = call.request.rewrite(call.body, changes);
    let template = match &target.reach {
        Transport::Http(templates) => templates.get(route, call.beta),
        Transport::Demo => match demo::respond(route, &body.concat()) {
            Some(answer) => return TargetOutcome::Answered(answer.into()),
            None => None,
        },
        Transport::Broken(why) => return TargetOutcome::Skipped(SkippedTarget::new(SkipReason::Unusable, *why)),
    };
    let Some(template) = template else { return TargetOutcome::NoRoute(no_route(route)) };
    let headers: arrayvec::ArrayVec<(&str, &[u8]), MAX_PASSED_ON> =
        call.passed_on.iter().take(MAX_PASSED_ON).map(|(name, value)| (*name, value.as_ref())).collect();
    let request = match template.request(&headers, body) {
        Ok(request) => request,
        Err(error) => return TargetOutcome::Skipped(SkippedTarget::failed(error.to_string())),
    };
    match worker.client.send(request).await {
        Ok(response) => judge(call, target, route, Response::from_http(response)).await,
        Err(error) if error.kind == SendErrorKind::NoFiles => TargetOutcome::NoFiles,
        Err(error) if error.kind.is_timeout() => TargetOutcome::Skipped(SkippedTarget::too_slow(error.to_string())),
        Err(error) => TargetOutcome::Skipped(SkippedTarget::failed(error.to_string())),
    }
}

fn no_route(route: Route) -> String {
    format!("it does not have the route {}", route.path())
}

async fn judge(call: &UpstreamCall<'_>, target: &Target, route: Route, response: Response) -> TargetOutcome {
    if let 200..=299 = response.status {
        return TargetOutcome::Answered(response);
    }
    let error = refusal::read(response, target, &call.model.slug).await;
    let passed = |did| SkippedTarget::reported(&error, did, call.body);
    match error.meaning() {
        Meaning::Customer => TargetOutcome::Refused(Box::new(error)),
        Meaning::NoRoute => TargetOutcome::NoRoute(error.for_operator(&no_route(route), call.body)),
        Meaning::Failed => TargetOutcome::Skipped(passed("it failed")),
        // The customer gets no details of the operator's account.
        Meaning::Account => {
            let words = error.for_operator("it refused the credential or the account", call.body);
            TargetOutcome::Skipped(SkippedTarget::failed(words))
        }
        Meaning::Limited => {
            let passed = passed("it is at its own limit");
            let code = Some("upstream_rate_limited".to_owned());
            let limited = Some(Box::new(UpstreamRefusal { code, ..error.into_refusal() }));
            TargetOutcome::Skipped(SkippedTarget { limited, ..passed })
        }
    }
}
