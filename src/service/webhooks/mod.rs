//! Webhooks: operators' changes to them, and the deliveries.
//!
//! There is no queue. Each enabled webhook follows the journal from its own cursor (`worker`), so what it delivers is what
//! was billed, and a backlog costs no memory. What moves a cursor, or keeps events that could not be delivered, is a
//! record in that same journal; so is a request to deliver them again. One thread delivers for all (`deliveries`): a slow
//! receiver holds up nothing but its own webhook.

mod attempt;
mod batch;
mod deliveries;
mod state;
mod worker;

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;
use uuid::Uuid;

use self::{
    attempt::{Attempt, client},
    batch::Kind,
    state::State,
};
pub use self::{
    deliveries::Deliveries,
    state::{LastError, Phase, Told},
};
use super::{Gateway, change::Change, error::Error, event::Event};
use crate::{
    crypto::{mint, random, secret::Secret},
    domain::{
        id::{DeadLetterId, GroupId, SlugId, WebhookId},
        record::{Actor, Row, Settled},
        route::Route,
        usage::{Usage, UsageSource},
        webhook::{REPLACED_SIGNS_FOR, ReplacedSecret, Webhook},
    },
    store::{Cursor, DeadLetterRow, WebhookProgress},
};

/// So many there may be: each follows the whole journal.
const MAX_WEBHOOKS: usize = 100;

/// A page of dead letters ends with so many bytes of events.
const MAX_PAGE: usize = 4 << 20;

/// What signing secrets begin with.
const SECRET_BRAND: &str = "whsec";

/// How all webhooks are doing.
#[derive(Default)]
pub(super) struct Webhooks {
    states: Mutex<BTreeMap<WebhookId, Arc<State>>>,
    /// Told when there may be another webhook, or one less.
    changed: Notify,
}

impl Webhooks {
    /// As the store has it.
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

    /// Has the workers of these webhooks look at what has changed.
    pub(super) fn wake(&self, touched: Vec<WebhookId>) {
        if touched.is_empty() {
            return;
        }
        let states = self.states.lock();
        touched.iter().filter_map(|id| states.get(id)).for_each(|state| state.wake());
        self.changed.notify_one();
    }

    /// Forgets a webhook that is gone.
    fn forget(&self, id: WebhookId) {
        self.states.lock().remove(&id);
    }
}

/// The webhooks that a change is about.
pub(super) fn touched(rows: &[Row]) -> Vec<WebhookId> {
    let webhook = |row: &Row| match row {
        Row::Webhook(Webhook { id, .. }) | Row::WebhookGone(id) | Row::Redeliver(id, _) => Some(*id),
        _ => None,
    };
    let mut touched: Vec<_> = rows.iter().filter_map(webhook).collect();
    touched.dedup();
    touched
}

/// A webhook, and how it is doing.
pub struct WebhookView {
    /// As written.
    pub webhook: Arc<Webhook>,
    /// How it is doing.
    pub told: Told,
    /// Records of the journal that it has not come to.
    pub records_behind: u64,
}

/// A webhook whose new secret is to be shown, once.
pub struct WithSecret {
    /// The webhook.
    pub view: WebhookView,
    /// Its secret.
    pub secret: Secret,
}

/// What changes on a webhook; `None` leaves a field as it is, `Some(None)` clears it.
#[derive(Default)]
pub struct WebhookPatch {
    /// Where deliveries go.
    pub url: Option<String>,
    /// For people.
    pub description: Option<Option<String>>,
    /// While it is not, its cursor waits.
    pub enabled: Option<bool>,
}

/// A dead letter with its events.
pub struct DeadLetterView {
    /// Its id.
    pub id: DeadLetterId,
    /// How it failed.
    pub row: DeadLetterRow,
    /// Whether it is to be delivered again.
    pub is_queued: bool,
    /// What was to be delivered.
    pub events: Vec<Event>,
}

/// Some of a webhook's dead letters, in the order in which they were given up.
pub struct DeadLetterPage {
    /// The dead letters.
    pub letters: Vec<DeadLetterView>,
    /// The last one, if there are more.
    pub next: Option<DeadLetterId>,
}

/// What came of a test delivery.
pub struct Tested {
    /// Of the delivery.
    pub request_id: Uuid,
    /// What was answered, if anything was.
    pub status: Option<u16>,
    /// What was wrong, in words.
    pub error: Option<String>,
    /// From the first byte sent to the answer.
    pub duration_ms: u64,
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

    fn view(&self, webhook: &Arc<Webhook>) -> WebhookView {
        let told = self.webhooks.state(webhook).told();
        let records_behind = self.journal.durable_seq().saturating_sub(told.passed);
        WebhookView { webhook: webhook.clone(), told, records_behind }
    }

