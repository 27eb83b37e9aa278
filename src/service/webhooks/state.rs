//! How a webhook is doing: written by its worker, read by the admin API.

use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing::warn;

use super::{WebhookView, history::History};
use crate::{
    domain::{time::rfc3339, webhook::Webhook},
    store::{Cursor, WebhookProgress},
};

/// What a worker is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// All is delivered, or on its way.
    #[default]
    Ok,
    /// A delivery failed and is tried again.
    Retrying,
    /// A delivery was given up; the next one is tried every now and then.
    Failing,
}

/// The last thing that went wrong.
#[derive(Debug, Clone)]
pub struct LastError {
    /// Unix ms.
    pub at_ms: u64,
    /// What was answered, if anything was.
    pub status: Option<u16>,
    /// In words.
    pub message: String,
}

/// How a webhook is doing.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// What its worker is about.
    pub phase: Phase,
    /// The last record that it need not deliver.
    pub passed: u64,
    /// Unix ms of the oldest event that waits, if one is known.
    pub oldest_waiting_ms: Option<u64>,
    /// Unix ms.
    pub last_success_ms: Option<u64>,
    /// Since the start.
    pub last_error: Option<LastError>,
    /// Deliveries that were taken since the start.
    pub deliveries: u64,
    /// Events in them.
    pub events: u64,
    /// Attempts that failed since the start.
    pub failed_attempts: u64,
    /// How many dead letters there are.
    pub dead_letters: u64,
    /// What keeps us from delivering, in words; it is not the receiver's fault.
    pub trouble: Option<String>,
    /// The last records that could not be read, since the start: events in them were not delivered.
    pub unreadable: Option<(u64, u64)>,
    /// Up to which record retention has taken events away before they were delivered, since the start.
    pub skipped_to: Option<u64>,
}

/// How a webhook is doing, and what wakes its worker.
pub(super) struct State {
    standing: Mutex<Standing>,
    /// What came of the latest attempts.
    pub(super) history: History,
    wake: Notify,
}

impl State {
    pub(super) fn new(progress: WebhookProgress) -> Self {
        let WebhookProgress { cursor: Cursor { through, has_given_up, last_success_ms }, dead_letters } = progress;
        let phase = if has_given_up { Phase::Failing } else { Phase::Ok };
        let standing = Standing { phase, passed: through, last_success_ms, dead_letters, ..Standing::default() };
        Self { standing: Mutex::new(standing), history: History::default(), wake: Notify::new() }
    }

    pub(super) fn standing(&self) -> Standing {
        self.standing.lock().clone()
    }

    pub(super) fn update(&self, write: impl FnOnce(&mut Standing)) {
        write(&mut self.standing.lock());
    }

    /// Notes what keeps us from delivering. Gives whether that is news.
    pub(super) fn trouble(&self, why: &str) -> bool {
        let mut standing = self.standing.lock();
        let is_news = standing.trouble.as_deref() != Some(why);
        standing.trouble = Some(why.to_owned());
        is_news
    }

    /// Something has changed that the worker should look at.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// A receiver that had failed has taken something else: what waits is tried at once, and if nothing waits, it is well.
    pub(super) fn is_back(&self) {
        let mut standing = self.standing.lock();
        if standing.phase == Phase::Failing && standing.oldest_waiting_ms.is_none() {
            standing.phase = Phase::Ok;
        }
        self.wake();
    }

    /// Waits to be woken.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Notes that the journal has nothing before the record `first` any more.
    pub(super) fn skip_to(&self, first: u64, webhook: &Webhook) {
        let mut standing = self.standing.lock();
        if standing.passed + 1 < first {
            let (from, to) = (standing.passed + 1, first - 1);
            warn!(webhook = %webhook.id, from, to, "events were removed before this webhook could deliver them");
            (standing.passed, standing.skipped_to) = (to, Some(to));
        }
    }
}

/// What an operator should know of a webhook, in sentences.
pub(super) fn sentences(view: &WebhookView) -> Vec<String> {
    let WebhookView { webhook, standing, records_behind } = view;
    let name = format!("{} ({})", webhook.id, webhook.description.as_deref().unwrap_or_else(|| webhook.origin()));
    let mut sentences = Vec::new();
    if let Some(why) = &standing.trouble {
        sentences.push(format!("Deliveries of the webhook {name} pause: {why}."));
    }
    // If nothing waits, the dead letter says it all.
    let may_wait = standing.oldest_waiting_ms.is_some() || *records_behind > 0;
    if standing.phase == Phase::Failing && webhook.enabled && may_wait {
        let since = standing.last_success_ms.map_or_else(String::new, |at| format!(" since {}", rfc3339(at)));
        let why = standing.last_error.as_ref().map_or_else(String::new, |error| format!(": {}", error.message));
        sentences.push(format!("The webhook {name} has taken nothing{since}{why}."));
    }
    if standing.dead_letters > 0 {
        let (letters, them) = if standing.dead_letters == 1 { ("delivery", "it") } else { ("deliveries", "them") };
        let count = standing.dead_letters;
        sentences.push(format!("The webhook {name} has {count} {letters} given up (dead letters); redeliver {them}."));
    }
    if let Some((first, last)) = standing.unreadable {
        sentences.push(format!(
            "The webhook {name} was not told of events in records {first} to {last}: they cannot be read any more."
        ));
    }
    if let Some(last) = standing.skipped_to {
        sentences.push(format!(
            "The webhook {name} was not told of events up to record {last}: they were past their retention."
        ));
    }
    sentences
}
