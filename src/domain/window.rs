//! A rolling window: how much was recorded in the last second or minute.
//!
//! Time is cut into buckets of 1/63 of the window, and each bucket remembers the moment of its latest record. What was
//! recorded in a bucket counts until that moment is a whole window ago, to the nanosecond. From this follow the
//! invariants:
//!
//! * A sum is never below what was truly recorded in the last window: an error is only ever towards refusing.
//! * A record stops counting at most one bucket, less than 1/60 of the window, after it has rolled out, and one that is
//!   alone in its bucket does so exactly when it has.
//! * If nothing more is recorded, the window is empty at most one window later.
//!
//! Buckets that count at the same time span at most 64, one more than a window holds, so each has a slot of its own in a
//! ring of 64. Amounts that a `u64` cannot add up stay at its maximum. Recording is constant time; moving on costs one
//! subtraction for each occupied bucket that rolls out, and nothing for an idle one.

use std::time::Duration;

/// Slots of a ring, and with it the buckets that can count at any moment.
const SLOTS: u64 = 64;

/// How long a window is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// One second.
    Second,
    /// Sixty seconds.
    Minute,
}

impl Span {
    /// Its length in nanoseconds.
    pub const fn length_ns(self) -> u64 {
        match self {
            Self::Second => 1_000_000_000,
            Self::Minute => 60_000_000_000,
        }
    }

    /// Its length.
    pub const fn length(self) -> Duration {
        Duration::from_nanos(self.length_ns())
    }

    /// Rounded up: 63 buckets cover the window, by a few nanoseconds more. Fits in a `u32`.
    const fn bucket_ns(self) -> u64 {
        self.length_ns().div_ceil(SLOTS - 1)
    }

    /// The bucket that a moment belongs to.
    pub(crate) const fn bucket_at(self, now_ns: u64) -> u64 {
        // Spelled out so that each division is by a constant.
        match self {
            Self::Second => now_ns / const { Self::Second.bucket_ns() },
            Self::Minute => now_ns / const { Self::Minute.bucket_ns() },
        }
    }
}

/// The sum over one [`Span`].
#[derive(Debug, Clone)]
pub struct Window {
    span: Span,
    /// The moment of the last [`Self::advance`].
    now_ns: u64,
    /// The earliest bucket that holds something; meaningless if none does.
    oldest: u64,
    /// The moment from which on that bucket no longer counts; `u64::MAX` if none does.
    oldest_gone_ns: u64,
    /// Which slots hold something: bit `bucket % 64`. The others' contents mean nothing.
    live: u64,
    sum: u64,
    amounts: [u64; SLOTS as usize],
    /// The moment of each bucket's latest record, in nanoseconds since the bucket's beginning.
    latest: [u32; SLOTS as usize],
}

impl Window {
    /// An empty window.
    pub fn new(span: Span) -> Self {
        let (amounts, latest) = ([0; SLOTS as usize], [0; SLOTS as usize]);
        Self { span, now_ns: 0, oldest: 0, oldest_gone_ns: u64::MAX, live: 0, sum: 0, amounts, latest }
    }

    /// Moves on to a moment: what has rolled out by then no longer counts. An earlier one than the last changes nothing.
    pub fn advance(&mut self, now_ns: u64) {
        self.now_ns = self.now_ns.max(now_ns);
        while self.oldest_gone_ns <= self.now_ns && self.live != 0 {
            self.sum -= self.amounts[slot(self.oldest)];
            self.live &= !(1 << slot(self.oldest));
            self.find_oldest();
        }
    }

