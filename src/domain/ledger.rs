//! Who may spend what is left: the consumption of one group tree, checked and taken in one step.
//!
//! A ledger holds a cell for each (group, slug) of its tree. A request has a path, its own group first: in INDEPENDENT
//! that group alone, in CASCADING every group up to the root. All it consumes counts in every cell of the path, whether
//! a limit hangs there or not; a limit is held against the one cell that its `counted_at` names. The life of a request:
//!
//! ```text
//! admit ──► Hold ──► review* ──► settle   what was held is replaced by what is billed
//!   │                      └───► release  nothing is billed
//!   └─────► Refusal                       nothing was taken
//! ```
//!
//! | | at admission | while it runs | settled | released |
//! | --- | --- | --- | --- | --- |
//! | requests in a rolling window | recorded | | stays | stays, or is taken back |
//! | requests of the day | held | held | recorded | given back |
//! | tokens, window and day | held | held, may grow | recorded as billed | given back |
//!
//! Invariants, for each limit at the moment of an admission: recorded + held + asked ≤ threshold; and a refusal changes
//! no figure of any cell. The caller keeps the ledger behind one lock, so a check and its taking are one step.
//!
//! Time is passed in. The monotonic clock never steps back here: an earlier `now` is taken as the latest one seen. A
//! wall clock may: sums of DAY are kept by date.

mod ask;
mod cell;
mod cells;

use std::time::Duration;

use arrayvec::ArrayVec;

pub use self::ask::{Admitted, Ask, Hold, Refusal, Standing, Standings, TokenAdmission};
use self::{
    cell::{Cell, Figures, Moment},
    cells::{Cells, Places},
};
use super::{
    day::{Day, Now},
    estimate::Sample,
    group::MAX_LEVELS,
    id::{GroupId, SlugId},
    limit::{EffectiveLimit, LimitType},
    usage::{Usage, UsageSource},
};

/// Added to every monotonic time, so that what happened before the process started has a time too.
const ORIGIN_NS: u64 = 3_600_000_000_000;

/// Cells looked at by the sweep that rides on each admission.
const SWEEP_STEP: usize = 1;

/// The cells of a path as far as they exist; one that does not has consumed nothing.
type Path = ArrayVec<Option<usize>, MAX_LEVELS>;

/// A request of the past, to refill rolling windows with after a restart.
#[derive(Debug, Clone, Copy)]
pub struct Past {
    /// How long ago it was admitted.
    pub admitted_ago: Duration,
    /// How long ago it was settled.
    pub settled_ago: Duration,
    /// What was billed.
    pub usage: Usage,
}

/// The consumption of one tree.
#[derive(Debug, Default)]
pub struct Ledger {
    cells: Cells,
    latest_ns: u64,
}

impl Ledger {
    /// Admits a request if it passes every limit, and takes from all the cells of its path at once; else takes nothing.
    pub fn admit(
        &mut self,
        now: Now,
        path: &[GroupId],
        slug: SlugId,
        limits: &[EffectiveLimit],
        ask: &Ask,
    ) -> Result<Admitted, Box<Refusal>> {
        let at = self.moment(now);
        self.cells.sweep(at.ns, SWEEP_STEP);
        let found = self.find(path, slug);
        let own = found.first().copied().flatten().and_then(|place| self.cells.get(place)).map(|cell| &cell.learned);
        let prompt = ask.prompt_tokens(own);
        let expected = ask.expected_output(own);
        let asked = prompt.saturating_add(ask.least_output());
        let survey = self.survey(&at, &found, limits, asked);
        if survey.stopped
            && let Some(refusal) = self.refusal(&at, &found, limits, asked, &survey)
        {
            return Err(refusal);
        }
        let left = survey.tokens.map_or(u64::MAX, |(_, left)| left);
        let output = ask.output(expected, left.saturating_sub(prompt));
        let tokens = prompt.saturating_add(output.held);
        let places: Places = path
            .iter()
            .zip(&found)
            .map(|(group, known)| known.unwrap_or_else(|| self.cells.find_or_insert(*group, slug, &at)))
            .collect();
        for place in &places {
            if let Some(cell) = self.cells.get_mut(*place) {
                cell.begin(&at, tokens);
            }
        }
        let standings = self.standings(&at, &places.iter().copied().map(Some).collect(), limits, &survey);
        let hold = Hold::new(slug, ask, prompt, output, at.ns, places);
        Ok(Admitted { hold, output_max: output.max_each, standings })
    }

