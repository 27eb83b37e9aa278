//! Days and hours in UTC, by which records are stored, and one reading of both clocks.
//!
//! Rolling windows use the monotonic clock, which no administrator and no NTP step can change. Calendar windows and
//! timestamps use the wall clock, which can jump either way. The caller reads both clocks at once and passes the
//! [`Now`] down: nothing in `domain` reads a clock.

use std::ops::Range;

use serde::{Deserialize, Serialize};

const DAY_MS: u64 = 86_400_000;
/// Milliseconds in an hour.
pub const HOUR_MS: u64 = 3_600_000;

/// A calendar day in UTC: days since 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Day(pub u32);

impl Day {
    /// The day of a moment of Unix time (ms).
    pub fn from_unix_ms(unix_ms: u64) -> Self {
        Self(u32::try_from(unix_ms / DAY_MS).unwrap_or(u32::MAX))
    }

    /// The date, as `2026-11-23`.
    pub fn date(self) -> String {
        let epoch = jiff::civil::date(1970, 1, 1);
        let date = epoch.checked_add(jiff::Span::new().try_days(self.0).unwrap_or_default());
        date.unwrap_or(jiff::civil::Date::MAX).to_string()
    }

    /// Its hours.
    pub fn hours(self) -> Range<Hour> {
        self.first_hour()..Hour(self.first_hour().0.saturating_add(24))
    }

    /// Its first hour.
    pub fn first_hour(self) -> Hour {
        Hour(self.0.saturating_mul(24))
    }

    /// Its first moment, in ms of Unix time.
    pub const fn start_unix_ms(self) -> u64 {
        self.0 as u64 * DAY_MS
    }

    /// The midnight that ends it, in ms of Unix time.
    pub fn end_unix_ms(self) -> u64 {
        self.start_unix_ms() + DAY_MS
    }
}

/// An hour in UTC: hours since 1970-01-01T00:00Z. Every UTC day has 24 of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Hour(pub u32);

impl Hour {
    /// The hour of a moment of Unix time (ms).
    pub fn from_unix_ms(unix_ms: u64) -> Self {
        Self(u32::try_from(unix_ms / HOUR_MS).unwrap_or(u32::MAX))
    }

    /// The day that it belongs to.
    pub fn day(self) -> Day {
        Day(self.0 / 24)
    }

    /// Its first moment, in ms of Unix time.
    pub fn start_unix_ms(self) -> u64 {
        u64::from(self.0) * HOUR_MS
    }

    /// The first moment after it, in ms of Unix time.
    pub fn end_unix_ms(self) -> u64 {
        self.start_unix_ms() + HOUR_MS
    }
}

/// One reading of both clocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Now {
    /// Nanoseconds since an arbitrary start; never steps back.
    pub monotonic_ns: u64,
    /// The time for days and timestamps, in ms of Unix time. It is the wall clock, which may step either way.
    pub unix_ms: u64,
    /// How far the wall clock is behind `unix_ms`, in ms. It is above 0 while `unix_ms` waits for a clock that was set
    /// back.
    pub behind_ms: u64,
}

impl Now {
    /// The same moment, but with `unix_ms` at least as given, for days and timestamps that must not step back.
    pub fn not_before(self, unix_ms: u64) -> Self {
        let behind_ms = self.behind_ms.saturating_add(unix_ms.saturating_sub(self.unix_ms));
        Self { unix_ms: self.unix_ms.max(unix_ms), behind_ms, ..self }
    }

    /// Milliseconds since the start of the monotonic clock.
    pub fn monotonic_ms(self) -> u64 {
        self.monotonic_ns / 1_000_000
    }

    /// Today, UTC.
    pub fn day(self) -> Day {
        Day::from_unix_ms(self.unix_ms)
    }

    /// The wall clock's own time, in ms of Unix time.
    pub fn wall_ms(self) -> u64 {
        self.unix_ms.saturating_sub(self.behind_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_ends_where_the_next_begins() {
        let day = Day::from_unix_ms(1_795_428_000_123);
        assert!(day.start_unix_ms() <= 1_795_428_000_123 && 1_795_428_000_123 < day.end_unix_ms());
        assert_eq!(Day::from_unix_ms(day.end_unix_ms() - 1), day);
        assert_eq!(Day::from_unix_ms(day.end_unix_ms()), Day(day.0 + 1));
    }

    #[test]
    fn an_hour_belongs_to_its_day() {
        let at = 1_795_428_000_123;
        let hour = Hour::from_unix_ms(at);
        assert!(hour.start_unix_ms() <= at && at < Hour(hour.0 + 1).start_unix_ms());
        assert_eq!(hour.day(), Day::from_unix_ms(at));
        assert_eq!(hour.day().first_hour().start_unix_ms(), hour.day().start_unix_ms());
        assert_eq!(Hour(Day(20_000).first_hour().0 - 1).day(), Day(19_999));
    }

    #[test]
    fn a_time_that_must_not_step_back_knows_how_far_the_wall_clock_is_behind() {
        let now = Now { unix_ms: DAY_MS - 3_600_000, ..Now::default() }.not_before(DAY_MS - 1);
        assert_eq!((now.unix_ms, now.wall_ms()), (DAY_MS - 1, DAY_MS - 3_600_000));
        assert_eq!(now.not_before(5), now);
    }

    #[test]
    fn the_latest_times_do_not_overflow() {
        assert_eq!(Day::from_unix_ms(u64::MAX), Day(u32::MAX));
        assert!(Day(u32::MAX).end_unix_ms() > Day(u32::MAX).start_unix_ms());
    }
}
