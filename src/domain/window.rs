//! A rolling window: the sum of the amounts recorded in the last second or minute.
//!
//! Time is divided into buckets of 1/63 of the window, and each bucket stores the time of its latest record. The
//! bucket's whole amount counts until that time is one window ago, to the nanosecond. This gives the invariants:
//!
//! * The sum is never below the true amount of the last window. Any error is towards refusing.
//! * A record stops counting at most one bucket (less than 1/60 of the window) after it has rolled out. A record that
//!   is alone in its bucket stops counting exactly then.
//! * If nothing more is recorded, the window is empty at most one window later.
//!
//! The buckets that count at one time span at most 64, one more than a window holds, so each has its own slot in a ring
//! of 64. Sums that would overflow a `u64` stay at its maximum. Recording takes constant time. Advancing costs one
//! subtraction for each occupied bucket that rolls out, and nothing for an empty one.

use std::time::Duration;

/// Slots of a ring: the most buckets that can count at one time.
const SLOTS: u64 = 64;

/// The length of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// One second.
    Second,
    /// Sixty seconds.
    Minute,
}

impl Span {
    /// The length in nanoseconds.
    pub const fn length_ns(self) -> u64 {
        match self {
            Self::Second => 1_000_000_000,
            Self::Minute => 60_000_000_000,
        }
    }

    /// The length.
    pub const fn length(self) -> Duration {
        Duration::from_nanos(self.length_ns())
    }

    /// The bucket of a moment.
    #[cfg(test)]
    pub(crate) fn bucket_at(self, now_ns: u64) -> u64 {
        match self {
            Self::Second => SecondWindow::bucket_at(now_ns),
            Self::Minute => MinuteWindow::bucket_at(now_ns),
        }
    }
}

/// The sum over one second.
pub type SecondWindow = Window<{ Span::Second.length_ns() }>;

/// The sum over one minute.
pub type MinuteWindow = Window<{ Span::Minute.length_ns() }>;

/// The sum over the last `LENGTH_NS` nanoseconds. The length is a part of the type, because dividing by a constant
/// takes a fraction of the time.
#[derive(Debug, Clone)]
pub struct Window<const LENGTH_NS: u64> {
    /// The moment of the last [`Self::advance`].
    now_ns: u64,
    /// The earliest occupied bucket; meaningless if there is none.
    oldest: u64,
    /// That bucket counts at least until then. It counts longer if there have been records in it since it was found to
    /// be the oldest. `u64::MAX` if there is none.
    oldest_counts_until_ns: u64,
    /// Bit `bucket % 64` is set if that slot is occupied. The contents of the other slots are meaningless.
    live: u64,
    sum: u64,
    amounts: [u64; SLOTS as usize],
    /// The time of each bucket's latest record, in nanoseconds since the bucket's start.
    latest: [u32; SLOTS as usize],
}

impl<const LENGTH_NS: u64> Default for Window<LENGTH_NS> {
    /// An empty window.
    fn default() -> Self {
        let (amounts, latest) = ([0; SLOTS as usize], [0; SLOTS as usize]);
        Self { now_ns: 0, oldest: 0, oldest_counts_until_ns: u64::MAX, live: 0, sum: 0, amounts, latest }
    }
}

impl<const LENGTH_NS: u64> Window<LENGTH_NS> {
    /// The length of a bucket, rounded up: 63 buckets cover the window and a few nanoseconds more. Fits in a `u32`.
    const BUCKET_NS: u64 = LENGTH_NS.div_ceil(SLOTS - 1);

    /// Advances the window to a moment: records that have rolled out by then no longer count. An earlier moment than
    /// the last one changes nothing.
    #[inline]
    pub fn advance(&mut self, now_ns: u64) {
        self.now_ns = self.now_ns.max(now_ns);
        if self.oldest_counts_until_ns <= self.now_ns {
            self.drop_expired();
        }
    }

    #[inline(never)]
    fn drop_expired(&mut self) {
        self.find_oldest();
        while self.oldest_counts_until_ns <= self.now_ns && self.live != 0 {
            self.sum -= self.amounts[slot(self.oldest)];
            self.live &= !(1 << slot(self.oldest));
            self.find_oldest();
        }
    }

