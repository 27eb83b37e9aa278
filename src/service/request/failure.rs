//! The reasons why a customer gets no answer. `http::inference::error` maps each to a status.

use std::sync::Arc;

use crate::{
    domain::ledger::{Refusal, Standings},
    service::{catalog::Model, core::Core},
    upstream::{refusal::UpstreamRefusal, request::BadRequest},
};

/// The failure of a request.
pub struct RequestFailure {
    /// The reason.
    pub refused: Refused,
    /// The model that was called, if the key may call it.
    pub model: Option<Arc<Model>>,
    /// The tightest limits, if they were read.
    pub standings: Option<Box<Standings>>,
}

/// Why a request got no answer.
pub enum Refused {
    /// The request's body breaks a rule.
    Invalid(Box<BadRequest>),
    /// The key may not call this slug, or the slug does not exist. Both get the same answer.
    ModelNotFound(String),
    /// A limit or budget refused the request.
    Limit(Box<Limited>),
    /// Requests cannot be billed at present. The text says why, for the operator.
    CannotMeter(String),
    /// No target can be used.
    NoUpstream,
    /// No target answered. Holds the last one's error message, if it gave one.
    Upstream(Option<String>),
    /// No target answered in time.
    UpstreamTimeout,
    /// The process cannot open a connection to a target.
    Overloaded,
    /// All targets are full, and none had a free place in time.
    QueueFull,
    /// A target refused the request as the customer's fault, or all targets are at their own limits.
    UpstreamRefused(Box<UpstreamRefusal>),
    /// A bug or a machine fault: logged, never shown to the customer.
    Internal(String),
}

/// A refusal by a limit or budget.
pub struct Limited {
    /// The slug that the customer called.
    pub slug: Arc<str>,
    /// The name of the time zone of calendar windows.
    pub time_zone: String,
    /// The refusal.
    pub refusal: Box<Refusal>,
}

impl Refused {
    /// Whether the fault is ours or the upstream's rather than the customer's.
    fn is_failure(&self) -> bool {
        match self {
            Self::Invalid(_) | Self::ModelNotFound(_) | Self::Limit(_) | Self::UpstreamRefused(_) => false,
            Self::CannotMeter(_)
            | Self::NoUpstream
            | Self::Upstream(_)
            | Self::UpstreamTimeout
            | Self::Overloaded
            | Self::QueueFull
            | Self::Internal(_) => true,
        }
    }
}

impl RequestFailure {
    /// Counts the request as failed, unless the customer is at fault.
    pub(super) fn count(&self, core: &Core) {
        if self.refused.is_failure() {
            core.counts.failed();
        }
    }
}

impl From<Refused> for RequestFailure {
    fn from(refused: Refused) -> Self {
        Self { refused, model: None, standings: None }
    }
}
