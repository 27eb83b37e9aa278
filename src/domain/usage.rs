//! Tokens of one request.

use serde::{Deserialize, Serialize};

/// Tokens as billed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// The whole prompt, cached part included.
    pub input: u64,
    /// What was generated.
    pub output: u64,
    /// The part of `input` that was served from cache.
    pub cached: u64,
}

impl Usage {
    /// What TOKEN limits count.
    pub fn total(&self) -> u64 {
        self.input.saturating_add(self.output)
    }
}

/// Where the figures come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UsageSource {
    /// The upstream reported them.
    Upstream,
    /// Nobody reported any: the prompt's estimate, and a quarter of the answer's UTF-8 bytes.
    Counted,
}
