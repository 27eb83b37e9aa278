//! Tracks which choices of an answer have begun and which have finished.

/// The choices of one answer, identified by their `index`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Choices {
    begun: Marks,
    finished: Marks,
}

impl Choices {
    /// Records that a choice has begun. `is_finished` is whether it also has a finish reason.
    pub(super) fn mark(&mut self, index: u64, is_finished: bool) {
        self.begun.set(index);
        if is_finished {
            self.finished.set(index);
        }
    }

    /// The number of choices with a finish reason.
    pub(super) fn finished(&self) -> u64 {
        self.finished.count()
    }

    /// Whether at least one choice has begun and all that have begun have finished.
    pub(super) fn have_all_finished(&self) -> bool {
        self.finished() > 0 && self.finished() == self.begun.count()
    }
}

/// A set of small numbers. Numbers beyond its capacity are ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Marks {
    low: u64,
    high: Vec<u64>,
}

impl Marks {
    /// Most words of 64 bits in `high`: enough for far more choices than any request has.
    const MAX_WORDS: u64 = 1024;

    fn set(&mut self, number: u64) {
        let (word, bit) = (number / 64, 1 << (number % 64));
        if word == 0 {
            self.low |= bit;
        } else if word <= Self::MAX_WORDS
            && let Ok(at) = usize::try_from(word - 1)
        {
            if self.high.len() <= at {
                self.high.resize(at + 1, 0);
            }
            self.high[at] |= bit;
        }
    }

    fn count(&self) -> u64 {
        let words = std::iter::once(&self.low).chain(&self.high);
        words.map(|word| u64::from(word.count_ones())).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_identified_by_their_index() {
        let mut choices = Choices::default();
        assert!(!choices.have_all_finished());
        choices.mark(0, false);
        choices.mark(70, true);
        choices.mark(70, true);
        assert_eq!((choices.finished(), choices.have_all_finished()), (1, false));
        choices.mark(0, true);
        assert_eq!((choices.finished(), choices.have_all_finished()), (2, true));
        choices.mark(u64::MAX, true);
        assert_eq!(choices.finished(), 2, "an index beyond the capacity is ignored");
    }
}
