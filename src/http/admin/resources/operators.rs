//! `/v1/api_keys`: operator keys.

use actix_web::web::{Data, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    http::admin::{
        api::{
            body::Body,
            field::{Name, OperatorTypeWord, Timestamp},
            operator::{ManageAll, Operator},
            path::{OperatorPrefix, Path},
        },
        error::AdminError,
    },
    service::{Gateway, catalog::OperatorEntry},
};

/// An operator key.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct OperatorKey {
    /// The prefix; `env` for the key in `TOLLGATE_ADMIN_KEY`.
    prefix: String,
    name: Option<String>,
    #[serde(rename = "type")]
    operator_type: OperatorTypeWord,
    created_at: Timestamp,
    last_used_at: Option<Timestamp>,
}

impl OperatorKey {
    fn new(entry: &OperatorEntry) -> Self {
        Self {
            prefix: entry.key.prefix.clone(),
            name: entry.key.name.clone(),
            operator_type: OperatorTypeWord(entry.key.operator_type),
            created_at: Timestamp(entry.key.created_at_ms),
            last_used_at: entry.last_used_ms.get().map(Timestamp),
        }
    }
}

/// All operator keys.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct OperatorKeys {
    keys: Vec<OperatorKey>,
}

/// An operator key to be created.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewOperatorKey")]
pub(in crate::http) struct Create {
    #[serde(rename = "type")]
    operator_type: OperatorTypeWord,
    name: Option<Name>,
}

/// A new operator key.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct CreatedOperatorKey {
    /// The whole key. It is shown only this once.
    api_key: String,
}

/// A deleted operator key.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct DeletedOperatorKey {
    prefix: String,
}

pub(in crate::http) async fn list(_: Operator<ManageAll>, gateway: Data<Gateway>) -> Json<OperatorKeys> {
    let catalog = gateway.core.catalog.load();
    let all = gateway.access.env_operator().into_iter().chain(catalog.operators().values());
    Json(OperatorKeys { keys: all.map(|entry| OperatorKey::new(entry)).collect() })
}

pub(in crate::http) async fn create(
    operator: Operator<ManageAll>,
    gateway: Data<Gateway>,
    Body(body): Body<Create>,
) -> Result<Json<CreatedOperatorKey>, AdminError> {
    let name = body.name.map(|name| name.0);
    let key = gateway.changes.create_operator(operator.actor(), body.operator_type.0, name).await?;
    Ok(Json(CreatedOperatorKey { api_key: key.expose().to_owned() }))
}

pub(in crate::http) async fn delete(
    operator: Operator<ManageAll>,
    gateway: Data<Gateway>,
    Path(OperatorPrefix(prefix)): Path<OperatorPrefix>,
) -> Result<Json<DeletedOperatorKey>, AdminError> {
    gateway.changes.delete_operator(operator.actor(), &prefix).await?;
    Ok(Json(DeletedOperatorKey { prefix }))
}
