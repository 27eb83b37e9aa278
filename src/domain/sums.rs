//! Sums over calendar windows: the latest window of each period and the one before it.
//!
//! * A sum is complete for both windows, in whatever order the events come: a window is only given up for a newer one,
//!   and never comes back. So a clock that was set back by one window finds its figures, and sums that are added in
//!   another order are the same.
//! * Sums saturate. They are stored, so the order of the fields is frozen.

use serde::{Deserialize, Serialize};

use super::calendar::{CalendarWindows, Period};

/// A quantity that can be summed.
pub trait Quantity: Copy + Default + PartialEq {
    /// The sum of two; the largest value if it does not fit.
    fn saturating_add(self, other: Self) -> Self;
}

impl Quantity for u128 {
    fn saturating_add(self, other: Self) -> Self {
        self.saturating_add(other)
    }
}

/// Billed requests and their tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Billed requests.
    pub requests: u64,
    /// Prompt and completion tokens.
    pub tokens: u64,
}

impl Quantity for Counted {
    fn saturating_add(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            tokens: self.tokens.saturating_add(other.tokens),
        }
    }
}

/// The sums of the latest window of a period and of the one before it in which something was counted. A window is named
/// by its first moment (ms of Unix time).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSums<T> {
    /// The latest window. `(0, 0)` as long as nothing was counted.
    pub latest: (u64, T),
    /// The window before it. `(0, 0)` if there is none.
    pub previous: (u64, T),
}

impl<T: Quantity> WindowSums<T> {
    /// Adds to the window that begins at `start_ms`. A window older than both is ignored.
    pub fn add(&mut self, start_ms: u64, more: &T) {
        if start_ms > self.latest.0 {
            self.previous = std::mem::replace(&mut self.latest, (start_ms, *more));
        } else if start_ms == self.latest.0 {
            self.latest.1 = self.latest.1.saturating_add(*more);
        } else if start_ms > self.previous.0 {
            self.previous = (start_ms, *more);
        } else if start_ms == self.previous.0 {
            self.previous.1 = self.previous.1.saturating_add(*more);
        }
    }

    /// The first moments of both.
    pub fn starts_ms(&self) -> [u64; 2] {
        [self.latest.0, self.previous.0]
    }

    /// The sum of the window that begins at `start_ms`; zero if nothing is known about it.
    pub fn of(&self, start_ms: u64) -> T {
        [self.latest, self.previous]
            .into_iter()
            .find(|(start, _)| *start == start_ms)
            .map(|(_, sum)| sum)
            .unwrap_or_default()
    }
}

/// A group's use of a slug.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// Of days.
    pub day: WindowSums<Counted>,
    /// Of weeks.
    pub week: WindowSums<Counted>,
    /// Of months.
    pub month: WindowSums<Counted>,
}

impl Used {
    /// The sums of a period.
    pub fn of(&self, period: Period) -> &WindowSums<Counted> {
        match period {
            Period::Day => &self.day,
            Period::Week => &self.week,
            Period::Month => &self.month,
        }
    }

    /// Adds to each window of a moment.
    pub fn add(&mut self, windows: &CalendarWindows, more: &Counted) {
        self.day.add(windows.day.start_ms, more);
        self.week.add(windows.week.start_ms, more);
        self.month.add(windows.month.start_ms, more);
    }
}

/// A group's costs in one currency, in 10^-12 units of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// Of days.
    pub day: WindowSums<u128>,
    /// Of weeks.
    pub week: WindowSums<u128>,
    /// Of months.
    pub month: WindowSums<u128>,
    /// Since the group's beginning.
    pub total: u128,
}

impl Spent {
    /// The sums of a period.
    pub fn of(&self, period: Period) -> &WindowSums<u128> {
        match period {
            Period::Day => &self.day,
            Period::Week => &self.week,
            Period::Month => &self.month,
        }
    }

