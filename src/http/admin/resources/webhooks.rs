//! `/v1/gateway/webhooks`: the receivers of billing events and alerts, and their latest deliveries.

use actix_web::web::{Data, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    domain::{id::WebhookId, webhook::WebhookTypes},
    http::admin::{
        api::{
            body::{Body, Nothing, OptionalBody, clearable},
            field::{Name, Timestamp, WebhookTypeWord, WebhookUrl},
            operator::{ManageAll, Operator},
            page::{self, Page, PageQuery},
            path::Path,
            query::Query,
        },
        error::AdminError,
    },
    service::{
        Gateway,
        changes::webhooks as changes,
        error::Error,
        webhooks::{self as service, AttemptOutcome, Content, Phase, WebhookView},
    },
};

const LIST: &str = "webhooks";

/// A webhook.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct Webhook {
    id: String,
    url: String,
    description: Option<String>,
    /// Whether events and alerts are delivered. While it is false, they wait.
    enabled: bool,
    /// The types of deliveries that it gets.
    types: Vec<WebhookTypeWord>,
    created_at: Timestamp,
    updated_at: Timestamp,
    /// Until then, deliveries are also signed with the previous secret; null if there is none.
    previous_secret_until: Option<Timestamp>,
    delivery: DeliveryStatus,
}

/// The state of a webhook's deliveries. Counters start at zero when the gateway starts.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct DeliveryStatus {
    state: DeliveryState,
    /// The number of journal records that it has not processed yet. Not all of them are events.
    records_behind: u64,
    /// The time of the oldest event or alert that waits to be delivered, if known.
    oldest_waiting_at: Option<Timestamp>,
    last_success_at: Option<Timestamp>,
    /// The last error. It is kept when deliveries succeed again.
    last_error: Option<DeliveryError>,
    /// The number of successful deliveries.
    deliveries: u64,
    /// The number of events and alerts in successful deliveries.
    events: u64,
    failed_attempts: u64,
    /// The number of deliveries that were given up. Their events and alerts are kept.
    dead_letters: u64,
}

/// The state of a webhook's deliveries.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum DeliveryState {
    Ok,
    /// A delivery failed and is being retried.
    Retrying,
    /// A delivery was given up. The next one is tried every 30 seconds.
    Failing,
    Disabled,
}

/// The last error of a delivery.
#[derive(Serialize, JsonSchema)]
struct DeliveryError {
    at: Timestamp,
    /// The status of the receiver's response, if there was one.
    status: Option<u16>,
    message: String,
}

impl DeliveryStatus {
    pub(in crate::http) fn new(view: &WebhookView) -> Self {
        let standing = &view.standing;
        let state = match standing.phase {
            _ if !view.webhook.enabled => DeliveryState::Disabled,
            Phase::Ok => DeliveryState::Ok,
            Phase::Retrying => DeliveryState::Retrying,
            Phase::Failing => DeliveryState::Failing,
        };
        let error = |error: &service::LastError| DeliveryError {
            at: Timestamp(error.at_ms),
            status: error.status,
            message: error.message.clone(),
        };
        Self {
            state,
            records_behind: view.records_behind,
            oldest_waiting_at: standing.oldest_waiting_ms.map(Timestamp),
            last_success_at: standing.last_success_ms.map(Timestamp),
            last_error: standing.last_error.as_ref().map(error),
            deliveries: standing.deliveries,
            events: standing.events,
            failed_attempts: standing.failed_attempts,
            dead_letters: standing.dead_letters,
        }
    }
}

impl Webhook {
    fn new(gateway: &Gateway, view: &WebhookView) -> Self {
        let webhook = &view.webhook;
        Self {
            id: webhook.id.to_string(),
            url: webhook.url.clone(),
            description: webhook.description.clone(),
            enabled: webhook.enabled,
            types: webhook.types.iter().map(WebhookTypeWord).collect(),
            created_at: Timestamp(webhook.created_at_ms),
            updated_at: Timestamp(webhook.updated_at_ms),
            previous_secret_until: webhook
                .replaced_at(gateway.core.now().unix_ms)
                .map(|replaced| Timestamp(replaced.until_ms)),
            delivery: DeliveryStatus::new(view),
        }
    }
}

/// A webhook with its new secret.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct WebhookWithSecret {
    #[serde(flatten)]
    webhook: Webhook,
    /// The secret that signs deliveries. It is shown only this once.
    secret: String,
}

