//! The error of a command.

use std::{fmt, io, path::Path};

/// The error message of a command that failed.
#[derive(Debug)]
pub struct Failed(pub(super) String);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failed {}

pub(super) fn failed(error: impl fmt::Display) -> Failed {
    Failed(error.to_string())
}

pub(super) fn failed_at(path: &Path) -> impl Fn(io::Error) -> Failed {
    move |error| Failed(format!("{}: {error}", path.display()))
}
