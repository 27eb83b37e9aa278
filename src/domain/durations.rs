//! A histogram of durations, to be read as quantiles.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// A histogram of durations: four buckets for each doubling of microseconds.
#[derive(Debug)]
pub struct Durations([AtomicU64; BUCKETS]);

const BUCKETS: usize = 128;

impl Default for Durations {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; BUCKETS])
    }
}

impl Durations {
    /// Counts a duration.
    pub fn count(&self, took: Duration) {
        self.0[bucket(took)].fetch_add(1, Ordering::Relaxed);
    }

    /// The number of durations.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }

    /// The duration that `hundredths` percent of them did not exceed. At most a quarter too long, never too short; zero
    /// if there were none.
    pub fn quantile(&self, hundredths: u64) -> Duration {
        let rank = (self.total().saturating_mul(hundredths)).div_ceil(100);
        let mut below = 0;
        for (index, bucket) in self.0.iter().enumerate() {
            below += bucket.load(Ordering::Relaxed);
            if below >= rank && below > 0 {
                return limit(index);
            }
        }
        Duration::ZERO
    }
}

/// The bucket of a duration. Durations below 4 microseconds have a bucket each; above, the leading bit and the next two
/// bits select the bucket.
fn bucket(took: Duration) -> usize {
    let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let Some(octave) = us.checked_ilog2().filter(|octave| *octave >= 2) else { return us as usize };
    let quarter = (us >> (octave - 2)) & 3;
    ((octave as usize - 1) * 4 + quarter as usize).min(BUCKETS - 1)
}

/// The upper limit of a bucket: the start of the next one.
fn limit(bucket: usize) -> Duration {
    let next = bucket + 1;
    if next < 4 {
        return Duration::from_micros(next as u64);
    }
    Duration::from_micros((4 + next as u64 % 4) << (next / 4 - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_at_most_a_quarter_too_long_and_never_too_short() {
        for us in (0..5000).chain([1 << 20, 123_456_789]) {
            let durations = Durations::default();
            durations.count(Duration::from_micros(us));
            let shown = durations.quantile(50).as_micros() as u64;
            assert!(shown >= us && shown <= us + us / 4 + 1, "{us} µs is shown as {shown}");
        }
    }

    #[test]
    fn rare_long_durations_show_only_in_the_99th_percentile() {
        let durations = Durations::default();
        for us in [100; 95].into_iter().chain([9000; 5]) {
            durations.count(Duration::from_micros(us));
        }
        assert_eq!(durations.total(), 100);
        assert!(durations.quantile(50) < Duration::from_micros(150), "{:?}", durations.quantile(50));
        assert!(durations.quantile(99) > Duration::from_micros(8999), "{:?}", durations.quantile(99));
    }
}
