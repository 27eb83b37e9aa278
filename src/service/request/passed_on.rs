//! The headers that are forwarded to the upstream.

use arrayvec::ArrayVec;
use bytes::Bytes;

/// Most headers that are forwarded.
pub(super) const MAX_PASSED_ON: usize = 9;

/// The headers that are forwarded, with names in lower case.
pub type PassedOn = ArrayVec<(&'static str, Bytes), MAX_PASSED_ON>;