impl WebhookWithSecret {
    fn new(gateway: &Gateway, created: &changes::WithSecret) -> Self {
        Self { webhook: Webhook::new(gateway, &created.view), secret: created.secret.expose().to_owned() }
    }
}

/// A webhook to be created.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewWebhook")]
pub(in crate::http) struct Create {
    url: WebhookUrl,
    description: Option<Name>,
    /// Whether events and alerts are delivered. Default: true.
    enabled: Option<bool>,
    /// The types of deliveries that it gets: at least one, each once. Default: `API_BILLING_USAGE` alone.
    types: Option<Vec<WebhookTypeWord>>,
}

impl Create {
    /// Validates the body by the rules that do not depend on stored data.
    pub(in crate::http) fn read(self) -> Result<changes::NewWebhook, Error> {
        Ok(changes::NewWebhook {
            url: self.url.0,
            description: self.description.map(|text| text.0),
            enabled: self.enabled.unwrap_or(true),
            types: webhook_types(self.types)?.unwrap_or_default(),
        })
    }
}

/// The set of types of deliveries.
fn webhook_types(words: Option<Vec<WebhookTypeWord>>) -> Result<Option<WebhookTypes>, Error> {
    let Some(words) = words else { return Ok(None) };
    let types = WebhookTypes::new(words.iter().map(|word| word.0)).ok_or_else(|| {
        Error::invalid("invalid_field", "types: must not be empty; to get no deliveries, disable the webhook")
    })?;
    if types.iter().count() < words.len() {
        return Err(Error::invalid("invalid_field", "types: must not contain a type twice"));
    }
    Ok(Some(types))
}

/// The changes to a webhook.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "WebhookPatch")]
pub(in crate::http) struct Patch {
    url: Option<WebhookUrl>,
    /// `null` clears the description.
    #[serde(default, deserialize_with = "clearable")]
    description: Option<Option<Name>>,
    enabled: Option<bool>,
    /// Replaces the types of deliveries that it gets: at least one, each once.
    types: Option<Vec<WebhookTypeWord>>,
}

/// A deleted webhook.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct DeletedWebhook {
    id: String,
    url: String,
}

/// The result of a test delivery.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct TestedWebhook {
    /// Whether the receiver accepted it.
    ok: bool,
    /// The request id in the delivery's header.
    request_id: String,
    /// The status of the receiver's response, if there was one.
    status: Option<u16>,
    error: Option<String>,
    duration_ms: u64,
}

/// The latest delivery attempts since the gateway started: at most 100, newest first.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct DeliveryAttempts {
    items: Vec<DeliveryAttempt>,
}

/// A delivery attempt.
#[derive(Serialize, JsonSchema)]
struct DeliveryAttempt {
    /// The request id in the delivery's header. It is the same for all attempts of one delivery.
    request_id: String,
    /// When the attempt began.
    at: Timestamp,
    /// The number of the attempt within its delivery, from 1.
    attempt: u32,
    kind: DeliveryKind,
    /// The number of events or alerts in the delivery.
    events: usize,
    /// The status of the receiver's response, if there was one.
    status: Option<u16>,
    error: Option<String>,
    duration_ms: u64,
    outcome: DeliveryOutcome,
}

/// The kind of a delivery.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum DeliveryKind {
    /// New events.
    Events,
    /// New alerts.
    Alerts,
    /// A test event, which is not billed.
    Test,
    /// The events or alerts of a dead letter.
    Redelivery,
}

/// The outcome of a delivery attempt.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum DeliveryOutcome {
    /// The receiver accepted the delivery.
    Delivered,
    /// The delivery will be retried soon.
    Retrying,
    /// The delivery was given up and is kept as a dead letter.
    DeadLetter,
    /// The receiver has been failing for some time. The delivery is tried every 30 seconds.
    Waiting,
    /// The receiver did not accept a test.
    Failed,
}

impl DeliveryAttempt {
    fn new(attempted: service::Attempted) -> Self {
        Self {
            request_id: attempted.request_id.to_string(),
            at: Timestamp(attempted.at_ms),
            attempt: attempted.attempt,
            kind: match attempted.content {
                Content::Events => DeliveryKind::Events,
                Content::Alerts => DeliveryKind::Alerts,
                Content::Test => DeliveryKind::Test,
                Content::DeadLetter => DeliveryKind::Redelivery,
            },
            events: attempted.events,
            status: attempted.status,
            error: attempted.error,
            duration_ms: attempted.duration_ms,
            outcome: match attempted.outcome {
                AttemptOutcome::Delivered => DeliveryOutcome::Delivered,
                AttemptOutcome::Retrying => DeliveryOutcome::Retrying,
                AttemptOutcome::DeadLetter => DeliveryOutcome::DeadLetter,
                AttemptOutcome::Waiting => DeliveryOutcome::Waiting,
                AttemptOutcome::Failed => DeliveryOutcome::Failed,
            },
        }
    }
}

