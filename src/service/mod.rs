//! What Tollgate does, above what it is made of and below HTTP.
//!
//! [`Gateway`] is everything that requests share. Two stories run through it: an operator's change (`change`) and a
//! customer's request (`inference`); each reads top to bottom in its file.

pub mod activity;
pub mod audit;
pub mod auth;
pub mod backup;
pub mod bodies;
mod boot;
pub mod catalog;
mod change;
pub mod check;
pub mod clock;
pub mod damage;
pub mod demo;
pub mod endpoints;
pub mod error;
mod event;
pub mod events;
pub mod groups;
mod housekeeping;
pub mod inference;
pub mod inflight;
mod installation;
pub mod keys;
pub mod limits;
pub mod meter;
pub mod metering;
mod one_line;
pub mod operators;
mod out_of_files;
pub mod refused;
pub mod reports;
pub mod search;
pub mod secrets;
pub mod signing_key;
pub mod spreadsheet;
pub mod status;
pub mod unfinished;
mod upkeep;
pub mod verify;
pub mod webhooks;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, OnceLock},
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::watch;

pub use self::boot::{BootError, Booted, boot};
use self::{
    auth::Auth,
    bodies::Bodies,
    catalog::{Catalog, OperatorEntry},
    clock::Clock,
    inflight::{InFlight, LastStop},
    out_of_files::OutOfFiles,
    status::{Counts, Notice},
    unfinished::Unfinished,
};
use crate::{
    config::Config,
    crypto::{hash::KeyHasher, seal::Sealer},
    domain::{day::Now, estimate::Estimates, ledger::TokenAdmission},
    journal::Journal,
    store::Store,
};

/// Everything that requests share.
pub struct Gateway {
    /// As it was started.
    pub config: Config,
    /// Both clocks.
    pub clock: Clock,
    /// What operators have written, as of now.
    pub catalog: ArcSwap<Catalog>,
    /// Every durable fact.
    pub journal: Journal,
    /// What was computed from it.
    pub store: Arc<Store>,
    /// What is known about slugs.
    pub estimates: Mutex<Estimates>,
    /// Memory for request bodies.
    pub bodies: Bodies,
    /// The same for the admin listener, whose bodies must not take the customers' room.
    pub admin_bodies: Bodies,
    /// Memory for events of streams that have not ended.
    pub unfinished: Arc<Unfinished>,
    /// Sessions and refused keys.
    pub auth: Auth,
    /// What happened since the start, for the status page.
    pub counts: Counts,
    out_of_files: OutOfFiles,
    activity: activity::Recorder,
    /// What was admitted and has not ended.
    pub in_flight: InFlight,
    /// What had not ended when the last run did.
    pub last_stop: LastStop,
    listeners: OnceLock<Arc<[SocketAddr]>>,
    /// What was found at the start that an operator should know.
    findings: Vec<Notice>,
    hasher: KeyHasher,
    sealer: Arc<Sealer>,
    env_operator: Option<Arc<OperatorEntry>>,
    /// Why the store does not follow the journal, while it does not.
    fold_error: Mutex<Option<String>>,
    /// Why days are not closed, snapshots not written or old events not removed, while that is so.
    housekeeping_error: Mutex<Option<String>>,
    changes: Arc<tokio::sync::Mutex<()>>,
    webhooks: webhooks::Webhooks,
    upkeep: upkeep::Handle,
    /// Whether the process has been asked to stop.
    stopping: watch::Sender<bool>,
}

impl Gateway {
    /// Unix ms, as the wall clock has it.
    pub fn now_ms(&self) -> u64 {
        self.clock.now().unix_ms
    }

    /// Both clocks, as limits see them. Days follow the records' time, which never steps back: were an admission to ask
    /// about another day than its settlement is recorded on, a clock that was set back would lift every DAY limit.
    pub fn now(&self) -> Now {
        self.clock.now().not_before(self.journal.last_ms())
    }

    /// Tells where we listen: no upstream may be there. The ports open after the data directory.
    pub fn set_listeners(&self, listeners: [SocketAddr; 2]) {
        let _ = self.listeners.set(listeners.into());
    }

    fn listeners(&self) -> Arc<[SocketAddr]> {
        self.listeners.get().cloned().unwrap_or_default()
    }

    /// The address that customers call, as people see it: without a slash at its end and without `/v1`.
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

    /// The process has been asked to stop: what would go on for as long as somebody looks ends.
    pub fn begin_stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Waits until the process is asked to stop.
    pub async fn asked_to_stop(&self) {
        let mut stopping = self.stopping.subscribe();
        // The sender is there as long as we are.
        let _ = stopping.wait_for(|is_stopping| *is_stopping).await;
    }

    fn token_admission(&self) -> TokenAdmission {
        match self.config.token_admission {
            crate::config::TokenAdmission::Adaptive => TokenAdmission::Adaptive,
            crate::config::TokenAdmission::Strict => {
                TokenAdmission::Strict { strict_output: self.config.strict_output }
            }
        }
    }
}
