//! Slugs: the model names that customers use.

use std::{fmt, ops::Deref};

/// `{org}/{name}`: two parts of unreserved URL characters, at most 255 bytes in total.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slug(String);

/// The text is not a valid slug. The message is for the user who wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidSlug;

impl fmt::Display for InvalidSlug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be \"org/name\" of letters, digits, '-', '.', '_' and '~', at most 255 characters in total")
    }
}

impl Slug {
    /// The longest slug, in bytes.
    pub const MAX_LEN: usize = 255;

    /// Parses and checks a slug.
    pub fn parse(text: &str) -> Result<Self, InvalidSlug> {
        let part = |part: &str| {
            // URL libraries remove a path segment that consists only of dots.
            !part.bytes().all(|b| b == b'.')
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~'))
        };
        match text.split_once('/') {
            Some((org, name)) if text.len() <= Self::MAX_LEN && part(org) && part(name) => Ok(Self(text.to_owned())),
            _ => Err(InvalidSlug),
        }
    }

    /// The part before the slash.
    pub fn org(slug: &str) -> &str {
        slug.split_once('/').map_or(slug, |(org, _)| org)
    }

    /// The slug's text.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl Deref for Slug {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_is_two_url_safe_parts() {
        for good in ["acme/chat", "a/b", "meta-llama/Llama-3.1_8B~x", "a/..b"] {
            assert!(Slug::parse(good).is_ok(), "{good}");
        }
        let long = format!("a/{}", "b".repeat(254));
        for bad in ["", "acme", "/", "a/", "/b", "a/b/c", "a b/c", "ä/b", "a/b%2F", "./x", "x/..", &long] {
            assert!(Slug::parse(bad).is_err(), "{bad}");
        }
    }
}
