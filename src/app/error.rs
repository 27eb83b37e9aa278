//! Why the gateway could not run.

use std::{fmt, io, net::SocketAddr};

use crate::service::BootError;

/// Why the gateway could not run.
#[derive(Debug)]
pub enum AppError {
    /// The gateway could not be built.
    Boot(BootError),
    /// A listener cannot be opened: the name of its setting, its address and the error.
    Listen(&'static str, SocketAddr, io::Error),
    /// Any other error, as text.
    Other(String),
}

impl fmt::Display for AppError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boot(error) => error.fmt(f),
            Self::Listen(setting, address, error) => write!(f, "{setting}: cannot listen on {address}: {error}"),
            Self::Other(error) => f.write_str(error),
        }
    }
}

impl std::error::Error for AppError {}

impl From<io::Error> for AppError {
    fn from(error: io::Error) -> Self {
        Self::Other(error.to_string())
    }
}
