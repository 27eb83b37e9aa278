//! What one group consumes of one slug: the figures that every limit on the pair is held against.
//!
//! They belong to the pair and not to a limit, so a limit that is set later finds them. An idle cell is small: the four
//! rings of the rolling windows exist only while something was recorded of late.

use std::time::Duration;

use super::Standing;
use crate::domain::{
    day::{Day, Now},
    estimate::Learned,
    id::{GroupId, SlugId},
    limit::{EffectiveLimit, LimitType, Unit},
    window::{Span, Window},
};

/// Untouched for so long, all rolling windows are empty.
const WINDOWS_EMPTY_NS: u64 = 2 * Span::Minute.length_ns();
/// Untouched for so long, no DAY that is still kept has a sum. Monotonic, so that a wall clock that jumps ahead and is
/// set back finds everything.
const DAYS_OVER_NS: u64 = 3 * 86_400_000_000_000;

/// One moment, in every unit that a limit counts in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// Never before that of an earlier call.
    pub(super) ns: u64,
    pub(super) day: Day,
    until_midnight: Duration,
}

impl Moment {
    pub(super) fn new(ns: u64, now: Now) -> Self {
        Self { ns, day: now.day(), until_midnight: now.until_midnight() }
    }

    /// How a limit stands that nothing was ever held against.
    pub(super) fn untouched(&self, limit: &EffectiveLimit) -> Standing {
        let reset = (limit.limit.unit == Unit::Day).then_some(self.until_midnight);
        Standing { limit: *limit, used: 0, held: 0, reset, begun: false }
    }
}

/// What counts against one limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) used: u64,
    pub(super) held: u64,
}

impl Figures {
    pub(super) fn sum(self) -> u64 {
        self.used.saturating_add(self.held)
    }
}

#[derive(Debug)]
pub(super) struct Cell {
    /// Requests that have been admitted and have not ended. As long as there is one the cell keeps its place.
    pub(super) running: u64,
    /// Tokens that they hold.
    pub(super) held: u64,
    touched_ns: u64,
    windows: Option<Box<Windows>>,
    days: Days,
    /// From this group's own requests.
    pub(super) learned: Learned,
    pub(super) key: (GroupId, SlugId),
    /// The group is gone: the cell goes with its last running request.
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

    /// A request begins: it counts against rates at once, and is held against the DAY.
    pub(super) fn begin(&mut self, at: &Moment, tokens: u64) {
        self.running = self.running.saturating_add(1);
        self.hold(tokens);
        self.record(LimitType::Request, at, 0, 1);
    }

    /// A running request holds so many tokens more.
    pub(super) fn hold(&mut self, tokens: u64) {
        self.held = self.held.saturating_add(tokens);
    }

    /// A running request has ended, and holds nothing any more.
    pub(super) fn end(&mut self, at: &Moment, tokens: u64) {
        self.touched_ns = at.ns;
        self.running = self.running.saturating_sub(1);
        self.held = self.held.saturating_sub(tokens);
    }

    /// A request that has ended is billed.
    pub(super) fn bill(&mut self, at: &Moment, tokens: u64) {
        self.record(LimitType::Token, at, 0, tokens);
        self.days.add(at.day, 1, tokens);
    }

    /// Enters an amount into the rolling windows, as of `ago_ns` ago.
    pub(super) fn record(&mut self, what: LimitType, at: &Moment, ago_ns: u64, amount: u64) {
        self.touched_ns = at.ns;
        let windows = self.windows.get_or_insert_default();
        for span in [Span::Second, Span::Minute] {
            let window = windows.at(what, span);
            window.advance(at.ns);
            window.record(at.ns.saturating_sub(ago_ns), amount);
        }
    }

    /// A request admitted at `admitted_ns` no longer counts against rates, as far as it still does.
    pub(super) fn take_back_request(&mut self, at: &Moment, admitted_ns: u64) {
        let Some(windows) = &mut self.windows else { return };
        for span in [Span::Second, Span::Minute] {
            let window = windows.at(LimitType::Request, span);
            window.advance(at.ns);
            window.take_back(admitted_ns, 1);
        }
    }

    /// Sets a DAY's sums.
    pub(super) fn load_day(&mut self, at: &Moment, day: Day, requests: u64, tokens: u64) {
        self.touched_ns = at.ns;
        *self.days.slot(day) = Sum { day, requests, tokens };
    }

    pub(super) fn figures(&mut self, what: LimitType, unit: Unit, at: &Moment) -> Figures {
        let used = match span(unit) {
            Some(span) => self.window(what, span, at).map_or(0, |window| window.sum()),
            None => self.days.get(at.day).of(what),
        };
        let held = match (what, unit) {
            (LimitType::Token, _) => self.held,
            (LimitType::Request, Unit::Day) => self.running,
            // Recorded when it was admitted.
            (LimitType::Request, _) => 0,
        };
        Figures { used, held }
    }

    /// How long until a limit that stops so much now lets it pass, if what runs ends now with what it holds and nothing
    /// more comes; `None` if never.
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
        // Without rings there is only what running requests hold, which would be recorded now.
        Some(freed.unwrap_or(span.length()))
    }

    pub(super) fn standing(&mut self, limit: &EffectiveLimit, at: &Moment) -> Standing {
        let (what, unit) = (limit.limit.limit_type, limit.limit.unit);
        let figures = self.figures(what, unit, at);
        let reset = match span(unit) {
            None => Some(at.until_midnight),
            // It would be recorded now, behind everything else.
            Some(span) if figures.held > 0 => Some(span.length()),
            Some(span) => self.window(what, span, at).and_then(|window| window.until_empty()),
        };
        let begun = match unit {
            Unit::Day => self.running > 0 || self.days.get(at.day).requests > 0,
            Unit::Second | Unit::Minute => figures.sum() > 0,
        };
        Standing { limit: *limit, used: figures.used, held: figures.held, reset, begun }
    }

    /// Frees the rings once all have run empty.
    pub(super) fn rest(&mut self, now_ns: u64) {
        if self.untouched_for(now_ns) >= WINDOWS_EMPTY_NS {
            self.windows = None;
        }
    }

    /// Whether nothing in it can ever matter again.
    pub(super) fn is_over(&self, now_ns: u64) -> bool {
        self.running == 0 && (self.removed || self.untouched_for(now_ns) >= DAYS_OVER_NS)
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

/// The window that a unit counts over; `None` for the calendar day.
fn span(unit: Unit) -> Option<Span> {
    match unit {
        Unit::Second => Some(Span::Second),
        Unit::Minute => Some(Span::Minute),
        Unit::Day => None,
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

/// The sums of three dates: a clock that was set back finds what it had counted.
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

    /// The date's slot. A date that has none takes an empty one, else that of the date farthest from it, in whatever
    /// order dates come.
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
    fn three_dates_are_kept_in_whatever_order_they_come() {
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
    fn a_clock_that_was_a_year_ahead_for_a_moment_finds_today_again() {
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
