//! How long answers are: a histogram in powers of two over the last hundred or so.
//!
//! A mean alone is right for a request that has just begun and wrong for one that has not ended yet: of the answers that
//! run at some moment, more are long ones than of those that begin, and an answer that is past the mean already will end
//! well beyond it. [`Lengths::beyond`] is what to expect of such a one: the mean of those answers seen that were longer.

use super::Voice;

/// The longest answer that is told apart, in tokens; a longer one counts as this.
const LONGEST: u64 = 1 << 16;

/// Answers of 0 tokens, of 1, of 2 to 3, and so on, up to those of [`LONGEST`].
const BUCKETS: usize = LONGEST.ilog2() as usize + 2;

/// What one answer adds to the weights: so an only answer of its length fades, and is not lost at once.
const ONE: u32 = 16;

/// Answers of one order of magnitude, and their tokens, both in sixteenths.
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

    /// Rounded up; `None` of no answer.
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
    /// When so many are remembered, all of them count half: what was seen fades.
    const MEMORY: u32 = 128;

    /// How many answers it goes by.
    pub(super) fn answers(&self) -> u32 {
        self.all.answers / ONE
    }

    /// The mean length of those that were longer than so many tokens, as far as the buckets tell; rounded up. `None` if
    /// there was none.
    pub(super) fn beyond(&self, tokens: u64) -> Option<u64> {
        let mut longer = Bucket::default();
        self.buckets.iter().filter(|bucket| bucket.mean() > Some(tokens)).for_each(|bucket| longer.add(*bucket));
        longer.mean()
    }

    fn fade(&mut self) {
        self.all = Bucket::default();
        for bucket in &mut self.buckets {
            let answers = bucket.answers / 2;
            // To the mean, not to half of the sum: an odd answer that goes takes its share along.
            let tokens = bucket.mean().unwrap_or(0) as u32 * answers;
            *bucket = Bucket { answers, tokens };
            self.all.add(*bucket);
        }
    }
}

impl Voice for Lengths {
    fn learn(&mut self, tokens: u64) {
        if self.answers() >= Self::MEMORY {
            self.fade();
        }
        let tokens = tokens.min(LONGEST);
        let bucket = tokens.checked_ilog2().map_or(0, |log| log as usize + 1);
        // At most `MEMORY` answers of `LONGEST` tokens: far from overflow.
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
    fn nothing_is_expected_where_nothing_was_seen() {
        assert_eq!((Lengths::default().mean(), Lengths::default().beyond(0)), (0, None));
    }

    #[test]
    fn the_longer_an_answer_has_become_the_longer_it_is_expected_to_be() {
        let lengths = lengths([0, 10, 10, 100, 1000, 1000, 9000]);
        assert_eq!(lengths.mean(), 11_120_u64.div_ceil(7));
        let expected = [0, 10, 99, 100, 1000, 9000].map(|tokens| lengths.beyond(tokens));
        assert_eq!(expected, [Some(1854), Some(2775), Some(2775), Some(3667), Some(9000), None]);
    }

    #[test]
    fn answers_of_one_length_are_expected_to_be_that_long_however_far_they_have_come() {
        for length in [1, 2, 3, 255, 256, 300, LONGEST] {
            let lengths = lengths([length; 500]);
            assert_eq!(
                (lengths.mean(), lengths.beyond(length - 1), lengths.beyond(length)),
                (length, Some(length), None)
            );
        }
    }

    #[test]
    fn what_was_seen_fades() {
        let mut lengths = lengths([4000; 1000]);
        (0..800).for_each(|_| lengths.learn(50));
        assert_eq!((lengths.mean(), lengths.beyond(51)), (50, None));
        assert!(lengths.answers() >= Lengths::MEMORY / 2);
    }

    #[test]
    fn a_long_answer_now_and_then_is_not_forgotten() {
        let mut lengths = Lengths::default();
        for n in 0..10_000 {
            lengths.learn(if n % 100 == 0 { 4000 } else { 100 });
            assert!(n < 200 || lengths.beyond(101) == Some(4000), "after {n} answers");
        }
    }

    #[test]
    fn no_length_overflows() {
        let lengths = lengths((0..1000).map(|n| if n % 2 == 0 { u64::MAX } else { 0 }));
        assert!(lengths.mean() <= LONGEST && lengths.beyond(u64::MAX).is_none());
    }
}
