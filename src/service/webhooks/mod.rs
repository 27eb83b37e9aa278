//! Webhooks: operators' changes to them, and the deliveries.
//!
//! There is no queue. Each enabled webhook follows the journal from its own cursor (`worker`), so it delivers exactly
//! the billed events, and a backlog costs no memory. Cursor moves, dead letters and requests to redeliver them are
//! records in the same journal. One thread makes the deliveries of all webhooks (`deliveries`); a slow receiver delays
//! only its own webhook.

mod attempt;
mod batch;
mod dead_letters;
mod deliveries;
mod history;
mod state;
#[cfg(test)]
mod tests;
mod trial;
mod worker;

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::Notify;

use self::state::State;
use super::{
    changes::change::Change,
    error::Error,
    gateway::Gateway,
    status::{About, Notice},
};
use crate::{
    crypto::{mint, random, secret::Secret},
    domain::{
        action,
        id::WebhookId,
        record::{Actor, Row},
        webhook::{REPLACED_SIGNS_FOR, ReplacedSecret, Webhook},
    },
    store::{Cursor, WebhookProgress},
};

pub use self::{
    dead_letters::{DeadLetterPage, DeadLetterView},
    deliveries::Deliveries,
    history::{AttemptOutcome, Attempted, Content},
    state::{DeliveryState, LastError, Phase},
    trial::Tested,
};

/// The most webhooks. Each of them reads the whole journal.
const MAX_WEBHOOKS: usize = 100;

/// The start of every signing secret.
const SECRET_BRAND: &str = "whsec";

/// The states of all webhooks.
pub(super) struct Webhooks {
    states: Mutex<BTreeMap<WebhookId, Arc<State>>>,
    /// Notified when a webhook may have been added or removed.
    changed: Notify,
}

impl Webhooks {
    /// Makes the states from the store's progress.
    pub(super) fn new(progress: Vec<(WebhookId, WebhookProgress)>) -> Self {
        let states = progress.into_iter().map(|(id, progress)| (id, Arc::new(State::new(progress)))).collect();
        Self { states: Mutex::new(states), changed: Notify::new() }
    }

    fn state(&self, webhook: &Webhook) -> Arc<State> {
        let begins = || {
            let cursor = Cursor { through: webhook.starts_after, ..Cursor::default() };
            Arc::new(State::new(WebhookProgress { cursor, ..WebhookProgress::default() }))
        };
        self.states.lock().entry(webhook.id).or_insert_with(begins).clone()
    }

    /// Wakes the workers of these webhooks, so that they see the change.
    pub(super) fn wake(&self, touched: Vec<WebhookId>) {
        if touched.is_empty() {
            return;
        }
        let states = self.states.lock();
        touched.iter().filter_map(|id| states.get(id)).for_each(|state| state.wake());
        self.changed.notify_one();
    }

    /// Stores why deliveries are paused.
    fn problem(&self, id: WebhookId, why: &str) {
        if let Some(state) = self.states.lock().get(&id) {
            state.problem(why);
        }
    }

    /// Removes the state of a deleted webhook.
    fn forget(&self, id: WebhookId) {
        self.states.lock().remove(&id);
    }
}

/// The webhooks that a change concerns.
pub(super) fn touched(rows: &[Row]) -> Vec<WebhookId> {
    let webhook = |row: &Row| match row {
        Row::Webhook(Webhook { id, .. }) | Row::WebhookGone(id) | Row::Redeliver(id, _) => Some(*id),
        _ => None,
    };
    let mut touched: Vec<_> = rows.iter().filter_map(webhook).collect();
    touched.dedup();
    touched
}

/// A webhook with its state.
pub struct WebhookView {
    /// The webhook as configured.
    pub webhook: Arc<Webhook>,
    /// The state of its deliveries.
    pub standing: DeliveryState,
    /// The number of journal records after its cursor.
    pub records_behind: u64,
}

/// A webhook with its new secret, which is shown once.
pub struct WithSecret {
    /// The webhook.
    pub view: WebhookView,
    /// Its secret.
    pub secret: Secret,
}

/// The changes to a webhook. `None` leaves a field unchanged, `Some(None)` clears it.
#[derive(Default)]
pub struct WebhookPatch {
    /// The URL that deliveries go to.
    pub url: Option<String>,
    /// The description, for people.
    pub description: Option<Option<String>>,
    /// Whether it is enabled. The cursor of a disabled webhook waits.
    pub enabled: Option<bool>,
}

impl Gateway {
    /// All webhooks after `after`, in order of creation.
    pub fn webhooks(&self, after: Option<WebhookId>) -> Vec<WebhookView> {
        let catalog = self.catalog.load();
        let beyond = catalog.webhooks().values().filter(|webhook| after.is_none_or(|after| webhook.id > after));
        beyond.map(|webhook| self.view(webhook)).collect()
    }

    /// The webhook with this id.
    pub fn webhook(&self, id: WebhookId) -> Result<WebhookView, Error> {
        let catalog = self.catalog.load();
        let webhook = catalog.webhooks().get(&id).ok_or(Error::NotFound("webhook"))?;
        Ok(self.view(webhook))
    }

    /// The latest delivery attempts since the start, newest first.
    pub fn webhook_attempts(&self, id: WebhookId) -> Result<Vec<Attempted>, Error> {
        let webhook = self.webhook(id)?.webhook;
        Ok(self.webhooks.state(&webhook).history.newest_first())
    }