pub(in crate::http) async fn list(
    _: Operator<ManageAll>,
    gateway: Data<Gateway>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Webhook>>, AdminError> {
    let after: Option<u128> = query.cursor.map(|cursor| page::decode(LIST, &cursor)).transpose()?;
    let rest = gateway.webhooks.list(after.map(WebhookId));
    let size = page::size(query.limit);
    let page = Page::of(LIST, rest.iter(), size, |view| view.webhook.id.0, |view| Webhook::new(&gateway, view))?;
    Ok(Json(page))
}

pub(in crate::http) async fn create(
    operator: Operator<ManageAll>,
    gateway: Data<Gateway>,
    Body(body): Body<Create>,
) -> Result<Json<WebhookWithSecret>, AdminError> {
    let created = gateway.changes.create_webhook(operator.actor(), body.read()?).await?;
    Ok(Json(WebhookWithSecret::new(&gateway, &created)))
}

pub(in crate::http) async fn get(
    _: Operator<ManageAll>,
    gateway: Data<Gateway>,
    Path(id): Path<WebhookId>,
) -> Result<Json<Webhook>, AdminError> {
    Ok(Json(Webhook::new(&gateway, &gateway.webhooks.find(id)?)))
}

pub(in crate::http) async fn update(
    operator: Operator<ManageAll>,
    gateway: Data<Gateway>,
    Path(id): Path<WebhookId>,
    Body(body): Body<Patch>,
) -> Result<Json<Webhook>, AdminError> {
    let patch = changes::WebhookPatch {
        url: body.url.map(|url| url.0),
        description: body.description.map(|text| text.map(|text| text.0)),
        enabled: body.enabled,
        types: webhook_types(body.types)?,
    };
    if patch == changes::WebhookPatch::default() {
        let message = "The body must have at least one of url, description, enabled and types";
        return Err(Error::invalid("empty_patch", message).into());
    }
    let view = gateway.changes.update_webhook(operator.actor(), id, patch).await?;
    Ok(Json(Webhook::new(&gateway, &view)))
}

pub(in crate::http) async fn delete(
    operator: Operator<ManageAll>,
    gateway: Data<Gateway>,
    Path(id): Path<WebhookId>,
) -> Result<Json<DeletedWebhook>, AdminError> {
    let deleted = gateway.changes.delete_webhook(operator.actor(), id).await?;
    Ok(Json(DeletedWebhook { id: deleted.id.to_string(), url: deleted.url }))
}

pub(in crate::http) async fn rotate_secret(
    operator: Operator<ManageAll>,
    gateway: Data<Gateway>,
    Path(id): Path<WebhookId>,
    _: OptionalBody<Nothing>,
) -> Result<Json<WebhookWithSecret>, AdminError> {
    let rotated = gateway.changes.rotate_webhook_secret(operator.actor(), id).await?;
    Ok(Json(WebhookWithSecret::new(&gateway, &rotated)))
}

pub(in crate::http) async fn test(
    _: Operator<ManageAll>,
    gateway: Data<Gateway>,
    Path(id): Path<WebhookId>,
    _: OptionalBody<Nothing>,
) -> Result<Json<TestedWebhook>, AdminError> {
    let tested = gateway.webhooks.test(id).await?;
    Ok(Json(TestedWebhook {
        ok: tested.error.is_none(),
        request_id: tested.request_id.to_string(),
        status: tested.status,
        error: tested.error,
        duration_ms: tested.duration_ms,
    }))
}

pub(in crate::http) async fn deliveries(
    _: Operator<ManageAll>,
    gateway: Data<Gateway>,
    Path(id): Path<WebhookId>,
) -> Result<Json<DeliveryAttempts>, AdminError> {
    let attempts = gateway.webhooks.attempts(id)?;
    Ok(Json(DeliveryAttempts { items: attempts.into_iter().map(DeliveryAttempt::new).collect() }))
}
