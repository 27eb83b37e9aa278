//! Identifiers. Each kind is a type of its own, so that a group's id cannot be passed where an endpoint's is due.
//!
//! A group, endpoint, secret or webhook is named by a ULID: unique without coordination, and ordered by creation, so
//! that a list walked by id is a list in order of creation. In records it is 16 bytes, in JSON 26 characters.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The text is not the id of anything: 26 characters of Crockford's base 32 were expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidId;

impl fmt::Display for InvalidId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an id: 26 characters were expected")
    }
}

impl std::error::Error for InvalidId {}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u128);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                ulid::Ulid(self.0).fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                // 26 characters hold 130 bits: a first one above 7 would overflow to another id's text.
                let fits = text.starts_with(|first| matches!(first, '0'..='7'));
                let id = ulid::Ulid::from_string(text).ok().filter(|_| fits);
                id.map(|id| Self(id.0)).ok_or(InvalidId)
            }
        }
    )+};
}

ids! {
    /// Names a group.
    GroupId,
    /// Names an endpoint.
    EndpointId,
    /// Names a stored provider credential.
    SecretId,
    /// Names a webhook.
    WebhookId,
    /// Names a delivery that was given up.
    DeadLetterId,
}

/// What a slug's counters hang on: it stays when the slug is renamed. Given out in order, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SlugId(pub u64);
