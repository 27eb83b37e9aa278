//! The consumption of one slug by one group. Every limit on the pair is checked against it.
//!
//! The figures belong to the pair, not to a limit, so a limit that is set later includes earlier consumption. An idle
//! cell is small: the four rings of the rolling windows exist only while there are recent records.

use std::time::Duration;

use super::{Standing, account::EffectiveLimit};
use crate::domain::{
    day::{Day, Now},
    estimate::Learned,
    id::{GroupId, SlugId},
    limit::{LimitType, Unit},
    window::{Span, Window},
};

/// After this long without a change, all rolling windows are empty.
const WINDOWS_EMPTY_NS: u64 = 2 * Span::Minute.length_ns();
/// After this long without a change, no stored DAY sum is needed any more. It is monotonic time, so that no sum is lost
/// if the wall clock jumps ahead and is set back.
const DAYS_EXPIRED_NS: u64 = 3 * 86_400_000_000_000;

/// One moment, in every unit that limits use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// Never earlier than in an earlier call.
    pub(super) ns: u64,
    pub(super) day: Day,
    until_midnight: Duration,
}

impl Moment {
    pub(super) fn new(ns: u64, now: Now) -> Self {
        Self { ns, day: now.day(), until_midnight: now.until_midnight() }
    }

    /// The state of a limit that nothing was ever counted against.
    pub(super) fn untouched(&self, limit: &EffectiveLimit) -> Standing {
        let reset = (limit.limit.unit == Unit::Day).then_some(self.until_midnight);
        Standing { limit: *limit, used: 0, held: 0, reset, begun: false }
    }
}

/// The amounts that count against one limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Consumption {
    pub(super) used: u64,
    pub(super) held: u64,
}

impl Consumption {
    pub(super) fn sum(self) -> u64 {
        self.used.saturating_add(self.held)
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
    days: Days,
    /// Learned from this group's own requests.
    pub(super) learned: Learned,
    pub(super) key: (GroupId, SlugId),
    /// The group was deleted. The cell is freed when its last running request ends.
    pub(super) removed: bool,
}

impl Cell {
    pub(super) fn new(key: (GroupId, SlugId), at: &Moment) -> Self {
        Self {
            running: 0,
            held: 0,
            touched_ns: at.ns,
            windows: None,
            days: Days::default(),
            learned: Learned::default(),
            key,
            removed: false,
        }
    }

    /// Begins a request. It counts against rates at once, and is held against the DAY limit.
    pub(super) fn begin(&mut self, at: &Moment, tokens: u64) {
        self.running = self.running.saturating_add(1);
        self.hold(tokens);
        self.record(LimitType::Request, at, 0, 1);
    }

    /// Holds more tokens for a running request.
    pub(super) fn hold(&mut self, tokens: u64) {
        self.held = self.held.saturating_add(tokens);
    }

    /// Ends a running request and frees the tokens that it held.
    pub(super) fn end(&mut self, at: &Moment, tokens: u64) {
        self.touched_ns = at.ns;
        self.running = self.running.saturating_sub(1);
        self.held = self.held.saturating_sub(tokens);
    }

    /// Bills a request that has ended.
    pub(super) fn bill(&mut self, at: &Moment, tokens: u64) {
        self.record(LimitType::Token, at, 0, tokens);
        self.days.add(at.day, 1, tokens);
    }

    /// Records an amount in the rolling windows, as of `ago_ns` ago.
    pub(super) fn record(&mut self, what: LimitType, at: &Moment, ago_ns: u64, amount: u64) {
        self.touched_ns = at.ns;
        let windows = self.windows.get_or_insert_default();
        for span in [Span::Second, Span::Minute] {
            let window = windows.at(what, span);
            window.advance(at.ns);
            window.record(at.ns.saturating_sub(ago_ns), amount);
        }
    }

    /// Removes a request admitted at `admitted_ns` from the request rates, if it still counts there.
    pub(super) fn take_back_request(&mut self, at: &Moment, admitted_ns: u64) {
        let Some(windows) = &mut self.windows else { return };
        for span in [Span::Second, Span::Minute] {
            let window = windows.at(LimitType::Request, span);
            window.advance(at.ns);
            window.take_back(admitted_ns, 1);
        }
    }

    /// Sets the sums of a day.
    pub(super) fn load_day(&mut self, at: &Moment, day: Day, requests: u64, tokens: u64) {
        self.touched_ns = at.ns;
        *self.days.slot(day) = Sum { day, requests, tokens };
    }

    pub(super) fn figures(&mut self, what: LimitType, unit: Unit, at: &Moment) -> Consumption {
        let used = match span(unit) {
            Some(span) => self.window(what, span, at).map_or(0, |window| window.sum()),
            None => self.days.get(at.day).of(what),
        };
        let held = match (what, unit) {
            (LimitType::Token, _) => self.held,
            (LimitType::Request, Unit::Day) => self.running,
            // It was recorded at admission.
            (LimitType::Request, _) => 0,
        };
        Consumption { used, held }
    }

    /// Time until this limit could admit `asked`, assuming that running requests end now at their held amounts and no
    /// others arrive. `None` if it never can.
    pub(super) fn wait(&mut self, limit: &EffectiveLimit, asked: u64, at: &Moment) -> Option<Duration> {
        let threshold = limit.limit.threshold.get();
        if asked > threshold {
            return None;
        }
        let (what, unit) = (limit.limit.limit_type, limit.limit.unit);
        let figures = self.figures(what, unit, at);
        let excess = figures.sum().saturating_add(asked).saturating_sub(threshold);
        let Some(span) = span(unit) else { return Some(at.until_midnight) };
        let freed = self.window(what, span, at).and_then(|window| window.until_freed(excess, figures.held));
        // Without rings, only held amounts count. They would be recorded now.
        Some(freed.unwrap_or(span.length()))
    }

