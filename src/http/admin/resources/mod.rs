//! The resources of the admin API. A module has the JSON shapes and the handlers of one resource, or a part that other
//! modules use: `audited`, `certificates`, `event_rows`, `gaps`, `models`, `pricing` and `targets`.

pub(super) mod activity;
pub(super) mod alerts;
pub(super) mod audit;
pub(super) mod audited;
pub(super) mod backup;
mod budgets;
mod certificates;
pub(super) mod check;
pub(super) mod dead_letters;
pub(super) mod endpoints;
pub(super) mod event_rows;
pub(super) mod events;
pub(super) mod gaps;
pub(super) mod group_tree;
pub(super) mod groups;
pub(super) mod health;
pub(super) mod keys;
pub(super) mod limits;
pub(super) mod live;
pub(super) mod metrics;
pub(super) mod models;
pub(crate) mod normal;
pub(super) mod operators;
pub(super) mod playground;
pub(super) mod pricing;
pub(super) mod reports;
pub(super) mod search;
pub(super) mod secrets;
pub(super) mod session;
pub(super) mod signing_key;
pub(super) mod simulation;
pub(super) mod status;
pub(super) mod targets;
pub(super) mod webhooks;
