//! The inference listener: the OpenAI-compatible API that customers call.
//!
//! It runs on actix-http, one layer below actix-web, because a dozen fixed paths need no routing table. Every response
//! carries our own `x-request-id`. Errors have OpenAI's shape.

mod body;
mod cors;
pub(crate) mod credential;
mod error;
mod headers;
mod malformed;
mod models;
mod rate_limits;
mod reply;
mod suggestion;
mod trial;
mod usage;
mod wait;

use std::{convert::Infallible, net::TcpListener, rc::Rc, sync::Arc, time::Instant};

use actix_http::{HttpMessage, Method, Payload, Request, Response, header};
use actix_server::ServerBuilder;
use actix_service::fn_service;
use tracing::info;
use uuid::Uuid;

use self::{
    body::{declared_length, read_body},
    cors::Cors,
    credential::credential,
    error::{Methods, Problem},
    reply::{Reply, ReplyBody},
};
use super::connection::{self, AnswerGuard, Answered, Serving};
use crate::{
    crypto::random,
    domain::route::Route,
    service::{
        Gateway,
        catalog::KeyEntry,
        request::{Call, InferenceWorker, admission::Arrived, serve},
    },
};

pub(super) use self::trial::Trial;

/// The paths that accept GET and HEAD, in addition to [`ONE_MODEL`].
const PATHS: [&str; 4] = ["/v1/models", "/v1/usage", "/healthz", "/readyz"];

/// The path of one model, without its slug.
const ONE_MODEL: &str = "/v1/models/";

/// Opens the inference listener.
pub fn listen(serving: Serving, listener: TcpListener, gateway: Arc<Gateway>) -> std::io::Result<ServerBuilder> {
    connection::listen(serving, "inference", listener, malformed::refuse, move || {
        let worker = Rc::new(InferenceWorker::start(gateway.clone()));
        let expecting = worker.clone();
        let answers = fn_service(move |request: Request| {
            let worker = worker.clone();
            async move { Ok::<_, Infallible>(answer(&worker, request).await) }
        });
        // If the body of a request with `Expect: 100-continue` would not be read, the request is answered immediately.
        let continues = fn_service(move |request: Request| {
            let worker = expecting.clone();
            async move {
                if may_continue(&worker.gateway, &request) {
                    return Ok(request);
                }
                Err(answer(&worker, request).await.map_into_boxed_body())
            }
        });
        (answers, continues)
    })
}

/// Answers one request. Every failure becomes an error response.
async fn answer(worker: &InferenceWorker, request: Request) -> Response<Answered<ReplyBody>> {
    let answering = AnswerGuard::begin(&request);
    let cors = Cors::of(&worker.gateway.config.cors_origins, request.head());
    let mut answer = reply(worker, request, &answering, &cors).await;
    cors.write(answer.headers_mut());
    answering.until_end_of(answer, ReplyBody::is_broken)
}

async fn reply(
    worker: &InferenceWorker,
    mut request: Request,
    answering: &AnswerGuard,
    cors: &Cors,
) -> Response<ReplyBody> {
    let at = Instant::now();
    let mut payload = request.take_payload();
    let (version, peer) = (request.version(), request.peer_addr());
    let Ok(id) = random::uuid() else {
        return Problem::no_random().into_reply().into_response(Uuid::nil(), version, payload);
    };
    let name = route_name(request.path());
    let answered = match cors.is_preflight() {
        true => Ok(Reply::no_content()),
        false => route(worker, request, &mut payload, id.as_u128(), at).await,
    };
    // If a fault in the request's framing ended the body early, report that fault instead.
    let answered = answered.map_err(|problem| answering.fault().map_or(problem, Problem::malformed));
    if let (Err(Problem { status: 401, .. }), Some(peer)) = (&answered, peer) {
        worker.gateway.count_refused_customer(peer.ip());
    }
    log_outcome(answered, id, name, at).into_response(id, version, payload)
}

async fn metered(worker: &InferenceWorker, call: Call) -> Result<Reply, Problem> {
    serve(worker, call).await.map(Reply::from).map_err(Problem::from)
}

