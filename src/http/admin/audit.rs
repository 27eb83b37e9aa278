//! `/v1/audit_logs`: who changed what.

use actix_web::web::{Data, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::{
    audited::{RowChange, row_changes},
    field::{ActorTypeWord, EventType, Moment, PageLimit, Timestamp},
    gaps::Gap,
    operator::{ManageAll, Operator},
    page::{self, Page},
    query::Query,
};
use crate::{
    domain::record,
    http::error::AdminError,
    service::{
        Gateway,
        audit::{self as service, AuditEntry},
        catalog::Catalog,
        error::Error,
    },
};

const LIST: &str = "audit_logs";

/// A page of changes, the newest first.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditLogPage")]
pub(super) struct AuditPage {
    #[serde(flatten)]
    page: Page<AuditLog>,
    /// What may be missing from this page since it cannot be read any more; left out when nothing is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    incomplete: Vec<Gap>,
}

/// A change.
#[derive(Serialize, JsonSchema)]
pub(super) struct AuditLog {
    /// A ULID.
    id: String,
    created: Timestamp,
    /// What was done, as `noun.verb`: `group.created`.
    event_type: String,
    actor: Actor,
    event_data: EventData,
}

/// Who made a change.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditActor")]
struct Actor {
    /// SYSTEM is Tollgate itself, at a start.
    #[serde(rename = "type")]
    actor_type: ActorTypeWord,
    /// Of the operator key, also in a session.
    api_key_prefix: Option<String>,
    api_key_name: Option<String>,
}

/// What was changed.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditEventData")]
struct EventData {
    /// In one step.
    changes: Vec<RowChange>,
    /// Whether it was recorded what was there before. An earlier version did not, nor is it where more than 10,000
    /// things were changed at once; every `before` is null then.
    before_known: bool,
}

impl AuditLog {
    fn new(catalog: &Catalog, entry: AuditEntry) -> Self {
        let AuditEntry { seq, at_ms, changed } = entry;
        let record::Actor { kind, api_key_prefix, api_key_name } = changed.actor;
        Self {
            id: Ulid::from_parts(at_ms, seq.into()).to_string(),
            created: Timestamp(at_ms),
            event_type: changed.action,
            actor: Actor {
                actor_type: ActorTypeWord(kind),
                api_key_prefix: (!api_key_prefix.is_empty()).then_some(api_key_prefix),
                api_key_name,
            },
            event_data: EventData {
                changes: row_changes(catalog, changed.before.as_deref().unwrap_or_default(), &changed.rows),
                before_known: changed.before.is_some(),
            },
        }
    }
}

/// Which changes.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditQuery {
    /// Inclusive.
    start_time: Option<Moment>,
    /// Exclusive.
    end_time: Option<Moment>,
    /// Only changes of exactly this kind, such as `group.created`.
    event_type: Option<EventType>,
    /// Items on a page; 100 when left out. A page of large changes may have fewer, and more may follow it.
    limit: Option<PageLimit>,
    /// `pagination.cursor` of the page before. It holds the window and the filter.
    cursor: Option<String>,
}

/// What a cursor of this list holds.
#[derive(Serialize, Deserialize)]
struct Position {
    /// The record of the last change that was passed.
    before: u64,
    start_ms: u64,
    end_ms: Option<u64>,
    event_type: Option<String>,
}

impl AuditQuery {
    fn resolve(self) -> Result<service::AuditQuery, Error> {
        let limit = page::size(self.limit);
        let Some(cursor) = self.cursor else {
            let start_ms = self.start_time.map_or(0, |moment| moment.0);
            let end_ms = self.end_time.map(|moment| moment.0);
            if end_ms.is_some_and(|end_ms| end_ms < start_ms) {
                return Err(Error::invalid("invalid_parameter", "end_time: must not be before start_time"));
            }
            let event_type = self.event_type.map(|wanted| wanted.0.to_owned());
            return Ok(service::AuditQuery { start_ms, end_ms, event_type, before: None, limit });
        };
        let Position { before, start_ms, end_ms, event_type } = page::decode(LIST, &cursor)?;
        // A client may repeat its filter beside the cursor; another one would make another list.
        if self.event_type.is_some_and(|wanted| Some(wanted.0) != event_type.as_deref()) {
            return Err(Error::invalid("invalid_parameter", "cursor: belongs to a list with another event_type"));
        }
        Ok(service::AuditQuery { start_ms, end_ms, event_type, before: Some(before), limit })
    }
}

pub(super) async fn list(
    _: Operator<ManageAll>,
    gateway: Data<Gateway>,
    Query(query): Query<AuditQuery>,
) -> Result<Json<AuditPage>, AdminError> {
    let query = query.resolve()?;
    let (start_ms, end_ms, event_type) = (query.start_ms, query.end_ms, query.event_type.clone());
    let page = gateway.read_audit(query).await?;
    let catalog = gateway.catalog.load();
    let items = page.entries.into_iter().map(|entry| AuditLog::new(&catalog, entry)).collect();
    let next = page.next.map(|before| Position { before, start_ms, end_ms, event_type });
    let incomplete = page.missing.iter().map(Gap::new).collect();
    Ok(Json(AuditPage { page: Page::new(LIST, items, next)?, incomplete }))
}
