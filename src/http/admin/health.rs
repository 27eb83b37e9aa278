//! `/healthz` and `/readyz`: probes for monitoring. They need no key and reveal nothing else.

use actix_web::web::{Data, Json};
use schemars::JsonSchema;
use serde::Serialize;

use super::operator::Anyone;
use crate::{http::error::AdminError, service::Gateway};

#[derive(Serialize, JsonSchema)]
pub(super) struct Health {
    status: &'static str,
}

const OK: Json<Health> = Json(Health { status: "ok" });

pub(super) async fn healthz(_: Anyone) -> Json<Health> {
    OK
}

pub(super) async fn readyz(_: Anyone, gateway: Data<Gateway>) -> Result<Json<Health>, AdminError> {
    match gateway.core.metering_error() {
        None => Ok(OK),
        Some(_) => Err(AdminError::NotReady),
    }
}
