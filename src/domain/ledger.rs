//! The token and request counts of one group tree. A request is checked against its limits and counted in one step.
//!
//! A ledger holds a cell for each (group, slug) of its tree. A request has an [`Account`]: the groups that it counts
//! for, its own group first, and the limits that it must pass. The request counts in the cell of every group of its
//! account, whether or not that cell has a limit. Each limit is checked against one of these cells. The life of a
//! request:
//!
//! ```text
//! admit ──► Hold ──► review* ──► charge   the billed amount replaces the held amount
//!   │                      └───► release  nothing is billed
//!   └─────► LimitRefusal                  nothing was taken
//! ```
//!
//! | | at admission | while it runs | charged | released |
//! | --- | --- | --- | --- | --- |
//! | requests in a rolling window | recorded | | stays | stays, or is taken back |
//! | requests of the day | held | held | recorded | given back |
//! | tokens, window and day | held | held, may grow | recorded as billed | given back |
//!
//! Invariants: when a request is admitted, recorded + held + asked ≤ threshold for each of its limits; a refusal
//! changes no figure of any cell. The caller keeps the ledger behind one lock, so checking and taking are one step.
//!
//! The caller passes the time in. The monotonic clock never steps back here: an earlier `now` is replaced by the latest
//! one seen. The wall clock may step back, so sums of DAY are kept by date.

mod account;
mod ask;
mod cell;
mod cells;

use std::time::Duration;

use arrayvec::ArrayVec;

pub use self::account::{Account, EffectiveLimit, GroupPath};
pub use self::ask::{Admitted, Ask, Hold, LimitRefusal, Standing, Standings, TokenAdmission};
use self::{
    ask::Places,
    cell::{Cell, Consumption, Moment},
    cells::Cells,
};
use super::{
    day::{Day, Now},
    estimate::Sample,
    group::MAX_LEVELS,
    id::{GroupId, SlugId},
    limit::LimitType,
    usage::{Usage, UsageSource},
};

/// Added to every monotonic time, so that events before the process started have a valid time too.
const ORIGIN_NS: u64 = 3_600_000_000_000;

/// Cells that each admission sweeps.
const SWEEP_STEP: usize = 1;

/// An account with the places of its cells.
struct Located<'a> {
    account: &'a Account,
    /// In the order of the account's groups. `None`: the cell does not exist and has consumed nothing.
    places: ArrayVec<Option<usize>, MAX_LEVELS>,
}

/// A past request, used to refill rolling windows after a restart.
#[derive(Debug, Clone, Copy)]
pub struct Past {
    /// How long ago it was admitted.
    pub admitted_ago: Duration,
    /// How long ago it was settled.
    pub settled_ago: Duration,
    /// Its billed tokens.
    pub usage: Usage,
}

/// The consumption of one group tree.
#[derive(Debug, Default)]
pub struct Ledger {
    cells: Cells,
    latest_ns: u64,
}

impl Ledger {
    /// Admits a request if it passes every limit, and counts it in all cells of its account at once. Otherwise takes
    /// nothing.
    pub fn admit(&mut self, now: Now, account: &Account, ask: &Ask) -> Result<Admitted, Box<LimitRefusal>> {
        let at = self.moment(now);
        self.cells.sweep(at.ns, SWEEP_STEP);
        let located = self.locate(account);
        let own =
            located.places.first().copied().flatten().and_then(|place| self.cells.get(place)).map(|cell| &cell.learned);
        let prompt = ask.prompt_tokens(own);
        let expected = ask.expected_output(own);
        let asked = prompt.saturating_add(ask.least_output());
        let survey = self.survey(&at, &located, asked);
        if survey.stopped
            && let Some(refusal) = self.refusal(&at, &located, asked, &survey)
        {
            return Err(refusal);
        }
        let left = survey.tokens.map_or(u64::MAX, |(_, left)| left);
        let output = ask.output(expected, left.saturating_sub(prompt));
        let tokens = prompt.saturating_add(output.held);
        let slug = account.slug;
        let places: Places = account
            .counted_for
            .iter()
            .zip(&located.places)
            .map(|(group, known)| known.unwrap_or_else(|| self.cells.find_or_insert(*group, slug, &at)))
            .collect();
        for place in &places {
            if let Some(cell) = self.cells.get_mut(*place) {
                cell.begin(&at, tokens);
            }
        }
        let located = Located { account, places: places.iter().copied().map(Some).collect() };
        let standings = self.standings(&at, &located, &survey);
        let hold = Hold::new(slug, ask, prompt, output, at.ns, places);
        Ok(Admitted { hold, output_max: output.max_each, standings })
    }