    /// A running request has streamed so many output tokens: from now on it holds what is expected of one that has come
    /// so far. `of_slug` is what [`super::estimate::Estimates::output_beyond`] says, for a group that has not seen enough
    /// of its own.
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

    /// A request has ended and is billed: what it held is replaced by `usage`, in the rolling windows as of now, in DAY
    /// on the day of `now`, whose wall clock is the event's timestamp. What it teaches the group is learned; the answer
    /// is what to teach [`super::estimate::Estimates`].
    pub fn settle(&mut self, hold: Hold, now: Now, usage: Usage, source: UsageSource) -> Option<Sample> {
        let at = self.moment(now);
        let sample = hold.sample(usage, source);
        if let (Some(sample), Some(own)) = (&sample, hold.places.first().and_then(|own| self.cells.get_mut(*own))) {
            own.learned.learn(sample);
        }
        self.end(&at, &hold, |cell| cell.bill(&at, usage.total()));
        sample
    }

    /// A request has ended without an event: what it held is given back, and what it counted against request rates if
    /// `give_back_rate`.
    pub fn release(&mut self, hold: Hold, now: Now, give_back_rate: bool) {
        let at = self.moment(now);
        self.end(&at, &hold, |cell| {
            if give_back_rate {
                cell.take_back_request(&at, hold.admitted_ns);
            }
        });
    }

    /// How each limit stands, in their order.
    pub fn standing(&mut self, now: Now, path: &[GroupId], slug: SlugId, limits: &[EffectiveLimit]) -> Vec<Standing> {
        let at = self.moment(now);
        let found = self.find(path, slug);
        limits.iter().map(|limit| self.stand(&at, &found, limit)).collect()
    }

    /// Whether a request that must fit with so many tokens would be admitted now. Takes nothing. As no request has
    /// fewer, 0 asks for one token.
    pub fn would_admit(
        &mut self,
        now: Now,
        path: &[GroupId],
        slug: SlugId,
        limits: &[EffectiveLimit],
        tokens: u64,
    ) -> Result<(), Box<Refusal>> {
        let at = self.moment(now);
        let found = self.find(path, slug);
        let asked = tokens.max(1);
        let survey = self.survey(&at, &found, limits, asked);
        let refusal = if survey.stopped { self.refusal(&at, &found, limits, asked, &survey) } else { None };
        refusal.map_or(Ok(()), Err)
    }

    /// Sets what a group has used of a slug on a day: at a start, from the sum over the day's events.
    pub fn load_day(&mut self, now: Now, group: GroupId, slug: SlugId, day: Day, requests: u64, tokens: u64) {
        let at = self.moment(now);
        let place = self.cells.find_or_insert(group, slug, &at);
        if let Some(cell) = self.cells.get_mut(place) {
            cell.load_day(&at, day, requests, tokens);
        }
    }

    /// Enters a request of the past into the rolling windows, as far as they reach back. DAY is not touched.
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

    /// Teaches what a group's requests are like from one of the past: at a start.
    pub fn learn(&mut self, now: Now, group: GroupId, sample: &Sample) {
        let at = self.moment(now);
        let place = self.cells.find_or_insert(group, sample.slug, &at);
        if let Some(cell) = self.cells.get_mut(place) {
            cell.learned.learn(sample);
        }
    }

    /// A group is gone. Its cells go too, with their last running request; its ancestors have what it used in their own.
    pub fn remove_group(&mut self, now: Now, group: GroupId) {
        let at = self.moment(now);
        self.cells.remove_group(group, at.ns);
    }

    /// Frees what has run empty among the next `cells` cells. Admissions do so as they come; this is for a tree that
    /// has gone quiet.
    pub fn sweep(&mut self, now: Now, cells: usize) {
        let at = self.moment(now);
        self.cells.sweep(at.ns, cells);
    }

