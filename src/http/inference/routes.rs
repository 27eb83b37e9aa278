//! Finds the route of a request on the inference listener and answers the request.

use std::{sync::Arc, time::Instant};

use actix_http::{
    HttpMessage, Method, Payload, Request, Response,
    header::{self, HeaderName},
};
use uuid::Uuid;

use super::{
    api::Api,
    body::{declared, read_body, timed},
    call::{log_outcome, may_call, metered},
    cors::Cors,
    error::{Methods, Problem},
    headers, models,
    paths::{PATHS, is_probe, route_name, slug},
    reply::{Reply, ReplyBody},
    usage,
    worker::Worker,
};
use crate::{
    crypto::random,
    domain::{route::Route, trace_context::TraceId},
    http::{
        connection::{AnswerGuard, Answered},
        credential,
    },
    service::{
        Gateway,
        catalog::KeyEntry,
        metrics::RequestMetrics,
        request::{Call, admission::Arrived},
    },
};

/// The header in which Anthropic's SDKs send a key.
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Answers one request. Every failure becomes an error response.
pub(super) async fn respond(worker: &Worker, request: Request) -> Response<Answered<ReplyBody>> {
    let answering = AnswerGuard::begin(&request);
    let cors = Cors::of(&worker.gateway.core.config.cors_origins, request.head());
    let mut response = make_response(worker, request, &answering, &cors).await;
    cors.write(response.headers_mut());
    answering.until_end_of(response, ReplyBody::is_broken)
}

async fn make_response(
    worker: &Worker,
    mut request: Request,
    answering: &AnswerGuard,
    cors: &Cors,
) -> Response<ReplyBody> {
    let at = Instant::now();
    let mut payload = request.take_payload();
    let (version, peer) = (request.version(), request.peer_addr());
    let api = Api::of(request.path());
    let name = route_name(request.path());
    let trace_id = headers::trace_id(request.headers());
    let measured = worker.requests.measure(Some(name).filter(|name| !is_probe(name)), at);
    let Ok(id) = random::uuid() else {
        let reply = log_outcome(Err(Problem::no_random()), api, Uuid::nil(), trace_id, name, at, &measured);
        return reply.into_response(api, Uuid::nil(), version, payload, measured);
    };
    let answered = match cors.is_preflight() {
        true => Ok(Reply::no_content()),
        false => route(worker, request, &mut payload, id.as_u128(), trace_id, at, &measured).await,
    };
    // If a fault in the request's framing ended the body early, report that fault instead.
    let answered = answered.map_err(|problem| answering.fault().map_or(problem, Problem::malformed));
    if let (Err(Problem { status: 401, .. }), Some(peer)) = (&answered, peer) {
        let gateway = &worker.gateway;
        gateway.access.refused.count_customer(peer.ip(), gateway.core.now_ms());
    }
    let reply = log_outcome(answered, api, id, trace_id, name, at, &measured);
    reply.into_response(api, id, version, payload, measured)
}

async fn route(
    worker: &Worker,
    request: Request,
    payload: &mut Payload,
    id: u128,
    trace_id: Option<TraceId>,
    at: Instant,
    measured: &RequestMetrics,
) -> Result<Reply, Problem> {
    let gateway = &worker.gateway;
    let caller = |request| caller(gateway, request).inspect(|key| measured.set_group(key.group.id));
    // HEAD is answered as GET; actix-http leaves out the body.
    let method = Some(request.method()).filter(|method| **method != Method::HEAD).unwrap_or(&Method::GET);
    let path = request.path();
    if let Some(route) = Route::from_path(path) {
        if *method != Method::POST {
            return Err(match route == Route::Responses && request.headers().contains_key(header::UPGRADE) {
                true => Problem::upgrade_required(),
                false => Problem::method_not_allowed(method, Methods::Post),
            });
        }
        let key = caller(&request)?;
        let passed_on = headers::passed_on(request.headers(), id, trace_id);
        let session_affinity = headers::session_affinity(request.headers());
        let beta = request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair == "beta=true"));
        let (read, waited_for_body) = timed(read_body(gateway, &key, request.headers(), payload)).await;
        let (body, room) = read?;
        // Reading the body can take long, and the key may have been revoked in the meantime.
        let key = may_call(gateway.access.revalidate_customer(&key))?;
        let arrived = Arrived { id, trace_id, key, route, at, waited_for_body };
        let call = Call { arrived, body, room, passed_on, session_affinity, beta };
        return metered(worker, call, measured).await;
    }
    match path {
        path if !PATHS.contains(&path) && slug(path).is_none() => Err(Problem::unknown_url(method, path)),
        _ if *method != Method::GET => Err(Problem::method_not_allowed(method, Methods::Get)),
        "/healthz" => Ok(Reply::json(&serde_json::json!({ "status": "ok" }))),
        "/readyz" if gateway.core.metering_error().is_some() => Err(Problem::not_ready()),
        "/readyz" => Ok(Reply::json(&serde_json::json!({ "status": "ok" }))),
        "/v1/models" => Ok(models::list(gateway, &*caller(&request)?)),
        "/v1/usage" => Ok(usage::of_key(gateway, &*caller(&request)?)),
        path => models::one(gateway, &*caller(&request)?, slug(path).unwrap_or_default()),
    }
}

/// Whether a client that sent `Expect: 100-continue` may send its body: the request's head gives no reason to refuse
/// it.
pub(super) fn may_continue(gateway: &Gateway, request: &Request) -> bool {
    let has_body = Route::from_path(request.path()).is_some() && request.method() == Method::POST;
    has_body && caller(gateway, request).is_ok() && declared(gateway, request.headers()).is_ok()
}

/// The entry of the request's key, if the key is valid now. The error is the same for every kind of invalid key.
fn caller(gateway: &Gateway, request: &Request) -> Result<Arc<KeyEntry>, Problem> {
    let key = credential::key(request.headers(), Some(&X_API_KEY)).and_then(|key| std::str::from_utf8(key).ok());
    may_call(key.and_then(|key| gateway.access.customer(key)))
}
