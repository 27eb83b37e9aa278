//! The response to a request whose head is malformed. The connection is closed after it.

use actix_http::StatusCode;
use bytes::Bytes;
use tracing::info;

use super::{api::Api, error::Problem};
use crate::{
    crypto::random,
    http::connection::{Fault, refusal},
};

pub(super) fn refuse(fault: Fault) -> Bytes {
    let id = random::uuid().unwrap_or_default();
    let problem = Problem::malformed(fault);
    let (status, code) = (problem.status, problem.logged_code());
    info!(target: "tollgate::request", %id, route = "unknown", status, code, "refused");
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    // The path is not known, so the API is not either.
    let body = problem.body(Api::OpenAi, id).to_string();
    refusal(status, &[("x-request-id", &id.to_string())], &body)
}
