//! The product's rules as functions of values and `now`: no clock, no I/O, no HTTP. This module depends on no layer
//! above it.

pub mod action;
pub mod activity;
pub mod alert;
pub mod budget;
pub mod calendar;
pub mod circuit;
pub mod day;
pub mod delivery;
pub mod durations;
pub mod endpoint;
pub mod estimate;
pub mod fair_queue;
pub mod group;
mod hash;
pub mod id;
pub mod key;
pub mod ledger;
pub mod limit;
pub mod money;
pub mod pricing;
pub mod record;
pub mod registered;
pub mod rollup;
pub mod route;
pub mod routing;
pub mod scheduler;
pub mod settled;
pub mod slug;
pub mod sums;
#[cfg(test)]
pub(crate) mod testing;
pub mod time;
pub mod trace_context;
pub mod units;
pub mod usage;
pub mod webhook;
pub mod window;
