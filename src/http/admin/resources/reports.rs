//! `/v1/gateway/usage_report`: totals of billed usage, as JSON or CSV.

use std::collections::BTreeMap;

use actix_web::{body::MessageBody, web::Data};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::gaps::Gap;
use crate::{
    domain::{money::Cost, rollup::Sums, time::rfc3339},
    http::admin::{
        api::{
            field::{FormatName, GroupBy, GroupIdText, Moment, ReportTop},
            format::{Answer, CsvFile, Format},
            operator::{ExportMetrics, Operator},
            query::Query,
        },
        error::AdminError,
    },
    service::{
        Gateway,
        error::Error,
        reading::{
            events::EventFilter,
            reports::{Columns, Report, ReportQuery, RowKey},
            spreadsheet::cell,
        },
    },
};

/// The parameters of a report.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct UsageReportQuery {
    /// The start of the time range (inclusive).
    start_time: Moment,
    /// The end of the time range (exclusive). Default: now.
    end_time: Option<Moment>,
    /// The columns to group by, separated by commas. Default: none, which gives one total.
    group_by: Option<GroupBy>,
    /// The format of the answer. Default: `json`.
    format: Option<FormatName>,
    /// Return only this many rows: those with the most input and output tokens, in descending order. Default: all rows.
    top: Option<ReportTop>,
    /// Include only usage of the keys with these prefixes.
    #[serde(default)]
    api_keys: Vec<String>,
    /// Include only usage of the groups with these external entity ids.
    #[serde(default)]
    external_entity_ids: Vec<String>,
    /// Include only usage of these models, by the slug that was called.
    #[serde(default)]
    model_slugs: Vec<String>,
    /// Include only usage of the groups with these ids.
    #[serde(default)]
    group_ids: Vec<GroupIdText>,
}

/// Totals of billed usage.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct UsageReport {
    /// The rows, in order of time, then of the other columns. With `top`, the row with the most tokens is first.
    items: Vec<UsageReportItem>,
    /// Records that can no longer be read and are missing from the totals. Absent if the totals are complete.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    incomplete: Vec<Gap>,
}

/// A row of the report. It has the columns that the report is grouped by.
#[derive(Serialize, JsonSchema)]
struct UsageReportItem {
    #[serde(skip_serializing_if = "Option::is_none")]
    group_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_entity_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model_slug: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key_prefix: Option<String>,
    /// The UTC day: `2026-11-23`.
    #[serde(skip_serializing_if = "Option::is_none")]
    day: Option<String>,
    /// The start of the hour: `2026-11-23T10:00:00Z`.
    #[serde(skip_serializing_if = "Option::is_none")]
    hour: Option<String>,
    requests: u64,
    input_tokens: u64,
    output_tokens: u64,
    cached_input_tokens: u64,
    /// Exact amounts as decimal strings, by currency.
    cost: BTreeMap<String, String>,
}

impl UsageReportItem {
    fn new(report: &Report, key: &RowKey, sums: &Sums) -> Self {
        let Columns { day, hour, .. } = report.by;
        let amount = |cost: &Cost| (cost.currency.to_string(), cost.amount_text());
        Self {
            group_id: key.group.map(|group| group.to_string()),
            external_entity_id: key.group.and_then(|group| report.entities.get(&group).cloned()),
            model_slug: key.model_slug.clone(),
            api_key_prefix: key.api_key_prefix.clone(),
            day: key.hour.filter(|_| day).map(|hour| hour.day().date()),
            hour: key.hour.filter(|_| hour).map(|hour| rfc3339(hour.start_unix_ms()).replace(".000Z", "Z")),
            requests: sums.requests,
            input_tokens: sums.tokens.input,
            output_tokens: sums.tokens.output,
            cached_input_tokens: sums.tokens.cached,
            cost: sums.costs.iter().map(amount).collect(),
        }
    }
}

/// Writes the report as CSV: a header line, then the rows. The cost is one column, with the same JSON as in the JSON
/// format.
fn csv(report: &Report) -> Result<Vec<u8>, csv::Error> {
    let Columns { group, model, key, day, hour } = report.by;
    let given = [group, group, model, key, day, hour];
    let names = ["group_id", "external_entity_id", "model_slug", "api_key_prefix", "day", "hour"];
    let sums = ["requests", "input_tokens", "output_tokens", "cached_input_tokens", "cost"];
    let given_names = names.into_iter().zip(given).filter_map(|(name, is_given)| is_given.then_some(name));
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(given_names.chain(sums))?;
    for (row_key, row) in &report.rows {
        let item = UsageReportItem::new(report, row_key, row);
        let by = [item.group_id, item.external_entity_id, item.model_slug, item.api_key_prefix, item.day, item.hour];
        let by =
            by.into_iter().zip(given).filter_map(|(value, is_given)| is_given.then(|| cell(value.unwrap_or_default())));
        let sums = [item.requests, item.input_tokens, item.output_tokens, item.cached_input_tokens];
        let cost = serde_json::json!(item.cost).to_string();
        writer.write_record(by.chain(sums.map(|sum| sum.to_string())).chain([cost]))?;
    }
    writer.into_inner().map_err(|error| error.into_error().into())
}

pub(in crate::http) async fn get(
    _: Operator<ExportMetrics>,
    gateway: Data<Gateway>,
    Query(query): Query<UsageReportQuery>,
) -> Result<Answer<UsageReport>, AdminError> {
    let (start_ms, end_ms) = (query.start_time.0, query.end_time.map(|moment| moment.0));
    if end_ms.is_some_and(|end_ms| end_ms < start_ms) {
        return Err(Error::invalid("invalid_parameter", "end_time: must not be before start_time").into());
    }
    let by = query.group_by.map_or_else(Columns::default, |by| by.0);
    let filter = EventFilter {
        api_keys: query.api_keys,
        external_entity_ids: query.external_entity_ids,
        model_slugs: query.model_slugs,
        group_ids: query.group_ids.into_iter().map(|id| id.0).collect(),
    };
    let top = query.top.map(|top| top.0);
    let report = gateway.storage.report(ReportQuery { start_ms, end_ms, by, filter, top }).await?;
    let incomplete = Gap::of_report(&report);
    if let Some(FormatName(Format::Csv)) = query.format {
        let name = format!("usage-{}.csv", rfc3339(start_ms).get(..10).unwrap_or_default());
        let content = csv(&report).map_err(Error::internal)?.boxed();
        return Ok(Answer::Csv(CsvFile { name, content, is_complete: incomplete.is_empty() }));
    }
    let items = report.rows.iter().map(|(key, sums)| UsageReportItem::new(&report, key, sums)).collect();
    Ok(Answer::Json(UsageReport { items, incomplete }))
}
