//! The lengths of answers: a histogram in powers of two over about the last hundred.
//!
//! The mean is right for a request that has just begun, but too low for one that is still running. Long answers
//! are a larger share of those that run at one moment than of those that begin, and an answer that is already longer
//! than the mean ends well above it. [`Lengths::beyond`] gives the expected length of an answer that has already
//! reached a given length: the mean of all recorded answers that were longer.

use super::customers::Average;

/// The longest length that is distinguished, in tokens. Longer answers count as this long.
const LONGEST: u64 = 1 << 16;

/// Buckets for answers of 0 tokens, 1, 2 to 3, and so on, up to [`LONGEST`].
const BUCKETS: usize = LONGEST.ilog2() as usize + 2;

/// The weight of one answer. It is above 1 so that the only answer of its length fades gradually instead of
/// disappearing at once.
const ONE: u32 = 16;

/// The answers of one bucket and their tokens, both in sixteenths.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    answers: u32,
    tokens: u32,
}

impl Bucket {
    fn add(&mut self, other: Self) {
        self.answers += other.answers;
        self.tokens += other.tokens;
    }

    /// Rounded up; `None` without answers.
    fn mean(&self) -> Option<u64> {
        (self.answers > 0).then(|| u64::from(self.tokens.div_ceil(self.answers)))
    }
}

/// Lengths of answers, in tokens.
#[derive(Debug, Default)]
pub(super) struct Lengths {
    buckets: [Bucket; BUCKETS],
    all: Bucket,
}

impl Lengths {
    /// At this many answers, the weights of all are halved, so that old answers fade.
    const MEMORY: u32 = 128;

    /// The number of answers that are counted.
    pub(super) fn answers(&self) -> u32 {
        self.all.answers / ONE
    }

    /// The mean length of the answers longer than `tokens`, to the precision of the buckets, rounded up. `None` if
    /// there were none.
    pub(super) fn beyond(&self, tokens: u64) -> Option<u64> {
        let mut longer = Bucket::default();
        self.buckets.iter().filter(|bucket| bucket.mean() > Some(tokens)).for_each(|bucket| longer.add(*bucket));
        longer.mean()
    }

    fn fade(&mut self) {
        self.all = Bucket::default();
        for bucket in &mut self.buckets {
            let answers = bucket.answers / 2;
            // Computed from the mean rather than by halving the sum: an answer lost to rounding takes its share of the
            // tokens with it.
            let tokens = bucket.mean().unwrap_or(0) as u32 * answers;
            *bucket = Bucket { answers, tokens };
            self.all.add(*bucket);
        }
    }
}

impl Average for Lengths {
    fn learn(&mut self, tokens: u64) {
        if self.answers() >= Self::MEMORY {
            self.fade();
        }
        let tokens = tokens.min(LONGEST);
        let bucket = tokens.checked_ilog2().map_or(0, |log| log as usize + 1);
        // At most `MEMORY` answers of `LONGEST` tokens, which is far from overflow.
        let answer = Bucket { answers: ONE, tokens: ONE * tokens as u32 };
        self.buckets[bucket].add(answer);
        self.all.add(answer);
    }

    /// Rounded up.
    fn mean(&self) -> u64 {
        self.all.mean().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(tokens: impl IntoIterator<Item = u64>) -> Lengths {
        let mut lengths = Lengths::default();
        tokens.into_iter().for_each(|tokens| lengths.learn(tokens));
        lengths
    }

    #[test]
    fn without_answers_no_length_is_expected() {
        assert_eq!((Lengths::default().mean(), Lengths::default().beyond(0)), (0, None));
    }

    #[test]
    fn the_expected_length_grows_with_the_streamed_length() {
        let lengths = lengths([0, 10, 10, 100, 1000, 1000, 9000]);
        assert_eq!(lengths.mean(), 11_120_u64.div_ceil(7));
        let expected = [0, 10, 99, 100, 1000, 9000].map(|tokens| lengths.beyond(tokens));
        assert_eq!(expected, [Some(1854), Some(2775), Some(2775), Some(3667), Some(9000), None]);
    }

    #[test]
    fn answers_of_one_length_are_expected_to_have_that_length() {
        for length in [1, 2, 3, 255, 256, 300, LONGEST] {
            let lengths = lengths([length; 500]);
            assert_eq!(
                (lengths.mean(), lengths.beyond(length - 1), lengths.beyond(length)),
                (length, Some(length), None)
            );
        }
    }

    #[test]
    fn old_answers_fade() {
        let mut lengths = lengths([4000; 1000]);
        (0..800).for_each(|_| lengths.learn(50));
        assert_eq!((lengths.mean(), lengths.beyond(51)), (50, None));
        assert!(lengths.answers() >= Lengths::MEMORY / 2);
    }

    #[test]
    fn occasional_long_answers_are_not_forgotten() {
        let mut lengths = Lengths::default();
        for n in 0..10_000 {
            lengths.learn(if n % 100 == 0 { 4000 } else { 100 });
            assert!(n < 200 || lengths.beyond(101) == Some(4000), "after {n} answers");
        }
    }

    #[test]
    fn extreme_lengths_do_not_overflow() {
        let lengths = lengths((0..1000).map(|n| if n % 2 == 0 { u64::MAX } else { 0 }));
        assert!(lengths.mean() <= LONGEST && lengths.beyond(u64::MAX).is_none());
    }
}
