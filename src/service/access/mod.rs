//! The keys and sessions of callers, and the counts of refused keys.

pub mod auth;
pub mod refused;