/// Logs the outcome of a request and returns its reply.
fn log_outcome(answered: Result<Reply, Problem>, id: Uuid, name: &'static str, at: Instant) -> Reply {
    let duration_ms = || u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX);
    match answered {
        Ok(reply) => {
            // Billed requests are logged at settlement. Health probes are frequent and are not logged.
            if name.starts_with("/v1/models") || name == "/v1/usage" {
                info!(target: "tollgate::request", %id, route = name, status = reply.status, duration_ms = duration_ms(), "answered");
            }
            reply
        }
        Err(problem) => {
            let (status, code) = (problem.status, problem.logged_code());
            info!(target: "tollgate::request", %id, route = name, status, code, duration_ms = duration_ms(), "refused");
            problem.into_reply()
        }
    }
}

/// The path for the log. It never contains text that a customer sent.
fn route_name(path: &str) -> &'static str {
    match path {
        "/v1/models" => "/v1/models",
        "/v1/usage" => "/v1/usage",
        "/healthz" => "/healthz",
        "/readyz" => "/readyz",
        path if slug(path).is_some() => "/v1/models/{slug}",
        path => Route::from_path(path).map_or("unknown", Route::path),
    }
}

async fn route(
    worker: &InferenceWorker,
    request: Request,
    payload: &mut Payload,
    id: u128,
    at: Instant,
) -> Result<Reply, Problem> {
    let gateway = &worker.gateway;
    // HEAD is answered as GET; actix-http leaves out the body.
    let method = Some(request.method()).filter(|method| **method != Method::HEAD).unwrap_or(&Method::GET);
    let path = request.path();
    if let Some(route) = Route::from_path(path) {
        if *method != Method::POST {
            return Err(Problem::method_not_allowed(method, Methods::Post));
        }
        let key = caller(gateway, &request)?;
        let passed_on = headers::passed_on(request.headers());
        let (body, room) = read_body(gateway, &key, request.headers(), payload).await?;
        // Reading the body can take long, and the key may have been revoked in the meantime.
        let key = may_call(gateway.revalidate_customer(&key))?;
        let call = Call { arrived: Arrived { id, key, route, at }, body, room, passed_on };
        return metered(worker, call).await;
    }
    match path {
        "/v1/responses" if request.headers().contains_key(header::UPGRADE) => Err(Problem::upgrade_required()),
        path if !PATHS.contains(&path) && slug(path).is_none() => Err(Problem::unknown_url(method, path)),
        _ if *method != Method::GET => Err(Problem::method_not_allowed(method, Methods::Get)),
        "/healthz" => Ok(Reply::json(&serde_json::json!({ "status": "ok" }))),
        "/readyz" if gateway.metering_error().is_some() => Err(Problem::not_ready()),
        "/readyz" => Ok(Reply::json(&serde_json::json!({ "status": "ok" }))),
        "/v1/models" => Ok(models::list(gateway, &*caller(gateway, &request)?)),
        "/v1/usage" => Ok(usage::of_key(gateway, &*caller(gateway, &request)?)),
        path => models::one(gateway, &*caller(gateway, &request)?, slug(path).unwrap_or_default()),
    }
}

/// The slug in a path `/v1/models/{slug}`.
fn slug(path: &str) -> Option<&str> {
    path.strip_prefix(ONE_MODEL).filter(|slug| !slug.is_empty())
}

/// Whether a client that sent `Expect: 100-continue` may send its body: the request's head gives no reason to refuse
/// it.
fn may_continue(gateway: &Gateway, request: &Request) -> bool {
    let has_body = Route::from_path(request.path()).is_some() && request.method() == Method::POST;
    has_body && caller(gateway, request).is_ok() && declared_length(gateway, request.headers()).is_ok()
}

/// The entry of the request's key, if the key is valid now. The error is the same for every kind of invalid key.
fn caller(gateway: &Gateway, request: &Request) -> Result<Arc<KeyEntry>, Problem> {
    may_call(credential(request.headers()).and_then(|key| gateway.customer(key)))
}

fn may_call(key: Option<Arc<KeyEntry>>) -> Result<Arc<KeyEntry>, Problem> {
    let key = key.ok_or_else(Problem::invalid_api_key)?;
    if key.group.is_disabled() { Err(Problem::access_disabled()) } else { Ok(key) }
}
