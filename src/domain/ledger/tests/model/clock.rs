//! Simulated clocks of a gateway in some time zone. Time passes in small steps, and sometimes to the end of a day, week or
//! month.

use super::*;
use crate::domain::{
    calendar::{CalendarWindows, Period},
    testing::Random,
};

/// Moments shortly before windows end and clocks change, in ms of Unix time.
const STARTS_MS: [u64; 6] = [
    MORNING_MS,
    // 2026-03-28T22:30Z: half an hour before a day of 23 hours begins in Berlin.
    1_774_737_000_000,
    // 2026-10-24T21:59:59Z: a second before a day of 25 hours begins in Berlin.
    1_792_879_199_000,
    // 2026-11-30T22:50Z, a Monday: ten minutes before December begins in Berlin.
    1_796_079_000_000,
    // 2028-02-28T23:59:50Z: ten seconds before a leap day begins in London.
    1_835_395_190_000,
    // 2026-12-31T23:00Z
    1_798_758_000_000,
];

pub(super) struct Clock {
    calendar: Calendar,
    pub(super) now: Now,
    /// The windows of `now`.
    windows: CalendarWindows,
    /// The latest day that has begun, by its first moment.
    latest_day_ms: u64,
    pub(super) days: usize,
    pub(super) months: usize,
    pub(super) set_back: usize,
}

impl Clock {
    pub(super) fn new(seed: u64) -> Self {
        let zones = ["UTC", "Europe/Berlin", "Europe/London", "America/St_Johns"];
        let zone = zones[(seed % 4) as usize];
        let now = Now { unix_ms: STARTS_MS[(seed % 6) as usize], ..Now::default() };
        let calendar = Calendar::new(zone).unwrap();
        let windows = calendar.windows(now.unix_ms);
        Self { calendar, now, windows, latest_day_ms: 0, days: 0, months: 0, set_back: 0 }
    }

    pub(super) fn moment(&self) -> Moment {
        Moment { now: self.now, windows: self.windows }
    }

    pub(super) fn pass(&mut self, random: &mut Random, is_set_back: bool) {
        let windows = self.windows;
        self.latest_day_ms = self.latest_day_ms.max(windows.day.start_ms);
        let to_end_of = |period: Period, random: &mut Random| {
            let rest_ms = windows.of(period).end_ms - self.now.unix_ms;
            rest_ms.saturating_sub(random.below(3)) * 1_000_000
        };
        let ns = match random.below(1000) {
            0 => 70_000_000_000,
            1..=100 => random.below(4_000_000_000),
            101..=500 => random.below(200_000_000),
            501..=512 => to_end_of(Period::Day, random),
            513..=516 => to_end_of(Period::Week, random),
            517..=520 => to_end_of(Period::Month, random),
            521 => random.below(80 * 86_400_000) * 1_000_000,
            _ => 0,
        };
        self.now.monotonic_ns += ns;
        self.now.unix_ms += ns / 1_000_000;
        // An administrator sets the clock back into the day before. The ledger keeps one window before the latest.
        if is_set_back && windows.day.start_ms == self.latest_day_ms && random.one_in(500) {
            self.now.unix_ms = windows.day.start_ms - 1;
            self.set_back += 1;
        }
        if !windows.day.contains(self.now.unix_ms) {
            self.windows = self.calendar.windows(self.now.unix_ms);
            self.days += 1;
            self.months += usize::from(self.windows.month != windows.month);
        }
    }
}
