//! The name that replaces the name of the upstream's model.

use bytes::Bytes;

/// The name by which a customer knows the model.
#[derive(Debug, Clone)]
pub(super) struct Slug {
    pub(super) name: String,
    /// The name as a JSON string.
    pub(super) quoted: Bytes,
}
