//! The clocks for limits: one reading of both. The journal stamps records with its own reading of the wall clock.

use std::time::Instant;

use crate::{domain::day::Now, journal::system_clock};

/// The wall clock and the monotonic clock.
pub struct Clock {
    started: Instant,
    started_unix_ms: u64,
}

impl Clock {
    /// Starts the monotonic clock at 0.
    pub fn start() -> Self {
        Self { started: Instant::now(), started_unix_ms: system_clock() }
    }

    /// Both clocks, read together.
    pub fn now(&self) -> Now {
        Now {
            monotonic_ns: u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX),
            unix_ms: system_clock(),
            behind_ms: 0,
        }
    }

    /// The monotonic clock alone, in ms.
    pub fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The time when the process started, in Unix ms.
    pub fn started_unix_ms(&self) -> u64 {
        self.started_unix_ms
    }
}
