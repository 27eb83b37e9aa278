//! `/v1/gateway/search`: finding by a part of a name.

use actix_web::web::{Data, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    field::SearchText,
    operator::{ManageAll, ManageApiKeys, Operator},
    query::Query,
};
use crate::{
    http::error::AdminError,
    service::{Gateway, catalog::GroupNode, search as service},
};

/// What to look for.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SearchQuery {
    /// A part of a group's name, external entity id or id, of an endpoint's slug, or of an API key's prefix or name, in
    /// any case. It may be a whole API key: only its prefix matters, and it is kept nowhere.
    q: SearchText,
}

/// What was found.
#[derive(Serialize, JsonSchema)]
pub(super) struct SearchResult {
    /// At most 20, the best first: what is the text itself, what begins with it, what has it
    /// somewhere in a name, then in an id.
    items: Vec<SearchItem>,
    /// Whether there is more.
    more: bool,
}

/// Something that was found.
#[derive(Serialize, JsonSchema)]
struct SearchItem {
    kind: SearchKind,
    /// The group's or endpoint's id; the API key's prefix.
    id: String,
    /// Whose API key it is; `null` for anything else.
    group_id: Option<String>,
    /// Its name, or what else it is called by.
    title: String,
    /// What tells it from others of that name.
    detail: String,
}

/// What it is.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum SearchKind {
    Group,
    Endpoint,
    ApiKey,
}

impl SearchItem {
    fn new(found: service::Found) -> Self {
        match found {
            service::Found::Endpoint(id, slug) => Self {
                kind: SearchKind::Endpoint,
                id: id.to_string(),
                group_id: None,
                title: slug,
                detail: id.to_string(),
            },
            service::Found::Group(node) => {
                let (id, group) = (node.id.to_string(), node.group());
                let detail = if group.name.is_some() { group.external_entity_id.clone() } else { id.clone() };
                Self { kind: SearchKind::Group, id, group_id: None, title: title(&node), detail }
            }
            service::Found::ApiKey(entry) => Self {
                kind: SearchKind::ApiKey,
                id: entry.key.prefix.clone(),
                group_id: Some(entry.group.id.to_string()),
                title: entry.key.name.clone().unwrap_or_else(|| entry.key.prefix.clone()),
                detail: title(&entry.group),
            },
        }
    }
}

fn title(node: &GroupNode) -> String {
    let group = node.group();
    group.name.clone().unwrap_or_else(|| group.external_entity_id.clone())
}

pub(super) async fn get(
    operator: Operator<ManageApiKeys>,
    gateway: Data<Gateway>,
    Query(query): Query<SearchQuery>,
) -> Result<Json<SearchResult>, AdminError> {
    let service::SearchResult { found, more } = gateway.search(query.q.0, operator.may::<ManageAll>()).await?;
    Ok(Json(SearchResult { items: found.into_iter().map(SearchItem::new).collect(), more }))
}
