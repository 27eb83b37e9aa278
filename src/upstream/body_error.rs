//! The error for an answer whose body ended early.

use std::fmt;

use super::client;

/// An error returned for a body that ended early or could not be decoded.
#[derive(Debug)]
pub enum BodyError {
    /// The client's error.
    Body(client::BodyError),
    /// The body does not have the encoding that its head declares.
    Encoding(String),
}

impl BodyError {
    /// Whether the upstream sent nothing for the idle timeout.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Body(client::BodyError::TimedOut))
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body(error) => error.fmt(f),
            Self::Encoding(error) => write!(f, "the answer cannot be decoded: {error}"),
        }
    }
}
