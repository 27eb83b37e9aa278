//! Start-up: makes a gateway from a data directory (open, replay, refill).
//!
//! The catalog and the ledgers are built from the store after it has caught up with the log, so a start after `kill -9`
//! works like a start after a clean stop.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use tracing::{error, info, warn};

use super::installation::{Installation, InstallationError, write_private};
use crate::{
    config::{self, Config},
    crypto::{hash::KeyHasher, seal::Sealer, secret::Secret},
    domain::{
        estimate::{Estimates, Sample},
        id::{GroupId, SlugId},
        key::{OperatorKey, OperatorType},
        ledger::{Moment, Past},
        money::Currency,
        record::{Actor, Record},
        settled::Settled,
        sums::{Spent, Used},
        usage::UsageSource,
    },
    journal::{self, Durability, Journal, OpenReport, codec},
    service::{
        access::auth::Access,
        capacity::bodies::Bodies,
        catalog::{Catalog, OperatorEntry},
        certificates::Certificates,
        changes::{change::Changes, operators::ENV_PREFIX},
        clock::Clock,
        core::Core,
        gateway::Gateway,
        mail::Mail,
        metrics::Metrics,
        request::{admission::Metering, inflight::LastStop},
        status::{About, Notice, notice},
        storage::Storage,
        upkeep::{
            activity::Recorder,
            handle::Handle,
            worker::{Upkeep, Work},
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
    /// A listener's certificate cannot be used; the setting, the file and its fault.
    Certificate(String),
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
            Self::Certificate(error) | Self::Other(error) => f.write_str(error),
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
        let is_written = self.gateway.core.journal.close(LAST_WRITE);
        if !is_written {
            error!("the journal could not be written completely");
        }
        // If the journal could not be written, the file of requests in flight is not marked as closed.
        if self.upkeep.stop(LAST_WRITE) && is_written {
            self.gateway.metering.in_flight.close();
        }
        is_written
    }
}

/// Opens the data directory and builds the gateway from it.
pub fn boot(config: Config, admin_key: Option<Secret>) -> Result<Booted, BootError> {
    let clock = Arc::new(Clock::start());
    // First, since it changes nothing.
    let certificates = Certificates::load(&config, clock.now()).map_err(BootError::Certificate)?;
    let installation = Installation::open(&config.data_dir).map_err(BootError::Installation)?;
    let hasher = KeyHasher::new(installation.hash_key);
    let sealer = Arc::new(Sealer::new(installation.seal_key).map_err(|error| BootError::Other(error.to_string()))?);
    let env_operator = admin_key.map(|key| env_operator(&hasher, &key, clock.now().unix_ms)).transpose()?;

    let (journal, report) = open_journal(&config)?;
    let now = clock.now().not_before(journal.last_ms());
    let Opened { store, mut rows, used, spent, replayed, findings: healed } = open_store(&config, &journal)?;
    let progress = std::mem::take(&mut rows.webhooks);
    let moment = Moment { now, windows: config.time_zone.windows(now.unix_ms) };
    let catalog = load_catalog(rows, &sealer, &clock, moment);
    let last_stop =
        LastStop::read(&config.data_dir, &journal, |slug| catalog.slug_name(slug)).map_err(journal_error)?;
    let findings = findings(report.cut_bytes, healed, &last_stop);

    load_sums(&catalog, used, spent, moment);
    let mut estimates = Estimates::default();
    refill(&journal, &catalog, &mut estimates, moment).map_err(journal_error)?;
    info!(
        groups = catalog.groups().len(),
        endpoints = catalog.endpoints().len(),
        records = journal.durable_seq(),
        replayed,
        "opened"
    );

    let (bodies, admin_bodies) = (Bodies::new(config.max_bodies), Bodies::new(MAX_ADMIN_BODIES));
    let (handle, woken) = Handle::new();
    let core = Arc::new(Core::new(config, clock, catalog, journal));
    let access = Arc::new(Access::new(core.clone(), hasher, env_operator));
    let storage = Arc::new(Storage::new(core.clone(), store, handle));
    let webhooks = Arc::new(Webhooks::new(core.clone(), sealer.clone(), progress));
    let gateway = Arc::new(Gateway {
        metering: Arc::new(Metering::new(core.clone(), estimates)),
        changes: Changes::new(core.clone(), access.clone(), storage.clone(), webhooks.clone(), sealer),
        metrics: Metrics::new(core.config.metrics_groups > 0),
        activity: Arc::new(Recorder::open(core.clone())),
        mail: Mail::open(&storage),
        core,
        access,
        certificates: Arc::new(certificates),
        storage,
        webhooks,
        bodies,
        admin_bodies,
        out_of_files: Arc::default(),
        last_stop,
        findings,
        uncounted: Default::default(),
    });
    let upkeep = Upkeep::start(work_of(&gateway), woken).map_err(|error| BootError::Other(error.to_string()))?;
    Ok(Booted { gateway, upkeep, _lock: installation.lock })
}

fn journal_error(error: journal::Error) -> BootError {
    BootError::Journal(error.to_string())
}

fn open_journal(config: &Config) -> Result<(Journal, OpenReport), BootError> {
    let durability = match config.durability {
        config::Durability::Disk => Durability::Disk,
        config::Durability::Process => Durability::Process,
    };
    Journal::open(&config.data_dir.join("journal"), durability).map_err(journal_error)
}

fn open_store(config: &Config, journal: &Journal) -> Result<Opened, BootError> {
    let failed = |error| BootError::Store(config.data_dir.clone(), error);
    store::open(&config.data_dir, journal, Some(&config.time_zone)).map_err(failed)
}

/// Logs and returns the notices for the operator about the previous run and its data.
fn findings(cut_bytes: u64, healed: Vec<String>, last_stop: &LastStop) -> Vec<Notice> {
    let cut = || format!("An unfinished write of {cut_bytes} bytes at the end of the journal was cut off.");
    let mut findings = Vec::from_iter((cut_bytes > 0).then(|| About::Journal.notice(cut())));
    findings.extend(healed.into_iter().map(|finding| About::Store.notice(finding)));
    findings.extend(notice::of_last_stop(last_stop).map(|finding| About::LastStop.notice(finding)));
    findings.iter().for_each(|finding| warn!("{}", finding.message));
    last_stop.log();
    findings
}

/// Loads the sums of calendar windows into the ledgers.
fn load_sums(
    catalog: &Catalog,
    used: Vec<((GroupId, SlugId), Used)>,
    spent: Vec<((GroupId, Currency), Spent)>,
    moment: Moment,
) {
    for ((group, slug), used) in used {
        if let Some(node) = catalog.groups().get(&group) {
            node.tree.ledger.lock().load_used(moment, group, slug, &used);
        }
    }
    for ((group, currency), spent) in spent {
        if let Some(node) = catalog.groups().get(&group) {
            node.tree.ledger.lock().load_spent(moment, group, currency, &spent);
        }
    }
}

fn work_of(gateway: &Gateway) -> Work {
    let Gateway { storage, webhooks, activity, .. } = gateway;
    Work { storage: storage.clone(), webhooks: webhooks.clone(), activity: activity.clone() }
}

/// Whether a text can be the value of `TOLLGATE_ADMIN_KEY`.
pub(super) fn is_admin_key(text: &str) -> bool {
    matches!(text.len(), 16..=256) && text.bytes().all(|b| b.is_ascii_graphic())
}

fn env_operator(hasher: &KeyHasher, key: &Secret, now_ms: u64) -> Result<Arc<OperatorEntry>, BootError> {
    let text = key.expose();
    if !is_admin_key(text) {
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

fn load_catalog(rows: Rows, sealer: &Arc<Sealer>, clock: &Arc<Clock>, moment: Moment) -> Catalog {
    let mut catalog = Catalog::new(sealer.clone(), clock.clone());
    rows.rows.into_iter().for_each(|row| catalog.apply(row, moment));
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
fn refill(
    journal: &Journal,
    catalog: &Catalog,
    estimates: &mut Estimates,
    moment: Moment,
) -> Result<(), journal::Error> {
    let now = moment.now;
    let existing = |groups: &[GroupId]| groups.iter().find_map(|group| catalog.groups().get(group));
    let mut windows = journal.reader_from_time(now.unix_ms.saturating_sub(LONGEST_WINDOW_MS));
    while let Some(frame) = windows.next()? {
        let Ok(Record::Settled(settled)) = codec::decode(frame.body) else { continue };
        // The event's own group may have been deleted; its use still counts for the ancestors that exist.
        let Some(node) = existing(&settled.counted_for) else { continue };
        let settled_ago = Duration::from_millis(now.unix_ms.saturating_sub(frame.at_ms));
        let admitted_ago = settled_ago + Duration::from_millis(settled.duration_ms);
        let past = Past { admitted_ago, settled_ago, usage: settled.usage };
        node.tree.ledger.lock().refill(moment, &settled.counted_for, settled.slug, &past);
    }
    let mut latest = journal.reader(journal.durable_seq().saturating_sub(LEARN_FROM));
    while let Some(frame) = latest.next()? {
        let Ok(Record::Settled(settled)) = codec::decode(frame.body) else { continue };
        let own = settled.counted_for.first().and_then(|group| catalog.groups().get(group));
        if let (Some(node), Some(sample)) = (own, sample(&settled)) {
            node.tree.ledger.lock().learn(moment, node.id, &sample);
            estimates.learn(settled.counted_for.last().copied().unwrap_or(node.id), &sample);
        }
    }
    Ok(())
}

fn sample(settled: &Settled<'_>) -> Option<Sample> {
    let Settled { slug, route, prompt_bytes, usage, choices, .. } = *settled;
    (settled.usage_source == UsageSource::Upstream).then_some(Sample { slug, route, prompt_bytes, n: choices, usage })
}

/// Ensures that the installation has a MANAGE_ALL key. If there is none, makes one and writes it to `admin.key`.
/// Returns the file's path and the new key.
pub async fn ensure_operator(gateway: &Gateway) -> Result<Option<(PathBuf, Secret)>, String> {
    let Gateway { core, access, changes, .. } = gateway;
    let has_manager = {
        let catalog = core.catalog.load();
        catalog.operators().values().any(|entry| entry.key.operator_type == OperatorType::ManageAll)
    };
    if has_manager || access.env_operator().is_some() {
        return Ok(None);
    }
    let name = Some("made at the first start".to_owned());
    let minted = changes.prepare_operator(OperatorType::ManageAll, name).map_err(|error| format!("{error:?}"))?;
    // The file is written first. If only the journal had the key, no one could ever use it and no other key would
    // be made.
    let path = core.config.data_dir.join("admin.key");
    write_private(&path, format!("{}\n", minted.key.expose()).as_bytes())
        .map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
    changes.add_operator(Actor::system(), minted.row).await.map_err(|error| format!("{error:?}"))?;
    Ok(Some((path, minted.key)))
}
