//! Recent activity: figures for each minute of the last day, and sums over the last 60 seconds.
//!
//! Both come from counters that only grow. The caller reads the counters from time to time and passes `now`; the
//! difference between two readings belongs to the minute of the second one. Minutes follow the wall clock, the last 60
//! seconds the monotonic clock. A minute without a reading is a gap, which differs from a minute with zero requests. If
//! the wall clock is set back, minutes that are now in the future are dropped, so that none is counted twice.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::day::Now;

/// Milliseconds in a minute.
pub const MINUTE_MS: u64 = 60_000;

/// The number of minutes that are kept: a day.
pub const MINUTES: u64 = 24 * 60;

/// The period of [`Activity::last_60_s`].
const NOW_NS: u64 = 60 * SECOND_NS;

/// The largest step back that counts as a correction of the wall clock: the current minute continues.
const CORRECTION_MS: u64 = 10_000;

/// The least time between two stored readings.
const SECOND_NS: u64 = 1_000_000_000;

/// Counts over some period, or since the start of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ActivityCounts {
    /// Events settled.
    pub requests: u64,
    /// Their input and output tokens.
    pub tokens: u64,
    /// Requests that a limit refused.
    pub refused: u64,
    /// Requests that failed because of Tollgate or an upstream.
    pub errors: u64,
}

impl ActivityCounts {
    fn with(self, other: Self, each: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            requests: each(self.requests, other.requests),
            tokens: each(self.tokens, other.tokens),
            refused: each(self.refused, other.refused),
            errors: each(self.errors, other.errors),
        }
    }

    fn plus(self, other: Self) -> Self {
        self.with(other, u64::saturating_add)
    }

    fn since(self, earlier: Self) -> Self {
        self.with(earlier, u64::saturating_sub)
    }
}

/// Recent activity.
#[derive(Debug, Default)]
pub struct Activity {
    /// By the number of the minute since 1970. A gap has no entry.
    minutes: BTreeMap<u64, ActivityCounts>,
    /// The time of the latest reading, Unix ms.
    until_ms: u64,
    /// Readings of the counters with their times (monotonic ns): one from at least 60 seconds ago, and all since.
    read: VecDeque<(u64, ActivityCounts)>,
    /// The latest reading of the counters.
    last: ActivityCounts,
}

/// The complete minutes of the last day, from the first one with figures on.
#[derive(Debug, PartialEq, Eq)]
pub struct Series {
    /// When the first minute began, Unix ms.
    pub first_ms: u64,
    /// `None` is a gap.
    pub minutes: Vec<Option<ActivityCounts>>,
}

impl Activity {
    /// Continues from stored figures, each with the number of its minute.
    pub fn resume(minutes: impl IntoIterator<Item = (u64, ActivityCounts)>) -> Self {
        let minutes: BTreeMap<_, _> = minutes.into_iter().collect();
        let until_ms = minutes.last_key_value().map_or(0, |(last, _)| last.saturating_mul(MINUTE_MS));
        Self { minutes, until_ms, ..Self::default() }
    }

    /// The figures to store, in order.
    pub fn minutes(&self) -> impl Iterator<Item = (u64, ActivityCounts)> {
        self.minutes.iter().map(|(minute, figures)| (*minute, *figures))
    }

    /// Records a reading of the counters. They start at zero with the process.
    pub fn read(&mut self, now: Now, counters: ActivityCounts) {
        let minute = self.turn_to(now.unix_ms);
        let more = counters.since(std::mem::replace(&mut self.last, counters));
        let figures = self.minutes.entry(minute).or_default();
        *figures = figures.plus(more);
        let is_due = self.read.back().is_none_or(|(at_ns, _)| at_ns + SECOND_NS <= now.monotonic_ns);
        if is_due {
            self.read.push_back((now.monotonic_ns, counters));
            while self.read.get(1).is_some_and(|(at_ns, _)| at_ns + NOW_NS <= now.monotonic_ns) {
                self.read.pop_front();
            }
        }
    }