    /// The sum at the moment of the last [`Self::advance`].
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// Records an amount at a moment, at or before the last [`Self::advance`]; one that has rolled out is passed over.
    pub fn record(&mut self, at_ns: u64, amount: u64) {
        // Cut so that the sum stays the exact sum of its slots.
        let amount = amount.min(u64::MAX - self.sum);
        if amount == 0 || at_ns > self.now_ns || self.now_ns - at_ns >= self.span.length_ns() {
            return;
        }
        let bucket = self.span.bucket_at(at_ns);
        let slot = slot(bucket);
        let since_begun = (at_ns - bucket * self.span.bucket_ns()) as u32;
        if self.live & (1 << slot) == 0 {
            if self.live == 0 || bucket < self.oldest {
                self.oldest = bucket;
                self.oldest_gone_ns = self.gone_after(at_ns);
            }
            self.live |= 1 << slot;
            self.amounts[slot] = amount;
            self.latest[slot] = since_begun;
        } else {
            if bucket == self.oldest {
                self.oldest_gone_ns = self.oldest_gone_ns.max(self.gone_after(at_ns));
            }
            self.amounts[slot] += amount;
            self.latest[slot] = self.latest[slot].max(since_begun);
        }
        self.sum += amount;
    }

    /// Takes back what was recorded at a moment; nothing is left to take back once its bucket has rolled out.
    pub fn take_back(&mut self, at_ns: u64, amount: u64) {
        let bucket = self.span.bucket_at(at_ns);
        let slot = slot(bucket);
        let is_in_ring = bucket >= self.oldest && bucket - self.oldest < SLOTS;
        if !is_in_ring || self.live & (1 << slot) == 0 {
            return;
        }
        let amount = amount.min(self.amounts[slot]);
        self.amounts[slot] -= amount;
        self.sum -= amount;
        if self.amounts[slot] == 0 {
            self.live &= !(1 << slot);
            self.find_oldest();
        }
    }

    /// How long after the last [`Self::advance`] at least `amount` has rolled out, if `held` is recorded at that moment
    /// and nothing after it; `None` if less than that is here.
    pub fn until_freed(&self, amount: u64, held: u64) -> Option<Duration> {
        let newest = self.span.bucket_at(self.now_ns);
        let mut freed = 0_u64;
        for bucket in self.buckets() {
            // A record of `held` would renew this bucket.
            if held > 0 && bucket == newest {
                break;
            }
            freed += self.amounts[slot(bucket)];
            if freed >= amount {
                return Some(self.until_gone(bucket));
            }
        }
        (held > 0 && self.sum.saturating_add(held) >= amount).then(|| self.span.length())
    }

    /// How long after the last [`Self::advance`] the window is empty, if nothing more is recorded; `None` if it is.
    pub fn until_empty(&self) -> Option<Duration> {
        self.buckets().last().map(|bucket| self.until_gone(bucket))
    }

    /// The buckets that hold something, oldest first.
    fn buckets(&self) -> impl Iterator<Item = u64> {
        let oldest = self.oldest;
        let mut rest = self.live.rotate_right(slot(oldest) as u32);
        std::iter::from_fn(move || {
            let bucket = (rest != 0).then(|| oldest + u64::from(rest.trailing_zeros()))?;
            rest &= rest - 1;
            Some(bucket)
        })
    }

    /// When a record of `at_ns` has rolled out.
    fn gone_after(&self, at_ns: u64) -> u64 {
        at_ns.saturating_add(self.span.length_ns())
    }

    /// The moment from which on a bucket that holds something no longer counts.
    fn gone_at_ns(&self, bucket: u64) -> u64 {
        self.gone_after(bucket * self.span.bucket_ns() + u64::from(self.latest[slot(bucket)]))
    }

    fn until_gone(&self, bucket: u64) -> Duration {
        Duration::from_nanos(self.gone_at_ns(bucket).saturating_sub(self.now_ns))
    }

    /// A bucket may have been emptied: finds the oldest of those that hold something.
    fn find_oldest(&mut self) {
        let oldest = self.buckets().next();
        self.oldest_gone_ns = oldest.map_or(u64::MAX, |oldest| self.gone_at_ns(oldest));
        self.oldest = oldest.unwrap_or(self.oldest);
    }
}

fn slot(bucket: u64) -> usize {
    (bucket % SLOTS) as usize
}

#[cfg(test)]
mod tests;
