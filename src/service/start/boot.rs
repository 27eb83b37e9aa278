//! Start-up: makes a gateway from a data directory (open, replay, refill).
//!
//! The catalog and the ledgers are built from the store after it has caught up with the log, so a start after `kill -9`
//! works like a start after a clean stop.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::installation::{Installation, InstallationError, write_private};
use crate::{
    config::{self, Config},
    crypto::{hash::KeyHasher, seal::Sealer, secret::Secret},
    domain::{
        day::{Day, Now},
        estimate::{Estimates, Sample},
        id::GroupId,
        key::{OperatorKey, OperatorType},
        ledger::Past,
        record::{Actor, Record, Settled},
        usage::UsageSource,
    },
    journal::{self, Durability, Journal, codec},
    service::{
        access::auth::Auth,
        capacity::{bodies::Bodies, out_of_files::OutOfFiles},
        catalog::{Catalog, OperatorEntry},
        changes::operators::ENV_PREFIX,
        clock::Clock,
        gateway::Gateway,
        request::inflight::{InFlight, LastStop},
        status::{About, Counts},
        upkeep::{
            activity::Recorder,
            worker::{Handle, Upkeep},
        },
        webhooks::Webhooks,
    },
    store::{self, FoldError, Opened, Rows},
};

/// The memory of all admin request bodies together, in bytes.
const MAX_ADMIN_BODIES: u64 = 64 << 20;

/// The longest wait for the disk at shutdown.
const LAST_WRITE: Duration = Duration::from_secs(10);

/// The length of the longest rolling window.
const LONGEST_WINDOW_MS: u64 = 60_000;

/// The number of latest records from which estimates are learned again at the start, many times more than their means
/// take into account.
const LEARN_FROM: u64 = 50_000;

/// Why Tollgate cannot start. The message says what is wrong and what to do.
#[derive(Debug)]
pub enum BootError {
    /// The data directory cannot be used.
    Installation(InstallationError),
    /// The journal cannot be opened.
    Journal(String),
    /// The store in this data directory cannot be opened or rebuilt.
    Store(PathBuf, FoldError),
    /// `TOLLGATE_ADMIN_KEY` is not a valid key.
    AdminKey,
    /// Any other error.
    Other(String),
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Installation(error) => error.fmt(f),
            Self::Journal(error) => write!(f, "the journal cannot be opened: {error}"),
            Self::Store(data_dir, error) => write!(f, "data_dir: {}: {error}", data_dir.display()),
            Self::AdminKey => f.write_str("TOLLGATE_ADMIN_KEY: must be 16 to 256 visible ASCII characters"),
            Self::Other(error) => f.write_str(error),
        }
    }
}

impl std::error::Error for BootError {}

/// A gateway that can serve.
pub struct Booted {
    /// The gateway.
    pub gateway: Arc<Gateway>,
    upkeep: Upkeep,
    _lock: std::fs::File,
}

impl Booted {
    /// Makes everything durable and unlocks the data directory. All requests must have ended. Returns false if the
    /// journal could not be written completely. No customer has received the end of an answer whose event was lost by
    /// that.
    pub fn close(self) -> bool {
        let is_written = self.gateway.journal.close(LAST_WRITE);
        if !is_written {
            error!("the journal could not be written completely");
        }
        // If the journal could not be written, the disk is not written to again.
        if self.upkeep.stop(LAST_WRITE) && is_written {
            self.gateway.in_flight.close();
        }
        is_written
    }
}