    /// Returns the current minute. Drops later minutes if the clock was set back, and those more than a day old.
    fn turn_to(&mut self, unix_ms: u64) -> u64 {
        let set_back_ms = self.until_ms.saturating_sub(unix_ms);
        if set_back_ms > CORRECTION_MS {
            self.minutes.split_off(&(unix_ms / MINUTE_MS));
        }
        if set_back_ms == 0 || set_back_ms > CORRECTION_MS {
            self.until_ms = unix_ms;
        }
        let minute = self.until_ms / MINUTE_MS;
        self.minutes = self.minutes.split_off(&minute.saturating_sub(MINUTES));
        minute
    }

    /// The sums over the last 60 seconds, given the current counters.
    pub fn last_60_s(&self, now: Now, counters: ActivityCounts) -> ActivityCounts {
        let earlier = self.read.iter().take_while(|(at_ns, _)| at_ns + NOW_NS <= now.monotonic_ns).last();
        // If the process is younger than 60 seconds, its counters started at zero.
        counters.since(earlier.map(|(_, figures)| *figures).unwrap_or_default())
    }

    /// The last complete minute: its start, Unix ms, and its figures.
    pub fn last_minute(&self, now: Now) -> Option<(u64, ActivityCounts)> {
        let minute = (now.unix_ms / MINUTE_MS).checked_sub(1)?;
        self.minutes.get(&minute).map(|figures| (minute * MINUTE_MS, *figures))
    }

