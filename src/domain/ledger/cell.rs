//! The consumption of one slug by one group. Every limit on the pair is checked against it.
//!
//! The figures belong to the pair, not to a limit, so a limit that is set later includes earlier consumption. An idle
//! cell is small: the four rings of the rolling windows exist only while there are recent records.

use std::time::Duration;

use super::{
    calendar_sums::CalendarSums,
    moment::{At, Moment},
    rings::Rings,
};
use crate::domain::{
    calendar::Period,
    estimate::Learned,
    id::{GroupId, SlugId},
    limit::{Limit, LimitType, Unit},
    sums::{Counted, Used},
    window::Span,
};

/// After this long without a change, all rolling windows are empty.
const WINDOWS_EMPTY_NS: u64 = 2 * Span::Minute.length_ns();
const DAY_NS: u64 = 86_400_000_000_000;
/// After this long without a change, a wall clock that has been set back is taken to be right. Sums of ended windows are
/// then no longer needed.
pub(super) const CLOCK_SETTLED_NS: u64 = 3 * DAY_NS;
/// After this long without a change, every calendar window has ended by the monotonic clock too. A wall clock that jumps
/// ahead for a while does not free sums that are still needed.
const MONTHS_EXPIRED_NS: u64 = 35 * DAY_NS;
/// The wait that a CONCURRENT limit names. When a running request will end is unknown.
const UNTIL_ONE_ENDS: Duration = Duration::from_secs(1);

/// The amounts that count against one limit or budget.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Consumption {
    pub(super) used: u128,
    pub(super) held: u128,
}

impl Consumption {
    pub(super) fn sum(self) -> u128 {
        self.used.saturating_add(self.held)
    }
}

/// The state of a rule apart from the rule itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct State {
    pub(super) consumption: Consumption,
    pub(super) reset: Option<Duration>,
    pub(super) begun: bool,
}

impl State {
    /// The state of a rule that nothing was ever counted against.
    pub(super) fn untouched(period: Option<Period>, moment: &Moment) -> Self {
        let reset = period.map(|period| moment.until_end(period));
        Self { consumption: Consumption::default(), reset, begun: false }
    }
}

/// The sum of used and held amounts for each limit that a cell can have, by [`LimitType`] and [`Unit`].
/// Looking it up here takes less time than a match for each limit.
pub(super) type CountedSums = [[u64; 6]; 2];

#[derive(Debug)]
pub(super) struct Cell {
    /// Admitted requests that have not ended. While there is one, the cell keeps its place.
    pub(super) running: u64,
    /// Tokens that these requests hold.
    pub(super) held: u64,
    touched_ns: u64,
    rings: Option<Box<Rings>>,
    sums: CalendarSums<Counted>,
    /// Learned from this group's own requests.
    pub(super) learned: Learned,
    pub(super) key: (GroupId, SlugId),
    /// The group was deleted. The cell is freed when its last running request ends.
    pub(super) removed: bool,
}

impl Cell {
    pub(super) fn new(key: (GroupId, SlugId), at: &At) -> Self {
        Self {
            running: 0,
            held: 0,
            touched_ns: at.ns,
            rings: None,
            sums: CalendarSums::default(),
            learned: Learned::default(),
            key,
            removed: false,
        }
    }

    /// Begins a request. It counts against rates at once, and is held against calendar windows.
    pub(super) fn begin(&mut self, at: &At, tokens: u64) {
        self.running = self.running.saturating_add(1);
        self.hold(tokens);
        self.record(LimitType::Request, at, 0, 1);
    }

    /// Holds more tokens for a running request.
    pub(super) fn hold(&mut self, tokens: u64) {
        self.held = self.held.saturating_add(tokens);
    }

    /// Ends a running request and frees the tokens that it held.
    pub(super) fn end(&mut self, at: &At, tokens: u64) {
        self.touched_ns = at.ns;
        self.running = self.running.saturating_sub(1);
        self.held = self.held.saturating_sub(tokens);
    }

    /// Bills a request that has ended.
    pub(super) fn bill(&mut self, at: &At, tokens: u64) {
        self.record(LimitType::Token, at, 0, tokens);
        self.sums.add(&at.moment.windows, Counted { requests: 1, tokens });
    }

    /// Records an amount in the rolling windows, as of `ago_ns` ago.
    pub(super) fn record(&mut self, what: LimitType, at: &At, ago_ns: u64, amount: u64) {
        self.touched_ns = at.ns;
        let ring = self.rings.get_or_insert_default().of_mut(what);
        ring.advance(at.ns);
        ring.record(at.ns.saturating_sub(ago_ns), amount);
    }

    /// Removes a request admitted at `admitted_ns` from the request rates, if it still counts there.
    pub(super) fn take_back_request(&mut self, at: &At, admitted_ns: u64) {
        if let Some(rings) = &mut self.rings {
            let ring = rings.of_mut(LimitType::Request);
            ring.advance(at.ns);
            ring.take_back(admitted_ns, 1);
        }
    }

    /// Sets the sums of the calendar windows.
    pub(super) fn load(&mut self, at: &At, used: &Used) {
        self.touched_ns = at.ns;
        Period::ALL.iter().for_each(|period| self.sums.set(*period, *used.of(*period)));
    }

