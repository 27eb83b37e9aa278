//! Webhooks: their state, and the deliveries.
//!
//! There is no queue. Each enabled webhook follows the journal from its own cursor (`worker`), so it delivers exactly
//! the billed events, and a backlog costs no memory. Cursor moves, dead letters and requests to redeliver them are
//! records in the same journal. One thread makes the deliveries of all webhooks (`deliveries`); a slow receiver delays
//! only its own webhook.

mod attempt;
mod batch;
mod deliveries;
mod history;
mod registry;
mod state;
mod stop;
#[cfg(test)]
mod tests;
mod trial;
mod worker;

pub use self::{
    deliveries::Deliveries,
    history::{AttemptOutcome, Attempted, Content},
    registry::{WebhookView, Webhooks},
    state::{DeliveryState, LastError, Phase},
    trial::Tested,
};
