//! Metrics for Prometheus: counters, histograms and gauges, and the text of `/metrics`.
//!
//! * Each worker thread counts in its own cells, so a request takes no lock that another thread takes, and allocates
//!   nothing. A cell is allocated once, when its first request comes. A scrape reads the cells of all workers and adds
//!   them up (`figures`).
//! * A cell is written by one thread only ([`WorkerMetrics`] cannot leave its thread), so a count is a load and a store
//!   of an atomic without a locked instruction. No count is lost.
//! * Labels come from the configuration and from closed lists, never from a customer's request. Only a scrape frees
//!   cells: those of endpoints and groups that were removed, and, if there are many, those of groups without tokens that
//!   day. So memory is bounded by the endpoints and groups that have existed since the latest scrape, or since the start
//!   if there was none.
//! * `families` has the name, type, labels and description of every metric. `text` writes only these.

mod cells;
mod families;
mod figures;
mod groups;
mod model;
mod process;
mod registry;
mod request;
mod scrape;
mod text;
mod worker;

pub use self::{
    model::Outcome,
    registry::Metrics,
    request::{Overhead, RequestMetrics},
    scrape::scrape,
    text::Format,
    worker::{Billed, ModelMetrics, WorkerMetrics},
};
