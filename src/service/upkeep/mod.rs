//! Work in the background: folding the journal into the store, alerts, closing days, snapshots, retention and activity.

pub mod activity;
mod alerts;
pub(super) mod handle;
mod housekeeping;
pub(super) mod worker;