    /// How many cells a sweep has to look at to have seen them all.
    pub fn cells(&self) -> usize {
        self.cells.len()
    }

    fn moment(&mut self, now: Now) -> Moment {
        self.latest_ns = self.latest_ns.max(now.monotonic_ns.saturating_add(ORIGIN_NS));
        Moment::new(self.latest_ns, now)
    }

    fn find(&self, path: &[GroupId], slug: SlugId) -> Path {
        path.iter().take(MAX_LEVELS).map(|group| self.cells.find(*group, slug)).collect()
    }

    /// The cell that a limit is held against.
    fn anchor(&mut self, found: &Path, limit: &EffectiveLimit) -> Option<&mut Cell> {
        let place = found.get(usize::from(limit.counted_at)).copied().flatten()?;
        self.cells.get_mut(place)
    }

    fn end(&mut self, at: &Moment, hold: &Hold, mut last: impl FnMut(&mut Cell)) {
        for place in &hold.places {
            if let Some(cell) = self.cells.get_mut(*place) {
                cell.end(at, hold.tokens);
                last(cell);
                if cell.removed {
                    self.cells.drop_if_over(*place, at.ns);
                }
            }
        }
    }

    /// Holds an ask against every limit.
    fn survey(&mut self, at: &Moment, found: &Path, limits: &[EffectiveLimit], tokens: u64) -> Survey {
        let mut survey = Survey::default();
        for (index, limit) in limits.iter().enumerate() {
            let left = limit.limit.threshold.get().saturating_sub(self.figures(at, found, limit).sum());
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

    /// The limit that stops an ask longest.
    #[cold]
    fn refusal(
        &mut self,
        at: &Moment,
        found: &Path,
        limits: &[EffectiveLimit],
        tokens: u64,
        survey: &Survey,
    ) -> Option<Box<Refusal>> {
        let standings = self.standings(at, found, limits, survey);
        let mut longest: Option<Refusal> = None;
        for (index, limit) in limits.iter().enumerate() {
            let asked = match limit.limit.limit_type {
                LimitType::Request => 1,
                LimitType::Token => tokens,
            };
            let Figures { used, held } = self.figures(at, found, limit);
            if used.saturating_add(held).saturating_add(asked) <= limit.limit.threshold.get() {
                continue;
            }
            let retry_after = self.anchor(found, limit).and_then(|cell| cell.wait(limit, asked, at));
            let wait = |retry_after: Option<Duration>| retry_after.unwrap_or(Duration::MAX);
            if longest.is_none_or(|other| wait(retry_after) > wait(other.retry_after)) {
                longest = Some(Refusal { index, limit: *limit, used, held, asked, retry_after, standings });
            }
        }
        longest.map(Box::new)
    }

    fn figures(&mut self, at: &Moment, found: &Path, limit: &EffectiveLimit) -> Figures {
        let (what, unit) = (limit.limit.limit_type, limit.limit.unit);
        self.anchor(found, limit).map_or_else(Figures::default, |cell| cell.figures(what, unit, at))
    }

    fn stand(&mut self, at: &Moment, found: &Path, limit: &EffectiveLimit) -> Standing {
        match self.anchor(found, limit) {
            Some(cell) => cell.standing(limit, at),
            None => at.untouched(limit),
        }
    }

    fn standings(&mut self, at: &Moment, found: &Path, limits: &[EffectiveLimit], survey: &Survey) -> Standings {
        let mut stand = |least: Option<(usize, u64)>| least.map(|(index, _)| self.stand(at, found, &limits[index]));
        Standings { requests: stand(survey.requests), tokens: stand(survey.tokens) }
    }
}

/// An ask held against every limit.
#[derive(Default)]
struct Survey {
    stopped: bool,
    /// The limit on requests with the least left: its place, and that.
    requests: Option<(usize, u64)>,
    /// The same of tokens.
    tokens: Option<(usize, u64)>,
}

/// In the `u64` that times are in: five centuries.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
