//! A text that must not be seen.

use std::fmt;

/// A secret text. It has no `Display`, and its `Debug` is stars: it reaches a log or an answer only where someone
/// wrote `expose()`.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself; each use is a place to look at.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
