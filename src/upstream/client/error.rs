//! Why a request could not be made, or got no answer.

use std::{borrow::Cow, fmt, io};

use rustix::io::Errno;

use super::origin::Origin;

/// A URL, header name or header value that cannot be sent. `Display` says which; it never shows a header's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidRequest(Cow<'static, str>);

impl InvalidRequest {
    pub(super) fn new(what: impl Into<Cow<'static, str>>) -> Self {
        Self(what.into())
    }
}

impl fmt::Display for InvalidRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidRequest {}

/// No head of an answer came. `Display` is for the operator: it names the upstream, never a credential.
#[derive(Debug)]
pub struct SendError {
    /// At which step it failed.
    pub kind: SendErrorKind,
    origin: Origin,
    detail: Cow<'static, str>,
}

/// The step at which a request failed. After each of them but `NoFiles` another target may be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendErrorKind {
    /// The name has no address.
    Resolve,
    /// Every address is one that we must not call: link-local, or one of our own listeners.
    Forbidden,
    /// No address accepted a connection.
    Connect,
    /// This process, or this machine, cannot open another file. It says nothing about the upstream.
    NoFiles,
    /// Name resolution, TCP and TLS took longer than the connect timeout.
    ConnectTimeout,
    /// The TLS handshake failed, or this machine has no certificates to verify it with.
    Tls,
    /// The connection was made, but no head of an answer came in time.
    FirstByteTimeout,
    /// The connection was closed before a byte of the answer.
    Closed,
    /// What came is not an HTTP/1.1 answer that we accept.
    Protocol,
}

impl SendErrorKind {
    /// This, unless the error is that no file can be opened.
    pub(super) fn or_no_files(self, error: &io::Error) -> Self {
        let has_none = error.raw_os_error().map(Errno::from_raw_os_error);
        if matches!(has_none, Some(Errno::MFILE | Errno::NFILE)) { Self::NoFiles } else { self }
    }

    /// Whether the upstream was too slow, as opposed to absent or wrong.
    pub fn is_timeout(self) -> bool {
        matches!(self, Self::ConnectTimeout | Self::FirstByteTimeout)
    }
}

impl SendError {
    pub(super) fn new(kind: SendErrorKind, origin: Origin, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, origin, detail: detail.into() }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            SendErrorKind::Resolve => "the name could not be resolved",
            SendErrorKind::Forbidden => "the address is not allowed",
            SendErrorKind::Connect => "no connection",
            SendErrorKind::NoFiles => "no file left for a connection",
            SendErrorKind::ConnectTimeout => "no connection in time",
            SendErrorKind::Tls => "no TLS session",
            SendErrorKind::FirstByteTimeout => "no answer in time",
            SendErrorKind::Closed => "closed before it answered",
            SendErrorKind::Protocol => "not a valid answer",
        };
        write!(f, "{}: {what}", self.origin)?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, ": {}", self.detail) }
    }
}

impl std::error::Error for SendError {}
