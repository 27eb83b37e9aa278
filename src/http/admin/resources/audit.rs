//! `/v1/audit_logs`: all changes and their actors.

use actix_web::web::{Data, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::{
    audited::{RowChange, row_changes},
    gaps::Gap,
};
use crate::{
    domain::record,
    http::admin::{
        api::{
            field::{ActorTypeWord, EventType, Moment, PageLimit, Timestamp},
            operator::{ManageAll, Operator},
            page::{self, Page},
            query::Query,
        },
        error::AdminError,
    },
    service::{
        Gateway,
        catalog::Catalog,
        error::Error,
        reading::audit::{self as service, AuditEntry},
    },
};

const LIST: &str = "audit_logs";

/// A page of changes, newest first.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditLogPage")]
pub(in crate::http) struct AuditPage {
    #[serde(flatten)]
    page: Page<AuditLog>,
    /// Records that can no longer be read and may be missing from this page. Absent if nothing is missing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    incomplete: Vec<Gap>,
}

/// A change.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct AuditLog {
    /// A ULID.
    id: String,
    created: Timestamp,
    /// The kind of change, as `noun.verb`: `group.created`.
    event_type: String,
    actor: Actor,
    event_data: EventData,
}

/// The actor of a change.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditActor")]
struct Actor {
    /// How the actor was authenticated. SYSTEM is Tollgate itself, at a start.
    #[serde(rename = "type")]
    actor_type: ActorTypeWord,
    /// The prefix of the operator key, also for a session.
    api_key_prefix: Option<String>,
    api_key_name: Option<String>,
}

/// The objects of a change.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditEventData")]
struct EventData {
    /// The objects that were changed in one step.
    changes: Vec<RowChange>,
    /// Whether the previous states were recorded; if not, every `before` is null. They are missing from changes by
    /// earlier versions and from changes of more than 10,000 objects.
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

/// The parameters of a list of changes.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct AuditQuery {
    /// The start of the time range (inclusive).
    start_time: Option<Moment>,
    /// The end of the time range (exclusive).
    end_time: Option<Moment>,
    /// Return only changes of this kind, such as `group.created`.
    event_type: Option<EventType>,
    /// The maximum number of items on a page. Default: 100. A page of large changes may have fewer, even if more
    /// follow.
    limit: Option<PageLimit>,
    /// The `pagination.cursor` of the previous page. It includes the time range and the filter.
    cursor: Option<String>,
}

/// The content of this list's cursors.
#[derive(Serialize, Deserialize)]
struct Position {
    /// The sequence number of the last change of the previous page.
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
        // A client may repeat the filter of the cursor, but not change it.
        if self.event_type.is_some_and(|wanted| Some(wanted.0) != event_type.as_deref()) {
            return Err(Error::invalid("invalid_parameter", "cursor: is from a list with another event_type"));
        }
        Ok(service::AuditQuery { start_ms, end_ms, event_type, before: Some(before), limit })
    }
}

pub(in crate::http) async fn list(
    _: Operator<ManageAll>,
    gateway: Data<Gateway>,
    Query(query): Query<AuditQuery>,
) -> Result<Json<AuditPage>, AdminError> {
    let query = query.resolve()?;
    let (start_ms, end_ms, event_type) = (query.start_ms, query.end_ms, query.event_type.clone());
    let page = gateway.storage.read_audit(query).await?;
    let catalog = gateway.core.catalog.load();
    let items = page.entries.into_iter().map(|entry| AuditLog::new(&catalog, entry)).collect();
    let next = page.next.map(|before| Position { before, start_ms, end_ms, event_type });
    let incomplete = page.missing.iter().map(Gap::new).collect();
    Ok(Json(AuditPage { page: Page::new(LIST, items, next)?, incomplete }))
}
