//! Why a customer gets no answer. `http::inference::error` knows which status each becomes.

use std::sync::Arc;

use crate::{
    domain::ledger::{Refusal, Standings},
    upstream::{refusal::UpstreamRefusal, request::BadRequest},
};

/// A request that got no answer.
pub struct Failure {
    /// Why.
    pub refused: Refused,
    /// The tightest limits, if it came so far.
    pub standings: Option<Box<Standings>>,
}

/// Why a request got no answer.
pub enum Refused {
    /// Its body breaks a rule.
    Invalid(Box<BadRequest>),
    /// Its key may not call this slug, or nobody may: the same answer.
    ModelNotFound(String),
    /// A limit on this slug stops it.
    Limit(Arc<str>, Box<Refusal>),
    /// Nothing could be billed now; the words say why, for the operator.
    CannotMeter(String),
    /// No target can be used.
    NoUpstream,
    /// No target answered; in the last one's words, if it said any.
    Upstream(Option<String>),
    /// No target answered in time.
    UpstreamTimeout,
    /// This process can open no connection to a target.
    Overloaded,
    /// A target refused the request as the customer's fault, or all of them are at their own limits.
    UpstreamRefused(Box<UpstreamRefusal>),
    /// A defect or a broken machine: logged, never shown.
    Internal(String),
}

impl Refused {
    /// Whether something is broken here or upstream; otherwise it is the customer who has to do something.
    pub(super) fn is_failure(&self) -> bool {
        match self {
            Self::Invalid(_) | Self::ModelNotFound(_) | Self::Limit(..) | Self::UpstreamRefused(_) => false,
            Self::CannotMeter(_)
            | Self::NoUpstream
            | Self::Upstream(_)
            | Self::UpstreamTimeout
            | Self::Overloaded
            | Self::Internal(_) => true,
        }
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self { refused, standings: None }
    }
}