    /// Updates the tokens held by a running request, once it has streamed `streamed` output tokens: from now on it
    /// holds the length expected of answers that get this far. `of_slug` is the result of
    /// [`super::estimate::Estimates::output_beyond`], used if the group has too few samples of its own.
    pub fn review(&mut self, hold: &mut Hold, streamed: u64, of_slug: Option<u64>) {
        let own = hold.places.first().and_then(|place| self.cells.get(*place)).map(|cell| &cell.learned);
        let expected = own.and_then(|own| own.output_beyond(hold.route, hold.each(streamed))).or(of_slug);
        let more = hold.review(streamed, expected);
        for place in &hold.places {
            if let Some(cell) = self.cells.get_mut(*place) {
                cell.hold(more);
            }
        }
    }

    /// Charges a request that has ended: `usage` replaces the held amounts. It enters the rolling windows at `now` and
    /// DAY on the day of `now`, whose wall clock is the event's timestamp. The group's estimates learn from it. Returns
    /// the sample that the caller passes to [`super::estimate::Estimates`].
    pub fn charge(&mut self, hold: Hold, now: Now, usage: Usage, source: UsageSource) -> Option<Sample> {
        let at = self.moment(now);
        let sample = hold.sample(usage, source);
        if let (Some(sample), Some(own)) = (&sample, hold.places.first().and_then(|own| self.cells.get_mut(*own))) {
            own.learned.learn(sample);
        }
        self.end(&at, &hold, |cell| cell.bill(&at, usage.total()));
        sample
    }

    /// Releases a request that ended without an event: frees its held amounts and, if `give_back_rate`, removes it from
    /// the request rates.
    pub fn release(&mut self, hold: Hold, now: Now, give_back_rate: bool) {
        let at = self.moment(now);
        self.end(&at, &hold, |cell| {
            if give_back_rate {
                cell.take_back_request(&at, hold.admitted_ns);
            }
        });
    }

    /// The state of each limit, in the order of the account's limits.
    pub fn standing(&mut self, now: Now, account: &Account) -> Vec<Standing> {
        let at = self.moment(now);
        let located = self.locate(account);
        account.limits.iter().map(|limit| self.stand(&at, &located, limit)).collect()
    }

    /// Checks whether a request of `tokens` tokens would be admitted now. Takes nothing. No request has fewer than one
    /// token, so 0 asks for one.
    pub fn would_admit(&mut self, now: Now, account: &Account, tokens: u64) -> Result<(), Box<LimitRefusal>> {
        let at = self.moment(now);
        let located = self.locate(account);
        let asked = tokens.max(1);
        let survey = self.survey(&at, &located, asked);
        let refusal = if survey.stopped { self.refusal(&at, &located, asked, &survey) } else { None };
        refusal.map_or(Ok(()), Err)
    }

    /// Sets a group's use of a slug on a day. Called at startup with the sum over the day's events.
    pub fn load_day(&mut self, now: Now, group: GroupId, slug: SlugId, day: Day, requests: u64, tokens: u64) {
        let at = self.moment(now);
        let place = self.cells.find_or_insert(group, slug, &at);
        if let Some(cell) = self.cells.get_mut(place) {
            cell.load_day(&at, day, requests, tokens);
        }
    }

    /// Enters a past request into the rolling windows, if it is recent enough. DAY does not change.
    pub fn refill(&mut self, now: Now, path: &[GroupId], slug: SlugId, past: &Past) {
        let at = self.moment(now);
        for group in path.iter().take(MAX_LEVELS) {
            let place = self.cells.find_or_insert(*group, slug, &at);
            if let Some(cell) = self.cells.get_mut(place) {
                cell.record(LimitType::Request, &at, nanos(past.admitted_ago), 1);
                cell.record(LimitType::Token, &at, nanos(past.settled_ago), past.usage.total());
            }
        }
    }

    /// Updates a group's estimates from a past request. Called at startup.
    pub fn learn(&mut self, now: Now, group: GroupId, sample: &Sample) {
        let at = self.moment(now);
        let place = self.cells.find_or_insert(group, sample.slug, &at);
        if let Some(cell) = self.cells.get_mut(place) {
            cell.learned.learn(sample);
        }
    }

    /// Removes a deleted group's cells, each when its last running request ends. The cells of its ancestors keep what
    /// it used.
    pub fn remove_group(&mut self, now: Now, group: GroupId) {
        let at = self.moment(now);
        self.cells.remove_group(group, at.ns);
    }

    /// Frees unused memory among the next `cells` cells. Each admission does this too; this call is for a tree without
    /// traffic.
    pub fn sweep(&mut self, now: Now, cells: usize) {
        let at = self.moment(now);
        self.cells.sweep(at.ns, cells);
    }

