//! The operators' changes: each checks its rules, writes a record and applies it to the catalog.

pub(super) mod change;
pub mod endpoints;
pub mod groups;
pub mod keys;
pub mod operators;
pub mod secrets;
pub mod signing_key;
pub mod webhooks;
