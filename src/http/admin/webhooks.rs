//! `/v1/gateway/webhooks`: who is told of billing events, and what could not be delivered.

use actix_web::web::{Data, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    body::{Body, Nothing, OptionalBody, clearable},
    field::{DeadLetterIdText, Name, Timestamp, WebhookUrl},
    operator::{ManageAll, Operator},
    page::{self, Page, PageQuery},
    path::Path,
    query::Query,
};
use crate::{
    domain::id::{DeadLetterId, WebhookId},
    http::error::AdminError,
    service::{
        Gateway,
        error::Error,
        events::Event,
        webhooks::{self as service, Content, Outcome, Phase, WebhookView},
    },
};

const LIST: &str = "webhooks";

/// A webhook.
#[derive(Serialize, JsonSchema)]
pub(super) struct Webhook {
    id: String,
    url: String,
    description: Option<String>,
    /// While it is not, nothing is delivered and its events wait.
    enabled: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
    /// Until then deliveries carry the signature of the replaced secret as well.
    previous_secret_until: Option<Timestamp>,
    delivery: DeliveryStatus,
}

/// How a webhook is doing. Counters are since the start.
#[derive(Serialize, JsonSchema)]
pub(super) struct DeliveryStatus {
    state: DeliveryState,
    /// Records of the journal that it has not come to; not all of them are events.
    records_behind: u64,
    /// When the oldest event that waits was billed, if one is known.
    oldest_waiting_at: Option<Timestamp>,
    last_success_at: Option<Timestamp>,
    /// It stays when deliveries succeed again.
    last_error: Option<DeliveryError>,
    /// Deliveries that were taken.
    deliveries: u64,
    /// Events in them.
    events: u64,
    failed_attempts: u64,
    /// Deliveries that were given up and whose events are kept.
    dead_letters: u64,
}

/// What a webhook is about.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum DeliveryState {
    Ok,
    /// A delivery failed and is tried again.
    Retrying,
    /// A delivery was given up; the next one is tried every 30 seconds.
    Failing,
    Disabled,
}

/// The last thing that went wrong with a delivery.
#[derive(Serialize, JsonSchema)]
struct DeliveryError {
    at: Timestamp,
    /// What was answered, if anything was.
    status: Option<u16>,
    message: String,
}

impl DeliveryStatus {
    pub(super) fn new(view: &WebhookView) -> Self {
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
            created_at: Timestamp(webhook.created_at_ms),
            updated_at: Timestamp(webhook.updated_at_ms),
            previous_secret_until: webhook
                .replaced_at(gateway.now().unix_ms)
                .map(|replaced| Timestamp(replaced.until_ms)),
            delivery: DeliveryStatus::new(view),
        }
    }
}

/// A webhook with its new secret.
#[derive(Serialize, JsonSchema)]
pub(super) struct WebhookWithSecret {
    #[serde(flatten)]
    webhook: Webhook,
    /// What deliveries are signed with, shown this once.
    secret: String,
}

impl WebhookWithSecret {
    fn new(gateway: &Gateway, made: &service::WithSecret) -> Self {
        Self { webhook: Webhook::new(gateway, &made.view), secret: made.secret.expose().to_owned() }
    }
}

/// A webhook to be created.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewWebhook")]
pub(super) struct Create {
    url: WebhookUrl,
    description: Option<Name>,
    /// True when left out.
    enabled: Option<bool>,
}

/// What is to change on a webhook.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "WebhookPatch")]
pub(super) struct Patch {
    url: Option<WebhookUrl>,
    /// `null` clears it.
    #[serde(default, deserialize_with = "clearable")]
    description: Option<Option<Name>>,
    enabled: Option<bool>,
}

/// A deleted webhook.
#[derive(Serialize, JsonSchema)]
pub(super) struct DeletedWebhook {
    id: String,
    url: String,
}

/// What came of a test delivery.
#[derive(Serialize, JsonSchema)]
pub(super) struct TestedWebhook {
    /// Whether it was taken.
    ok: bool,
    /// As in its header.
    request_id: String,
    /// What was answered, if anything was.
    status: Option<u16>,
    error: Option<String>,
    duration_ms: u64,
}

