//! The state of the gateway for the status page, and the problems that need an operator's attention.

pub(super) mod notice;
mod targets;
mod uncounted;

use self::targets::{queues, targets};
use super::{
    access::refused::RefusedFrom, certificates::CertificateView, counts::Counted, gateway::Gateway, mail::MailView,
    request::inflight::LastStop, webhooks::WebhookView,
};
use crate::{
    journal::{Damage, Stats},
    store::snapshot::{self, Snapshot},
};

pub(super) use self::uncounted::Uncounted;
pub use self::{
    notice::{About, Notice},
    targets::{QueueView, TargetView},
};

/// The most addresses whose refused keys are listed.
const REFUSED_SHOWN: usize = 20;

/// The state of the gateway at one moment.
pub struct Status<'a> {
    /// The time when the process started, in Unix ms.
    pub started_at_ms: u64,
    /// The seconds since then, on the monotonic clock.
    pub uptime_s: u64,
    /// The figures of the journal.
    pub journal: Stats,
    /// Why the journal's last write failed; `None` if it succeeded.
    pub journal_error: Option<String>,
    /// The records that cannot be read, in order.
    pub unreadable: Vec<Damage>,
    /// The state of the store.
    pub store: StoreStatus,
    /// Free and total bytes of the file system under the data directory, if known.
    pub disk: Option<(u64, u64)>,
    /// Counts since the start.
    pub requests: Counted,
    /// The requests that were in flight when the previous run ended.
    pub last_stop: &'a LastStop,
    /// All webhooks, in order of creation.
    pub webhooks: Vec<WebhookView>,
    /// The mails about alerts; `None` if they are off.
    pub mail: Option<MailView>,
    /// All targets, in the order of their endpoints' creation.
    pub targets: Vec<TargetView>,
    /// The queues of the endpoints whose requests may have to wait, in the order of their creation.
    pub queues: Vec<QueueView>,
    /// The certificates in force, the inference listener's first.
    pub certificates: Vec<CertificateView>,
    /// The refused keys since the start, of the latest addresses, the latest first.
    pub refused_keys: Vec<RefusedFrom>,
    /// Everything that needs an operator's attention.
    pub notices: Vec<Notice>,
}

/// The state of the store.
pub struct StoreStatus {
    /// The last record that the store has applied; `None` if the store cannot be read.
    pub applied: Option<u64>,
    /// Its size on the disk, in bytes.
    pub bytes: u64,
    /// The snapshots, newest first.
    pub snapshots: Vec<Snapshot>,
    /// The number of rollup files.
    pub rollup_days: usize,
    /// The size of all rollup files, in bytes.
    pub rollup_bytes: u64,
    /// The records that totals do not include, in order.
    pub missing: Vec<Damage>,
}

impl<'a> Status<'a> {
    /// Reads the current state.
    pub fn read(gateway: &'a Gateway) -> Self {
        let Gateway { core, storage, .. } = gateway;
        let missing = storage.missing_from_totals();
        let unreadable = storage.unreadable_beside(missing.clone());
        let (webhooks, targets) = (gateway.webhooks.list(None), targets(&core.catalog.load(), core.clock.now()));
        let mail = gateway.mail.as_ref().map(|mail| mail.view());
        let mut notices = notices(gateway, &unreadable, &missing, &webhooks, &targets);
        let of_mail = mail.iter().flat_map(|mail| &mail.problems);
        notices.extend(of_mail.map(|problem| About::Mail.notice(problem.clone())));
        let (rollup_days, rollup_bytes) = storage.store.rollup_files();
        Self {
            started_at_ms: core.clock.started_unix_ms(),
            uptime_s: core.clock.now().monotonic_ns / 1_000_000_000,
            journal: core.journal.stats(),
            journal_error: core.journal.last_error(),
            unreadable,
            store: StoreStatus {
                applied: storage.store.applied().ok(),
                bytes: storage.store.size_on_disk(),
                snapshots: snapshot::list(&core.config.data_dir).unwrap_or_default(),
                rollup_days,
                rollup_bytes,
                missing,
            },
            disk: disk_space(gateway),
            requests: core.counts.read(),
            last_stop: &gateway.last_stop,
            webhooks,
            mail,
            targets,
            queues: queues(&core.catalog.load()),
            certificates: gateway.certificates.views(),
            refused_keys: gateway.access.refused.latest(REFUSED_SHOWN),
            notices,
        }
    }
}

/// Everything that needs an operator's attention.
fn notices(
    gateway: &Gateway,
    unreadable: &[Damage],
    missing: &[Damage],
    webhooks: &[WebhookView],
    targets: &[TargetView],
) -> Vec<Notice> {
    let Gateway { core, storage, .. } = gateway;
    let now_ms = core.now_ms();
    let behind = [&storage.fold_error, &storage.housekeeping_error].map(|error| error.lock().clone());
    let untracked = gateway.metering.in_flight.error().map(|why| {
        format!("Requests in flight are not tracked: {why}. After a crash, the lost requests cannot be listed.")
    });
    let mut notices = gateway.findings.clone();
    let mut add = |about: About, sentences: Vec<String>| {
        notices.extend(sentences.into_iter().map(|sentence| about.notice(sentence)));
    };
    add(About::Journal, notice::of_damage(unreadable, missing));
    add(About::Journal, Vec::from_iter(core.metering_error()));
    add(About::Store, behind.into_iter().flatten().collect());
    add(About::LastStop, Vec::from_iter(untracked));
    add(About::Keys, notice::of_guessers(&gateway.access.refused.guessers(now_ms)));
    add(About::Process, Vec::from_iter(gateway.out_of_files.notice(now_ms)));
    notices.extend(gateway.certificates.notices(now_ms));
    notices.extend(webhooks.iter().flat_map(notice::of_webhook));
    notices.extend(targets.iter().filter_map(notice::of_target));
    notices.extend(gateway.uncounted.notices(&core.catalog.load()));
    notices
}

/// Free and total bytes of the file system under the data directory, if known.
pub(super) fn disk_space(gateway: &Gateway) -> Option<(u64, u64)> {
    let stat = rustix::fs::statvfs(&gateway.core.config.data_dir).ok()?;
    Some((stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize)))
}