/// Opens the data directory and builds the gateway from it.
pub fn boot(config: Config, admin_key: Option<Secret>) -> Result<Booted, BootError> {
    let clock = Clock::start();
    let installation = Installation::open(&config.data_dir).map_err(BootError::Installation)?;
    let hasher = KeyHasher::new(installation.hash_key);
    let sealer = Arc::new(Sealer::new(installation.seal_key).map_err(|error| BootError::Other(error.to_string()))?);
    let env_operator = admin_key.map(|key| env_operator(&hasher, &key, clock.now().unix_ms)).transpose()?;

    let durability = match config.durability {
        config::Durability::Disk => Durability::Disk,
        config::Durability::Process => Durability::Process,
    };
    let (journal, report) = Journal::open(&config.data_dir.join("journal"), durability)
        .map_err(|error| BootError::Journal(error.to_string()))?;
    let cut = format!("An unfinished write of {} bytes at the end of the journal was cut off.", report.cut_bytes);
    let mut findings = Vec::from_iter((report.cut_bytes > 0).then(|| About::Journal.notice(cut)));
    let now = clock.now().not_before(journal.last_ms());
    // Three days, so that the current day is still found after the clock is set back.
    let first = Day(now.day().0.saturating_sub(2));
    let opened = store::open(&config.data_dir, &journal, first)
        .map_err(|error| BootError::Store(config.data_dir.clone(), error))?;
    let Opened { store, rows, counters, replayed, findings: healed } = opened;
    findings.extend(healed.into_iter().map(|finding| About::Store.notice(finding)));
    let webhooks = Webhooks::new(rows.webhooks.clone());
    let catalog = load_catalog(rows, &sealer, now);
    let last_stop = LastStop::read(&config.data_dir, &journal, |slug| catalog.slug_name(slug))
        .map_err(|error| BootError::Journal(error.to_string()))?;
    findings.extend(last_stop.finding().map(|finding| About::LastStop.notice(finding)));
    findings.iter().for_each(|finding| warn!("{}", finding.message));
    last_stop.log();

    for ((day, group, slug), counter) in counters {
        if let Some(node) = catalog.groups().get(&group) {
            node.tree.ledger.lock().load_day(now, group, slug, day, counter.requests, counter.tokens);
        }
    }
    let mut estimates = Estimates::default();
    refill(&journal, &catalog, &mut estimates, now).map_err(|error| BootError::Journal(error.to_string()))?;
    info!(
        groups = catalog.groups().len(),
        endpoints = catalog.endpoints().len(),
        records = journal.durable_seq(),
        replayed,
        "opened"
    );

    let (handle, woken) = Handle::new();
    let activity = Recorder::open(&config.data_dir, journal.last_seq() == 0);
    let gateway = Arc::new(Gateway {
        bodies: Bodies::new(config.max_bodies),
        admin_bodies: Bodies::new(MAX_ADMIN_BODIES),
        unfinished: Arc::default(),
        clock,
        catalog: ArcSwap::from_pointee(catalog),
        journal,
        store: Arc::new(store),
        estimates: Mutex::new(estimates),
        auth: Auth::default(),
        counts: Counts::default(),
        out_of_files: OutOfFiles::default(),
        activity,
        in_flight: InFlight::default(),
        last_stop,
        listeners: OnceLock::new(),
        findings,
        hasher,
        sealer,
        env_operator,
        changes: Arc::default(),
        webhooks,
        upkeep: handle,
        stopping: watch::Sender::new(false),
        fold_error: Mutex::default(),
        housekeeping_error: Mutex::default(),
        config,
    });
    let upkeep = Upkeep::start(&gateway, woken).map_err(|error| BootError::Other(error.to_string()))?;
    Ok(Booted { gateway, upkeep, _lock: installation.lock })
}

fn env_operator(hasher: &KeyHasher, key: &Secret, now_ms: u64) -> Result<Arc<OperatorEntry>, BootError> {
    let text = key.expose();
    if !matches!(text.len(), 16..=256) || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(BootError::AdminKey);
    }
    let key = OperatorKey {
        prefix: ENV_PREFIX.to_owned(),
        name: Some("TOLLGATE_ADMIN_KEY".to_owned()),
        operator_type: OperatorType::ManageAll,
        hash: hasher.fingerprint(text).to_stored(),
        created_at_ms: now_ms,
    };
    Ok(Arc::new(OperatorEntry { key, last_used_ms: Arc::default() }))
}