/// The latest attempts at deliveries, the newest first: at most 100, of those since the start.
#[derive(Serialize, JsonSchema)]
pub(super) struct DeliveryAttempts {
    items: Vec<DeliveryAttempt>,
}

/// An attempt at a delivery.
#[derive(Serialize, JsonSchema)]
struct DeliveryAttempt {
    /// Of the delivery, as in its header: the same in all its attempts.
    request_id: String,
    /// When it began.
    at: Timestamp,
    /// Which one of its delivery, from 1.
    attempt: u32,
    kind: DeliveryKind,
    /// How many events it has.
    events: usize,
    /// What was answered, if anything was.
    status: Option<u16>,
    error: Option<String>,
    duration_ms: u64,
    outcome: DeliveryOutcome,
}

/// What was to be delivered.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum DeliveryKind {
    /// New events.
    Events,
    /// An event that is not billed.
    Test,
    /// A dead letter's events.
    Redelivery,
}

/// What came of an attempt.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum DeliveryOutcome {
    /// It was taken.
    Delivered,
    /// It is tried again soon.
    Retrying,
    /// It was given up, and its events are kept.
    DeadLetter,
    /// The receiver has failed for some time, and is tried again every 30 seconds.
    Waiting,
    /// A test that was not taken.
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
                Content::Test => DeliveryKind::Test,
                Content::DeadLetter => DeliveryKind::Redelivery,
            },
            events: attempted.events,
            status: attempted.status,
            error: attempted.error,
            duration_ms: attempted.duration_ms,
            outcome: match attempted.outcome {
                Outcome::Delivered => DeliveryOutcome::Delivered,
                Outcome::Retrying => DeliveryOutcome::Retrying,
                Outcome::DeadLetter => DeliveryOutcome::DeadLetter,
                Outcome::Waiting => DeliveryOutcome::Waiting,
                Outcome::Failed => DeliveryOutcome::Failed,
            },
        }
    }
}

/// A delivery that was given up.
#[derive(Serialize, JsonSchema)]
pub(super) struct DeadLetter {
    id: String,
    failed_at: Timestamp,
    attempts: u32,
    /// What was answered last, if anything was.
    last_status: Option<u16>,
    last_error: String,
    /// Whether it waits to be delivered again.
    redelivering: bool,
    events: Vec<Event>,
}

impl DeadLetter {
    fn new(letter: service::DeadLetterView) -> Self {
        let failure = letter.row.failure;
        Self {
            id: letter.id.to_string(),
            failed_at: Timestamp(letter.row.failed_at_ms),
            attempts: failure.attempts,
            last_status: failure.last_status,
            last_error: failure.last_error,
            redelivering: letter.is_queued,
            events: letter.events,
        }
    }
}

/// Which dead letters are to be delivered again.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Redeliver {
    /// All of them when left out.
    ids: Option<Vec<DeadLetterIdText>>,
}

/// How many dead letters will be delivered again.
#[derive(Serialize, JsonSchema)]
pub(super) struct Redelivering {
    queued: usize,
}

