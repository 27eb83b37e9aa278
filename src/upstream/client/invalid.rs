//! The error for a request that cannot be built.

use std::{borrow::Cow, fmt};

/// An error returned for a URL, header name or header value that cannot be sent. `Display` says which; it never shows
/// the value of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidRequest(Cow<'static, str>);

impl InvalidRequest {
    pub(super) fn new(reason: impl Into<Cow<'static, str>>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for InvalidRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidRequest {}
