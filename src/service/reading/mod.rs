//! Queries: alerts, events, reports, the audit log, dead letters, search and limits.

pub mod alerts;
pub mod audit;
pub mod dead_letters;
pub(super) mod event;
pub mod events;
pub mod limits;
pub mod reports;
pub mod search;
pub mod simulation;
pub mod spreadsheet;