    pub(super) fn consumption(&mut self, limit: &Limit, at: &At) -> Consumption {
        self.advance(at);
        let (used, held) = self.used_and_held(limit.limit_type, limit.unit, at);
        Consumption { used: used.into(), held: held.into() }
    }

    #[inline]
    pub(super) fn counted_sums(&mut self, at: &At) -> CountedSums {
        self.advance(at);
        let sum = |what, unit| {
            let (used, held) = self.used_and_held(what, unit, at);
            used.saturating_add(held)
        };
        let of_type = |what| {
            [
                sum(what, Unit::Second),
                sum(what, Unit::Minute),
                sum(what, Unit::Day),
                sum(what, Unit::Week),
                sum(what, Unit::Month),
                sum(what, Unit::Concurrent),
            ]
        };
        [of_type(LimitType::Token), of_type(LimitType::Request)]
    }

    /// The amounts used and held in the windows of `at`, which the rings have been advanced to.
    #[inline(always)]
    fn used_and_held(&self, what: LimitType, unit: Unit, at: &At) -> (u64, u64) {
        let rolling = |span| self.rings.as_ref().map_or(0, |rings| rings.of(what).sum(span));
        let counted = |period| {
            let Counted { requests, tokens } = self.counted(period, at);
            match what {
                LimitType::Token => (tokens, self.held),
                LimitType::Request => (requests, self.running),
            }
        };
        // A rolling window has recorded a running request at its admission.
        let held_in_rolling = if what == LimitType::Token { self.held } else { 0 };
        match unit {
            Unit::Second => (rolling(Span::Second), held_in_rolling),
            Unit::Minute => (rolling(Span::Minute), held_in_rolling),
            Unit::Day => counted(Period::Day),
            Unit::Week => counted(Period::Week),
            Unit::Month => counted(Period::Month),
            Unit::Concurrent => (self.running, 0),
        }
    }

    /// Time until this limit could admit `asked`, assuming that running requests end now at their held amounts and no
    /// others arrive. `asked` is at most the threshold.
    pub(super) fn wait(&mut self, limit: &Limit, asked: u128, at: &At) -> Duration {
        // Advances the rings.
        let Consumption { used, held } = self.consumption(limit, at);
        match (limit.unit.period(), span(limit.unit)) {
            (Some(period), _) => at.moment.until_end(period),
            (None, Some(span)) => {
                let excess = (used + held).saturating_add(asked).saturating_sub(limit.threshold.get().into());
                let whole = |amount: u128| u64::try_from(amount).unwrap_or(u64::MAX);
                let ring = self.rings.as_ref().map(|rings| rings.of(limit.limit_type));
                let freed = ring.and_then(|ring| ring.until_freed(span, whole(excess), whole(held)));
                // Without rings, only held amounts count. They would be recorded now.
                freed.unwrap_or(span.length())
            }
            (None, None) => UNTIL_ONE_ENDS,
        }
    }

    pub(super) fn state(&mut self, limit: &Limit, at: &At) -> State {
        let consumption = self.consumption(limit, at);
        let (reset, begun) = match (limit.unit.period(), span(limit.unit)) {
            (Some(period), _) => {
                let begun = self.running > 0 || self.counted(period, at).requests > 0;
                (Some(at.moment.until_end(period)), begun)
            }
            // The held amount would be recorded now, after everything else.
            (None, Some(span)) if consumption.held > 0 => (Some(span.length()), true),
            (None, Some(span)) => {
                let ring = self.rings.as_ref().map(|rings| rings.of(limit.limit_type));
                (ring.and_then(|ring| ring.until_empty(span)), consumption.used > 0)
            }
            (None, None) => (None, consumption.used > 0),
        };
        State { consumption, reset, begun }
    }

    /// Frees what is no longer needed: the rings if all of them are empty, and sums of ended windows.
    pub(super) fn shrink(&mut self, at: &At) {
        if self.untouched_for(at) >= WINDOWS_EMPTY_NS {
            self.rings = None;
        }
        if self.untouched_for(at) >= CLOCK_SETTLED_NS {
            self.sums.free_previous(&at.moment.windows);
        }
    }

    /// Whether the cell can be freed: nothing in it is needed any more.
    pub(super) fn is_expired(&self, at: &At) -> bool {
        let is_over = || self.untouched_for(at) >= MONTHS_EXPIRED_NS && self.sums.are_over(&at.moment.windows);
        self.running == 0 && (self.removed || is_over())
    }

    fn untouched_for(&self, at: &At) -> u64 {
        at.ns.saturating_sub(self.touched_ns)
    }

    /// The sum of the current window of a period.
    fn counted(&self, period: Period, at: &At) -> Counted {
        self.sums.of(period, at.moment.window(period).start_ms)
    }

    /// Advances the rings.
    fn advance(&mut self, at: &At) {
        if let Some(rings) = &mut self.rings {
            rings.advance(at.ns);
        }
    }
}

/// The rolling window of a unit.
fn span(unit: Unit) -> Option<Span> {
    match unit {
        Unit::Second => Some(Span::Second),
        Unit::Minute => Some(Span::Minute),
        Unit::Day | Unit::Week | Unit::Month | Unit::Concurrent => None,
    }
}
