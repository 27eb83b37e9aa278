//! The consumption of one slug by one group. Every limit on the pair is checked against it.
//!
//! The figures belong to the pair, not to a limit, so a limit that is set later includes earlier consumption. An idle
//! cell is small: the four rings of the rolling windows exist only while there are recent records.

use std::time::Duration;

use super::{
    calendar_sums::CalendarSums,
    moment::{At, Moment},
};
use crate::domain::{
    calendar::Period,
    estimate::Learned,
    id::{GroupId, SlugId},
    limit::{Limit, LimitType, Unit},
    sums::{Counted, Used},
    window::{Span, Window},
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

#[derive(Debug)]
pub(super) struct Cell {
    /// Admitted requests that have not ended. While there is one, the cell keeps its place.
    pub(super) running: u64,
    /// Tokens that these requests hold.
    pub(super) held: u64,
    touched_ns: u64,
    windows: Option<Box<Windows>>,
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
            windows: None,
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
        let windows = self.windows.get_or_insert_default();
        for span in [Span::Second, Span::Minute] {
            let window = windows.at(what, span);
            window.advance(at.ns);
            window.record(at.ns.saturating_sub(ago_ns), amount);
        }
    }

    /// Removes a request admitted at `admitted_ns` from the request rates, if it still counts there.
    pub(super) fn take_back_request(&mut self, at: &At, admitted_ns: u64) {
        let Some(windows) = &mut self.windows else { return };
        for span in [Span::Second, Span::Minute] {
            let window = windows.at(LimitType::Request, span);
            window.advance(at.ns);
            window.take_back(admitted_ns, 1);
        }
    }

    /// Sets the sums of the calendar windows.
    pub(super) fn load(&mut self, at: &At, used: &Used) {
        self.touched_ns = at.ns;
        Period::ALL.iter().for_each(|period| self.sums.set(*period, *used.of(*period)));
    }

    pub(super) fn consumption(&mut self, limit: &Limit, at: &At) -> Consumption {
        let (used, held) = self.used_and_held(limit, at);
        Consumption { used: used.into(), held: held.into() }
    }

    /// The sum of what is used and held.
    pub(super) fn counted_against(&mut self, limit: &Limit, at: &At) -> u64 {
        let (used, held) = self.used_and_held(limit, at);
        used.saturating_add(held)
    }

    #[inline]
    fn used_and_held(&mut self, limit: &Limit, at: &At) -> (u64, u64) {
        let what = limit.limit_type;
        let used = match (limit.unit.period(), span(limit.unit)) {
            (Some(period), _) => self.counted(what, period, at),
            (None, Some(span)) => self.window(what, span, at).map_or(0, |window| window.sum()),
            (None, None) => return (self.running, 0),
        };
        let held = match what {
            LimitType::Token => self.held,
            // In a rolling window, it was recorded at admission.
            LimitType::Request => limit.unit.period().map_or(0, |_| self.running),
        };
        (used, held)
    }

    /// Time until this limit could admit `asked`, assuming that running requests end now at their held amounts and no
    /// others arrive. `asked` is at most the threshold.
    pub(super) fn wait(&mut self, limit: &Limit, asked: u128, at: &At) -> Duration {
        let Consumption { used, held } = self.consumption(limit, at);
        match (limit.unit.period(), span(limit.unit)) {
            (Some(period), _) => at.moment.until_end(period),
            (None, Some(span)) => {
                let excess = (used + held).saturating_add(asked).saturating_sub(limit.threshold.get().into());
                let whole = |amount: u128| u64::try_from(amount).unwrap_or(u64::MAX);
                let window = self.window(limit.limit_type, span, at);
                let freed = window.and_then(|window| window.until_freed(whole(excess), whole(held)));
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
                let begun = self.running > 0 || self.counted(LimitType::Request, period, at) > 0;
                (Some(at.moment.until_end(period)), begun)
            }
            // The held amount would be recorded now, after everything else.
            (None, Some(span)) if consumption.held > 0 => (Some(span.length()), true),
            (None, Some(span)) => {
                let window = self.window(limit.limit_type, span, at);
                (window.and_then(|window| window.until_empty()), consumption.used > 0)
            }
            (None, None) => (None, consumption.used > 0),
        };
        State { consumption, reset, begun }
    }

    /// Frees what is no longer needed: the rings if all of them are empty, and sums of ended windows.
    pub(super) fn shrink(&mut self, at: &At) {
        if self.untouched_for(at) >= WINDOWS_EMPTY_NS {
            self.windows = None;
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

    /// The amount counted in the current window of a period.
    fn counted(&self, what: LimitType, period: Period, at: &At) -> u64 {
        let sum = self.sums.of(period, at.moment.window(period).start_ms);
        match what {
            LimitType::Request => sum.requests,
            LimitType::Token => sum.tokens,
        }
    }

    fn window(&mut self, what: LimitType, span: Span, at: &At) -> Option<&Window> {
        let window = self.windows.as_mut()?.at(what, span);
        window.advance(at.ns);
        Some(window)
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

#[derive(Debug)]
struct Windows {
    requests: [Window; 2],
    tokens: [Window; 2],
}

impl Default for Windows {
    fn default() -> Self {
        let both = || [Span::Second, Span::Minute].map(Window::new);
        Self { requests: both(), tokens: both() }
    }
}

impl Windows {
    fn at(&mut self, what: LimitType, span: Span) -> &mut Window {
        match what {
            LimitType::Request => &mut self.requests[span as usize],
            LimitType::Token => &mut self.tokens[span as usize],
        }
    }
}
