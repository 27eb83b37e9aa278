//! The quantities besides tokens that a request is priced by.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::money::decimal;

const SECOND_DECIMALS: usize = 6;

/// A quantity besides tokens. Records store the position in this list: append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Units {
    /// Images that were generated.
    Images(u64),
    /// The length of audio.
    Seconds(Seconds),
    /// Characters of text that were spoken.
    Characters(u64),
}

/// An exact length of time that is not negative, in 10^-6 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Seconds(u64);

impl Seconds {
    /// A length of `micros` microseconds.
    pub fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// The length in microseconds.
    pub fn micros(self) -> u64 {
        self.0
    }
}

/// The decimal text without trailing zeros, such as `12.3`.
impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&decimal(u128::from(self.0), SECOND_DECIMALS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_exact_decimals() {
        for (micros, shown) in
            [(0, "0"), (1, "0.000001"), (12_300_000, "12.3"), (60_000_000, "60"), (u64::MAX, "18446744073709.551615")]
        {
            assert_eq!(Seconds::from_micros(micros).to_string(), shown);
        }
    }
}