    /// Makes a webhook. It starts with the events after this.
    pub async fn create_webhook(
        self: &Arc<Self>,
        actor: Actor,
        url: String,
        description: Option<String>,
        enabled: bool,
    ) -> Result<WithSecret, Error> {
        let change = self.change().await?;
        if change.catalog.webhooks().len() >= MAX_WEBHOOKS {
            let message = format!("There are {MAX_WEBHOOKS} webhooks, and there can be no more; delete one first.");
            return Err(Error::invalid("too_many_webhooks", message));
        }
        let now_ms = self.now_ms();
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
        change.commit(actor, "webhook.created", vec![Row::Webhook(webhook)]).await?;
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
        self.write_webhook(change, actor, "webhook.updated", webhook).await
    }

    /// Gives a webhook another secret. The one before signs deliveries as well for a day, so that its receiver has the
    /// time to change over.
    pub async fn rotate_webhook_secret(self: &Arc<Self>, actor: Actor, id: WebhookId) -> Result<WithSecret, Error> {
        let change = self.change().await?;
        let mut webhook = found(&change, id)?;
        let (secret, sealed) = self.new_webhook_secret(id)?;
        let until_ms = self.now_ms().saturating_add(REPLACED_SIGNS_FOR.as_millis() as u64);
        let replaced = std::mem::replace(&mut webhook.secret, sealed);
        webhook.replaced = Some(ReplacedSecret { secret: replaced, until_ms });
        let view = self.write_webhook(change, actor, "webhook.secret_rotated", webhook).await?;
        Ok(WithSecret { view, secret })
    }

    async fn write_webhook(
        self: &Arc<Self>,
        change: Change,
        actor: Actor,
        action: &str,
        mut webhook: Webhook,
    ) -> Result<WebhookView, Error> {
        webhook.updated_at_ms = self.now_ms();
        let id = webhook.id;
        change.commit(actor, action, vec![Row::Webhook(webhook)]).await?;
        self.webhook(id)
    }

    /// Deletes a webhook and its dead letters. Gives it as it was.
    pub async fn delete_webhook(self: &Arc<Self>, actor: Actor, id: WebhookId) -> Result<Webhook, Error> {
        let change = self.change().await?;
        let webhook = found(&change, id)?;
        change.commit(actor, "webhook.deleted", vec![Row::WebhookGone(id)]).await?;
        Ok(webhook)
    }

    /// Sends a webhook's receiver an event that can be recognised and is not billed, once.
    pub async fn test_webhook(&self, id: WebhookId) -> Result<Tested, Error> {
        let webhook = self.webhook(id)?.webhook;
        let event = Event::new(self.now_ms(), &test_event()?);
        let body = batch::body(Kind::Test, &[event]).map_err(Error::internal)?;
        let request_id = random::uuid().map_err(Error::internal)?;
        let began = Instant::now();
        let client = client(self);
        let attempt = Attempt { webhook: &webhook, request_id, body, now_ms: self.now_ms() };
        let outcome = attempt.make(&client, &self.sealer).await;
        let duration_ms = began.elapsed().as_millis() as u64;
        Ok(match outcome {
            Ok(status) => Tested { request_id, status: Some(status), error: None, duration_ms },
            Err(failed) => Tested { request_id, status: failed.status, error: Some(failed.error), duration_ms },
        })
    }

    /// A page of a webhook's dead letters with their events, in the order in which they were given up.
    pub async fn dead_letters(
        self: &Arc<Self>,
        webhook: WebhookId,
        after: Option<DeadLetterId>,
        limit: usize,
    ) -> Result<DeadLetterPage, Error> {
        self.webhook(webhook)?;
        self.folded_by_now().await?;
        let gateway = self.clone();
        let read = move || gateway.read_dead_letters(webhook, after.unwrap_or(DeadLetterId(0)), limit);
        tokio::task::spawn_blocking(read).await.map_err(Error::internal)?
    }

    fn read_dead_letters(
        &self,
        webhook: WebhookId,
        after: DeadLetterId,
        limit: usize,
    ) -> Result<DeadLetterPage, Error> {
        let rows = self.store.dead_letters(webhook, after, limit + 1).map_err(Error::internal)?;
        let (mut letters, mut last, mut bytes) = (Vec::new(), after, 0);
        for (passed, (id, row, is_queued)) in rows.into_iter().enumerate() {
            if passed == limit || bytes > MAX_PAGE {
                return Ok(DeadLetterPage { letters, next: Some(last) });
            }
            last = id;
            // One that was delivered just now.
            let Some(events) = self.store.dead_events(webhook, id).map_err(Error::internal)? else { continue };
            bytes += events.size();
            let events = events.read().map_err(Error::internal)?;
            let events = events.iter().map(|event| Event::new(event.at_ms, &event.settled)).collect();
            letters.push(DeadLetterView { id, row, is_queued, events });
        }
        Ok(DeadLetterPage { letters, next: None })
    }