    pub(super) fn standing(&mut self, limit: &EffectiveLimit, at: &Moment) -> Standing {
        let (what, unit) = (limit.limit.limit_type, limit.limit.unit);
        let figures = self.figures(what, unit, at);
        let reset = match span(unit) {
            None => Some(at.until_midnight),
            // The held amount would be recorded now, after everything else.
            Some(span) if figures.held > 0 => Some(span.length()),
            Some(span) => self.window(what, span, at).and_then(|window| window.until_empty()),
        };
        let begun = match unit {
            Unit::Day | Unit::Week | Unit::Month | Unit::Concurrent => {
                self.running > 0 || self.days.get(at.day).requests > 0
            }
            Unit::Second | Unit::Minute => figures.sum() > 0,
        };
        Standing { limit: *limit, used: figures.used, held: figures.held, reset, begun }
    }

    /// Frees the rings if all of them are empty.
    pub(super) fn free_empty_windows(&mut self, now_ns: u64) {
        if self.untouched_for(now_ns) >= WINDOWS_EMPTY_NS {
            self.windows = None;
        }
    }

    /// Whether the cell can be freed: nothing in it is needed any more.
    pub(super) fn is_expired(&self, now_ns: u64) -> bool {
        self.running == 0 && (self.removed || self.untouched_for(now_ns) >= DAYS_EXPIRED_NS)
    }

    fn untouched_for(&self, now_ns: u64) -> u64 {
        now_ns.saturating_sub(self.touched_ns)
    }

    fn window(&mut self, what: LimitType, span: Span, at: &Moment) -> Option<&Window> {
        let window = self.windows.as_mut()?.at(what, span);
        window.advance(at.ns);
        Some(window)
    }
}

/// The rolling window of a unit; `None` for the calendar day.
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

/// The sums of three dates. If the clock is set back, the earlier date's sums are still there.
#[derive(Debug, Default)]
struct Days([Sum; 3]);

#[derive(Debug, Clone, Copy)]
struct Sum {
    day: Day,
    requests: u64,
    tokens: u64,
}

impl Default for Sum {
    fn default() -> Self {
        Self { day: Day(0), requests: 0, tokens: 0 }
    }
}

impl Sum {
    fn of(&self, what: LimitType) -> u64 {
        match what {
            LimitType::Request => self.requests,
            LimitType::Token => self.tokens,
        }
    }

    fn is_empty(&self) -> bool {
        self.requests == 0 && self.tokens == 0
    }
}

impl Days {
    fn get(&self, day: Day) -> Sum {
        self.0.iter().find(|sum| sum.day == day).copied().unwrap_or_default()
    }

    fn add(&mut self, day: Day, requests: u64, tokens: u64) {
        let sum = self.slot(day);
        sum.requests = sum.requests.saturating_add(requests);
        sum.tokens = sum.tokens.saturating_add(tokens);
    }

    /// The date's slot. A new date takes an empty slot, or else replaces the stored date that is farthest from it. The
    /// order of the dates does not matter.
    fn slot(&mut self, day: Day) -> &mut Sum {
        let distance = |sum: &Sum| match sum {
            sum if sum.day == day => u64::MAX,
            sum if sum.is_empty() => u64::MAX - 1,
            sum => u64::from(sum.day.0.abs_diff(day.0)),
        };
        let [first, second, third] = &mut self.0;
        let farther = if distance(second) > distance(first) { second } else { first };
        let slot = if distance(third) > distance(farther) { third } else { farther };
        if slot.day != day {
            *slot = Sum { day, ..Sum::default() };
        }
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_dates_are_kept_in_any_order() {
        let mut days = Days::default();
        for day in [20_000, 19_999, 19_998, 20_000] {
            days.add(Day(day), 1, u64::from(day));
        }
        let requests = |days: &Days, day| days.get(Day(day)).requests;
        assert_eq!([19_998, 19_999, 20_000].map(|day| requests(&days, day)), [1, 1, 2]);
        days.add(Day(20_001), 1, 1);
        assert_eq!([19_998, 19_999, 20_000, 20_001].map(|day| requests(&days, day)), [0, 1, 2, 1]);
    }

    #[test]
    fn todays_sums_survive_a_clock_that_was_briefly_a_year_ahead() {
        let mut days = Days::default();
        days.add(Day(20_000), 1, 10);
        days.add(Day(20_365), 1, 20);
        days.add(Day(20_000), 1, 10);
        assert_eq!((days.get(Day(20_000)).requests, days.get(Day(20_000)).tokens), (2, 20));
        assert_eq!(days.get(Day(20_365)).requests, 1);
    }

    #[test]
    fn day_sums_do_not_overflow() {
        let mut days = Days::default();
        days.add(Day(u32::MAX), u64::MAX, u64::MAX);
        days.add(Day(u32::MAX), 1, 1);
        days.add(Day(0), 1, 1);
        assert_eq!(days.get(Day(u32::MAX)).tokens, u64::MAX);
        assert_eq!(days.get(Day(0)).tokens, 1);
    }
}
