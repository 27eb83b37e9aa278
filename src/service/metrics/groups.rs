//! The cells of groups. They are kept only if the configuration asks for metrics of groups.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::cells::Counter;
use crate::domain::id::{EndpointId, GroupId};

/// A group and a model; no model for requests without one.
pub(super) type GroupKey = (GroupId, Option<EndpointId>);

/// The cells of a group and a model on one worker.
#[derive(Default)]
pub(super) struct GroupCells {
    is_gone: AtomicBool,
    pub(super) requests: Counter,
    pub(super) refusals: Counter,
    pub(super) tokens: Counter,
    /// The start of the latest day with tokens, in Unix ms, and the tokens before it.
    day: AtomicU64,
    before_day: AtomicU64,
}

impl GroupCells {
    /// Counts the tokens of an answer on the day that begins at `day`.
    pub(super) fn billed(&self, tokens: u64, day: u64) {
        if self.day.load(Ordering::Relaxed) != day {
            self.before_day.store(self.tokens.get(), Ordering::Relaxed);
            // A reader that sees the day sees the tokens before it too.
            self.day.store(day, Ordering::Release);
        }
        self.tokens.add(tokens);
    }

    /// The tokens of the day that begins at `day`, as counted since the start of the process. Too few, or
    /// 0, if the next day begins during the call.
    pub(super) fn tokens_of_day(&self, day: u64) -> u64 {
        if self.day.load(Ordering::Acquire) != day {
            return 0;
        }
        self.tokens.get().saturating_sub(self.before_day.load(Ordering::Relaxed))
    }

    pub(super) fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Relaxed)
    }

    pub(super) fn set_gone(&self) {
        self.is_gone.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tokens_of_a_day_begin_at_zero_while_the_counter_goes_on() {
        let cells = GroupCells::default();
        for (tokens, day) in [(5, 1), (6, 1), (7, 2)] {
            cells.billed(tokens, day);
        }
        assert_eq!((cells.tokens.get(), cells.tokens_of_day(2), cells.tokens_of_day(3)), (18, 7, 0));
    }
}
