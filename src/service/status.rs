//! The data of the status page and the health checks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::gateway::Gateway;
use crate::{
    domain::{
        id::{EndpointId, WebhookId},
        usage::Usage,
    },
    upstream::{health::TargetFailure, target::Target},
};

/// How long a record may wait before new requests are refused.
const STALL: Duration = Duration::from_secs(5);

/// Counters since the start.
#[derive(Default)]
pub struct Counts {
    admitted: AtomicU64,
    ended: AtomicU64,
    refused: AtomicU64,
    errors: AtomicU64,
    target_failures: AtomicU64,
    billed: AtomicU64,
    input_tokens: AtomicU64,
    output_tokens: AtomicU64,
    /// Notified when the last running request ends during a drain.
    idle: Notify,
    is_draining: AtomicBool,
}

/// The values of [`Counts`] at one moment.
pub struct Counted {
    /// Requests that are running.
    pub running: u64,
    /// Requests that passed their limits.
    pub admitted: u64,
    /// Requests that a limit refused.
    pub refused: u64,
    /// Requests that failed because of us or an upstream, before or during their answer.
    pub errors: u64,
    /// Times that a target was passed over.
    pub target_failures: u64,
    /// Billing events.
    pub billed: u64,
    /// Prompt tokens billed.
    pub input_tokens: u64,
    /// Output tokens billed.
    pub output_tokens: u64,
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

impl Counts {
    pub(super) fn admitted(&self) {
        add(&self.admitted, 1);
    }

    pub(super) fn ended(&self) {
        // Sequentially consistent with `is_draining`: either this sees the drain, or the drain sees that the request
        // has ended.
        self.ended.fetch_add(1, Ordering::SeqCst);
        if self.is_draining.load(Ordering::SeqCst) && self.running() == 0 {
            self.idle.notify_one();
        }
    }

    fn running(&self) -> u64 {
        let ended = self.ended.load(Ordering::SeqCst);
        self.admitted.load(Ordering::SeqCst).saturating_sub(ended)
    }

    /// Waits until no admitted request is running. No new requests may be admitted by then.
    pub async fn drained(&self) {
        self.is_draining.store(true, Ordering::SeqCst);
        while self.running() > 0 {
            self.idle.notified().await;
        }
    }

    pub(super) fn refused(&self) {
        add(&self.refused, 1);
    }

    /// Counts a request with a valid key that failed through no fault of the customer.
    pub fn failed(&self) {
        add(&self.errors, 1);
    }

    pub(super) fn target_failed(&self) {
        add(&self.target_failures, 1);
    }

    pub(super) fn billed(&self, usage: &Usage) {
        add(&self.billed, 1);
        add(&self.input_tokens, usage.input);
        add(&self.output_tokens, usage.output);
    }

    /// Reads all counters.
    pub fn read(&self) -> Counted {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counted {
            running: self.running(),
            admitted: get(&self.admitted),
            refused: get(&self.refused),
            errors: get(&self.errors),
            target_failures: get(&self.target_failures),
            billed: get(&self.billed),
            input_tokens: get(&self.input_tokens),
            output_tokens: get(&self.output_tokens),
        }
    }
}

/// Something that needs an operator's attention.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The part of the gateway that it concerns.
    pub about: About,
    /// The notice, as a sentence.
    pub message: String,
}

/// The part of the gateway that a notice concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// The log of everything billed and changed.
    Journal,
    /// The tables computed from the journal.
    Store,
    /// The requests that were in flight when the previous run ended, or the tracking of those in flight now.
    LastStop,
    /// Operator keys.
    Keys,
    /// The limits of this process.
    Process,
    /// A webhook.
    Webhook(WebhookId),
    /// A target of this endpoint.
    Endpoint(EndpointId),
}

impl About {
    /// Makes a notice about it.
    pub(super) fn notice(self, message: String) -> Notice {
        Notice { about: self, message }
    }
}

/// A target of an endpoint.
pub struct TargetView {
    /// The endpoint's id.
    pub endpoint: EndpointId,
    /// The endpoint's slug.
    pub slug: Arc<str>,
    /// The target's index among the endpoint's targets.
    pub index: usize,
    /// The target.
    pub target: Arc<Target>,
}

impl Gateway {
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

    /// Everything that needs an operator's attention.
    pub fn notices(&self) -> Vec<Notice> {
        let behind = [&self.fold_error, &self.housekeeping_error].map(|error| error.lock().clone());
        let mut notices = self.findings.clone();
        let mut add = |about: About, sentences: Vec<String>| {
            notices.extend(sentences.into_iter().map(|sentence| about.notice(sentence)));
        };
        add(About::Journal, self.damage_notices());
        add(About::Journal, Vec::from_iter(self.metering_error()));
        add(About::Store, behind.into_iter().flatten().collect());
        add(About::LastStop, Vec::from_iter(self.in_flight.problem()));
        add(About::Keys, self.guessing_notices());
        add(About::Process, Vec::from_iter(self.out_of_files.notice(self.now_ms())));
        notices.extend(self.webhook_notices());
        let problem = |TargetView { endpoint, slug, index, target }| {
            let TargetFailure { reason: why, count: times, .. } = target.health.current_failure()?;
            let calls = if times == 1 { "last call".to_owned() } else { format!("last {times} calls") };
            let why = why.trim_end_matches('.');
            let sentence = format!("Target {index} of {slug} did not serve the {calls}: {why}.");
            Some(About::Endpoint(endpoint).notice(sentence))
        };
        notices.extend(self.targets().into_iter().filter_map(problem));
        notices
    }

    /// All targets, in the order of their endpoints' creation.
    pub fn targets(&self) -> Vec<TargetView> {
        let catalog = self.catalog.load();
        let mut models: Vec<_> = catalog.models().collect();
        models.sort_unstable_by_key(|model| model.endpoint);
        let views = models.into_iter().flat_map(|model| {
            model.targets.iter().enumerate().map(|(index, target)| TargetView {
                endpoint: model.endpoint,
                slug: model.slug.clone(),
                index,
                target: target.clone(),
            })
        });
        views.collect()
    }

    /// Free and total bytes of the file system under the data directory.
    pub fn disk_space(&self) -> Option<(u64, u64)> {
        let stat = rustix::fs::statvfs(&self.config.data_dir).ok()?;
        Some((stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize)))
    }
}
