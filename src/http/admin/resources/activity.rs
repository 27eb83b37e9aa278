//! `/v1/gateway/activity`: figures for each minute of the last day.

use actix_web::web::{Data, Json};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    domain::activity::{ActivityCounts, MINUTE_MS},
    http::admin::api::{
        field::Timestamp,
        operator::{ExportMetrics, Operator},
    },
    service::Gateway,
};

/// Figures for each minute of the last day, oldest first, up to the latest complete minute. A figure is null if the
/// gateway was not running in that minute.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct Activity {
    /// The time between two figures, in seconds.
    step_s: u64,
    /// The start of the first minute.
    first_at: Timestamp,
    /// Billed requests.
    requests: Vec<Option<u64>>,
    /// Input and output tokens of the billed requests.
    tokens: Vec<Option<u64>>,
    /// Requests refused by a limit.
    refused: Vec<Option<u64>>,
    /// Requests that were answered with a 5xx or broken off by an upstream.
    errors: Vec<Option<u64>>,
}

pub(in crate::http) async fn activity(_: Operator<ExportMetrics>, gateway: Data<Gateway>) -> Json<Activity> {
    let day = gateway.activity.last_day();
    let column = |of: fn(ActivityCounts) -> u64| day.minutes.iter().map(|minute| minute.map(of)).collect();
    Json(Activity {
        step_s: MINUTE_MS / 1000,
        first_at: Timestamp(day.first_ms),
        requests: column(|figures| figures.requests),
        tokens: column(|figures| figures.tokens),
        refused: column(|figures| figures.refused),
        errors: column(|figures| figures.errors),
    })
}
