//! One moment, in every unit that limits and budgets use.

use std::time::Duration;

use crate::domain::{
    calendar::{CalendarWindow, CalendarWindows, Period},
    day::Now,
};

/// A reading of the clocks, with the calendar windows that `now.unix_ms` lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Both clocks.
    pub now: Now,
    /// The day, week and month of `now.unix_ms`.
    pub windows: CalendarWindows,
}

impl Moment {
    /// Time until the wall clock reaches the end of the current window of a period.
    pub(super) fn until_end(&self, period: Period) -> Duration {
        let behind = Duration::from_millis(self.now.behind_ms);
        self.windows.of(period).until_end(self.now.unix_ms).saturating_add(behind)
    }

    pub(super) fn window(&self, period: Period) -> &CalendarWindow {
        self.windows.of(period)
    }
}

/// A moment with the monotonic time that the ledger counts by.
#[derive(Debug, Clone, Copy)]
pub(super) struct At {
    /// Never earlier than in an earlier call.
    pub(super) ns: u64,
    pub(super) moment: Moment,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::calendar::Calendar;

    #[test]
    fn the_end_of_a_window_is_ahead_and_farther_if_the_clock_was_set_back() {
        const DAY_MS: u64 = 86_400_000;
        let until_end = |now: Now| {
            let windows = Calendar::default().windows(now.unix_ms);
            Moment { now, windows }.until_end(Period::Day)
        };
        let at = |unix_ms| Now { unix_ms, ..Now::default() };
        assert_eq!(until_end(at(0)), Duration::from_secs(86_400));
        assert_eq!(until_end(at(DAY_MS - 1)), Duration::from_millis(1));
        assert_eq!(until_end(at(DAY_MS)), Duration::from_secs(86_400));
        let set_back = at(DAY_MS - 3_600_000).not_before(DAY_MS - 1);
        assert_eq!(until_end(set_back), Duration::from_millis(3_600_000));
    }
}
