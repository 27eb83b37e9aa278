//! Work in the background: folding the journal into the store, closing days, snapshots, retention and activity.

pub mod activity;
pub(super) mod handle;
mod housekeeping;
pub(super) mod worker;
