//! The cells of one model on one worker thread.

use std::sync::atomic::{AtomicBool, Ordering};

use super::cells::{Counter, Histogram, MoneyCounter, Series};
use crate::domain::money::Currency;

/// The outcome of an attempt to have a request answered by a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The target answered.
    Answered,
    /// The target refused the request as the customer's fault.
    Refused,
    /// The target failed.
    Failed,
    /// The target was at its own limit.
    Limited,
}

impl Outcome {
    /// All outcomes, in the order of their numbers.
    pub(super) const ALL: [Self; 4] = [Self::Answered, Self::Refused, Self::Failed, Self::Limited];

    /// The value of the label `outcome`.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Limited => "limited",
        }
    }
}

/// The kinds of tokens, in the order of their counters.
pub(super) const TOKEN_KINDS: [&str; 4] = ["input", "output", "cached", "cache_write"];

/// The cells of a model on one worker, or those of requests without a model.
#[derive(Default)]
pub(super) struct ModelCells {
    /// Whether the endpoint was removed, so that no scrape reads these cells any more.
    is_gone: AtomicBool,
    pub(super) admitted: Counter,
    pub(super) ended: Counter,
    pub(super) routes: Series<&'static str, RouteCells>,
    pub(super) refusals: Series<&'static str, Counter>,
    pub(super) tokens: [Counter; TOKEN_KINDS.len()],
    pub(super) costs: Series<Currency, MoneyCounter>,
    pub(super) attempts: Series<u16, [Counter; Outcome::ALL.len()]>,
    pub(super) queue_wait: Histogram,
}

/// The cells of a model and a route.
#[derive(Default)]
pub(super) struct RouteCells {
    pub(super) statuses: Series<u16, Counter>,
    pub(super) duration: Histogram,
    pub(super) first_byte: Histogram,
}

impl ModelCells {
    pub(super) fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Relaxed)
    }

    pub(super) fn set_gone(&self) {
        self.is_gone.store(true, Ordering::Relaxed);
    }
}