    /// The sum at the moment of the last [`Self::advance`].
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// Records an amount at a moment, at or before the last [`Self::advance`]. An amount that has already rolled out is
    /// ignored.
    pub fn record(&mut self, at_ns: u64, amount: u64) {
        // Capped so that the sum stays the exact sum of its slots.
        let amount = amount.min(u64::MAX - self.sum);
        if amount == 0 || at_ns > self.now_ns || self.now_ns - at_ns >= LENGTH_NS {
            return;
        }
        let bucket = Self::bucket_at(at_ns);
        let slot = slot(bucket);
        let since_start = (at_ns - bucket * Self::BUCKET_NS) as u32;
        if self.live & (1 << slot) == 0 {
            if self.live == 0 || bucket < self.oldest {
                self.oldest = bucket;
                self.oldest_counts_until_ns = Self::expiry_of(at_ns);
            }
            self.live |= 1 << slot;
            self.amounts[slot] = amount;
            self.latest[slot] = since_start;
        } else {
            self.amounts[slot] += amount;
            self.latest[slot] = self.latest[slot].max(since_start);
        }
        self.sum += amount;
    }

    /// Removes an amount that was recorded at a moment. Does nothing if its bucket has rolled out.
    pub fn take_back(&mut self, at_ns: u64, amount: u64) {
        let bucket = Self::bucket_at(at_ns);
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

    /// Time from the last [`Self::advance`] until at least `amount` has rolled out, assuming that `held` is recorded at
    /// that moment and nothing after it. `None` if the window and `held` add up to less than `amount`.
    pub fn until_freed(&self, amount: u64, held: u64) -> Option<Duration> {
        let newest = Self::bucket_at(self.now_ns);
        let mut freed = 0_u64;
        for bucket in self.buckets() {
            // A record of `held` would renew this bucket.
            if held > 0 && bucket == newest {
                break;
            }
            freed += self.amounts[slot(bucket)];
            if freed >= amount {
                return Some(self.until_expiry(bucket));
            }
        }
        (held > 0 && self.sum.saturating_add(held) >= amount).then(|| Duration::from_nanos(LENGTH_NS))
    }

    /// Time from the last [`Self::advance`] until the window is empty, assuming that nothing more is recorded. `None`
    /// if it is empty.
    pub fn until_empty(&self) -> Option<Duration> {
        let newest = self.oldest + u64::from(self.live_from_oldest().checked_ilog2()?);
        Some(self.until_expiry(newest))
    }

    /// The occupied buckets: bit `n` is set if the `n`th bucket after the oldest one is occupied.
    fn live_from_oldest(&self) -> u64 {
        self.live.rotate_right(slot(self.oldest) as u32)
    }

    /// The occupied buckets, oldest first.
    fn buckets(&self) -> impl Iterator<Item = u64> {
        let (oldest, mut rest) = (self.oldest, self.live_from_oldest());
        std::iter::from_fn(move || {
            let bucket = (rest != 0).then(|| oldest + u64::from(rest.trailing_zeros()))?;
            rest &= rest - 1;
            Some(bucket)
        })
    }

    /// The bucket of a moment.
    fn bucket_at(at_ns: u64) -> u64 {
        at_ns / Self::BUCKET_NS
    }

    /// When a record of `at_ns` stops counting.
    fn expiry_of(at_ns: u64) -> u64 {
        at_ns.saturating_add(LENGTH_NS)
    }

    /// When an occupied bucket stops counting.
    fn expires_at_ns(&self, bucket: u64) -> u64 {
        Self::expiry_of(bucket * Self::BUCKET_NS + u64::from(self.latest[slot(bucket)]))
    }

    fn until_expiry(&self, bucket: u64) -> Duration {
        Duration::from_nanos(self.expires_at_ns(bucket).saturating_sub(self.now_ns))
    }

    /// Finds the oldest occupied bucket, after a bucket may have been emptied.
    fn find_oldest(&mut self) {
        let oldest = self.buckets().next();
        self.oldest_counts_until_ns = oldest.map_or(u64::MAX, |oldest| self.expires_at_ns(oldest));
        self.oldest = oldest.unwrap_or(self.oldest);
    }
}

fn slot(bucket: u64) -> usize {
    (bucket % SLOTS) as usize
}

#[cfg(test)]
mod tests;
