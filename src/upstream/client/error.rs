//! The error for a request that gets no answer.

use std::{borrow::Cow, fmt, io};

use rustix::io::Errno;

use super::origin::Origin;

/// An error returned for a request if no head of an answer arrived. `Display` is for the operator: it names the
/// upstream, never a credential.
#[derive(Debug)]
pub struct SendError {
    /// The step at which it failed.
    pub kind: SendErrorKind,
    origin: Origin,
    detail: Cow<'static, str>,
}

/// The step at which a request failed. After every kind except `NoFiles`, another target may be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendErrorKind {
    /// The name could not be resolved to an address.
    Resolve,
    /// Every address is forbidden: link-local, or one of our own listeners.
    Forbidden,
    /// No address accepted a connection.
    Connect,
    /// This process or this machine has no file descriptor left. It says nothing about the upstream.
    NoFiles,
    /// Name resolution, TCP and TLS took longer than the connect timeout.
    ConnectTimeout,
    /// The TLS handshake failed, or this machine has no CA certificates to verify the server with.
    Tls,
    /// The connection was opened, but no head of an answer arrived in time.
    FirstByteTimeout,
    /// The connection was closed before the first byte of an answer.
    Closed,
    /// The upstream sent something other than a valid HTTP/1.1 answer.
    Protocol,
}

impl SendErrorKind {
    /// Returns `NoFiles` if `error` says that no file can be opened, else `self`.
    pub(super) fn or_no_files(self, error: &io::Error) -> Self {
        let errno = error.raw_os_error().map(Errno::from_raw_os_error);
        if matches!(errno, Some(Errno::MFILE | Errno::NFILE)) { Self::NoFiles } else { self }
    }

    /// Whether the upstream was too slow, as opposed to unreachable or faulty.
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
        let failure = match self.kind {
            SendErrorKind::Resolve => "the name could not be resolved",
            SendErrorKind::Forbidden => "the address is not allowed",
            SendErrorKind::Connect => "cannot connect",
            SendErrorKind::NoFiles => "no file descriptor left for a connection",
            SendErrorKind::ConnectTimeout => "no connection in time",
            SendErrorKind::Tls => "the TLS handshake failed",
            SendErrorKind::FirstByteTimeout => "no answer in time",
            SendErrorKind::Closed => "it closed the connection before it answered",
            SendErrorKind::Protocol => "not a valid answer",
        };
        write!(f, "{}: {failure}", self.origin)?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, ": {}", self.detail) }
    }
}

impl std::error::Error for SendError {}
