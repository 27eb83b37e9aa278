//! Operator keys, and the rule that the last stored MANAGE_ALL key cannot be deleted.

use std::sync::Arc;

use crate::{
    crypto::{
        mint::{Minted, mint},
        secret::Secret,
    },
    domain::{
        action,
        key::{OperatorKey, OperatorType},
        record::{Actor, Row},
    },
    service::{catalog::OperatorEntry, changes::change::Changes, error::Error},
};

/// The start of every operator key, so that none is mistaken for a customer's key.
const OPERATOR_BRAND: &str = "tgo";

/// The prefix shown for the key in `TOLLGATE_ADMIN_KEY`.
pub const ENV_PREFIX: &str = "env";

/// A new operator key that is not stored yet.
pub(in crate::service) struct NewOperator {
    pub(in crate::service) row: OperatorKey,
    pub(in crate::service) key: Secret,
}

impl Changes {
    /// Creates an operator key.
    pub async fn create_operator(
        &self,
        actor: Actor,
        operator_type: OperatorType,
        name: Option<String>,
    ) -> Result<Secret, Error> {
        let new = self.prepare_operator(operator_type, name)?;
        self.add_operator(actor, new.row).await?;
        Ok(new.key)
    }

    pub(in crate::service) fn prepare_operator(
        &self,
        operator_type: OperatorType,
        name: Option<String>,
    ) -> Result<NewOperator, Error> {
        let Minted { prefix, key } = mint(OPERATOR_BRAND).map_err(Error::internal)?;
        let hash = self.access.fingerprint(key.expose()).to_stored();
        Ok(NewOperator {
            row: OperatorKey { prefix, name, operator_type, hash, created_at_ms: self.core.now_ms() },
            key,
        })
    }

    pub(in crate::service) async fn add_operator(&self, actor: Actor, row: OperatorKey) -> Result<(), Error> {
        self.begin().await?.commit(actor, action::OPERATOR_KEY_CREATED, vec![Row::Operator(row)]).await
    }

    /// Deletes an operator key. The last stored MANAGE_ALL key cannot be deleted, since no one could create another
    /// one.
    pub async fn delete_operator(&self, actor: Actor, prefix: &str) -> Result<(), Error> {
        if prefix == ENV_PREFIX && self.access.env_operator().is_some() {
            return Err(Error::invalid(
                "env_key",
                "The key `env` is set by TOLLGATE_ADMIN_KEY. To remove it, start Tollgate without that variable.",
            ));
        }
        let change = self.begin().await?;
        let operators = change.catalog.operators();
        let entry = operators.get(prefix).ok_or(Error::NotFound("operator key"))?;
        let manages_all = |entry: &Arc<OperatorEntry>| entry.key.operator_type == OperatorType::ManageAll;
        if manages_all(entry) && operators.values().filter(|entry| manages_all(entry)).count() == 1 {
            return Err(Error::invalid(
                "last_operator",
                "The last WORKSPACE_MANAGE_ALL key cannot be deleted; create another one first.",
            ));
        }
        change.commit(actor, action::OPERATOR_KEY_DELETED, vec![Row::OperatorGone(prefix.to_owned())]).await
    }
}
