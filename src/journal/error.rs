//! The journal's errors.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use super::frame::{MAX_BODY, VERSION};

/// The journal cannot be opened or read.
#[derive(Debug)]
pub enum Error {
    /// The operating system reported an error.
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// A record was written by a newer version of this program. It must not be skipped.
    Newer {
        /// The file that contains it.
        path: PathBuf,
        /// Its version; ours is [`VERSION`].
        version: u8,
    },
}

impl Error {
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Newer { path, version } => write!(
                f,
                "{}: the data was written by a newer version of this program (records of version {version}; this one \
                 reads up to {VERSION})",
                path.display()
            ),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Newer { .. } => None,
        }
    }
}

/// A record was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendError {
    /// Its body has more than [`MAX_BODY`] bytes.
    TooLarge,
    /// The journal is being closed.
    Closed,
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => write!(f, "a journal record can have at most {MAX_BODY} bytes"),
            Self::Closed => f.write_str("the journal is closed"),
        }
    }
}

impl std::error::Error for AppendError {}
