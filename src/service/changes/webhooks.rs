//! Changes to webhooks, and requests to redeliver dead letters.

use super::change::{Change, Changes};
use crate::{
    crypto::{mint, random, secret::Secret},
    domain::{
        action,
        id::{DeadLetterId, WebhookId},
        record::{Actor, Row},
        webhook::{REPLACED_SIGNS_FOR, ReplacedSecret, Webhook, WebhookTypes},
    },
    service::{error::Error, webhooks::WebhookView},
};

/// The most webhooks. Each of them reads the whole journal.
const MAX_WEBHOOKS: usize = 100;

/// The start of every signing secret.
const SECRET_BRAND: &str = "whsec";

/// A webhook with its new secret, which is shown once.
pub struct WithSecret {
    /// The webhook.
    pub view: WebhookView,
    /// Its secret.
    pub secret: Secret,
}

/// A webhook to be created.
pub struct NewWebhook {
    /// The URL that deliveries go to.
    pub url: String,
    /// The description, for people.
    pub description: Option<String>,
    /// Whether it is enabled.
    pub enabled: bool,
    /// The types of deliveries that it gets.
    pub types: WebhookTypes,
}

/// The changes to a webhook. `None` leaves a field unchanged, `Some(None)` clears it.
#[derive(Default, PartialEq, Eq)]
pub struct WebhookPatch {
    /// The URL that deliveries go to.
    pub url: Option<String>,
    /// The description, for people.
    pub description: Option<Option<String>>,
    /// Whether it is enabled. The cursor of a disabled webhook waits.
    pub enabled: Option<bool>,
    /// The types of deliveries that it gets.
    pub types: Option<WebhookTypes>,
}

impl Changes {
    /// Creates a webhook. It gets the events and alerts after its creation.
    pub async fn create_webhook(&self, actor: Actor, new: NewWebhook) -> Result<WithSecret, Error> {
        let NewWebhook { url, description, enabled, types } = new;
        let change = self.begin().await?;
        if change.catalog.webhooks().len() >= MAX_WEBHOOKS {
            let message = format!("There are {MAX_WEBHOOKS} webhooks already, which is the maximum; delete one first.");
            return Err(Error::invalid("too_many_webhooks", message));
        }
        let now_ms = self.core.now().unix_ms;
        let id = WebhookId(random::ulid(now_ms).map_err(Error::internal)?);
        let (secret, sealed) = self.new_webhook_secret(id)?;
        let webhook = Webhook {
            id,
            url,
            description,
            enabled,
            secret: sealed,
            replaced: None,
            starts_after: self.core.journal.last_seq(),
            created_at_ms: now_ms,
            updated_at_ms: now_ms,
            types,
        };
        change.commit(actor, action::WEBHOOK_CREATED, vec![Row::Webhook(webhook)]).await?;
        Ok(WithSecret { view: self.webhooks.find(id)?, secret })
    }

    fn new_webhook_secret(&self, id: WebhookId) -> Result<(Secret, Vec<u8>), Error> {
        let secret = mint::secret(SECRET_BRAND).map_err(Error::internal)?;
        let sealed = self.sealer.seal(id.0, &secret).map_err(Error::internal)?;
        Ok((secret, sealed))
    }

    /// Changes a webhook.
    pub async fn update_webhook(&self, actor: Actor, id: WebhookId, patch: WebhookPatch) -> Result<WebhookView, Error> {
        let change = self.begin().await?;
        let mut webhook = Webhook::clone(&*change.catalog.find_webhook(id)?);
        webhook.url = patch.url.unwrap_or(webhook.url);
        webhook.description = patch.description.unwrap_or(webhook.description);
        webhook.enabled = patch.enabled.unwrap_or(webhook.enabled);
        webhook.types = patch.types.unwrap_or(webhook.types);
        self.write_webhook(change, actor, action::WEBHOOK_UPDATED, webhook).await
    }

    /// Replaces a webhook's secret. The old secret also signs deliveries for another day, so that the receiver has time
    /// to switch.
    pub async fn rotate_webhook_secret(&self, actor: Actor, id: WebhookId) -> Result<WithSecret, Error> {
        let change = self.begin().await?;
        let mut webhook = Webhook::clone(&*change.catalog.find_webhook(id)?);
        let (secret, sealed) = self.new_webhook_secret(id)?;
        let until_ms = self.core.now().unix_ms.saturating_add(REPLACED_SIGNS_FOR.as_millis() as u64);
        let replaced = std::mem::replace(&mut webhook.secret, sealed);
        webhook.replaced = Some(ReplacedSecret { secret: replaced, until_ms });
        let view = self.write_webhook(change, actor, action::WEBHOOK_SECRET_ROTATED, webhook).await?;
        Ok(WithSecret { view, secret })
    }

    async fn write_webhook(
        &self,
        change: Change,
        actor: Actor,
        action: &str,
        mut webhook: Webhook,
    ) -> Result<WebhookView, Error> {
        webhook.updated_at_ms = self.core.now().unix_ms;
        let id = webhook.id;
        change.commit(actor, action, vec![Row::Webhook(webhook)]).await?;
        self.webhooks.find(id)
    }

    /// Deletes a webhook and its dead letters. Returns the deleted webhook.
    pub async fn delete_webhook(&self, actor: Actor, id: WebhookId) -> Result<Webhook, Error> {
        let change = self.begin().await?;
        let webhook = Webhook::clone(&*change.catalog.find_webhook(id)?);
        change.commit(actor, action::WEBHOOK_DELETED, vec![Row::WebhookGone(id)]).await?;
        Ok(webhook)
    }

    /// Queues these dead letters, or all of them, for redelivery. Returns their number.
    pub async fn redeliver(
        &self,
        actor: Actor,
        webhook: WebhookId,
        ids: Option<Vec<DeadLetterId>>,
    ) -> Result<usize, Error> {
        self.storage.folded_by_now().await?;
        let change = self.begin().await?;
        change.catalog.find_webhook(webhook)?;
        let known = self.storage.store.dead_letter_ids(webhook).map_err(Error::internal)?;
        let ids = match ids {
            Some(mut ids) => {
                ids.sort_unstable();
                ids.dedup();
                if let Some(unknown) = ids.iter().find(|id| known.binary_search(id).is_err()) {
                    let message = format!("ids: this webhook has no dead letter with the id {unknown}.");
                    return Err(Error::invalid("unknown_dead_letter", message));
                }
                ids
            }
            None => known,
        };
        let count = ids.len();
        if count > 0 {
            let rows = ids.into_iter().map(|id| Row::Redeliver(webhook, id)).collect();
            change.commit(actor, action::WEBHOOK_REDELIVERY_REQUESTED, rows).await?;
        }
        Ok(count)
    }
}
