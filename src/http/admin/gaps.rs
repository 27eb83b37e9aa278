//! What a list or a sum does not contain, since it cannot be read any more.

use schemars::JsonSchema;
use serde::Serialize;

use super::field::Timestamp;
use crate::{
    domain::day::Now,
    journal::Damage,
    service::{Gateway, reports::Report},
};

/// Records that cannot be read.
#[derive(Serialize, JsonSchema)]
pub(super) struct Gap {
    /// The first missing record; `null` if it is not known.
    first_sequence: Option<u64>,
    last_sequence: Option<u64>,
    /// When the last record before them was written; `null` if it is not known.
    after: Option<Timestamp>,
    /// When the first record after them was written; `null` if it is not known.
    before: Option<Timestamp>,
    /// Where, in a sentence.
    detail: String,
}

impl Gap {
    pub(super) fn new(damage: &Damage) -> Self {
        let (first, last) = (*damage.missing.start(), *damage.missing.end());
        let place = match damage.file.file_name() {
            Some(file) => {
                format!(" ({}, {} bytes from byte {} on)", file.to_string_lossy(), damage.bytes, damage.offset)
            }
            None => String::new(),
        };
        Self {
            first_sequence: Some(first),
            last_sequence: Some(last),
            after: (damage.from_ms > 0).then_some(Timestamp(damage.from_ms)),
            before: (damage.to_ms < u64::MAX).then_some(Timestamp(damage.to_ms)),
            detail: match last.saturating_sub(first) {
                0 => format!("A record of the journal cannot be read{place}."),
                more => format!("{} records of the journal cannot be read{place}.", more + 1),
            },
        }
    }

    /// What the sums of the day of `now` do not contain.
    pub(super) fn of_day(gateway: &Gateway, now: Now) -> Vec<Self> {
        let missing = gateway.missing_from_totals();
        missing.iter().filter(|missing| missing.to_ms >= now.day().start_unix_ms()).map(Self::new).collect()
    }

    pub(super) fn of_report(report: &Report) -> Vec<Self> {
        let of_trouble = |trouble: &String| Self {
            first_sequence: None,
            last_sequence: None,
            after: None,
            before: None,
            detail: trouble.clone(),
        };
        report.missing.iter().map(Self::new).chain(report.troubles.iter().map(of_trouble)).collect()
    }
}
