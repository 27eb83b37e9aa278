//! What the operating system lets this process have, and how the gateway divides it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Of the files that may be open, those that are kept for the journal, the store, webhooks and the runtime; half of all if
/// that is less.
const OWN_FILES: u64 = 256;

/// The most connections of the admin listener.
const MAX_ADMIN: u64 = 1024;

/// The most connections of the inference listener.
const MAX_INFERENCE: u64 = 1 << 20;

/// How many connections each listener may have at a time. Neither listener can take the other's, nor the files that
/// everything else needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    /// Customers'. Each may need a connection to an upstream, for which another file is kept.
    pub inference: usize,
    /// Operators'.
    pub admin: usize,
}

impl Connections {
    /// What may be had of so many files.
    pub fn within(files: u64) -> Self {
        let rest = files - OWN_FILES.min(files / 2);
        let admin = (rest / 8).clamp(1, MAX_ADMIN);
        let inference = (rest.saturating_sub(admin) / 2).clamp(1, MAX_INFERENCE);
        // Both fit: they are bounded above.
        Self { inference: inference as usize, admin: admin as usize }
    }
}

/// How many files may be open at a time.
pub fn open_files() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Takes as many open files as we may have: the usual soft limit of 1,024 is a few hundred streams.
pub fn raise_open_files() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    // If it fails, what there is has to do.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_and_upstreams_fit_beside_what_else_needs_files() {
        for (files, inference, admin) in [
            (64, 14, 4),
            (1_000, 325, 93),
            (4_096, 1_680, 480),
            (20_000, 9_360, 1_024),
            (1 << 20, 523_648, 1_024),
            (u64::MAX, 1 << 20, 1_024),
            (0, 1, 1),
        ] {
            assert_eq!(Connections::within(files), Connections { inference, admin }, "{files}");
        }
    }
}
