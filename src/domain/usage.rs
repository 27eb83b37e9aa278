//! The tokens of one request.

use serde::{Deserialize, Serialize};

/// Billed tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// The whole prompt, including the cached part.
    pub input: u64,
    /// Generated tokens.
    pub output: u64,
    /// The part of `input` that was served from cache.
    pub cached: u64,
    /// The part of `input` that was written to the cache.
    pub cache_write: u64,
}

impl Usage {
    /// The amount that TOKEN limits count.
    pub fn total(&self) -> u64 {
        self.input.saturating_add(self.output)
    }
}

/// The source of the figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UsageSource {
    /// The upstream reported them.
    Upstream,
    /// The upstream reported none, so they are the prompt's estimate and a quarter of the answer's UTF-8 bytes.
    Counted,
}
