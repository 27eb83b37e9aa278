//! The operators' actions, as `noun.verb`. A change's record names its action, and the audit log can be filtered by it.
//! Records store these names, so a name is never changed or removed.

macro_rules! actions {
    ($($name:ident = $word:literal,)+) => {
        $(#[doc = concat!("`", $word, "`")] pub const $name: &str = $word;)+

        /// All actions.
        pub const ALL: &[&str] = &[$($word),+];
    };
}

actions! {
    ENDPOINT_CREATED = "endpoint.created",
    ENDPOINT_UPDATED = "endpoint.updated",
    ENDPOINT_DELETED = "endpoint.deleted",
    GROUP_CREATED = "group.created",
    GROUP_UPDATED = "group.updated",
    GROUP_DELETED = "group.deleted",
    API_KEY_CREATED = "api_key.created",
    API_KEY_REGISTERED = "api_key.registered",
    API_KEY_UPDATED = "api_key.updated",
    API_KEY_ROTATED = "api_key.rotated",
    API_KEY_REVOKED = "api_key.revoked",
    SIGNING_KEY_WRITTEN = "signing_key.written",
    SIGNING_KEY_DELETED = "signing_key.deleted",
    OPERATOR_KEY_CREATED = "operator_key.created",
    OPERATOR_KEY_DELETED = "operator_key.deleted",
    SECRET_WRITTEN = "secret.written",
    SECRET_DELETED = "secret.deleted",
    WEBHOOK_CREATED = "webhook.created",
    WEBHOOK_UPDATED = "webhook.updated",
    WEBHOOK_SECRET_ROTATED = "webhook.secret_rotated",
    WEBHOOK_REDELIVERY_REQUESTED = "webhook.redelivery_requested",
    WEBHOOK_DELETED = "webhook.deleted",
    BACKUP_CREATED = "backup.created",
}