fn load_catalog(rows: Rows, sealer: &Arc<Sealer>, now: Now) -> Catalog {
    let mut catalog = Catalog::new(sealer.clone());
    rows.rows.into_iter().for_each(|row| catalog.apply(row, now));
    for (prefix, at_ms) in rows.keys_used {
        if let Some(entry) = catalog.key_by_prefix(&prefix) {
            entry.last_used_ms.touch(at_ms);
        }
    }
    for (prefix, at_ms) in rows.operators_used {
        if let Some(entry) = catalog.operators().get(&prefix) {
            entry.last_used_ms.touch(at_ms);
        }
    }
    catalog
}

/// Refills the rolling windows from the last minute of events, and the estimates from the latest [`LEARN_FROM`]
/// records.
fn refill(journal: &Journal, catalog: &Catalog, estimates: &mut Estimates, now: Now) -> Result<(), journal::Error> {
    let existing = |groups: &[GroupId]| groups.iter().find_map(|group| catalog.groups().get(group));
    let mut windows = journal.reader_from_time(now.unix_ms.saturating_sub(LONGEST_WINDOW_MS));
    while let Some(frame) = windows.next()? {
        let Ok(Record::Settled(settled)) = codec::decode(frame.body) else { continue };
        // The event's own group may have been deleted; its use still counts for the ancestors that exist.
        let Some(node) = existing(&settled.counted_for) else { continue };
        let settled_ago = Duration::from_millis(now.unix_ms.saturating_sub(frame.at_ms));
        let admitted_ago = settled_ago + Duration::from_millis(settled.duration_ms);
        let past = Past { admitted_ago, settled_ago, usage: settled.usage };
        node.tree.ledger.lock().refill(now, &settled.counted_for, settled.slug, &past);
    }
    let mut latest = journal.reader(journal.durable_seq().saturating_sub(LEARN_FROM));
    while let Some(frame) = latest.next()? {
        let Ok(Record::Settled(settled)) = codec::decode(frame.body) else { continue };
        let own = settled.counted_for.first().and_then(|group| catalog.groups().get(group));
        if let (Some(node), Some(sample)) = (own, sample(&settled)) {
            node.tree.ledger.lock().learn(now, node.id, &sample);
            estimates.learn(settled.counted_for.last().copied().unwrap_or(node.id), &sample);
        }
    }
    Ok(())
}

fn sample(settled: &Settled<'_>) -> Option<Sample> {
    let Settled { slug, route, prompt_bytes, usage, choices, .. } = *settled;
    (settled.usage_source == UsageSource::Upstream).then_some(Sample { slug, route, prompt_bytes, n: choices, usage })
}

impl Gateway {
    /// Ensures that the installation has a MANAGE_ALL key. If there is none, makes one and writes it to `admin.key`.
    /// Returns the file's path and the new key.
    pub async fn ensure_operator(self: &Arc<Self>) -> Result<Option<(PathBuf, Secret)>, String> {
        let has_manager = {
            let catalog = self.catalog.load();
            catalog.operators().values().any(|entry| entry.key.operator_type == OperatorType::ManageAll)
        };
        if has_manager || self.env_operator.is_some() {
            return Ok(None);
        }
        let name = Some("made at the first start".to_owned());
        let minted = self.prepare_operator(OperatorType::ManageAll, name).map_err(|error| format!("{error:?}"))?;
        // The file is written first. If only the journal had the key, no one could ever use it and no other key would
        // be made.
        let path = self.config.data_dir.join("admin.key");
        write_private(&path, format!("{}\n", minted.key.expose()).as_bytes())
            .map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
        self.add_operator(Actor::system(), minted.row).await.map_err(|error| format!("{error:?}"))?;
        Ok(Some((path, minted.key)))
    }
}
