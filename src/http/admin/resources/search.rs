//! `/v1/gateway/search`: finds groups, endpoints and API keys by part of a name.

use actix_web::web::{Data, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    http::admin::{
        api::{
            field::SearchText,
            operator::{ManageAll, ManageApiKeys, Operator},
            query::Query,
        },
        error::AdminError,
    },
    service::{Gateway, catalog::GroupNode, reading::search as service},
};

/// The parameters of a search.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct SearchQuery {
    /// Part of a group's name, external entity id or id, of an endpoint's slug, or of an API key's prefix or name. Case
    /// is ignored. It may be a whole API key: only its prefix is used, and the key is not stored.
    q: SearchText,
}

/// The results of a search.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct SearchResult {
    /// At most 20 results, best first: exact matches, then those that begin with the text, then those that contain it
    /// in a name, then in an id.
    items: Vec<SearchItem>,
    /// Whether there are more results.
    more: bool,
}

/// A search result.
#[derive(Serialize, JsonSchema)]
struct SearchItem {
    kind: SearchKind,
    /// The id of the group or endpoint, or the prefix of the API key.
    id: String,
    /// The group that owns the API key; `null` for other kinds.
    group_id: Option<String>,
    /// The name, or, if it has none, the external entity id, slug or prefix.
    title: String,
    /// A second text that distinguishes it from others with the same title.
    detail: String,
}

/// The kind of a search result.
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

pub(in crate::http) async fn get(
    operator: Operator<ManageApiKeys>,
    gateway: Data<Gateway>,
    Query(query): Query<SearchQuery>,
) -> Result<Json<SearchResult>, AdminError> {
    let service::SearchResult { found, more } =
        service::search(gateway.core.catalog.load_full(), query.q.0, operator.has_scope::<ManageAll>()).await?;
    Ok(Json(SearchResult { items: found.into_iter().map(SearchItem::new).collect(), more }))
}
