//! The services: everything that Tollgate does between HTTP and the layers below (store, journal, upstream, crypto).
//!
//! [`Gateway`] holds the state that all requests share. The two main paths are an operator's change (`changes`) and a
//! customer's request (`request`); each reads from top to bottom in its room.

pub mod access;
pub mod backup;
pub mod capacity;
pub mod catalog;
pub mod changes;
pub mod check;
pub mod clock;
pub mod core;
pub mod counts;
pub mod error;
mod gateway;
mod one_line;
pub mod reading;
pub mod request;
pub mod start;
pub mod status;
pub mod storage;
pub mod upkeep;
pub mod webhooks;

pub use self::{
    gateway::Gateway,
    start::boot::{BootError, Booted, boot, ensure_operator},
};