pub(super) async fn list(
    _: Operator<ManageAll>,
    gateway: Data<Gateway>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Webhook>>, AdminError> {
    let after: Option<u128> = query.cursor.map(|cursor| page::decode(LIST, &cursor)).transpose()?;
    let rest = gateway.webhooks(after.map(WebhookId));
    let size = page::size(query.limit);
    let page = Page::of(LIST, rest.iter(), size, |view| view.webhook.id.0, |view| Webhook::new(&gateway, view))?;
    Ok(Json(page))
}

pub(super) async fn create(
    operator: Operator<ManageAll>,
    gateway: Data<Gateway>,
    Body(body): Body<Create>,
) -> Result<Json<WebhookWithSecret>, AdminError> {
    let (description, enabled) = (body.description.map(|text| text.0), body.enabled.unwrap_or(true));
    let made = gateway.create_webhook(operator.actor(), body.url.0, description, enabled).await?;
    Ok(Json(WebhookWithSecret::new(&gateway, &made)))
}

pub(super) async fn get(
    _: Operator<ManageAll>,
    gateway: Data<Gateway>,
    Path(id): Path<WebhookId>,
) -> Result<Json<Webhook>, AdminError> {
    Ok(Json(Webhook::new(&gateway, &gateway.webhook(id)?)))
}

pub(super) async fn update(
    operator: Operator<ManageAll>,
    gateway: Data<Gateway>,
    Path(id): Path<WebhookId>,
    Body(body): Body<Patch>,
) -> Result<Json<Webhook>, AdminError> {
    let patch = service::WebhookPatch {
        url: body.url.map(|url| url.0),
        description: body.description.map(|text| text.map(|text| text.0)),
        enabled: body.enabled,
    };
    if patch.url.is_none() && patch.description.is_none() && patch.enabled.is_none() {
        let message = "The body must have at least one of url, description and enabled";
        return Err(Error::invalid("empty_patch", message).into());
    }
    let view = gateway.update_webhook(operator.actor(), id, patch).await?;
    Ok(Json(Webhook::new(&gateway, &view)))
}

pub(super) async fn delete(
    operator: Operator<ManageAll>,
    gateway: Data<Gateway>,
    Path(id): Path<WebhookId>,
) -> Result<Json<DeletedWebhook>, AdminError> {
    let gone = gateway.delete_webhook(operator.actor(), id).await?;
    Ok(Json(DeletedWebhook { id: gone.id.to_string(), url: gone.url }))
}

pub(super) async fn rotate_secret(
    operator: Operator<ManageAll>,
    gateway: Data<Gateway>,
    Path(id): Path<WebhookId>,
    _: OptionalBody<Nothing>,
) -> Result<Json<WebhookWithSecret>, AdminError> {
    let made = gateway.rotate_webhook_secret(operator.actor(), id).await?;
    Ok(Json(WebhookWithSecret::new(&gateway, &made)))
}

pub(super) async fn test(
    _: Operator<ManageAll>,
    gateway: Data<Gateway>,
    Path(id): Path<WebhookId>,
    _: OptionalBody<Nothing>,
) -> Result<Json<TestedWebhook>, AdminError> {
    let tested = gateway.test_webhook(id).await?;
    Ok(Json(TestedWebhook {
        ok: tested.error.is_none(),
        request_id: tested.request_id.to_string(),
        status: tested.status,
        error: tested.error,
        duration_ms: tested.duration_ms,
    }))
}

pub(super) async fn deliveries(
    _: Operator<ManageAll>,
    gateway: Data<Gateway>,
    Path(id): Path<WebhookId>,
) -> Result<Json<DeliveryAttempts>, AdminError> {
    let attempts = gateway.webhook_attempts(id)?;
    Ok(Json(DeliveryAttempts { items: attempts.into_iter().map(DeliveryAttempt::new).collect() }))
}

pub(super) async fn dead_letters(
    _: Operator<ManageAll>,
    gateway: Data<Gateway>,
    Path(id): Path<WebhookId>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<DeadLetter>>, AdminError> {
    let list = format!("dead_letters of {id}");
    let after: Option<u128> = query.cursor.map(|cursor| page::decode(&list, &cursor)).transpose()?;
    let page = gateway.dead_letters(id, after.map(DeadLetterId), page::size(query.limit)).await?;
    let next = page.next.map(|id| id.0);
    Ok(Json(Page::new(&list, page.letters.into_iter().map(DeadLetter::new).collect(), next)?))
}

pub(super) async fn redeliver(
    operator: Operator<ManageAll>,
    gateway: Data<Gateway>,
    Path(id): Path<WebhookId>,
    OptionalBody(body): OptionalBody<Redeliver>,
) -> Result<Json<Redelivering>, AdminError> {
    let ids = body.ids.map(|ids| ids.into_iter().map(|id| id.0).collect::<Vec<_>>());
    if ids.as_ref().is_some_and(Vec::is_empty) {
        return Err(Error::invalid("invalid_field", "ids: must not be empty; leave it out for all").into());
    }
    let queued = gateway.redeliver(operator.actor(), id, ids).await?;
    Ok(Json(Redelivering { queued }))
}
