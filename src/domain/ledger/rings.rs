//! The rolling windows of a cell: requests and tokens, over a second and over a minute.

use std::time::Duration;

use crate::domain::{
    limit::LimitType,
    window::{MinuteWindow, SecondWindow, Span},
};

/// The windows of both types.
#[derive(Debug, Default)]
pub(super) struct Rings {
    requests: Ring,
    tokens: Ring,
}

impl Rings {
    #[inline]
    pub(super) fn of(&self, what: LimitType) -> &Ring {
        match what {
            LimitType::Token => &self.tokens,
            LimitType::Request => &self.requests,
        }
    }

    pub(super) fn of_mut(&mut self, what: LimitType) -> &mut Ring {
        match what {
            LimitType::Request => &mut self.requests,
            LimitType::Token => &mut self.tokens,
        }
    }

    pub(super) fn advance(&mut self, now_ns: u64) {
        self.requests.advance(now_ns);
        self.tokens.advance(now_ns);
    }
}

/// The windows of one type, which record the same amounts.
#[derive(Debug, Default)]
pub(super) struct Ring {
    second: SecondWindow,
    minute: MinuteWindow,
}

impl Ring {
    pub(super) fn advance(&mut self, now_ns: u64) {
        self.second.advance(now_ns);
        self.minute.advance(now_ns);
    }

    /// Records an amount at a moment, at or before the last [`Self::advance`].
    pub(super) fn record(&mut self, at_ns: u64, amount: u64) {
        self.second.record(at_ns, amount);
        self.minute.record(at_ns, amount);
    }

    /// Removes an amount that was recorded at a moment, where it still counts.
    pub(super) fn take_back(&mut self, at_ns: u64, amount: u64) {
        self.second.take_back(at_ns, amount);
        self.minute.take_back(at_ns, amount);
    }

    /// The sum at the moment of the last [`Self::advance`].
    #[inline]
    pub(super) fn sum(&self, span: Span) -> u64 {
        match span {
            Span::Second => self.second.sum(),
            Span::Minute => self.minute.sum(),
        }
    }

    /// See [`SecondWindow::until_freed`].
    pub(super) fn until_freed(&self, span: Span, amount: u64, held: u64) -> Option<Duration> {
        match span {
            Span::Second => self.second.until_freed(amount, held),
            Span::Minute => self.minute.until_freed(amount, held),
        }
    }

    /// See [`SecondWindow::until_empty`].
    pub(super) fn until_empty(&self, span: Span) -> Option<Duration> {
        match span {
            Span::Second => self.second.until_empty(),
            Span::Minute => self.minute.until_empty(),
        }
    }
}
