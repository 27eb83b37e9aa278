//! The keys and sessions of callers, and the log of refused keys.

pub mod auth;
pub mod refused;