    /// Adds a cost to each window of a moment and to the total.
    pub fn add(&mut self, windows: &CalendarWindows, amount: u128) {
        self.day.add(windows.day.start_ms, &amount);
        self.week.add(windows.week.start_ms, &amount);
        self.month.add(windows.month.start_ms, &amount);
        self.total = self.total.saturating_add(amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{calendar::Calendar, testing::Random};

    fn counted(requests: u64, tokens: u64) -> Counted {
        Counted { requests, tokens }
    }

    #[test]
    fn a_newer_window_makes_the_latest_the_previous_one() {
        let mut sums = WindowSums::default();
        sums.add(100, &counted(1, 10));
        sums.add(100, &counted(1, 5));
        assert_eq!((sums.latest, sums.previous.1), ((100, counted(2, 15)), Counted::default()));
        sums.add(200, &counted(1, 1));
        assert_eq!(sums, WindowSums { latest: (200, counted(1, 1)), previous: (100, counted(2, 15)) });
        assert_eq!([100, 200, 300, 150].map(|start| sums.of(start).requests), [2, 1, 0, 0]);
    }

    #[test]
    fn a_clock_that_was_set_back_finds_its_figures() {
        let mut sums = WindowSums::<u128>::default();
        sums.add(100, &1);
        sums.add(300, &2);
        sums.add(100, &4);
        assert_eq!((sums.of(100), sums.of(300)), (5, 2));
        // A window between both replaces the older one, which does not come back.
        sums.add(200, &8);
        sums.add(100, &16);
        assert_eq!(sums, WindowSums { latest: (300, 2), previous: (200, 8) });
    }

    #[test]
    fn the_two_latest_windows_are_complete_in_whatever_order_events_come() {
        let mut random = Random::new(7);
        for _ in 0..500 {
            let events: Vec<(u64, u128)> =
                (0..random.below(12)).map(|_| (1 + random.below(5), random.below(100).into())).collect();
            let mut sums = WindowSums::default();
            events.iter().for_each(|(start, amount)| sums.add(*start, amount));
            let mut starts: Vec<u64> = events.iter().map(|(start, _)| *start).collect();
            starts.sort_unstable_by(|a, b| b.cmp(a));
            starts.dedup();
            let of = |start: u64| events.iter().filter(|event| event.0 == start).map(|event| event.1).sum::<u128>();
            let expected = |at: usize| starts.get(at).map_or((0, 0), |start| (*start, of(*start)));
            assert_eq!(sums, WindowSums { latest: expected(0), previous: expected(1) }, "{events:?}");
        }
    }

    #[test]
    fn sums_saturate() {
        let mut sums = WindowSums::default();
        sums.add(5, &counted(u64::MAX, u64::MAX - 1));
        sums.add(5, &counted(1, 1));
        assert_eq!(sums.of(5), counted(u64::MAX, u64::MAX));
        let mut spent = Spent { total: u128::MAX, ..Spent::default() };
        spent.add(&Calendar::default().windows(1_795_428_000_123), 7);
        assert_eq!((spent.total, spent.day.latest.1), (u128::MAX, 7));
    }

    #[test]
    fn each_period_has_its_own_window_and_the_total_has_none() {
        let (calendar, mut spent) = (Calendar::new("Europe/Berlin").unwrap(), Spent::default());
        // Monday, 30 November 2026, 00:30 and 23:30 in Berlin, and the first hour of Tuesday, 1 December.
        let [first, last, next] = [1_795_995_000_000, 1_796_077_800_000, 1_796_081_400_000];
        for (at_ms, amount) in [(first, 1), (last, 10), (next, 100)] {
            spent.add(&calendar.windows(at_ms), amount);
        }
        let windows = calendar.windows(next);
        let of = |period: Period| spent.of(period).of(windows.of(period).start_ms);
        assert_eq!((Period::ALL.map(of), spent.total), ([100, 111, 100], 111));
        let before = calendar.windows(first);
        assert_eq!(spent.day.of(before.day.start_ms), 11);
        assert_eq!(spent.month.of(before.month.start_ms), 11);
    }
}
