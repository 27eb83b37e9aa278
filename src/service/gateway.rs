//! The state that all requests share.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, OnceLock},
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{
    access::auth::Auth,
    capacity::{bodies::Bodies, out_of_files::OutOfFiles, unfinished::Unfinished},
    catalog::{Catalog, OperatorEntry},
    clock::Clock,
    request::inflight::{InFlight, LastStop},
    status::{Counts, Notice},
    upkeep::{activity::Recorder, worker::Handle},
    webhooks::Webhooks,
};
use crate::{
    config::Config,
    crypto::{hash::KeyHasher, seal::Sealer},
    domain::{day::Now, estimate::Estimates, ledger::TokenAdmission},
    journal::Journal,
    store::Store,
};

/// The state that all requests share.
pub struct Gateway {
    /// The configuration that the process was started with.
    pub config: Config,
    /// The wall clock and the monotonic clock.
    pub clock: Clock,
    /// The current snapshot of what operators have configured.
    pub catalog: ArcSwap<Catalog>,
    /// The log of every durable fact.
    pub journal: Journal,
    /// The tables computed from the journal.
    pub store: Arc<Store>,
    /// Learned estimates of prompt and output sizes, by slug.
    pub estimates: Mutex<Estimates>,
    /// The memory budget of inference request bodies.
    pub bodies: Bodies,
    /// The memory budget of admin request bodies, separate so that they cannot use up the customers' budget.
    pub admin_bodies: Bodies,
    /// The memory budget of incomplete server-sent events in running streams.
    pub unfinished: Arc<Unfinished>,
    /// Operator sessions and the count of wrong keys.
    pub auth: Auth,
    /// Counts since the start, for the status page.
    pub counts: Counts,
    pub(super) out_of_files: OutOfFiles,
    pub(super) activity: Recorder,
    /// The requests that were admitted and have not ended.
    pub in_flight: InFlight,
    /// The requests that were in flight when the previous run ended.
    pub last_stop: LastStop,
    pub(super) listeners: OnceLock<Arc<[SocketAddr]>>,
    /// Notices for the operator that were raised at the start.
    pub(super) findings: Vec<Notice>,
    pub(super) hasher: KeyHasher,
    pub(super) sealer: Arc<Sealer>,
    pub(super) env_operator: Option<Arc<OperatorEntry>>,
    /// Why the store has stopped following the journal; `None` while it follows.
    pub(super) fold_error: Mutex<Option<String>>,
    /// Why days cannot be closed, snapshots written or old events removed; `None` while they can.
    pub(super) housekeeping_error: Mutex<Option<String>>,
    pub(super) changes: Arc<tokio::sync::Mutex<()>>,
    pub(super) webhooks: Webhooks,
    pub(super) upkeep: Handle,
    /// Whether the process has been asked to stop.
    pub(super) stopping: watch::Sender<bool>,
}

impl Gateway {
    /// The wall clock's time in Unix ms.
    pub fn now_ms(&self) -> u64 {
        self.clock.now().unix_ms
    }

    /// Both clocks, for limits. The wall time is never earlier than the last record's, so it does not step back.
    /// Otherwise, after the clock was set back, admissions would check an earlier day than the one that settlements are
    /// recorded on, and DAY limits would have no effect.
    pub fn now(&self) -> Now {
        self.clock.now().not_before(self.journal.last_ms())
    }

    /// Sets our listening addresses, which no upstream may use. Separate from the constructor because the ports open
    /// after the data directory.
    pub fn set_listeners(&self, listeners: [SocketAddr; 2]) {
        let _ = self.listeners.set(listeners.into());
    }

    pub(super) fn listeners(&self) -> Arc<[SocketAddr]> {
        self.listeners.get().cloned().unwrap_or_default()
    }

    /// The URL that customers call, for display: without a trailing slash and without `/v1`.
    pub fn inference_url(&self) -> String {
        if let Some(url) = &self.config.public_url {
            let url = url.as_str().trim_end_matches('/');
            return url.strip_suffix("/v1").unwrap_or(url).trim_end_matches('/').to_owned();
        }
        let mut address = self.listeners().first().copied().unwrap_or(self.config.listen);
        if address.ip().is_unspecified() {
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        format!("http://{address}")
    }

    /// Signals that the process is stopping, which ends responses that would otherwise stay open while a client
    /// watches.
    pub fn start_drain(&self) {
        self.stopping.send_replace(true);
    }

    /// Waits until the process is asked to stop.
    pub async fn drain_started(&self) {
        let mut stopping = self.stopping.subscribe();
        // The sender lives as long as `self`.
        let _ = stopping.wait_for(|is_stopping| *is_stopping).await;
    }

    pub(super) fn token_admission(&self) -> TokenAdmission {
        match self.config.token_admission {
            crate::config::TokenAdmission::Adaptive => TokenAdmission::Adaptive,
            crate::config::TokenAdmission::Strict => {
                TokenAdmission::Strict { strict_output: self.config.strict_output }
            }
        }
    }
}
