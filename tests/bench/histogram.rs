//! Latencies in logarithmic buckets, as in HdrHistogram. Each value is accurate to 1/128, in 60 KiB.

/// Buckets in each power of two.
const SUB: u64 = 128;
const SUB_BITS: u32 = SUB.ilog2();

/// A histogram of nanoseconds.
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; bucket(u64::MAX) + 1], total: 0, max: 0 }
    }

    pub(crate) fn record(&mut self, ns: u64) {
        self.counts[bucket(ns)] += 1;
        self.total += 1;
        self.max = self.max.max(ns);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// Returns the value that `share` (0 to 1) of all values do not exceed, or 0 if there are no values.
    fn quantile(&self, share: f64) -> u64 {
        let rank = (self.total as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank.max(1) {
                return highest(index).min(self.max);
            }
        }
        self.max
    }

    /// Returns the quantiles in microseconds.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let us = |ns: u64| ns as f64 / 1000.0;
        serde_json::json!({
            "p50_us": us(self.quantile(0.5)),
            "p99_us": us(self.quantile(0.99)),
            "p999_us": us(self.quantile(0.999)),
            "max_us": us(self.max),
            "count": self.total,
        })
    }
}

/// The bucket of a value. Each value below `SUB` has its own bucket. Above it, each power of two has `SUB` buckets.
fn bucket(ns: u64) -> usize {
    let shift = (u64::BITS - ns.leading_zeros()).saturating_sub(SUB_BITS + 1);
    ((u64::from(shift) << SUB_BITS) + (ns >> shift)) as usize
}

/// The highest value in a bucket.
fn highest(bucket: usize) -> u64 {
    let shift = (bucket as u64 >> SUB_BITS).saturating_sub(1);
    let low = (bucket as u64 - (shift << SUB_BITS)) << shift;
    low + ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_accurate_to_one_part_in_128() {
        for shift in 0..64 {
            for value in [1u64 << shift, (1 << shift) + (1 << shift) / 3, u64::MAX >> shift] {
                let shown = highest(bucket(value));
                assert!(shown >= value && shown - value <= value / SUB, "{value} is shown as {shown}");
            }
        }
    }

    #[test]
    fn a_quantile_is_the_value_that_its_share_does_not_exceed() {
        let mut histogram = Histogram::new();
        (1..=100).for_each(|value| histogram.record(value));
        assert_eq!([0.5, 0.99, 1.0].map(|share| histogram.quantile(share)), [50, 99, 100]);
        assert_eq!(Histogram::new().quantile(0.5), 0);
    }
}
