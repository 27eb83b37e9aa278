//! The journal's clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// A clock: Unix milliseconds.
pub type Clock = fn() -> u64;

/// The operating system's clock.
pub fn system_clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
