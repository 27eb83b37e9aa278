//! `/healthz` and `/readyz`: probes for monitoring. They need no key and reveal nothing else.

use actix_web::web::{Data, Json};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    http::admin::{api::operator::Anyone, error::AdminError},
    service::Gateway,
};

#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct Health {
    status: &'static str,
}

const OK: Json<Health> = Json(Health { status: "ok" });

pub(in crate::http) async fn healthz(_: Anyone) -> Json<Health> {
    OK
}

pub(in crate::http) async fn readyz(_: Anyone, gateway: Data<Gateway>) -> Result<Json<Health>, AdminError> {
    match gateway.core.metering_error() {
        None => Ok(OK),
        Some(_) => Err(AdminError::NotReady),
    }
}
