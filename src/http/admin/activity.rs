//! `/v1/gateway/activity`: what went on in each minute of the last day.

use actix_web::web::{Data, Json};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    field::Timestamp,
    operator::{ExportMetrics, Operator},
};
use crate::{
    domain::activity::{Figures, MINUTE_MS},
    service::Gateway,
};

/// The last day, a figure a minute, the oldest first and up to the latest minute that is complete. Null where the gateway
/// was not running.
#[derive(Serialize, JsonSchema)]
pub(super) struct Activity {
    /// From one figure to the next, in seconds.
    step_s: u64,
    /// When the first minute began.
    first_at: Timestamp,
    /// Billed.
    requests: Vec<Option<u64>>,
    /// Input and output tokens of them.
    tokens: Vec<Option<u64>>,
    /// Stopped by a limit.
    refused: Vec<Option<u64>>,
    /// Answered with a 5xx, or broken off by an upstream.
    errors: Vec<Option<u64>>,
}

pub(super) async fn activity(_: Operator<ExportMetrics>, gateway: Data<Gateway>) -> Json<Activity> {
    let day = gateway.activity_of_last_day();
    let column = |of: fn(Figures) -> u64| day.minutes.iter().map(|minute| minute.map(of)).collect();
    Json(Activity {
        step_s: MINUTE_MS / 1000,
        first_at: Timestamp(day.first_ms),
        requests: column(|figures| figures.requests),
        tokens: column(|figures| figures.tokens),
        refused: column(|figures| figures.refused),
        errors: column(|figures| figures.errors),
    })
}
