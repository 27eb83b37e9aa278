//! `/v1/gateway/signing_key`: the public key that verifies registrations of customers' keys.

use actix_web::web::{Data, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    crypto::ed25519::public_key_text,
    domain::key::PublicKey,
    http::admin::{
        api::{
            body::Body,
            field::PublicKeyText,
            operator::{ManageAll, Operator},
        },
        error::AdminError,
    },
    service::Gateway,
};

/// The public key of the system that signs registrations of customers' keys.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct SigningKey {
    /// The key: 32 bytes in base64.
    public_key: String,
}

impl SigningKey {
    pub(in crate::http) fn new(key: &PublicKey) -> Self {
        Self { public_key: public_key_text(key) }
    }
}

/// A public key to be set.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewSigningKey")]
pub(in crate::http) struct Put {
    /// The key: 32 bytes in base64.
    public_key: PublicKeyText,
}

pub(in crate::http) async fn get(
    _: Operator<ManageAll>,
    gateway: Data<Gateway>,
) -> Result<Json<SigningKey>, AdminError> {
    Ok(Json(SigningKey::new(&gateway.core.catalog.load().find_signing_key()?)))
}

pub(in crate::http) async fn put(
    operator: Operator<ManageAll>,
    gateway: Data<Gateway>,
    Body(body): Body<Put>,
) -> Result<Json<SigningKey>, AdminError> {
    let key = body.public_key.0;
    gateway.changes.put_signing_key(operator.actor(), key).await?;
    Ok(Json(SigningKey::new(&key)))
}

pub(in crate::http) async fn delete(
    operator: Operator<ManageAll>,
    gateway: Data<Gateway>,
) -> Result<Json<SigningKey>, AdminError> {
    let key = gateway.changes.delete_signing_key(operator.actor()).await?;
    Ok(Json(SigningKey::new(&key)))
}
