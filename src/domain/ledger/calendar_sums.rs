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
    pub(super) fn of(&self, period: Period, start_ms: u64) -> T {
        let place = period as usize;
        let rows = [Some(&self.latest), self.previous.as_deref()].into_iter().flatten();
        rows.filter(|row| row.starts[place] == start_ms).map(|row| row.sums[place]).next().unwrap_or_default()
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
