//! The error for an answer whose body ended early.

use std::fmt;

use super::client;
use crate::decode::{DecodeError, Fault};

/// An error returned for a body that ended early or could not be decoded.
#[derive(Debug)]
pub enum BodyError {
    /// The client's error.
    Body(client::BodyError),
    /// The body does not have the encoding that its head declares.
    Encoding(Fault),
}

impl BodyError {
    /// Whether the upstream sent nothing for the idle timeout.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Body(client::BodyError::TimedOut))
    }
}

impl From<DecodeError<client::BodyError>> for BodyError {
    fn from(error: DecodeError<client::BodyError>) -> Self {
        match error {
            DecodeError::Source(error) => Self::Body(error),
            DecodeError::Data(fault) => Self::Encoding(fault),
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body(error) => error.fmt(f),
            Self::Encoding(fault) => write!(f, "the answer cannot be decoded: {fault}"),
        }
    }
}
