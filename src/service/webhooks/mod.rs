//! Webhooks: the state of each (`registry`, `state`), and the deliveries. Operators' changes to webhooks are in
//! `changes::webhooks`, and the list of dead letters is in `reading::dead_letters`.
//!
//! There is no queue. Each enabled webhook follows the journal from its own cursor (`worker`), so it delivers exactly
//! the billed events, and a backlog costs no memory. Cursor moves, dead letters and requests to redeliver them are
//! records in the same journal. One thread makes the deliveries of all webhooks (`deliveries`); a slow receiver delays
//! only its own webhook. A delivery has a content (`batch`) and one or more attempts (`attempt`), which are listed for
//! operators (`history`). A test delivery (`trial`) is one attempt that is not recorded in the journal.

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
