//! `/v1/gateway/endpoints/check`: tests the targets of an endpoint before customers use it.

use actix_web::web::{Data, Json};
use schemars::JsonSchema;
use serde::Serialize;

use super::endpoints::Create;
use crate::{
    http::admin::{
        api::{
            body::Body,
            operator::{ManageAll, Operator},
        },
        error::AdminError,
    },
    service::{
        Gateway,
        check::{Checks, Finding, check_endpoint},
    },
};

/// The results for each target of an endpoint.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EndpointCheck")]
pub(in crate::http) struct Checked {
    targets: Vec<CheckedTarget>,
}

/// The results for one target.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TargetCheck")]
struct CheckedTarget {
    /// The index of the target.
    index: usize,
    /// Always these four checks, in this order.
    checks: [Check; 4],
}

/// The result of one check.
#[derive(Serialize, JsonSchema)]
struct Check {
    name: CheckName,
    /// Whether the check passed; `null` if that could not be determined.
    ok: Option<bool>,
    /// The finding, and if it is a problem, what to do about it.
    detail: String,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum CheckName {
    /// The target answers.
    Reachable,
    /// The target has the model.
    Model,
    /// The target streams.
    Stream,
    /// The target reports the tokens that an answer used.
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

pub(in crate::http) async fn check(
    _: Operator<ManageAll>,
    gateway: Data<Gateway>,
    Body(body): Body<Create>,
) -> Result<Json<Checked>, AdminError> {
    let checks = check_endpoint(&gateway.core, body.read()?).await?;
    Ok(Json(Checked { targets: checks.into_iter().enumerate().map(CheckedTarget::new).collect() }))
}
