//! `/v1/gateway/groups/{group_id}/api_keys`: customers' keys.

use std::time::Duration;

use actix_web::web::{Data, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    crypto::mint::Minted,
    domain::id::GroupId,
    http::admin::{
        api::{
            body::{Body, OptionalBody, SignedBody, clearable},
            field::{Moment, Name, RegisteredKey, Timestamp},
            number::GraceSeconds,
            operator::{ManageApiKeys, Operator},
            page::{self, Page, PageQuery},
            path::{KeyPrefix, Path},
            query::Query,
        },
        error::AdminError,
    },
    service::{Gateway, catalog::KeyEntry, changes::keys as service, error::Error},
};

/// How long a replaced key keeps working if the request does not say.
const DEFAULT_GRACE: Duration = Duration::from_secs(24 * 60 * 60);

/// A customer's key.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct ApiKey {
    prefix: String,
    name: Option<String>,
    created_at: Timestamp,
    /// The time of its last billing event.
    last_used_at: Option<Timestamp>,
    disabled: bool,
    expires_at: Option<Timestamp>,
}

impl ApiKey {
    fn new(entry: &KeyEntry) -> Self {
        Self {
            prefix: entry.key.prefix.clone(),
            name: entry.key.name.clone(),
            created_at: Timestamp(entry.key.created_at_ms),
            last_used_at: entry.last_used_ms.get().map(Timestamp),
            disabled: entry.key.disabled,
            expires_at: entry.key.expires_at_ms.map(Timestamp),
        }
    }
}

/// A key to be minted.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewApiKey")]
pub(in crate::http) struct Mint {
    name: Option<Name>,
    /// When the key expires. It must be in the future.
    expires_at: Option<Moment>,
}

/// A minted key.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct MintedApiKey {
    /// The whole key. It is shown only this once.
    api_key: String,
    prefix: String,
    name: Option<String>,
}

impl MintedApiKey {
    fn new(minted: Minted, name: Option<String>) -> Self {
        Self { api_key: minted.key.expose().to_owned(), prefix: minted.prefix, name }
    }
}

/// How to replace a key.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ApiKeyRotation")]
pub(in crate::http) struct Rotate {
    /// How long the old key keeps working, in seconds; 0 ends it at once. Default: 86,400, which is a day.
    grace_s: Option<GraceSeconds>,
}

/// A minted key that replaces another one.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct RotatedApiKey {
    #[serde(flatten)]
    minted: MintedApiKey,
    /// The prefix of the old key.
    replaces: String,
    /// When the old key expires: after the grace period, or at its earlier expiry.
    old_expires_at: Timestamp,
}

/// A customer's existing key, to be registered.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ApiKeyRegistration")]
pub(in crate::http) struct Register {
    /// The key: visible ASCII, with at least 3.0 bits of Shannon entropy per character. Its first 16 characters become
    /// the prefix.
    key: RegisteredKey,
    name: Option<Name>,
}

/// A registered key.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct RegisteredApiKey {
    ok: bool,
}

/// The changes to a key.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ApiKeyPatch")]
pub(in crate::http) struct Patch {
    /// `null` clears the name.
    #[serde(default, deserialize_with = "clearable")]
    name: Option<Option<Name>>,
    disabled: Option<bool>,
    /// `null` removes the expiry.
    #[serde(default, deserialize_with = "clearable")]
    expires_at: Option<Option<Moment>>,
}

/// A revoked key.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct RevokedApiKey {
    prefix: String,
}

