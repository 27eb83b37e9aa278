//! `/v1/gateway/endpoints/check`: what a new endpoint's targets would do, asked before customers ask them.

use actix_web::web::{Data, Json};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    body::Body,
    endpoints::Create,
    operator::{ManageAll, Operator},
};
use crate::{
    http::error::AdminError,
    service::{
        Gateway,
        check::{Checks, Finding},
    },
};

/// What each target did.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EndpointCheck")]
pub(super) struct Checked {
    targets: Vec<CheckedTarget>,
}

/// What a target did.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TargetCheck")]
struct CheckedTarget {
    /// Its place among the targets.
    index: usize,
    /// Always these four, in this order.
    checks: [Check; 4],
}

/// One thing that customers need of a target.
#[derive(Serialize, JsonSchema)]
struct Check {
    name: CheckName,
    /// `null` if it could not be found out.
    ok: Option<bool>,
    /// What was seen, and if that is not good, what to do.
    detail: String,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum CheckName {
    /// It answers at all.
    Reachable,
    /// It has the model.
    Model,
    /// It streams.
    Stream,
    /// It reports what an answer used.
    Usage,
}

impl CheckedTarget {
    fn new((index, checks): (usize, Checks)) -> Self {
        let Checks { reachable, model, stream, usage } = checks;
        let show = |name, finding: Finding| Check { name, ok: finding.ok, detail: finding.detail };
        let checks = [
            show(CheckName::Reachable, reachable),
            show(CheckName::Model, model),
            show(CheckName::Stream, stream),
            show(CheckName::Usage, usage),
        ];
        Self { index, checks }
    }
}

pub(super) async fn check(
    _: Operator<ManageAll>,
    gateway: Data<Gateway>,
    Body(body): Body<Create>,
) -> Result<Json<Checked>, AdminError> {
    let checks = gateway.check_endpoint(body.read()?).await?;
    Ok(Json(Checked { targets: checks.into_iter().enumerate().map(CheckedTarget::new).collect() }))
}
