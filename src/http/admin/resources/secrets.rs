//! `/v1/secrets`: provider credentials. Their values can be written but never read.

use actix_web::web::{Data, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    domain::key::StoredSecret,
    http::admin::{
        api::{
            body::Body,
            field::{SecretName, SecretValue, Timestamp},
            operator::{ManageAll, Operator},
            path::{Path, SecretParameter},
        },
        error::AdminError,
    },
    service::Gateway,
};

/// A provider credential, without its value.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct Secret {
    id: String,
    name: String,
    created_at: Timestamp,
    /// Always null: Tollgate has no teams.
    team_name: Option<String>,
}

impl Secret {
    fn new(secret: &StoredSecret) -> Self {
        Self {
            id: secret.id.to_string(),
            name: secret.name.clone(),
            created_at: Timestamp(secret.created_at_ms),
            team_name: None,
        }
    }
}

/// All provider credentials.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct Secrets {
    secrets: Vec<Secret>,
}

/// A provider credential to be stored. If one with this name exists, its value is replaced.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewSecret")]
pub(in crate::http) struct Put {
    name: SecretName,
    value: SecretValue,
}

/// A deleted provider credential.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct DeletedSecret {
    name: String,
}

pub(in crate::http) async fn list(_: Operator<ManageAll>, gateway: Data<Gateway>) -> Json<Secrets> {
    let catalog = gateway.core.catalog.load();
    Json(Secrets { secrets: catalog.secrets().values().map(|secret| Secret::new(secret)).collect() })
}

pub(in crate::http) async fn put(
    operator: Operator<ManageAll>,
    gateway: Data<Gateway>,
    Body(body): Body<Put>,
) -> Result<Json<Secret>, AdminError> {
    let stored = gateway.changes.put_secret(operator.actor(), &body.name.0, body.value.0).await?;
    Ok(Json(Secret::new(&stored)))
}

pub(in crate::http) async fn delete(
    operator: Operator<ManageAll>,
    gateway: Data<Gateway>,
    Path(SecretParameter(name)): Path<SecretParameter>,
) -> Result<Json<DeletedSecret>, AdminError> {
    gateway.changes.delete_secret(operator.actor(), &name).await?;
    Ok(Json(DeletedSecret { name }))
}
