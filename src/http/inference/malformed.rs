//! The response to a request whose head is malformed. The connection is closed after it.

use actix_http::StatusCode;
use bytes::Bytes;
use tracing::info;

use super::error::Problem;
use crate::{
    crypto::random,
    http::connection::{Fault, refusal},
};

pub(super) fn refuse(fault: Fault) -> Bytes {
    let id = random::uuid().unwrap_or_default().to_string();
    let problem = Problem::malformed(fault);
    let (status, code) = (problem.status, problem.logged_code());
    info!(target: "tollgate::request", id, route = "unknown", status, code, "refused");
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    refusal(status, &[("x-request-id", &id)], &problem.body().to_string())
}
