//! A rolling window: how much was recorded in the last second or minute.
//!
//! Time is cut into buckets of 1/63 of the window. What is recorded in a bucket counts until the last moment of that
//! bucket is a whole window ago: then 63 later buckets have passed in full, so 64 of them, the oldest partial one
//! included, are kept in a ring. From this follow the two promises:
//!
//! * A sum is never below what was truly recorded in the last window: an error is only ever towards refusing.
//! * What was recorded stops counting at most one bucket, less than 1/60 of the window, after it has rolled out.
//!
//! [`Span`] translates nanoseconds into buckets and back, [`Window`] knows buckets only. Amounts that a `u64` cannot add
//! up stay at its maximum. Recording is constant time; moving on costs one subtraction for each occupied bucket that
//! rolls out, and nothing for an idle one.

use std::time::Duration;

/// Slots of a ring, and with it the buckets that count at any moment.
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

    /// Rounded up: 63 buckets cover the window, by a few nanoseconds more.
    const fn bucket_ns(self) -> u64 {
        self.length_ns().div_ceil(SLOTS - 1)
    }

    /// The bucket that a moment belongs to.
    pub const fn bucket_at(self, now_ns: u64) -> u64 {
        // Spelled out so that each division is by a constant.
        match self {
            Self::Second => now_ns / const { Self::Second.bucket_ns() },
            Self::Minute => now_ns / const { Self::Minute.bucket_ns() },
        }
    }

    /// The first moment at which a bucket no longer counts.
    pub const fn gone_at_ns(self, bucket: u64) -> u64 {
        bucket.saturating_add(SLOTS).saturating_mul(self.bucket_ns())
    }

    /// How long from `now_ns` until a bucket no longer counts.
    pub fn until_gone(self, bucket: u64, now_ns: u64) -> Duration {
        Duration::from_nanos(self.gone_at_ns(bucket).saturating_sub(now_ns))
    }
}

/// The sum over the last 64 buckets.
#[derive(Debug, Clone)]
pub struct Window {
    /// The bucket of the last [`Self::advance`].
    newest: u64,
    /// Which slots hold something: bit `bucket % 64`. The others' contents mean nothing.
    live: u64,
    sum: u64,
    slots: [u64; SLOTS as usize],
}

impl Default for Window {
    fn default() -> Self {
        Self { newest: 0, live: 0, sum: 0, slots: [0; SLOTS as usize] }
    }
}

impl Window {
    /// Moves on to a bucket: what it pushes out of the window no longer counts. An earlier one than the last changes
    /// nothing.
    pub fn advance(&mut self, bucket: u64) {
        let steps = bucket.saturating_sub(self.newest);
        if steps == 0 {
            return;
        }
        // The slots of the buckets that begin hold what is one lap old.
        let begun = match steps {
            SLOTS.. => u64::MAX,
            steps => ((1 << steps) - 1_u64).rotate_left(slot(self.newest.wrapping_add(1))),
        };
        self.newest = bucket;
        let mut gone = self.live & begun;
        self.live &= !begun;
        if self.live == 0 {
            self.sum = 0;
            return;
        }
        while gone != 0 {
            self.sum -= self.slots[gone.trailing_zeros() as usize];
            gone &= gone - 1;
        }
    }

    /// What counts at the bucket of the last [`Self::advance`].
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// Records an amount in a bucket, at or before the last [`Self::advance`]; one that has rolled out is passed over.
    pub fn record(&mut self, bucket: u64, amount: u64) {
        // Cut so that the sum stays the exact sum of its slots.
        let amount = amount.min(u64::MAX - self.sum);
        if amount == 0 || !self.counts(bucket) {
            return;
        }
        let slot = slot(bucket);
        let held = if self.live & (1 << slot) == 0 { 0 } else { self.slots[slot as usize] };
        self.slots[slot as usize] = held + amount;
        self.live |= 1 << slot;
        self.sum += amount;
    }

    /// Takes back what was recorded in a bucket; nothing is left to take back once it has rolled out.
    pub fn take_back(&mut self, bucket: u64, amount: u64) {
        let slot = slot(bucket);
        if !self.counts(bucket) || self.live & (1 << slot) == 0 {
            return;
        }
        let amount = amount.min(self.slots[slot as usize]);
        self.slots[slot as usize] -= amount;
        self.sum -= amount;
        if self.slots[slot as usize] == 0 {
            self.live &= !(1 << slot);
        }
    }

    /// The earliest bucket by whose end at least `amount` has rolled out, if nothing more is recorded; `None` if less
    /// than that is here.
    pub fn rolled_out_with(&self, amount: u64) -> Option<u64> {
        let mut rest = self.oldest_first();
        let mut freed = 0_u64;
        while rest != 0 {
            let bucket = self.bucket(rest.trailing_zeros());
            freed += self.slots[slot(bucket) as usize];
            if freed >= amount {
                return Some(bucket);
            }
            rest &= rest - 1;
        }
        None
    }

    /// The latest bucket that holds something; `None` if the window is empty.
    pub fn latest(&self) -> Option<u64> {
        let live = self.oldest_first();
        (live != 0).then(|| self.bucket(u64::BITS - 1 - live.leading_zeros()))
    }

    fn counts(&self, bucket: u64) -> bool {
        bucket <= self.newest && self.newest - bucket < SLOTS
    }

    /// [`Self::live`] turned so that bit 0 is the oldest bucket that counts and bit 63 the newest.
    fn oldest_first(&self) -> u64 {
        self.live.rotate_right(slot(self.newest.wrapping_add(1)))
    }

    /// The bucket behind a bit of [`Self::oldest_first`]. In a ring younger than one lap the buckets before time's
    /// beginning are never live.
    fn bucket(&self, bit: u32) -> u64 {
        self.newest.saturating_sub(SLOTS - 1 - u64::from(bit))
    }
}

fn slot(bucket: u64) -> u32 {
    (bucket % SLOTS) as u32
}

#[cfg(test)]
mod tests;
