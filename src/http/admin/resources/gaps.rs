//! Gaps in a list or a total: records that can no longer be read.

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    http::admin::api::field::Timestamp,
    journal::Damage,
    service::{Gateway, reading::reports::Report},
};

/// Records that can no longer be read.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct Gap {
    /// The first missing record; `null` if unknown.
    first_sequence: Option<u64>,
    last_sequence: Option<u64>,
    /// The time of the last record before the gap; `null` if unknown.
    after: Option<Timestamp>,
    /// The time of the first record after the gap; `null` if unknown.
    before: Option<Timestamp>,
    /// A sentence that says what is missing and where.
    detail: String,
}

impl Gap {
    pub(in crate::http) fn new(damage: &Damage) -> Self {
        let (first, last) = (*damage.missing.start(), *damage.missing.end());
        let place = match damage.file.file_name() {
            Some(file) => {
                format!(" ({}, {} bytes at offset {})", file.to_string_lossy(), damage.bytes, damage.offset)
            }
            None => String::new(),
        };
        Self {
            first_sequence: Some(first),
            last_sequence: Some(last),
            after: (damage.from_ms > 0).then_some(Timestamp(damage.from_ms)),
            before: (damage.to_ms < u64::MAX).then_some(Timestamp(damage.to_ms)),
            detail: match last.saturating_sub(first) {
                0 => format!("A journal record cannot be read{place}."),
                more => format!("{} journal records cannot be read{place}.", more + 1),
            },
        }
    }

    /// The gaps in totals that begin at `from_ms`.
    pub(in crate::http) fn since(gateway: &Gateway, from_ms: u64) -> Vec<Self> {
        let missing = gateway.storage.missing_from_totals();
        missing.iter().filter(|missing| missing.to_ms >= from_ms).map(Self::new).collect()
    }

    pub(in crate::http) fn of_report(report: &Report) -> Vec<Self> {
        Self::of(&report.missing, &report.problems)
    }

    /// The gaps of missing records, and of other missing data, which sentences describe.
    pub(in crate::http) fn of(missing: &[Damage], problems: &[String]) -> Vec<Self> {
        let of_trouble = |problem: &String| Self {
            first_sequence: None,
            last_sequence: None,
            after: None,
            before: None,
            detail: problem.clone(),
        };
        missing.iter().map(Self::new).chain(problems.iter().map(of_trouble)).collect()
    }
}
