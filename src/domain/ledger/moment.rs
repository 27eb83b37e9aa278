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
