//! The parts of cells. One thread writes them, and a scrape reads them from another thread.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// A counter. Only one thread may write it.
#[derive(Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    /// Adds `more`.
    pub(super) fn add(&self, more: u64) {
        self.0.store(self.get().wrapping_add(more), Ordering::Relaxed);
    }

    /// The current value.
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Adds `more` after all earlier writes of this thread: a reader that sees the sum by [`Self::get_acquired`] sees
    /// these writes too.
    pub(super) fn add_released(&self, more: u64) {
        self.0.store(self.get().wrapping_add(more), Ordering::Release);
    }

    /// The current value, read before all that this thread reads later.
    pub(super) fn get_acquired(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// A sum of money in one currency. Only one thread may write it.
#[derive(Default)]
pub(super) struct MoneyCounter {
    /// The exact sum in 10^-12 currency units, as its upper and lower half. Only the writer reads them: another thread
    /// could see one half before and the other after an addition.
    high: AtomicU64,
    low: AtomicU64,
    /// The bits of the sum in currency units, as a float.
    shown: AtomicU64,
}

impl MoneyCounter {
    /// Adds an amount in 10^-12 currency units.
    pub(super) fn add(&self, amount: u128) {
        let half = |of: &AtomicU64| u128::from(of.load(Ordering::Relaxed));
        let sum = (half(&self.high) << 64 | half(&self.low)).saturating_add(amount);
        self.high.store((sum >> 64) as u64, Ordering::Relaxed);
        self.low.store(sum as u64, Ordering::Relaxed);
        self.shown.store((sum as f64 / 1e12).to_bits(), Ordering::Relaxed);
    }

    /// The sum in currency units.
    pub(super) fn get(&self) -> f64 {
        f64::from_bits(self.shown.load(Ordering::Relaxed))
    }
}

/// The number of upper limits of a histogram.
pub(super) const LIMITS: usize = 16;

/// The upper limits of a histogram's buckets: in nanoseconds, and as the text of the label `le`.
pub(super) type Limits = [(u64, &'static str); LIMITS];

const US: u64 = 1_000;
const MS: u64 = 1_000 * US;
const S: u64 = 1_000 * MS;

/// The limits for answers of models, from 5 ms to 600 s.
pub(super) const ANSWERS: Limits = [
    (5 * MS, "0.005"),
    (10 * MS, "0.01"),
    (25 * MS, "0.025"),
    (50 * MS, "0.05"),
    (100 * MS, "0.1"),
    (250 * MS, "0.25"),
    (500 * MS, "0.5"),
    (S, "1"),
    (2_500 * MS, "2.5"),
    (5 * S, "5"),
    (10 * S, "10"),
    (30 * S, "30"),
    (60 * S, "60"),
    (120 * S, "120"),
    (300 * S, "300"),
    (600 * S, "600"),
];

/// The limits for the gateway's own time, from 100 µs to 10 s.
pub(super) const OVERHEADS: Limits = [
    (100 * US, "0.0001"),
    (250 * US, "0.00025"),
    (500 * US, "0.0005"),
    (MS, "0.001"),
    (2_500 * US, "0.0025"),
    (5 * MS, "0.005"),
    (10 * MS, "0.01"),
    (25 * MS, "0.025"),
    (50 * MS, "0.05"),
    (100 * MS, "0.1"),
    (250 * MS, "0.25"),
    (500 * MS, "0.5"),
    (S, "1"),
    (2_500 * MS, "2.5"),
    (5 * S, "5"),
    (10 * S, "10"),
];

/// A histogram of durations. Only one thread may write it.
#[derive(Default)]
pub(super) struct Histogram {
    /// The durations of each bucket; the last one has those above all limits.
    buckets: [Counter; LIMITS + 1],
    sum_ns: Counter,
}

impl Histogram {
    /// Counts a duration. `limits` must be the same each time.
    pub(super) fn count(&self, took: Duration, limits: &Limits) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[limits.partition_point(|(limit, _)| *limit < ns)].add(1);
        self.sum_ns.add(ns);
    }

    /// The number of durations in bucket `index`.
    pub(super) fn bucket(&self, index: usize) -> u64 {
        self.buckets[index].get()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.buckets.iter().all(|bucket| bucket.get() == 0)
    }

    /// The sum of all durations, in nanoseconds.
    pub(super) fn sum_ns(&self) -> u64 {
        self.sum_ns.get()
    }
}

/// A short list of values by key, such as counters by status. It only grows, so it needs no lock.
pub(super) struct Series<K, V>(OnceLock<Box<Entry<K, V>>>);

struct Entry<K, V> {
    key: K,
    value: V,
    next: Series<K, V>,
}

impl<K, V> Default for Series<K, V> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<K: Copy + PartialEq, V: Default> Series<K, V> {
    /// The value of `key`, which is added if it is new.
    pub(super) fn of(&self, key: K) -> &V {
        let mut rest = self;
        loop {
            let begin = || Box::new(Entry { key, value: V::default(), next: Self::default() });
            let entry = rest.0.get_or_init(begin);
            if entry.key == key {
                return &entry.value;
            }
            rest = &entry.next;
        }
    }

    /// All keys with their values.
    pub(super) fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        let entries = std::iter::successors(self.0.get(), |entry| entry.next.0.get());
        entries.map(|entry| (entry.key, &entry.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_at_a_limit_is_below_it() {
        let histogram = Histogram::default();
        for took in [0, 5 * MS, 5 * MS + 1, 600 * S, 600 * S + 1, u64::MAX / 2] {
            histogram.count(Duration::from_nanos(took), &ANSWERS);
        }
        assert_eq!([0, 1, 2, 15, 16].map(|index| histogram.bucket(index)), [2, 1, 0, 1, 2]);
    }

    #[test]
    fn limits_ascend_and_their_texts_are_seconds() {
        for limits in [ANSWERS, OVERHEADS] {
            assert!(limits.is_sorted());
            for (ns, text) in limits {
                assert!((text.parse::<f64>().unwrap() * 1e9 - ns as f64).abs() < 1.0, "{text}");
            }
        }
    }

    #[test]
    fn sums_of_money_do_not_lose_small_amounts() {
        let money = MoneyCounter::default();
        money.add(u128::from(u64::MAX));
        money.add(1);
        for _ in 0..1000 {
            money.add(1_000_000_000);
        }
        assert_eq!(money.get(), (u128::from(u64::MAX) + 1 + 1_000_000_000_000) as f64 / 1e12);
    }

    #[test]
    fn a_series_has_one_value_for_each_key() {
        let series: Series<u16, Counter> = Series::default();
        for key in [200, 404, 200, 503, 404, 200] {
            series.of(key).add(1);
        }
        assert_eq!(
            series.iter().map(|(key, count)| (key, count.get())).collect::<Vec<_>>(),
            [(200, 3), (404, 2), (503, 1)]
        );
    }
}