    /// Has dead letters delivered again: these, or all. Gives how many.
    pub async fn redeliver(
        self: &Arc<Self>,
        actor: Actor,
        webhook: WebhookId,
        ids: Option<Vec<DeadLetterId>>,
    ) -> Result<usize, Error> {
        let change = self.change().await?;
        found(&change, webhook)?;
        self.folded_by_now().await?;
        let known = self.store.dead_letters(webhook, DeadLetterId(0), usize::MAX).map_err(Error::internal)?;
        let known: Vec<_> = known.into_iter().map(|(id, ..)| id).collect();
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
            change.commit(actor, "webhook.redelivery_requested", rows).await?;
        }
        Ok(count)
    }

    /// Where the journal is still needed from by enabled webhooks, and by which.
    pub(super) fn needed_by_webhooks(&self) -> Vec<(Arc<Webhook>, u64)> {
        let catalog = self.catalog.load();
        let enabled = catalog.webhooks().values().filter(|webhook| webhook.enabled);
        enabled.map(|webhook| (webhook.clone(), self.webhooks.state(webhook).told().passed + 1)).collect()
    }

    /// Lets go of what a webhook has not delivered before the record `first`: it is too old to be kept for it.
    pub(super) fn skip_for_webhook(&self, webhook: &Webhook, first: u64) {
        self.webhooks.state(webhook).skip_to(first, webhook);
    }

    /// What is wrong with webhooks, in sentences.
    pub(super) fn trouble_with_webhooks(&self) -> Vec<String> {
        self.webhooks(None).iter().flat_map(|view| state::sentences(&view.webhook, &view.told)).collect()
    }
}

fn found(change: &Change, id: WebhookId) -> Result<Webhook, Error> {
    change.catalog.webhooks().get(&id).map(|webhook| Webhook::clone(webhook)).ok_or(Error::NotFound("webhook"))
}

/// An event that nobody can take for a customer's.
fn test_event() -> Result<Settled<'static>, Error> {
    Ok(Settled {
        key_random: random::id().map_err(Error::internal)?,
        request_id: random::uuid().map_err(Error::internal)?.as_u128(),
        metadata: Some(r#"{"test":true}"#),
        model_slug: "tollgate/test",
        slug: SlugId(0),
        external_entity_id: "test",
        counted_for: vec![GroupId(0)],
        api_key_prefix: "test",
        usage: Usage { input: 0, output: 0, cached: 0 },
        usage_source: UsageSource::Upstream,
        route: Route::ChatCompletions,
        streamed: false,
        status: 200,
        duration_ms: 0,
        ttft_ms: None,
        choices: 1,
        prompt_bytes: 0,
        cost: None,
    })
}

#[cfg(test)]
mod tests {
    use tokio::task::LocalSet;

    use super::*;
    use crate::{
        config::Config,
        domain::{record::Record, testing::settled},
        journal::codec,
        service::boot,
    };

    #[tokio::test]
    async fn an_enabled_webhook_needs_what_it_has_not_delivered_until_that_is_let_go() {
        let directory = tempfile::tempdir().unwrap();
        let booted = boot(Config { data_dir: directory.path().to_owned(), ..Config::default() }, None).unwrap();
        let gateway = booted.gateway.clone();
        LocalSet::new()
            .run_until(async {
                let url = || "http://hooks.example/".to_owned();
                for enabled in [true, false] {
                    gateway.create_webhook(Actor::system(), url(), None, enabled).await.unwrap();
                }
                let mut body = Vec::new();
                codec::encode(&Record::Settled(settled()), &mut body).unwrap();
                let last = (0..10).map(|_| gateway.journal.append(&body).unwrap().seq).max().unwrap();
                gateway.journal.durable(last).await;

                let [(webhook, first)] = &gateway.needed_by_webhooks()[..] else { panic!("one is enabled") };
                assert_eq!(*first, 1);
                assert!(gateway.trouble_with_webhooks().is_empty());
                gateway.skip_for_webhook(webhook, 8);
                assert_eq!(gateway.needed_by_webhooks()[0].1, 8);
                assert_eq!(gateway.webhook(webhook.id).unwrap().records_behind, last - 7);
                let [told] = &gateway.trouble_with_webhooks()[..] else { panic!("one sentence") };
                assert!(told.contains("up to record 7"), "{told}");
            })
            .await;
        drop(gateway);
        booted.close();
    }
}
