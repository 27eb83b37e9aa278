//! The sums of a cell over days, weeks and months, in less memory than [`WindowSums`] takes.
//!
//! Most cells only ever need the current window of each period. The ones before it are allocated when a window ends,
//! and freed by the sweep.

use crate::domain::{
    calendar::{CalendarWindows, Period},
    sums::{Quantity, WindowSums},
};

/// For each [`Period`], the sums of the latest window and of the one before it.
#[derive(Debug, Default)]
pub(super) struct CalendarSums<T> {
    latest: Row<T>,
    previous: Option<Box<Row<T>>>,
}

/// One window of each period.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Row<T> {
    /// The first moments, in ms of Unix time.
    starts: [u64; 3],
    sums: [T; 3],
}

impl<T: Quantity> CalendarSums<T> {
    /// Adds to each of the windows.
    pub(super) fn add(&mut self, windows: &CalendarWindows, more: T) {
        for period in Period::ALL {
            let (place, start_ms) = (period as usize, windows.of(period).start_ms);
            if self.latest.starts[place] == start_ms {
                self.latest.sums[place] = self.latest.sums[place].saturating_add(more);
            } else {
                self.add_to_another(period, start_ms, more);
            }
        }
    }

    /// The sum of the window that begins at `start_ms`.
    #[inline]
    pub(super) fn of(&self, period: Period, start_ms: u64) -> T {
        let place = period as usize;
        if self.latest.starts[place] == start_ms { self.latest.sums[place] } else { self.of_another(place, start_ms) }
    }

    #[cold]
    fn of_another(&self, place: usize, start_ms: u64) -> T {
        let previous = self.previous.as_deref().filter(|row| row.starts[place] == start_ms);
        previous.map(|row| row.sums[place]).unwrap_or_default()
    }

    /// Replaces the sums of a period.
    pub(super) fn set(&mut self, period: Period, sums: WindowSums<T>) {
        let place = period as usize;
        (self.latest.starts[place], self.latest.sums[place]) = sums.latest;
        if self.previous.is_some() || sums.previous != (0, T::default()) {
            let previous = self.previous.get_or_insert_default();
            (previous.starts[place], previous.sums[place]) = sums.previous;
        }
    }

    /// Whether every window with a sum is over at a moment with these windows.
    pub(super) fn are_over(&self, windows: &CalendarWindows) -> bool {
        Period::ALL.iter().all(|period| self.latest.starts[*period as usize] < windows.of(*period).start_ms)
    }

    /// Frees the windows before the latest ones, unless a latest one has not begun yet: then the clock was set back,
    /// and the window before it may be the current one.
    pub(super) fn free_previous(&mut self, windows: &CalendarWindows) {
        let has_begun = |period: &Period| self.latest.starts[*period as usize] <= windows.of(*period).start_ms;
        if self.previous.is_some() && Period::ALL.iter().all(has_begun) {
            self.previous = None;
        }
    }

    #[cold]
    fn add_to_another(&mut self, period: Period, start_ms: u64, more: T) {
        let place = period as usize;
        let window = |row: &Row<T>| (row.starts[place], row.sums[place]);
        let previous = self.previous.as_deref().map(window).unwrap_or_default();
        let mut sums = WindowSums { latest: window(&self.latest), previous };
        sums.add(start_ms, &more);
        self.set(period, sums);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{calendar::Calendar, sums::Counted, testing::Random};

    const DAY_MS: u64 = 86_400_000;
    const TODAY_MS: u64 = 20_780 * DAY_MS;

    fn windows(unix_ms: u64) -> CalendarWindows {
        Calendar::default().windows(unix_ms)
    }

    fn of_day(sums: &CalendarSums<u128>, unix_ms: u64) -> u128 {
        sums.of(Period::Day, windows(unix_ms).day.start_ms)
    }

    #[test]
    fn todays_sums_survive_a_clock_that_was_briefly_a_year_ahead() {
        let mut sums = CalendarSums::default();
        sums.add(&windows(TODAY_MS), 1_u128);
        sums.add(&windows(TODAY_MS + 365 * DAY_MS), 10);
        sums.free_previous(&windows(TODAY_MS));
        assert!(!sums.are_over(&windows(TODAY_MS)));
        sums.add(&windows(TODAY_MS), 100);
        assert_eq!([of_day(&sums, TODAY_MS), of_day(&sums, TODAY_MS + 365 * DAY_MS)], [101, 10]);
        sums.add(&windows(TODAY_MS + DAY_MS), 1000);
        assert_eq!([of_day(&sums, TODAY_MS), of_day(&sums, TODAY_MS + DAY_MS)], [0, 1000]);
    }

    #[test]
    fn the_window_before_the_latest_is_kept_until_it_is_freed() {
        let mut sums = CalendarSums::default();
        sums.add(&windows(TODAY_MS), 1_u128);
        sums.add(&windows(TODAY_MS + DAY_MS), 10);
        assert_eq!([of_day(&sums, TODAY_MS), of_day(&sums, TODAY_MS + DAY_MS)], [1, 10]);
        sums.free_previous(&windows(TODAY_MS + DAY_MS));
        assert_eq!([of_day(&sums, TODAY_MS), of_day(&sums, TODAY_MS + DAY_MS)], [0, 10]);
        assert!(!sums.are_over(&windows(TODAY_MS + 2 * DAY_MS)), "the month is not over");
        assert!(sums.are_over(&windows(TODAY_MS + 40 * DAY_MS)));
    }

    #[test]
    fn the_sums_are_those_that_the_store_keeps() {
        let mut random = Random::new(11);
        for _ in 0..200 {
            let (mut sums, mut stored) = (CalendarSums::default(), [WindowSums::default(); 3]);
            let mut now_ms = TODAY_MS;
            for _ in 0..random.below(30) {
                now_ms = (now_ms + random.below(20 * DAY_MS)).saturating_sub(random.below(8 * DAY_MS));
                let more = Counted { requests: 1, tokens: random.below(1000) };
                sums.add(&windows(now_ms), more);
                for (period, stored) in Period::ALL.iter().zip(&mut stored) {
                    stored.add(windows(now_ms).of(*period).start_ms, &more);
                }
            }
            for (period, stored) in Period::ALL.into_iter().zip(stored) {
                for (start_ms, sum) in [stored.latest, stored.previous] {
                    assert_eq!(sums.of(period, start_ms), sum);
                }
            }
        }
    }

    #[test]
    fn sums_do_not_overflow() {
        let mut sums = CalendarSums::default();
        sums.add(&windows(u64::MAX), u128::MAX);
        sums.add(&windows(u64::MAX), 1);
        sums.add(&windows(0), 1);
        assert_eq!([of_day(&sums, u64::MAX), of_day(&sums, 0)], [u128::MAX, 1]);
    }
}
