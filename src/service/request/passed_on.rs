//! The headers that are forwarded to the upstream.

use bytes::Bytes;

/// Most headers that are forwarded.
pub(super) const MAX_PASSED_ON: usize = 9;

/// The headers that are forwarded, at most [`MAX_PASSED_ON`], with names in lower case.
pub type PassedOn = Vec<(&'static str, Bytes)>;