    fn view(&self, webhook: &Arc<Webhook>) -> WebhookView {
        let standing = self.webhooks.state(webhook).standing();
        let records_behind = self.journal.durable_seq().saturating_sub(standing.passed);
        WebhookView { webhook: webhook.clone(), standing, records_behind }
    }

    /// Creates a webhook. It gets the events after its creation.
    pub async fn create_webhook(
        self: &Arc<Self>,
        actor: Actor,
        url: String,
        description: Option<String>,
        enabled: bool,
    ) -> Result<WithSecret, Error> {
        let change = self.change().await?;
        if change.catalog.webhooks().len() >= MAX_WEBHOOKS {
            let message = format!("There are {MAX_WEBHOOKS} webhooks already, which is the maximum; delete one first.");
            return Err(Error::invalid("too_many_webhooks", message));
        }
        let now_ms = self.now().unix_ms;
        let id = WebhookId(random::ulid(now_ms).map_err(Error::internal)?);
        let (secret, sealed) = self.new_webhook_secret(id)?;
        let webhook = Webhook {
            id,
            url,
            description,
            enabled,
            secret: sealed,
            replaced: None,
            starts_after: self.journal.last_seq(),
            created_at_ms: now_ms,
            updated_at_ms: now_ms,
        };
        change.commit(actor, action::WEBHOOK_CREATED, vec![Row::Webhook(webhook)]).await?;
        Ok(WithSecret { view: self.webhook(id)?, secret })
    }

    fn new_webhook_secret(&self, id: WebhookId) -> Result<(Secret, Vec<u8>), Error> {
        let secret = mint::secret(SECRET_BRAND).map_err(Error::internal)?;
        let sealed = self.sealer.seal(id.0, &secret).map_err(Error::internal)?;
        Ok((secret, sealed))
    }

    /// Changes a webhook.
    pub async fn update_webhook(
        self: &Arc<Self>,
        actor: Actor,
        id: WebhookId,
        patch: WebhookPatch,
    ) -> Result<WebhookView, Error> {
        let change = self.change().await?;
        let mut webhook = found(&change, id)?;
        webhook.url = patch.url.unwrap_or(webhook.url);
        webhook.description = patch.description.unwrap_or(webhook.description);
        webhook.enabled = patch.enabled.unwrap_or(webhook.enabled);
        self.write_webhook(change, actor, action::WEBHOOK_UPDATED, webhook).await
    }

    /// Replaces a webhook's secret. The old secret also signs deliveries for another day, so that the receiver has time
    /// to switch.
    pub async fn rotate_webhook_secret(self: &Arc<Self>, actor: Actor, id: WebhookId) -> Result<WithSecret, Error> {
        let change = self.change().await?;
        let mut webhook = found(&change, id)?;
        let (secret, sealed) = self.new_webhook_secret(id)?;
        let until_ms = self.now().unix_ms.saturating_add(REPLACED_SIGNS_FOR.as_millis() as u64);
        let replaced = std::mem::replace(&mut webhook.secret, sealed);
        webhook.replaced = Some(ReplacedSecret { secret: replaced, until_ms });
        let view = self.write_webhook(change, actor, action::WEBHOOK_SECRET_ROTATED, webhook).await?;
        Ok(WithSecret { view, secret })
    }

    async fn write_webhook(
        self: &Arc<Self>,
        change: Change,
        actor: Actor,
        action: &str,
        mut webhook: Webhook,
    ) -> Result<WebhookView, Error> {
        webhook.updated_at_ms = self.now().unix_ms;
        let id = webhook.id;
        change.commit(actor, action, vec![Row::Webhook(webhook)]).await?;
        self.webhook(id)
    }

    /// Deletes a webhook and its dead letters. Returns the deleted webhook.
    pub async fn delete_webhook(self: &Arc<Self>, actor: Actor, id: WebhookId) -> Result<Webhook, Error> {
        let change = self.change().await?;
        let webhook = found(&change, id)?;
        change.commit(actor, action::WEBHOOK_DELETED, vec![Row::WebhookGone(id)]).await?;
        Ok(webhook)
    }

    /// The enabled webhooks, each with the first record that it still needs.
    pub(super) fn needed_by_webhooks(&self) -> Vec<(Arc<Webhook>, u64)> {
        let catalog = self.catalog.load();
        let enabled = catalog.webhooks().values().filter(|webhook| webhook.enabled);
        enabled.map(|webhook| (webhook.clone(), self.webhooks.state(webhook).standing().passed + 1)).collect()
    }

    /// Moves a webhook's cursor to the record `first`. Undelivered events before it are too old to be kept.
    pub(super) fn skip_for_webhook(&self, webhook: &Webhook, first: u64) {
        self.webhooks.state(webhook).skip_to(first, webhook);
    }

    /// Notices about webhooks with problems.
    pub(super) fn webhook_notices(&self) -> Vec<Notice> {
        let notices = |view: &WebhookView| {
            let about = About::Webhook(view.webhook.id);
            state::sentences(view).into_iter().map(move |sentence| about.notice(sentence))
        };
        self.webhooks(None).iter().flat_map(notices).collect()
    }
}

fn found(change: &Change, id: WebhookId) -> Result<Webhook, Error> {
    change.catalog.webhooks().get(&id).map(|webhook| Webhook::clone(webhook)).ok_or(Error::NotFound("webhook"))
}
