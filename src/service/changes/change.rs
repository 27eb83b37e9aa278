//! Operators' changes. They run one at a time, each against a catalog that does not change meanwhile, and each writes
//! one journal record.
//!
//! * The rules are checked and the record is written under one lock. So two changes can never both pass a check that
//!   only one of them may pass (a name that must be unique, the last MANAGE_ALL key).
//! * The catalog changes only when the record is durable. So a change that was reported as done is never lost, and a
//!   change that was refused has had no effect.
//! * Once the record is written, the change is applied even if the operator hangs up. Otherwise it would take effect at
//!   the next start, when the record is replayed.

use std::{sync::Arc, time::Duration};

use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::{
    crypto::seal::Sealer,
    domain::{
        id::WebhookId,
        record::{Actor, Changed, Record, Row},
        webhook::Webhook,
    },
    journal::codec,
    service::{access::auth::Access, catalog::Catalog, core::Core, error::Error, storage::Storage, webhooks::Webhooks},
};

/// How long a change waits for the lock, and then for its record to become durable, before it fails.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);

/// The most changed rows whose previous versions a record contains.
const MAX_ROWS_BEFORE: usize = 10_000;

/// The parts of the gateway that operators' changes use.
pub struct Changes {
    pub(in crate::service) core: Arc<Core>,
    pub(super) access: Arc<Access>,
    pub(super) storage: Arc<Storage>,
    pub(super) webhooks: Arc<Webhooks>,
    pub(super) sealer: Arc<Sealer>,
    lock: Arc<Mutex<()>>,
}

/// The lock for one change, with the catalog to change.
pub struct Change {
    core: Arc<Core>,
    webhooks: Arc<Webhooks>,
    /// The current catalog. It does not change while the lock is held.
    pub catalog: Arc<Catalog>,
    lock: OwnedMutexGuard<()>,
}

impl Changes {
    pub(in crate::service) fn new(
        core: Arc<Core>,
        access: Arc<Access>,
        storage: Arc<Storage>,
        webhooks: Arc<Webhooks>,
        sealer: Arc<Sealer>,
    ) -> Self {
        Self { core, access, storage, webhooks, sealer, lock: Arc::default() }
    }

    /// Waits for the lock to make a change.
    pub async fn begin(&self) -> Result<Change, Error> {
        if let Some(why) = self.core.metering_error() {
            return Err(Error::Unavailable(why));
        }
        let lock = tokio::time::timeout(CHANGE_TIMEOUT, self.lock.clone().lock_owned()).await;
        let lock = lock.map_err(|_| Error::Unavailable("An earlier change is still being written.".to_owned()))?;
        let catalog = self.core.catalog.load_full();
        Ok(Change { core: self.core.clone(), webhooks: self.webhooks.clone(), catalog, lock })
    }
}

impl Change {
    /// Makes `rows` durable and then applies them, all in one step.
    pub async fn commit(self, actor: Actor, action: &str, rows: Vec<Row>) -> Result<(), Error> {
        let Self { core, webhooks, catalog, lock } = self;
        let rows_before: Vec<_> = rows.iter().filter_map(|row| catalog.before(row)).collect();
        // A deletion of a hundred thousand groups is recorded without their previous versions.
        let before = (rows_before.len() <= MAX_ROWS_BEFORE).then_some(rows_before);
        let record = Record::Changed(Changed { actor, action: action.to_owned(), before, rows });
        let mut bytes = Vec::new();
        codec::encode(&record, &mut bytes).map_err(Error::internal)?;
        let appended = core.journal.append(&bytes).map_err(Error::internal)?;
        let Record::Changed(Changed { rows, .. }) = record else { return Ok(()) };
        let apply = async move {
            // An async block captures only what it names. This keeps the lock until the change is applied.
            let _lock = lock;
            core.journal.durable(appended.seq).await;
            let mut catalog = Catalog::clone(&catalog);
            let moment = core.moment();
            let touched = touched_webhooks(&rows);
            rows.into_iter().for_each(|row| catalog.apply(row, moment));
            core.catalog.store(Arc::new(catalog));
            webhooks.wake(touched);
        };
        match tokio::time::timeout(CHANGE_TIMEOUT, tokio::task::spawn_local(apply)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(panicked)) => Err(Error::internal(panicked)),
            Err(_) => Err(Error::Pending),
        }
    }
}

/// The webhooks that a change concerns.
fn touched_webhooks(rows: &[Row]) -> Vec<WebhookId> {
    let webhook = |row: &Row| match row {
        Row::Webhook(Webhook { id, .. }) | Row::WebhookGone(id) | Row::Redeliver(id, _) => Some(*id),
        _ => None,
    };
    let mut touched: Vec<_> = rows.iter().filter_map(webhook).collect();
    touched.dedup();
    touched
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Config,
        domain::{budget::Budgets, group::GroupModels, record::ActorKind},
        journal::faults::{Op, fail_next, heal},
        service::{boot, changes::groups::NewGroup},
    };
    use std::{
        pin::pin,
        task::{Context, Waker},
    };
    use tokio::task::LocalSet;

    fn group(external_entity_id: &str) -> NewGroup {
        let external_entity_id = external_entity_id.to_owned();
        NewGroup {
            external_entity_id,
            name: None,
            models: GroupModels::new(Vec::new()).unwrap(),
            budgets: Budgets::default(),
            enforcement: None,
            parent: None,
        }
    }

    #[tokio::test]
    async fn a_change_whose_operator_hung_up_keeps_its_lock_until_it_is_applied() {
        let directory = tempfile::tempdir().unwrap();
        let booted = boot(Config { data_dir: directory.path().to_owned(), ..Config::default() }, None).unwrap();
        let gateway = booted.gateway.clone();
        let journal = directory.path().join("journal");
        let actor = Actor { kind: ActorKind::System, ..Actor::system() };
        let poll_once = &mut Context::from_waker(Waker::noop());
        LocalSet::new()
            .run_until(async {
                fail_next(&journal, Op::Write, usize::MAX);
                {
                    let mut first = pin!(gateway.changes.create_group(actor.clone(), group("same")));
                    assert!(first.as_mut().poll(poll_once).is_pending());
                    assert_eq!(gateway.core.journal.last_seq(), 1, "the record is written");
                }
                let mut second = pin!(gateway.changes.create_group(actor.clone(), group("same")));
                assert!(second.as_mut().poll(poll_once).is_pending());
                assert_eq!(gateway.core.journal.last_seq(), 1, "the second change waits for the lock");
                heal(&journal);
                let refused = second.await.err();
                assert!(matches!(refused, Some(Error::Invalid { code: "duplicate_external_entity_id", .. })));
                assert_eq!(gateway.core.catalog.load().groups().len(), 1);
            })
            .await;
        drop(gateway);
        booted.close();
    }
}
