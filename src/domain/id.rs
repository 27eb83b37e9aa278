//! Identifiers. Each kind is its own type, so a group's id cannot be passed where an endpoint's is expected.
//!
//! The id of a group, endpoint, secret, webhook or alert is a ULID: unique without coordination and ordered by
//! creation, so a list sorted by id is in order of creation. It takes 16 bytes in records and 26 characters in JSON.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The text is not an id: 26 characters of Crockford's base 32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidId;

impl fmt::Display for InvalidId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a valid id: expected 26 characters")
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
                // 26 characters hold 130 bits. A first character above 7 would overflow into the text of another id.
                let fits = text.starts_with(|first| matches!(first, '0'..='7'));
                let id = ulid::Ulid::from_string(text).ok().filter(|_| fits);
                id.map(|id| Self(id.0)).ok_or(InvalidId)
            }
        }
    )+};
}

ids! {
    /// The id of a group.
    GroupId,
    /// The id of an endpoint.
    EndpointId,
    /// The id of a stored provider credential.
    SecretId,
    /// The id of a webhook.
    WebhookId,
    /// The id of an alert.
    AlertId,
    /// The id of a dead letter.
    DeadLetterId,
}

/// The key of a slug's counters. It stays the same when the slug is renamed. Assigned in order, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SlugId(pub u64);
