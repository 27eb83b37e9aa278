//! The state that every part of the gateway needs: configuration, clocks, the catalog, the journal, counters and the
//! signal to stop.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::{catalog::Catalog, clock::Clock, counts::Counts};
use crate::{
    config::Config,
    domain::{calendar::CalendarWindows, day::Now, ledger::Moment},
    journal::Journal,
};

/// How long a record may wait before new requests are refused.
const STALL: Duration = Duration::from_secs(5);

/// How long an answer waits for its record to become durable before it is cut.
const DURABLE_TIMEOUT: Duration = Duration::from_secs(30);

/// The state that every part of the gateway needs.
pub struct Core {
    /// The configuration that the process was started with.
    pub config: Config,
    /// The wall clock and the monotonic clock.
    pub clock: Arc<Clock>,
    /// The current snapshot of what operators have configured.
    pub catalog: ArcSwap<Catalog>,
    /// The log of every durable fact.
    pub journal: Journal,
    /// Counts since the start: for the status, the history of activity, and the drain at shutdown.
    pub counts: Counts,
    /// Our listening addresses, set by [`Self::set_listeners`].
    listeners: OnceLock<Arc<[SocketAddr]>>,
    /// The calendar windows of the latest reading of [`Self::moment_at`].
    windows: ArcSwap<CalendarWindows>,
    /// Whether the process has been asked to stop.
    stopping: watch::Sender<bool>,
}

impl Core {
    pub(super) fn new(config: Config, clock: Arc<Clock>, catalog: Catalog, journal: Journal) -> Self {
        let windows = config.time_zone.windows(clock.now().not_before(journal.last_ms()).unix_ms);
        Self {
            config,
            clock,
            catalog: ArcSwap::from_pointee(catalog),
            journal,
            counts: Counts::default(),
            listeners: OnceLock::new(),
            windows: ArcSwap::from_pointee(windows),
            stopping: watch::Sender::new(false),
        }
    }

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

    /// [`Self::now`] with its calendar windows.
    pub fn moment(&self) -> Moment {
        self.moment_at(self.now())
    }

    /// A moment with its calendar windows, which are computed again only when the day has changed: weeks and months
    /// begin and end with days.
    pub fn moment_at(&self, now: Now) -> Moment {
        let known = **self.windows.load();
        if known.day.contains(now.unix_ms) {
            return Moment { now, windows: known };
        }
        let windows = self.config.time_zone.windows(now.unix_ms);
        self.windows.store(Arc::new(windows));
        Moment { now, windows }
    }

    /// A sentence for the operator that says why requests cannot be billed now; `None` if they can.
    pub fn metering_error(&self) -> Option<String> {
        let stalled = self.journal.stalled(Instant::now()).filter(|waited| *waited > STALL);
        if stalled.is_none() && !self.journal.running_out() {
            return None;
        }
        let cause = self.journal.last_error().unwrap_or_else(|| "the disk does not answer".to_owned());
        Some(match stalled {
            Some(waited) => format!("The journal has not been written for {} s: {cause}.", waited.as_secs()),
            None => format!("The journal's next file cannot be created: {cause}."),
        })
    }

    /// Waits for a record to become durable. Returns whether it did so within [`DURABLE_TIMEOUT`].
    pub(super) async fn is_durable_in_time(&self, seq: u64) -> bool {
        let durable = self.journal.durable(seq);
        self.journal.durable_seq() >= seq || tokio::time::timeout(DURABLE_TIMEOUT, durable).await.is_ok()
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
        let scheme = if self.config.tls.is_on() { "https" } else { "http" };
        format!("{scheme}://{address}")
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
}
