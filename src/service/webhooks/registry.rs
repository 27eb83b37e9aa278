//! All webhooks with the states of their deliveries: lookups, and signals to the workers.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    history::Attempted,
    state::{DeliveryState, State},
};
use crate::{
    crypto::seal::Sealer,
    domain::{id::WebhookId, webhook::Webhook},
    service::{core::Core, error::Error},
    store::{Cursor, WebhookProgress},
};

/// A webhook with its state.
pub struct WebhookView {
    /// The webhook as configured.
    pub webhook: Arc<Webhook>,
    /// The state of its deliveries.
    pub standing: DeliveryState,
    /// The number of journal records after its cursor.
    pub records_behind: u64,
}

/// The webhooks with the states of their deliveries.
pub struct Webhooks {
    pub(super) core: Arc<Core>,
    /// Decrypts the signing secrets.
    pub(super) sealer: Arc<Sealer>,
    states: Mutex<BTreeMap<WebhookId, Arc<State>>>,
    /// Notified when a webhook may have been added or removed.
    pub(super) changed: Notify,
}

impl Webhooks {
    /// Creates the registry with the states that the store has recorded.
    pub(in crate::service) fn new(
        core: Arc<Core>,
        sealer: Arc<Sealer>,
        progress: Vec<(WebhookId, WebhookProgress)>,
    ) -> Self {
        let states = progress.into_iter().map(|(id, progress)| (id, Arc::new(State::new(progress)))).collect();
        Self { core, sealer, states: Mutex::new(states), changed: Notify::new() }
    }

    pub(super) fn state(&self, webhook: &Webhook) -> Arc<State> {
        let begins = || {
            let cursor = Cursor { through: webhook.starts_after, ..Cursor::default() };
            Arc::new(State::new(WebhookProgress { cursor, ..WebhookProgress::default() }))
        };
        self.states.lock().entry(webhook.id).or_insert_with(begins).clone()
    }

    /// Wakes the workers of these webhooks, so that they see the change.
    pub(in crate::service) fn wake(&self, touched: Vec<WebhookId>) {
        if touched.is_empty() {
            return;
        }
        let states = self.states.lock();
        touched.iter().filter_map(|id| states.get(id)).for_each(|state| state.wake());
        self.changed.notify_one();
    }

    /// Stores why deliveries are paused.
    pub(super) fn problem(&self, id: WebhookId, why: &str) {
        if let Some(state) = self.states.lock().get(&id) {
            state.problem(why);
        }
    }

    /// Removes the state of a deleted webhook.
    pub(super) fn forget(&self, id: WebhookId) {
        self.states.lock().remove(&id);
    }

    /// Wakes all workers, so that they see that the process is stopping.
    pub(super) fn wake_all(&self) {
        self.states.lock().values().for_each(|state| state.wake());
    }

    /// All webhooks after `after`, in order of creation.
    pub fn list(&self, after: Option<WebhookId>) -> Vec<WebhookView> {
        let catalog = self.core.catalog.load();
        let beyond = catalog.webhooks().values().filter(|webhook| after.is_none_or(|after| webhook.id > after));
        beyond.map(|webhook| self.view(webhook)).collect()
    }

    /// The webhook with this id.
    pub fn find(&self, id: WebhookId) -> Result<WebhookView, Error> {
        Ok(self.view(&self.core.catalog.load().find_webhook(id)?))
    }

    /// The latest delivery attempts since the start, newest first.
    pub fn attempts(&self, id: WebhookId) -> Result<Vec<Attempted>, Error> {
        let webhook = self.core.catalog.load().find_webhook(id)?;
        Ok(self.state(&webhook).history.newest_first())
    }

    fn view(&self, webhook: &Arc<Webhook>) -> WebhookView {
        let standing = self.state(webhook).standing();
        let records_behind = self.core.journal.durable_seq().saturating_sub(standing.passed);
        WebhookView { webhook: webhook.clone(), standing, records_behind }
    }

    /// The enabled webhooks, each with the first record that it still needs.
    pub(in crate::service) fn needed_records(&self) -> Vec<(Arc<Webhook>, u64)> {
        let catalog = self.core.catalog.load();
        let enabled = catalog.webhooks().values().filter(|webhook| webhook.enabled);
        enabled.map(|webhook| (webhook.clone(), self.state(webhook).standing().passed + 1)).collect()
    }

    /// Moves a webhook's cursor to the record `first`. Undelivered events before it are too old to be kept.
    pub(in crate::service) fn skip_to(&self, webhook: &Webhook, first: u64) {
        self.state(webhook).skip_to(first, webhook);
    }
}
