//! The gateway: the parts that the listeners use.
//!
//! Each part holds only what its functions need, so that a signature shows what a function may use: a function that
//! takes [`Storage`] can read events but cannot admit a request.

use std::sync::Arc;

use super::{
    access::auth::Access,
    capacity::{bodies::Bodies, out_of_files::OutOfFiles},
    certificates::Certificates,
    changes::change::Changes,
    core::Core,
    mail::Mail,
    metrics::Metrics,
    request::{admission::Metering, inflight::LastStop},
    status::{Uncounted, notice::Notice},
    storage::Storage,
    upkeep::activity::Recorder,
    webhooks::Webhooks,
};

/// The parts of the gateway.
pub struct Gateway {
    /// Configuration, time, the catalog and the journal, which the other parts use too.
    pub core: Arc<Core>,
    /// The keys and sessions of callers.
    pub access: Arc<Access>,
    /// The certificates of the listeners.
    pub certificates: Arc<Certificates>,
    /// Admission and settlement of requests.
    pub metering: Arc<Metering>,
    /// The journal and the store, for readers.
    pub storage: Arc<Storage>,
    /// The webhooks with the states of their deliveries.
    pub webhooks: Arc<Webhooks>,
    /// The mails about alerts; `None` if they are off.
    pub mail: Option<Arc<Mail>>,
    /// Operators' changes.
    pub changes: Changes,
    /// The metrics of all workers.
    pub metrics: Metrics,
    /// The recent activity, for the web UI.
    pub activity: Arc<Recorder>,
    /// The memory budget of inference request bodies.
    pub bodies: Bodies,
    /// The memory budget of admin request bodies, separate so that they cannot use up the customers' budget.
    pub admin_bodies: Bodies,
    pub(super) out_of_files: Arc<OutOfFiles>,
    /// The requests that were in flight when the previous run ended.
    pub(super) last_stop: LastStop,
    /// Notices for the operator that were raised at the start.
    pub(super) findings: Vec<Notice>,
    /// The calls that count against no budget.
    pub(super) uncounted: Uncounted,
}