pub(in crate::http) async fn list(
    _: Operator<ManageApiKeys>,
    gateway: Data<Gateway>,
    Path(group): Path<GroupId>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<ApiKey>>, AdminError> {
    gateway.core.catalog.load().find_group(group)?;
    let list = format!("api_keys of {group}");
    let after: Option<String> = query.cursor.map(|cursor| page::decode(&list, &cursor)).transpose()?;
    let catalog = gateway.core.catalog.load();
    let rest = catalog.keys_of(group, after.as_deref());
    let size = page::size(query.limit);
    Ok(Json(Page::of(&list, rest, size, |entry| entry.key.prefix.clone(), |entry| ApiKey::new(entry))?))
}

pub(in crate::http) async fn mint(
    operator: Operator<ManageApiKeys>,
    gateway: Data<Gateway>,
    Path(group): Path<GroupId>,
    Body(body): Body<Mint>,
) -> Result<Json<MintedApiKey>, AdminError> {
    let name = body.name.map(|name| name.0);
    let expires_at_ms = body.expires_at.map(|moment| moment.0);
    if expires_at_ms.is_some_and(|at_ms| at_ms <= gateway.core.now_ms()) {
        return Err(Error::invalid("expired", "expires_at: must be in the future").into());
    }
    let minted = gateway.changes.mint_key(operator.actor(), group, name.clone(), expires_at_ms).await?;
    Ok(Json(MintedApiKey::new(minted, name)))
}

/// Registers a key. The group is looked up first; then the signature is verified; only then is the body parsed.
pub(in crate::http) async fn register(
    operator: Operator<ManageApiKeys>,
    gateway: Data<Gateway>,
    Path(group): Path<GroupId>,
    body: SignedBody<Register>,
) -> Result<Json<RegisteredApiKey>, AdminError> {
    gateway.core.catalog.load().find_group(group)?;
    let body = body.read(|bytes, signature| gateway.changes.check_signature(bytes, signature))?;
    gateway.changes.register_key(operator.actor(), group, &body.key.0, body.name.map(|name| name.0)).await?;
    Ok(Json(RegisteredApiKey { ok: true }))
}

pub(in crate::http) async fn get(
    _: Operator<ManageApiKeys>,
    gateway: Data<Gateway>,
    Path(group): Path<GroupId>,
    Path(KeyPrefix(prefix)): Path<KeyPrefix>,
) -> Result<Json<ApiKey>, AdminError> {
    Ok(Json(ApiKey::new(&*gateway.core.catalog.load().find_key(group, &prefix)?)))
}

pub(in crate::http) async fn update(
    operator: Operator<ManageApiKeys>,
    gateway: Data<Gateway>,
    Path(group): Path<GroupId>,
    Path(KeyPrefix(prefix)): Path<KeyPrefix>,
    Body(body): Body<Patch>,
) -> Result<Json<ApiKey>, AdminError> {
    let patch = service::KeyPatch {
        name: body.name.map(|name| name.map(|name| name.0)),
        disabled: body.disabled,
        expires_at_ms: body.expires_at.map(|moment| moment.map(|moment| moment.0)),
    };
    if patch.name.is_none() && patch.disabled.is_none() && patch.expires_at_ms.is_none() {
        let message = "The body must have at least one of name, disabled and expires_at";
        return Err(Error::invalid("empty_patch", message).into());
    }
    let entry = gateway.changes.update_key(operator.actor(), group, &prefix, patch).await?;
    Ok(Json(ApiKey::new(&entry)))
}

pub(in crate::http) async fn rotate(
    operator: Operator<ManageApiKeys>,
    gateway: Data<Gateway>,
    Path(group): Path<GroupId>,
    Path(KeyPrefix(prefix)): Path<KeyPrefix>,
    OptionalBody(body): OptionalBody<Rotate>,
) -> Result<Json<RotatedApiKey>, AdminError> {
    let grace = body.grace_s.map_or(DEFAULT_GRACE, |seconds| Duration::from_secs(seconds.0.into()));
    let rotated = gateway.changes.rotate_key(operator.actor(), group, &prefix, grace).await?;
    Ok(Json(RotatedApiKey {
        minted: MintedApiKey::new(rotated.minted, rotated.name),
        replaces: prefix,
        old_expires_at: Timestamp(rotated.old_expires_at_ms),
    }))
}

pub(in crate::http) async fn revoke(
    operator: Operator<ManageApiKeys>,
    gateway: Data<Gateway>,
    Path(group): Path<GroupId>,
    Path(KeyPrefix(prefix)): Path<KeyPrefix>,
) -> Result<Json<RevokedApiKey>, AdminError> {
    gateway.changes.revoke_key(operator.actor(), group, &prefix).await?;
    Ok(Json(RevokedApiKey { prefix }))
}
