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

use tokio::sync::OwnedMutexGuard;

use crate::{
    domain::record::{Actor, Changed, Record, Row},
    journal::codec,
    service::{catalog::Catalog, error::Error, gateway::Gateway, webhooks},
};

/// How long a change waits for the lock, and then for its record to become durable, before it fails.
const PATIENCE: Duration = Duration::from_secs(10);

/// The most changed rows whose previous versions a record contains.
const MAX_ROWS_BEFORE: usize = 10_000;

/// The lock for one change, with the catalog to change.
pub struct Change {
    gateway: Arc<Gateway>,
    /// The current catalog. It does not change while the lock is held.
    pub catalog: Arc<Catalog>,
    lock: OwnedMutexGuard<()>,
}

impl Gateway {
    /// Waits for the lock to make a change.
    pub async fn change(self: &Arc<Self>) -> Result<Change, Error> {
        if let Some(why) = self.metering_error() {
            return Err(Error::Unavailable(why));
        }
        let lock = tokio::time::timeout(PATIENCE, self.changes.clone().lock_owned()).await;
        let lock = lock.map_err(|_| Error::Unavailable("An earlier change is still being written.".to_owned()))?;
        Ok(Change { gateway: self.clone(), catalog: self.catalog.load_full(), lock })
    }
}

impl Change {
    /// Makes `rows` durable and then applies them, all in one step.
    pub async fn commit(self, actor: Actor, action: &str, rows: Vec<Row>) -> Result<(), Error> {
        let Self { gateway, catalog, lock } = self;
        let rows_before: Vec<_> = rows.iter().filter_map(|row| catalog.before(row)).collect();
        // A deletion of a hundred thousand groups is recorded without their previous versions.
        let before = (rows_before.len() <= MAX_ROWS_BEFORE).then_some(rows_before);
        let record = Record::Changed(Changed { actor, action: action.to_owned(), before, rows });
        let mut bytes = Vec::new();
        codec::encode(&record, &mut bytes).map_err(Error::internal)?;
        let appended = gateway.journal.append(&bytes).map_err(Error::internal)?;
        let Record::Changed(Changed { rows, .. }) = record else { return Ok(()) };
        let apply = async move {
            // An async block captures only what it names. This keeps the lock until the change is applied.
            let _lock = lock;
            gateway.journal.durable(appended.seq).await;
            let mut catalog = Catalog::clone(&catalog);
            let now = gateway.now();
            let webhooks = webhooks::touched(&rows);
            rows.into_iter().for_each(|row| catalog.apply(row, now));
            gateway.catalog.store(Arc::new(catalog));
            gateway.webhooks.wake(webhooks);
        };
        match tokio::time::timeout(PATIENCE, tokio::task::spawn_local(apply)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(panicked)) => Err(Error::internal(panicked)),
            Err(_) => Err(Error::Pending),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Config,
        domain::record::ActorKind,
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
        NewGroup { external_entity_id, name: None, models: Vec::new(), enforcement: None, parent: None }
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
                    let mut first = pin!(gateway.create_group(actor.clone(), group("same")));
                    assert!(first.as_mut().poll(poll_once).is_pending());
                    assert_eq!(gateway.journal.last_seq(), 1, "the record is written");
                }
                let mut second = pin!(gateway.create_group(actor.clone(), group("same")));
                assert!(second.as_mut().poll(poll_once).is_pending());
                assert_eq!(gateway.journal.last_seq(), 1, "the second change waits for the lock");
                heal(&journal);
                let refused = second.await.err();
                assert!(matches!(refused, Some(Error::Invalid { code: "duplicate_external_entity_id", .. })));
                assert_eq!(gateway.catalog.load().groups().len(), 1);
            })
            .await;
        drop(gateway);
        booted.close();
    }
}