    /// The number of cells that a complete sweep visits.
    pub fn cells(&self) -> usize {
        self.cells.len()
    }

    fn moment(&mut self, now: Now) -> Moment {
        self.latest_ns = self.latest_ns.max(now.monotonic_ns.saturating_add(ORIGIN_NS));
        Moment::new(self.latest_ns, now)
    }

    fn locate<'a>(&self, account: &'a Account) -> Located<'a> {
        let place = |group: &GroupId| self.cells.find(*group, account.slug);
        Located { account, places: account.counted_for.iter().map(place).collect() }
    }

    /// The cell that one of the account's limits counts in.
    fn counted_cell(&mut self, located: &Located<'_>, limit: &EffectiveLimit) -> Option<&mut Cell> {
        let place = located.places.get(usize::from(limit.counted_at)).copied().flatten()?;
        self.cells.get_mut(place)
    }

    fn end(&mut self, at: &Moment, hold: &Hold, mut last: impl FnMut(&mut Cell)) {
        for place in &hold.places {
            if let Some(cell) = self.cells.get_mut(*place) {
                cell.end(at, hold.tokens);
                last(cell);
                if cell.removed {
                    self.cells.drop_if_expired(*place, at.ns);
                }
            }
        }
    }

    /// Checks a request against every limit.
    fn survey(&mut self, at: &Moment, located: &Located<'_>, tokens: u64) -> Survey {
        let mut survey = Survey::default();
        for (index, limit) in located.account.limits.iter().enumerate() {
            let left = limit.limit.threshold.get().saturating_sub(self.figures(at, located, limit).sum());
            let (asked, least) = match limit.limit.limit_type {
                LimitType::Request => (1, &mut survey.requests),
                LimitType::Token => (tokens, &mut survey.tokens),
            };
            if least.is_none_or(|(_, other)| left < other) {
                *least = Some((index, left));
            }
            survey.stopped |= left < asked;
        }
        survey
    }

    /// The refusal by the limit with the longest wait.
    #[cold]
    fn refusal(
        &mut self,
        at: &Moment,
        located: &Located<'_>,
        tokens: u64,
        survey: &Survey,
    ) -> Option<Box<LimitRefusal>> {
        let standings = self.standings(at, located, survey);
        let mut longest: Option<LimitRefusal> = None;
        for (index, limit) in located.account.limits.iter().enumerate() {
            let asked = match limit.limit.limit_type {
                LimitType::Request => 1,
                LimitType::Token => tokens,
            };
            let Consumption { used, held } = self.figures(at, located, limit);
            // As in the survey: a limit that is exceeded does not refuse a request that asks for nothing of it.
            if limit.limit.threshold.get().saturating_sub(used.saturating_add(held)) >= asked {
                continue;
            }
            let retry_after = self.counted_cell(located, limit).and_then(|cell| cell.wait(limit, asked, at));
            let wait = |retry_after: Option<Duration>| retry_after.unwrap_or(Duration::MAX);
            if longest.is_none_or(|other| wait(retry_after) > wait(other.retry_after)) {
                longest = Some(LimitRefusal { index, limit: *limit, used, held, asked, retry_after, standings });
            }
        }
        longest.map(Box::new)
    }

    fn figures(&mut self, at: &Moment, located: &Located<'_>, limit: &EffectiveLimit) -> Consumption {
        let (what, unit) = (limit.limit.limit_type, limit.limit.unit);
        self.counted_cell(located, limit).map_or_else(Consumption::default, |cell| cell.figures(what, unit, at))
    }

    fn stand(&mut self, at: &Moment, located: &Located<'_>, limit: &EffectiveLimit) -> Standing {
        match self.counted_cell(located, limit) {
            Some(cell) => cell.standing(limit, at),
            None => at.untouched(limit),
        }
    }

    fn standings(&mut self, at: &Moment, located: &Located<'_>, survey: &Survey) -> Standings {
        let limits = &located.account.limits;
        let mut stand = |least: Option<(usize, u64)>| least.map(|(index, _)| self.stand(at, located, &limits[index]));
        Standings { requests: stand(survey.requests), tokens: stand(survey.tokens) }
    }
}

/// The result of checking a request against every limit.
#[derive(Default)]
struct Survey {
    stopped: bool,
    /// The index of the limit on requests with the least left, and the amount left.
    requests: Option<(usize, u64)>,
    /// The same for tokens.
    tokens: Option<(usize, u64)>,
}

/// Nanoseconds as a `u64`, which holds five centuries.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
