//! What went on lately: figures of each minute of the last day, and their sums over the last 60 seconds.
//!
//! All of it is made of counters that only grow, read every now and then by somebody who passes `now`: what is between
//! two readings belongs to the minute of the second one. Minutes follow the wall clock, the last 60 seconds the
//! monotonic one. A minute in which nobody read has no figures, which is not the same as none: it is a gap. Minutes that
//! a wall clock that was set back has yet to come to are dropped, so that none is counted twice.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::day::Now;

/// A minute.
pub const MINUTE_MS: u64 = 60_000;

/// So many minutes are kept: a day.
pub const MINUTES: u64 = 24 * 60;

/// What "now" is a sum over.
const NOW_NS: u64 = 60 * SECOND_NS;

/// By so much a wall clock is corrected every now and then: the minute that has begun goes on.
const CORRECTION_MS: u64 = 10_000;

/// How far apart two readings are at least that are kept for it.
const SECOND_NS: u64 = 1_000_000_000;

/// Of a time, or since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Figures {
    /// Events settled.
    pub requests: u64,
    /// Input and output tokens of them.
    pub tokens: u64,
    /// Requests that a limit stopped.
    pub refused: u64,
    /// Requests that failed through us or an upstream.
    pub errors: u64,
}

impl Figures {
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

/// What went on lately.
#[derive(Debug, Default)]
pub struct Activity {
    /// By the minute's number since 1970; a gap has no entry.
    minutes: BTreeMap<u64, Figures>,
    /// Up to when they go, Unix ms.
    until_ms: u64,
    /// The counters as they were, and when (monotonic ns): one reading of 60 seconds ago or more, and all since.
    read: VecDeque<(u64, Figures)>,
    /// The counters as they were read last.
    last: Figures,
}

/// The minutes of the last day that are complete, without those before the first that is known.
#[derive(Debug, PartialEq, Eq)]
pub struct Series {
    /// When the first one began, Unix ms.
    pub first_ms: u64,
    /// `None` is a gap.
    pub minutes: Vec<Option<Figures>>,
}

impl Activity {
    /// Goes on from what was kept: figures by their minute's number.
    pub fn resume(minutes: impl IntoIterator<Item = (u64, Figures)>) -> Self {
        let minutes: BTreeMap<_, _> = minutes.into_iter().collect();
        let until_ms = minutes.last_key_value().map_or(0, |(last, _)| last.saturating_mul(MINUTE_MS));
        Self { minutes, until_ms, ..Self::default() }
    }

    /// What is to be kept, in order.
    pub fn minutes(&self) -> impl Iterator<Item = (u64, Figures)> {
        self.minutes.iter().map(|(minute, figures)| (*minute, *figures))
    }

    /// Takes in the counters as they are now. They begin at nothing with the process.
    pub fn read(&mut self, now: Now, counters: Figures) {
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

    /// The minute that counts now, and no minute after it or more than a day before it.
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

    /// The sums over the last 60 seconds, of the counters as they are now.
    pub fn last_60_s(&self, now: Now, counters: Figures) -> Figures {
        let earlier = self.read.iter().take_while(|(at_ns, _)| at_ns + NOW_NS <= now.monotonic_ns).last();
        // A process that is younger had counted nothing before it.
        counters.since(earlier.map(|(_, figures)| *figures).unwrap_or_default())
    }

    /// The last minute that is complete: when it began, Unix ms, and its figures.
    pub fn last_minute(&self, now: Now) -> Option<(u64, Figures)> {
        let minute = (now.unix_ms / MINUTE_MS).checked_sub(1)?;
        self.minutes.get(&minute).map(|figures| (minute * MINUTE_MS, *figures))
    }

    /// The minutes of the last day.
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

    /// A time of the day, with a monotonic clock that began with it.
    fn at_s(seconds: u64) -> Now {
        const TODAY_S: u64 = 20_000 * 86_400;
        Now { monotonic_ns: seconds * SECOND_NS, unix_ms: (TODAY_S + seconds) * 1000, behind_ms: 0 }
    }

    fn set_clock(now: Now, by_s: i64) -> Now {
        Now { unix_ms: now.unix_ms.saturating_add_signed(by_s * 1000), ..now }
    }

    fn requests(requests: u64) -> Figures {
        Figures { requests, tokens: 3 * requests, ..Figures::default() }
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
    fn a_minute_in_which_nobody_read_is_a_gap() {
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
    fn a_day_is_kept() {
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
    fn a_clock_that_is_set_counts_nothing_twice() {
        let mut activity = Activity::default();
        for minute in 0..5 {
            activity.read(at_s(60 * minute), requests(10 * (minute + 1)));
        }
        // An hour forward: a gap. Back again: what was to come is dropped.
        activity.read(set_clock(at_s(300), 3600), requests(60));
        assert_eq!(day(&activity, set_clock(at_s(360), 3600))[..6], [[Some(10); 5].as_slice(), &[None]].concat());
        activity.read(at_s(310), requests(70));
        assert_eq!(day(&activity, at_s(360)), [Some(10); 6]);
        // Back by some minutes: they are counted anew.
        activity.read(set_clock(at_s(360), -180), requests(71));
        assert_eq!(day(&activity, set_clock(at_s(420), -180)), [Some(10), Some(10), Some(10), Some(1)]);
        // Back by a moment: the minute goes on.
        activity.read(at_s(420), requests(80));
        activity.read(set_clock(at_s(421), -2), requests(81));
        assert_eq!(day(&activity, at_s(480)).last(), Some(&Some(10)));
    }

    #[test]
    fn now_is_the_last_60_seconds() {
        let mut activity = Activity::default();
        assert_eq!(activity.last_60_s(at_s(5), requests(2)), requests(2), "of a process that has just begun");
        for second in 0..300 {
            activity.read(at_s(second), requests(2 * second));
        }
        assert_eq!(activity.last_60_s(at_s(299), requests(2 * 299)), requests(120));
        assert!(activity.read.len() <= 62);
        // Nobody has read for a while: what came since is told with what was in the 60 seconds.
        assert_eq!(activity.last_60_s(at_s(330), requests(700)), requests(700 - 2 * 270));
        assert_eq!(activity.last_60_s(at_s(1000), requests(700)), requests(700 - 2 * 299));
    }

    proptest! {
        #[test]
        fn every_request_is_in_one_minute_however_the_clock_is_read(
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
        fn no_clock_makes_a_figure_that_was_not_counted(
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
