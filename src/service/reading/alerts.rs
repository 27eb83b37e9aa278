//! The list of alerts, newest first, and the public form of an alert, as the list and webhooks show it.
//!
//! A page continues before a record number, so alerts made meanwhile do not shift it.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    domain::{
        alert::{self, Declaration},
        budget::BudgetUnit,
        calendar::Period,
        ledger::count,
        limit::LimitType,
        money::amount_text,
        time::rfc3339,
    },
    service::{error::Error, storage::Storage},
    store::StoreError,
};

/// An alert: the use of a usage limit or a budget has reached a share of what it allows.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Alert {
    /// A ULID.
    id: String,
    #[schemars(extend("format" = "date-time"))]
    created_at: String,
    /// The group that has declared the limit or budget.
    group_id: String,
    /// The group whose use it is: the same one, or a group that has inherited the limit or budget.
    external_entity_id: String,
    kind: AlertKind,
    /// The model of a limit; null for a budget.
    model_slug: Option<String>,
    /// The type of a limit; null for a budget.
    #[serde(rename = "type")]
    limit_type: Option<AlertType>,
    unit: AlertUnit,
    /// The currency of a budget; null for a limit.
    currency: Option<String>,
    threshold: AlertAmount,
    used: AlertAmount,
    /// The share of the threshold that was reached.
    percent: u8,
    /// The start of the window; for TOTAL, the creation of the group.
    #[schemars(extend("format" = "date-time"))]
    window_start: String,
    /// The end of the window; null for TOTAL.
    #[schemars(extend("format" = "date-time"))]
    reset_at: Option<String>,
}

/// Whether an alert is about a limit or a budget.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum AlertKind {
    Limit,
    Budget,
}

/// The type of a limit.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
enum AlertType {
    Token,
    Request,
}

/// The unit of a usage limit or budget. Only budgets have TOTAL.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
enum AlertUnit {
    Day,
    Week,
    Month,
    Total,
}

/// An amount: tokens or requests as a whole number, or money as a decimal string.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
enum AlertAmount {
    Count(u64),
    Money(String),
}

impl AlertUnit {
    fn new(period: Option<Period>) -> Self {
        match period {
            Some(Period::Day) => Self::Day,
            Some(Period::Week) => Self::Week,
            Some(Period::Month) => Self::Month,
            None => Self::Total,
        }
    }
}

impl Alert {
    /// The alert of a record that was appended at `at_ms`.
    pub fn new(at_ms: u64, alert: &alert::Alert) -> Self {
        let (kind, limit_type, period, currency) = match &alert.declaration {
            Declaration::Limit(_, limit) => {
                let limit_type = match limit.limit_type {
                    LimitType::Token => AlertType::Token,
                    LimitType::Request => AlertType::Request,
                };
                (AlertKind::Limit, Some(limit_type), limit.unit.period(), None)
            }
            Declaration::Budget(budget) => {
                let currency = Some(budget.currency.to_string());
                (AlertKind::Budget, None, BudgetUnit::period(budget.unit), currency)
            }
        };
        let amount = |amount: u128| match kind {
            AlertKind::Limit => AlertAmount::Count(count(amount)),
            AlertKind::Budget => AlertAmount::Money(amount_text(amount)),
        };
        Self {
            id: alert.id.to_string(),
            created_at: rfc3339(at_ms),
            group_id: alert.declared_by.to_string(),
            external_entity_id: alert.external_entity_id.clone(),
            model_slug: alert.model_slug.clone(),
            limit_type,
            unit: AlertUnit::new(period),
            currency,
            threshold: amount(alert.declaration.threshold()),
            used: amount(alert.used),
            percent: alert.percent,
            window_start: rfc3339(alert.window_start_ms),
            reset_at: alert.reset_at_ms.map(rfc3339),
            kind,
        }
    }
}

/// A query for a page of alerts.
pub struct AlertsQuery {
    /// The start of the time range: Unix ms, inclusive.
    pub start_ms: u64,
    /// The end of the time range: Unix ms, exclusive. `None` for no end.
    pub end_ms: Option<u64>,
    /// The end of the previous page: only alerts before this record are returned.
    pub before: Option<u64>,
    /// The most alerts on the page.
    pub limit: usize,
}

/// A page of alerts, newest first.
pub struct AlertPage {
    /// The alerts.
    pub alerts: Vec<Alert>,
    /// The start of the next page, for [`AlertsQuery::before`]; `None` on the last page.
    pub next: Option<u64>,
}

impl Storage {
    /// Reads a page of alerts.
    pub async fn read_alerts(self: &Arc<Self>, query: AlertsQuery) -> Result<AlertPage, Error> {
        self.folded_by_now().await?;
        let storage = self.clone();
        tokio::task::spawn_blocking(move || storage.scan_alerts(&query)).await.map_err(Error::internal)?
    }

    fn scan_alerts(&self, query: &AlertsQuery) -> Result<AlertPage, Error> {
        let failed = |error: StoreError| Error::Unavailable(error.to_string());
        let (mut alerts, mut last) = (Vec::new(), 0);
        for stored in self.store.alerts_before(query.before.unwrap_or(u64::MAX)).map_err(failed)? {
            let stored = stored.map_err(failed)?;
            // Times never decrease from one record to the next.
            if stored.at_ms < query.start_ms {
                break;
            }
            if query.end_ms.is_some_and(|end_ms| stored.at_ms >= end_ms) {
                continue;
            }
            if alerts.len() == query.limit {
                return Ok(AlertPage { alerts, next: Some(last) });
            }
            last = stored.seq;
            alerts.push(Alert::new(stored.at_ms, &stored.alert));
        }
        Ok(AlertPage { alerts, next: None })
    }
}
