//! `/v1/gateway/alerts`: the alerts about the use of limits and budgets.

use actix_web::web::{Data, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    http::admin::{
        api::{
            field::{Moment, PageLimit},
            operator::{ExportMetrics, Operator},
            page::{self, Page},
            query::Query,
        },
        error::AdminError,
    },
    service::{
        Gateway,
        error::Error,
        reading::alerts::{self as service, Alert},
    },
};

const LIST: &str = "alerts";

/// The parameters of a list of alerts.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct AlertsQuery {
    /// The start of the time range (inclusive).
    start_time: Option<Moment>,
    /// The end of the time range (exclusive).
    end_time: Option<Moment>,
    /// The maximum number of items on a page. Default: 100.
    limit: Option<PageLimit>,
    /// The `pagination.cursor` of the previous page. It includes the time range.
    cursor: Option<String>,
}

/// The content of this list's cursors.
#[derive(Serialize, Deserialize)]
struct Position {
    /// The record of the last alert of the previous page.
    before: u64,
    start_ms: u64,
    end_ms: Option<u64>,
}

impl AlertsQuery {
    fn resolve(self) -> Result<service::AlertsQuery, Error> {
        let limit = page::size(self.limit);
        if let Some(cursor) = self.cursor {
            let Position { before, start_ms, end_ms } = page::decode(LIST, &cursor)?;
            return Ok(service::AlertsQuery { start_ms, end_ms, before: Some(before), limit });
        }
        let start_ms = self.start_time.map_or(0, |moment| moment.0);
        let end_ms = self.end_time.map(|moment| moment.0);
        if end_ms.is_some_and(|end_ms| end_ms < start_ms) {
            return Err(Error::invalid("invalid_parameter", "end_time: must not be before start_time"));
        }
        Ok(service::AlertsQuery { start_ms, end_ms, before: None, limit })
    }
}

pub(in crate::http) async fn list(
    _: Operator<ExportMetrics>,
    gateway: Data<Gateway>,
    Query(query): Query<AlertsQuery>,
) -> Result<Json<Page<Alert>>, AdminError> {
    let query = query.resolve()?;
    let (start_ms, end_ms) = (query.start_ms, query.end_ms);
    let page = gateway.storage.read_alerts(query).await?;
    let next = page.next.map(|before| Position { before, start_ms, end_ms });
    Ok(Json(Page::new(LIST, page.alerts, next)?))
}
