//! The one place that reads clocks for limits and records.

use std::time::{Instant, SystemTime};

use crate::domain::day::Now;

/// Both clocks.
pub struct Clock {
    started: Instant,
    started_unix_ms: u64,
}

impl Clock {
    /// Starts to count.
    pub fn start() -> Self {
        Self { started: Instant::now(), started_unix_ms: unix_ms() }
    }

    /// Both clocks, read together.
    pub fn now(&self) -> Now {
        Now { monotonic_ns: u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX), unix_ms: unix_ms() }
    }

    /// When the process started, Unix ms.
    pub fn started_unix_ms(&self) -> u64 {
        self.started_unix_ms
    }
}

/// The wall clock, Unix ms.
pub fn unix_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}
