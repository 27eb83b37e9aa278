//! `tollgate import`: makes a file for `apply` from the configuration of another gateway.
//!
//! The file has only what the gateway can do. Everything else becomes a comment with the reason. Keys are never copied.

mod deployment;
mod fields;
mod litellm;
mod providers;

pub use self::litellm::litellm;
