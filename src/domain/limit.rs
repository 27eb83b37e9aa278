//! Limits. A threshold is between 0 (nothing passes) and 2^53 - 1 (the largest integer that every JSON reader keeps
//! exact); a `Limit` with any other threshold cannot be built.

use serde::{Deserialize, Serialize};

use super::calendar::Period;

/// The quantity that a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LimitType {
    /// Prompt plus completion tokens, as billed.
    Token,
    /// Admitted requests.
    Request,
}

/// The time over which a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Unit {
    /// A rolling second.
    Second,
    /// A rolling minute.
    Minute,
    /// A calendar day.
    Day,
    /// A calendar week, from Monday.
    Week,
    /// A calendar month.
    Month,
    /// No time: the limit counts the requests that are running, those that wait in a queue included.
    Concurrent,
}

impl Unit {
    /// The calendar period that it stands for.
    pub fn period(self) -> Option<Period> {
        match self {
            Self::Day => Some(Period::Day),
            Self::Week => Some(Period::Week),
            Self::Month => Some(Period::Month),
            Self::Second | Self::Minute | Self::Concurrent => None,
        }
    }
}

/// The management API's two families of limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LimitKind {
    /// A rolling window, or the requests that are running.
    Rate,
    /// A calendar window.
    Usage,
}

/// A number of tokens or requests, 0 to 2^53 - 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Threshold(u64);

impl Threshold {
    /// The largest threshold.
    pub const MAX: u64 = (1 << 53) - 1;

    /// A threshold; `None` above [`Self::MAX`].
    pub fn new(value: u64) -> Option<Self> {
        (value <= Self::MAX).then_some(Self(value))
    }

    /// The value, in tokens or requests.
    pub fn get(self) -> u64 {
        self.0
    }
}

/// One declared limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// The quantity that it counts.
    pub limit_type: LimitType,
    /// The time over which it counts.
    pub unit: Unit,
    /// The largest amount that passes.
    pub threshold: Threshold,
}

impl Limit {
    /// The family it belongs to.
    pub fn kind(&self) -> LimitKind {
        match self.unit {
            Unit::Second | Unit::Minute | Unit::Concurrent => LimitKind::Rate,
            Unit::Day | Unit::Week | Unit::Month => LimitKind::Usage,
        }
    }

    /// Whether both count the same quantity over the same time. Their thresholds may differ.
    pub fn is_like(&self, other: &Self) -> bool {
        self.limit_type == other.limit_type && self.unit == other.unit
    }
}
