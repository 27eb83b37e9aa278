//! The services: everything that Tollgate does between HTTP and the layers below (store, journal, upstream, crypto).
//!
//! [`Gateway`] holds the parts of a running gateway. The listeners call the functions of these parts.
//!
//! * The main paths: a customer's request (`request`), an operator's change (`changes`), a query (`reading`), the
//!   deliveries to webhooks (`webhooks`) and the mails about alerts (`mail`).
//! * The choice of a target, its capacity and the queue in front of it (`dispatch`).
//! * The state that they share: configuration, clocks, catalog and journal (`core`), the journal and the store for
//!   readers (`storage`), everything that operators have configured (`catalog`), and counters (`counts`).
//! * Protection: callers' keys and sessions (`access`), the listeners' certificates (`certificates`), bounds on memory and
//!   open files (`capacity`), the check of an endpoint before customers use it (`check`).
//! * Operation: the start from a data directory (`start`), background work (`upkeep`), the state and the notices for
//!   operators (`status`), metrics for Prometheus (`metrics`), backup, restore and verification (`backup`).
//! * `error` has the errors of operators' requests. Those of customers' requests are in `request`.

pub mod access;
pub mod backup;
pub mod capacity;
pub mod catalog;
pub mod certificates;
pub mod changes;
pub mod check;
pub mod clock;
pub mod core;
pub mod counts;
pub mod dispatch;
pub mod error;
mod gateway;
pub mod mail;
pub mod metrics;
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
