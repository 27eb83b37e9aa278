//! `/v1/gateway/webhooks/{webhook_id}/dead_letters`: the deliveries that were given up.

use actix_web::web::{Data, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    domain::id::{DeadLetterId, WebhookId},
    http::admin::{
        api::{
            body::OptionalBody,
            field::{DeadLetterIdText, Timestamp},
            operator::{ManageAll, Operator},
            page::{self, Page, PageQuery},
            path::Path,
            query::Query,
        },
        error::AdminError,
    },
    service::{
        Gateway,
        error::Error,
        reading::{alerts::Alert, dead_letters::DeadLetterView, events::Event},
    },
};

/// A delivery that was given up.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct DeadLetter {
    id: String,
    failed_at: Timestamp,
    attempts: u32,
    /// The status of the receiver's last response, if there was one.
    last_status: Option<u16>,
    last_error: String,
    /// Whether it is queued for redelivery.
    redelivering: bool,
    /// Empty in a delivery of alerts.
    events: Vec<Event>,
    /// Empty in a delivery of events.
    alerts: Vec<Alert>,
}

impl DeadLetter {
    fn new(letter: DeadLetterView) -> Self {
        let failure = letter.row.failure;
        Self {
            id: letter.id.to_string(),
            failed_at: Timestamp(letter.row.failed_at_ms),
            attempts: failure.attempts,
            last_status: failure.last_status,
            last_error: failure.last_error,
            redelivering: letter.is_queued,
            events: letter.events,
            alerts: letter.alerts,
        }
    }
}

/// The dead letters to redeliver.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Redeliver {
    /// The ids of the dead letters. Default: all of them.
    ids: Option<Vec<DeadLetterIdText>>,
}

/// The number of dead letters that were queued for redelivery.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct Redelivering {
    queued: usize,
}

pub(in crate::http) async fn list(
    _: Operator<ManageAll>,
    gateway: Data<Gateway>,
    Path(id): Path<WebhookId>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<DeadLetter>>, AdminError> {
    let list = format!("dead_letters of {id}");
    let after: Option<u128> = query.cursor.map(|cursor| page::decode(&list, &cursor)).transpose()?;
    let page = gateway.storage.dead_letters(id, after.map(DeadLetterId), page::size(query.limit)).await?;
    let next = page.next.map(|id| id.0);
    Ok(Json(Page::new(&list, page.letters.into_iter().map(DeadLetter::new).collect(), next)?))
}

pub(in crate::http) async fn redeliver(
    operator: Operator<ManageAll>,
    gateway: Data<Gateway>,
    Path(id): Path<WebhookId>,
    OptionalBody(body): OptionalBody<Redeliver>,
) -> Result<Json<Redelivering>, AdminError> {
    let ids = body.ids.map(|ids| ids.into_iter().map(|id| id.0).collect::<Vec<_>>());
    if ids.as_ref().is_some_and(Vec::is_empty) {
        let message = "ids: must not be empty; leave it out to redeliver all dead letters";
        return Err(Error::invalid("invalid_field", message).into());
    }
    let queued = gateway.changes.redeliver(operator.actor(), id, ids).await?;
    Ok(Json(Redelivering { queued }))
}
