//! The sums of calendar windows as they were at an earlier time, made from the rollups and the events of the last hour.

use super::renew::Renewal;
use crate::{
    domain::{
        day::Hour,
        id::{GroupId, SlugId},
        money::Currency,
        sums::{Spent, Used},
        time::rfc3339,
    },
    journal::Journal,
    store::{fold::FoldError, handle::Store},
};

/// The use and the spending, up to a time, of the groups that still exist.
#[derive(Default)]
pub struct SumsBefore {
    /// The use of each slug by each group.
    pub used: Vec<((GroupId, SlugId), Used)>,
    /// The spending of each group in each currency.
    pub spent: Vec<((GroupId, Currency), Spent)>,
    /// Sentences about data that the sums lack.
    pub problems: Vec<String>,
}

impl Store {
    /// The sums of the events before `end_ms` (ms of Unix time). All of them must be folded.
    pub fn sums_before(&self, journal: &Journal, end_ms: u64) -> Result<SumsBefore, FoldError> {
        let mut renewal = Renewal::new(self, journal, self.calendar().unwrap_or_default())?;
        let end = Hour::from_unix_ms(end_ms);
        for day in self.rollup_days()?.range(..end.day()) {
            renewal.add_day(*day)?;
        }
        renewal.add_hours(end.day().first_hour()..end)?;
        // A window may begin within the last hour.
        let windows = renewal.calendar.windows(end.start_unix_ms());
        let begin_ms = windows.day.end_ms.min(end_ms);
        for part in [end.start_unix_ms()..begin_ms, begin_ms..end_ms] {
            if part.is_empty() {
                continue;
            }
            match renewal.events(part.clone())? {
                Some(sums) => renewal.count(&sums, &renewal.calendar.windows(part.start)),
                None => {
                    let [from, to] = [part.start, part.end].map(rfc3339);
                    renewal.problems.push(format!("The events from {from} to {to} are no longer stored."));
                }
            }
        }
        let Renewal { rows, problems, .. } = renewal;
        let mut before = SumsBefore { problems, ..SumsBefore::default() };
        for (group, sums) in rows {
            before.used.extend(sums.used.into_iter().map(|(slug, used)| ((group, slug), used)));
            before.spent.extend(sums.spent.into_iter().map(|(currency, spent)| ((group, currency), spent)));
        }
        Ok(before)
    }
}