    /// The complete minutes of the last day.
    pub fn last_day(&self, now: Now) -> Series {
        let end = now.unix_ms / MINUTE_MS;
        let first = self.minutes.range(end.saturating_sub(MINUTES)..end).next().map_or(end, |(minute, _)| *minute);
        let minutes = (first..end).map(|minute| self.minutes.get(&minute).copied()).collect();
        Series { first_ms: first * MINUTE_MS, minutes }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A time of day, with a monotonic clock that started at midnight.
    fn at_s(seconds: u64) -> Now {
        const TODAY_S: u64 = 20_000 * 86_400;
        Now { monotonic_ns: seconds * SECOND_NS, unix_ms: (TODAY_S + seconds) * 1000, behind_ms: 0 }
    }

    fn set_clock(now: Now, by_s: i64) -> Now {
        Now { unix_ms: now.unix_ms.saturating_add_signed(by_s * 1000), ..now }
    }

    fn requests(requests: u64) -> ActivityCounts {
        ActivityCounts { requests, tokens: 3 * requests, ..ActivityCounts::default() }
    }

    fn day(activity: &Activity, now: Now) -> Vec<Option<u64>> {
        activity.last_day(now).minutes.iter().map(|figures| figures.map(|figures| figures.requests)).collect()
    }

    #[test]
    fn a_minute_is_shown_once_it_is_complete() {
        let mut activity = Activity::default();
        activity.read(at_s(0), requests(0));
        activity.read(at_s(30), requests(2));
        assert_eq!((day(&activity, at_s(59)), activity.last_minute(at_s(59))), (vec![], None));
        activity.read(at_s(59), requests(5));
        activity.read(at_s(61), requests(6));
        assert_eq!(activity.last_minute(at_s(61)), Some((at_s(0).unix_ms, requests(5))));
        assert_eq!(activity.last_day(at_s(61)), Series { first_ms: at_s(0).unix_ms, minutes: vec![Some(requests(5))] });
        activity.read(at_s(120), requests(6));
        assert_eq!(day(&activity, at_s(120)), [Some(5), Some(1)], "a quiet minute is not a gap");
    }

    #[test]
    fn a_minute_without_a_reading_is_a_gap() {
        let mut before = Activity::default();
        before.read(at_s(0), requests(0));
        before.read(at_s(10), requests(4));
        let mut after = Activity::resume(before.minutes());
        after.read(at_s(200), requests(1));
        assert_eq!(day(&after, at_s(240)), [Some(4), None, None, Some(1)]);
        assert_eq!(day(&after, at_s(320)), [Some(4), None, None, Some(1), None], "up to the latest complete minute");
        assert_eq!(after.last_minute(at_s(320)), None);
    }

    #[test]
    fn a_restart_within_a_minute_adds_to_it() {
        let mut before = Activity::default();
        before.read(at_s(10), requests(4));
        let mut after = Activity::resume(before.minutes());
        after.read(at_s(40), requests(3));
        assert_eq!(day(&after, at_s(60)), [Some(7)]);
    }

    #[test]
    fn one_day_of_minutes_is_kept() {
        let mut activity = Activity::default();
        for minute in 0..3 * MINUTES {
            activity.read(at_s(60 * minute), requests(minute));
        }
        let now = at_s(3 * 86_400);
        let series = activity.last_day(now);
        assert_eq!((series.minutes.len() as u64, series.first_ms), (MINUTES, at_s(2 * 86_400).unix_ms));
        assert!(series.minutes.iter().all(|figures| *figures == Some(requests(1))));
        assert!(activity.minutes().count() as u64 <= MINUTES + 1);
    }

    #[test]
    fn setting_the_clock_counts_nothing_twice() {
        let mut activity = Activity::default();
        for minute in 0..5 {
            activity.read(at_s(60 * minute), requests(10 * (minute + 1)));
        }
        // An hour forward leaves a gap. When it is set back, the minutes in the future are dropped.
        activity.read(set_clock(at_s(300), 3600), requests(60));
        assert_eq!(day(&activity, set_clock(at_s(360), 3600))[..6], [[Some(10); 5].as_slice(), &[None]].concat());
        activity.read(at_s(310), requests(70));
        assert_eq!(day(&activity, at_s(360)), [Some(10); 6]);
        // Back by a few minutes: they are counted again.
        activity.read(set_clock(at_s(360), -180), requests(71));
        assert_eq!(day(&activity, set_clock(at_s(420), -180)), [Some(10), Some(10), Some(10), Some(1)]);
        // Back by a moment: the minute continues.
        activity.read(at_s(420), requests(80));
        activity.read(set_clock(at_s(421), -2), requests(81));
        assert_eq!(day(&activity, at_s(480)).last(), Some(&Some(10)));
    }

    #[test]
    fn the_last_60_seconds_are_summed() {
        let mut activity = Activity::default();
        assert_eq!(activity.last_60_s(at_s(5), requests(2)), requests(2), "a process that has just started");
        for second in 0..300 {
            activity.read(at_s(second), requests(2 * second));
        }
        assert_eq!(activity.last_60_s(at_s(299), requests(2 * 299)), requests(120));
        assert!(activity.read.len() <= 62);
        // Without readings for a while, the sum also includes everything since the last one.
        assert_eq!(activity.last_60_s(at_s(330), requests(700)), requests(700 - 2 * 270));
        assert_eq!(activity.last_60_s(at_s(1000), requests(700)), requests(700 - 2 * 299));
    }

    proptest! {
        #[test]
        fn every_request_is_in_exactly_one_minute(
            steps in prop::collection::vec((0_u64..150, 0_u64..50), 1..200),
        ) {
            let mut activity = Activity::default();
            let (mut second, mut total) = (0, 0);
            for (passed, more) in steps {
                second += passed;
                total += more;
                activity.read(at_s(second), requests(total));
            }
            let shown = activity.last_day(at_s(second + 60));
            prop_assert!(shown.minutes.len() as u64 <= MINUTES);
            prop_assert_eq!(activity.minutes().map(|(_, figures)| figures.requests).sum::<u64>() <= total, true);
            if second < 86_400 - 60 {
                prop_assert_eq!(shown.minutes.iter().flatten().map(|figures| figures.requests).sum::<u64>(), total);
            }
        }

        #[test]
        fn no_clock_step_shows_more_than_was_counted(
            steps in prop::collection::vec((0_u64..90, 0_u64..50, -400_i64..400), 1..200),
        ) {
            let mut activity = Activity::default();
            let (mut second, mut total) = (0, 0);
            for (passed, more, set_s) in steps {
                second += passed;
                total += more;
                let now = set_clock(at_s(second), set_s);
                activity.read(now, requests(total));
                let day = activity.last_day(now);
                prop_assert!(day.minutes.len() as u64 <= MINUTES);
                prop_assert!(day.minutes.iter().flatten().map(|figures| figures.requests).sum::<u64>() <= total);
                prop_assert!(activity.last_60_s(now, requests(total)).requests <= total);
            }
        }
    }
}
