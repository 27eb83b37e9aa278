//! The progress of webhooks, and the events and alerts that they could not deliver.
//!
//! Records about a deleted webhook change nothing, because a delivery may end after its webhook was deleted.

use serde::{Deserialize, Serialize};

use super::{
    apply::Batch,
    error::StoreError,
    handle::Store,
    progress::{Cursor, WebhookProgress},
    table::{DAMAGED, Table, WEBHOOK_VERSION, decode, decode_version, encode, encode_version},
};
use crate::domain::{
    id::{DeadLetterId, WebhookId},
    webhook::{Contents, DeadAlerts, DeadLetter, Delivered, DeliveryFailure, Passed, Redelivered, Webhook},
};

/// A dead letter without its contents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetterRow {
    /// Unix ms of the last attempt.
    pub failed_at_ms: u64,
    /// How it failed, counting all attempts.
    pub failure: DeliveryFailure,
}

/// The version of a dead letter's contents if they are events.
pub(super) const EVENTS_VERSION: u8 = 2;

/// The version of a dead letter's contents if they are alerts.
const ALERTS_VERSION: u8 = 3;

/// The contents of a dead letter, in stored form.
pub struct StoredContents(sled::IVec);

impl StoredContents {
    /// The size in bytes.
    pub fn size(&self) -> usize {
        self.0.len()
    }

    /// Decodes the contents.
    pub fn read(&self) -> Result<Contents<'_>, StoreError> {
        match self.0.first() {
            Some(&ALERTS_VERSION) => decode_version(ALERTS_VERSION, &self.0).map(Contents::Alerts),
            _ => decode_version(EVENTS_VERSION, &self.0).map(Contents::Events),
        }
    }
}

type LetterKey = [u8; 32];

fn letter_key(webhook: WebhookId, id: DeadLetterId) -> LetterKey {
    let mut key = [0; 32];
    key[..16].copy_from_slice(&webhook.0.to_be_bytes());
    key[16..].copy_from_slice(&id.0.to_be_bytes());
    key
}

fn letter_id(key: &[u8]) -> Result<DeadLetterId, StoreError> {
    let id = key.get(16..).and_then(|id| id.try_into().ok()).ok_or(DAMAGED)?;
    Ok(DeadLetterId(u128::from_be_bytes(id)))
}

/// The tables whose keys start with a webhook's id.
const WEBHOOK_TABLES: [Table; 5] =
    [Table::Webhooks, Table::Cursors, Table::DeadLetters, Table::DeadEvents, Table::Redeliveries];

/// The tables that have rows for dead letters.
const LETTER_TABLES: [Table; 3] = [Table::DeadLetters, Table::DeadEvents, Table::Redeliveries];

impl Store {
    /// A webhook's cursor after the batch so far; `None` if the webhook does not exist.
    fn cursor_in(&self, batch: &Batch, id: WebhookId) -> Result<Option<Cursor>, StoreError> {
        self.row_in(batch, Table::Cursors, &id.0.to_be_bytes())
    }

    fn move_cursor(batch: &mut Batch, id: WebhookId, cursor: Cursor) -> Result<(), StoreError> {
        batch.write(Table::Cursors, &id.0.to_be_bytes(), Some(encode(&cursor)?));
        Ok(())
    }

    /// Stores a webhook. A new one starts at the position in its row.
    pub(super) fn put_webhook(&self, batch: &mut Batch, webhook: &Webhook) -> Result<(), StoreError> {
        batch.write(Table::Webhooks, &webhook.id.0.to_be_bytes(), Some(encode_version(WEBHOOK_VERSION, webhook)?));
        if self.cursor_in(batch, webhook.id)?.is_some() {
            return Ok(());
        }
        Self::move_cursor(batch, webhook.id, Cursor { through: webhook.starts_after, ..Cursor::default() })
    }

    /// Records that events or alerts were delivered.
    pub(super) fn fold_delivered(
        &self,
        batch: &mut Batch,
        at_ms: u64,
        delivered: &Delivered,
    ) -> Result<(), StoreError> {
        let Delivered { webhook, through } = *delivered;
        if self.cursor_in(batch, webhook)?.is_none() {
            return Ok(());
        }
        Self::move_cursor(batch, webhook, Cursor { through, has_given_up: false, last_success_ms: Some(at_ms) })
    }

    /// Records that a webhook has nothing to deliver up to a record.
    pub(super) fn fold_passed(&self, batch: &mut Batch, passed: &Passed) -> Result<(), StoreError> {
        let Some(cursor) = self.cursor_in(batch, passed.webhook)? else { return Ok(()) };
        let through = cursor.through.max(passed.through);
        Self::move_cursor(batch, passed.webhook, Cursor { through, ..cursor })
    }

    /// Stores a dead letter of events.
    pub(super) fn fold_dead_lettered(
        &self,
        batch: &mut Batch,
        at_ms: u64,
        letter: &DeadLetter<'_>,
    ) -> Result<(), StoreError> {
        let DeadLetter { webhook, id, through, failure, events } = letter;
        let row = DeadLetterRow { failed_at_ms: at_ms, failure: failure.clone() };
        self.keep_letter(batch, (*webhook, *id), *through, &row, encode_version(EVENTS_VERSION, events)?)
    }

    /// Stores a dead letter of alerts.
    pub(super) fn fold_alerts_dead_lettered(
        &self,
        batch: &mut Batch,
        at_ms: u64,
        letter: &DeadAlerts,
    ) -> Result<(), StoreError> {
        let DeadAlerts { webhook, id, through, failure, alerts } = letter;
        let row = DeadLetterRow { failed_at_ms: at_ms, failure: failure.clone() };
        self.keep_letter(batch, (*webhook, *id), *through, &row, encode_version(ALERTS_VERSION, alerts)?)
    }

    fn keep_letter(
        &self,
        batch: &mut Batch,
        (webhook, id): (WebhookId, DeadLetterId),
        through: u64,
        row: &DeadLetterRow,
        contents: Vec<u8>,
    ) -> Result<(), StoreError> {
        let Some(cursor) = self.cursor_in(batch, webhook)? else { return Ok(()) };
        let key = letter_key(webhook, id);
        batch.write(Table::DeadLetters, &key, Some(encode(row)?));
        batch.write(Table::DeadEvents, &key, Some(contents));
        Self::move_cursor(batch, webhook, Cursor { through, has_given_up: true, ..cursor })
    }

    /// Records the result of a redelivery.
    pub(super) fn fold_redelivered(&self, batch: &mut Batch, at_ms: u64, again: Redelivered) -> Result<(), StoreError> {
        let Redelivered { webhook, id, failure } = again;
        let key = letter_key(webhook, id);
        let known: Option<DeadLetterRow> = self.row_in(batch, Table::DeadLetters, &key)?;
        let (Some(known), Some(cursor)) = (known, self.cursor_in(batch, webhook)?) else { return Ok(()) };
        let Some(failure) = failure else {
            LETTER_TABLES.into_iter().for_each(|table| batch.write(table, &key, None));
            let cursor = Cursor { has_given_up: false, last_success_ms: Some(at_ms), ..cursor };
            return Self::move_cursor(batch, webhook, cursor);
        };
        let has_given_up = cursor.has_given_up || !failure.is_final();
        let attempts = known.failure.attempts.saturating_add(failure.attempts);
        let row = DeadLetterRow { failed_at_ms: at_ms, failure: DeliveryFailure { attempts, ..failure } };
        batch.write(Table::DeadLetters, &key, Some(encode(&row)?));
        batch.write(Table::Redeliveries, &key, None);
        Self::move_cursor(batch, webhook, Cursor { has_given_up, ..cursor })
    }

    /// Records that a dead letter is to be redelivered.
    pub(super) fn queue_redelivery(
        &self,
        batch: &mut Batch,
        webhook: WebhookId,
        id: DeadLetterId,
    ) -> Result<(), StoreError> {
        let key = letter_key(webhook, id);
        if self.row_in::<DeadLetterRow>(batch, Table::DeadLetters, &key)?.is_some() {
            batch.write(Table::Redeliveries, &key, Some(Vec::new()));
        }
        Ok(())
    }

    /// Removes all rows of a webhook.
    pub(super) fn forget_webhook(&self, batch: &mut Batch, id: WebhookId) -> Result<(), StoreError> {
        let prefix = id.0.to_be_bytes();
        batch.rows.retain(|(table, key), _| !(WEBHOOK_TABLES.contains(table) && key.starts_with(&prefix)));
        let tables = self.tables()?;
        for table in WEBHOOK_TABLES {
            for key in tables.of(table).scan_prefix(prefix).keys() {
                batch.write(table, &key?, None);
            }
        }
        Ok(())
    }

    /// The progress of each webhook.
    pub(super) fn progress_of_webhooks(&self) -> Result<Vec<(WebhookId, WebhookProgress)>, StoreError> {
        let tables = self.tables()?;
        let progress = |entry: sled::Result<(sled::IVec, sled::IVec)>| {
            let (key, value) = entry?;
            let id = WebhookId(u128::from_be_bytes(key.as_ref().try_into().map_err(|_| DAMAGED)?));
            let mut dead_letters = 0;
            for key in tables.of(Table::DeadLetters).scan_prefix(&key).keys() {
                key?;
                dead_letters += 1;
            }
            Ok((id, WebhookProgress { cursor: decode(&value)?, dead_letters }))
        };
        tables.of(Table::Cursors).iter().map(progress).collect()
    }

    /// A webhook's dead letters after `after`, in the order in which they were given up. The flag says whether one is
    /// to be redelivered.
    pub fn dead_letters(
        &self,
        webhook: WebhookId,
        after: DeadLetterId,
        limit: usize,
    ) -> Result<Vec<(DeadLetterId, DeadLetterRow, bool)>, StoreError> {
        let tables = self.tables()?;
        let after = std::ops::Bound::Excluded(letter_key(webhook, after));
        let last = std::ops::Bound::Included(letter_key(webhook, DeadLetterId(u128::MAX)));
        let read = |entry: sled::Result<(sled::IVec, sled::IVec)>| {
            let (key, value) = entry?;
            Ok((letter_id(&key)?, decode(&value)?, tables.of(Table::Redeliveries).contains_key(&key)?))
        };
        tables.of(Table::DeadLetters).range((after, last)).take(limit).map(read).collect()
    }

    /// The ids of all of a webhook's dead letters, in order.
    pub fn dead_letter_ids(&self, webhook: WebhookId) -> Result<Vec<DeadLetterId>, StoreError> {
        let keys = self.tables()?.of(Table::DeadLetters).scan_prefix(webhook.0.to_be_bytes()).keys();
        keys.map(|key| letter_id(&key?)).collect()
    }

    /// The contents of a dead letter, if there is one with this id.
    pub fn dead_contents(&self, webhook: WebhookId, id: DeadLetterId) -> Result<Option<StoredContents>, StoreError> {
        Ok(self.tables()?.of(Table::DeadEvents).get(letter_key(webhook, id))?.map(StoredContents))
    }

    /// The first of a webhook's dead letters that is to be redelivered.
    pub fn next_redelivery(&self, webhook: WebhookId) -> Result<Option<DeadLetterId>, StoreError> {
        let tables = self.tables()?;
        let first = tables.of(Table::Redeliveries).scan_prefix(webhook.0.to_be_bytes()).keys().next();
        first.map(|key| letter_id(&key?)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{
            record::{Actor, Changed, Record, Row},
            testing::{alert, settled},
            webhook::{DatedAlert, DatedEvent, WebhookTypes},
        },
        journal::{Durability, Journal, codec},
        store::Folder,
    };

    const HOOK: WebhookId = WebhookId(7);

    fn webhook() -> Webhook {
        Webhook {
            id: HOOK,
            url: "http://hooks.example/".to_owned(),
            description: None,
            enabled: true,
            secret: vec![1],
            replaced: None,
            starts_after: 0,
            created_at_ms: 0,
            updated_at_ms: 0,
            types: WebhookTypes::default(),
        }
    }

    fn changed(row: Row) -> Record<'static> {
        let (actor, action) = (Actor::system(), "a.b".to_owned());
        Record::Changed(Changed { actor, action, before: None, rows: vec![row] })
    }

    fn failure(attempts: u32, last_error: &str) -> DeliveryFailure {
        DeliveryFailure { attempts, last_status: Some(500), last_error: last_error.to_owned() }
    }

    fn letter(id: u128, through: u64) -> Record<'static> {
        let events = vec![DatedEvent { at_ms: 5, settled: settled() }];
        let (id, failure) = (DeadLetterId(id), failure(5, "no"));
        Record::DeadLettered(DeadLetter { webhook: HOOK, id, through, failure, events })
    }

    fn redelivered(id: u128, failure: Option<DeliveryFailure>) -> Record<'static> {
        Record::Redelivered(Redelivered { webhook: HOOK, id: DeadLetterId(id), failure })
    }

    /// A store that has folded these records, in batches that end at each number in `cuts`.
    fn folded(records: &[Record<'_>], cuts: &[u64]) -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(&directory.path().join("journal"), Durability::Process).unwrap();
        let store = Store::open(directory.path(), &journal, None).unwrap();
        for record in records {
            let mut bytes = Vec::new();
            codec::encode(record, &mut bytes).unwrap();
            let appended = journal.append(&bytes).unwrap();
            assert!(journal.durable_blocking(appended.seq, std::time::Duration::from_secs(10)));
        }
        let mut folder = Folder::new(&store, &journal).unwrap();
        for cut in cuts.iter().chain([&u64::MAX]) {
            folder.catch_up_to(*cut).unwrap();
        }
        drop(folder);
        (directory, store)
    }

    fn letters(store: &Store) -> Vec<(u128, u32, bool)> {
        let letters = store.dead_letters(HOOK, DeadLetterId(0), 10).unwrap();
        letters.into_iter().map(|(id, row, is_queued)| (id.0, row.failure.attempts, is_queued)).collect()
    }

    #[test]
    fn a_dead_letter_is_kept_until_its_events_are_delivered() {
        let records = [
            changed(Row::Webhook(webhook())),
            Record::Delivered(Delivered { webhook: HOOK, through: 40 }),
            letter(1, 50),
            letter(2, 60),
            changed(Row::Redeliver(HOOK, DeadLetterId(1))),
            changed(Row::Redeliver(HOOK, DeadLetterId(2))),
            changed(Row::Redeliver(HOOK, DeadLetterId(3))),
            redelivered(1, None),
            redelivered(2, Some(failure(2, "again"))),
            redelivered(3, None),
        ];
        for cuts in [&[][..], &[1, 2, 3, 4, 5, 6, 7, 8, 9], &[7]] {
            let (_directory, store) = folded(&records, cuts);
            assert_eq!(letters(&store), [(2, 7, false)], "{cuts:?}");
            assert!(store.dead_contents(HOOK, DeadLetterId(1)).unwrap().is_none());
            let contents = store.dead_contents(HOOK, DeadLetterId(2)).unwrap().unwrap();
            let Contents::Events(events) = contents.read().unwrap() else { panic!("events") };
            assert_eq!(events[0].settled.model_slug, "acme/chat");
            assert_eq!(store.next_redelivery(HOOK).unwrap(), None);
            let [(HOOK, progress)] = store.progress_of_webhooks().unwrap()[..] else { panic!("one webhook") };
            assert_eq!((progress.cursor.through, progress.dead_letters), (60, 1));
            assert!(progress.cursor.has_given_up && progress.cursor.last_success_ms.is_some(), "the last one failed");
        }
        let (_directory, store) = folded(&records[..7], &[]);
        assert_eq!(store.next_redelivery(HOOK).unwrap(), Some(DeadLetterId(1)));
        assert_eq!(letters(&store), [(1, 5, true), (2, 5, true)]);
    }

    #[test]
    fn alerts_that_were_given_up_are_a_dead_letter_like_events() {
        let alerts = vec![DatedAlert { at_ms: 5, alert: alert() }];
        let (id, failure) = (DeadLetterId(2), failure(5, "no"));
        let dead = DeadAlerts { webhook: HOOK, id, through: 60, failure, alerts: alerts.clone() };
        let records = [
            changed(Row::Webhook(webhook())),
            letter(1, 50),
            Record::AlertsDeadLettered(dead),
            changed(Row::Redeliver(HOOK, id)),
            redelivered(2, None),
        ];
        let (_directory, store) = folded(&records[..4], &[]);
        assert_eq!(letters(&store), [(1, 5, false), (2, 5, true)]);
        assert_eq!(store.progress_of_webhooks().unwrap()[0].1.cursor.through, 60);
        let contents = store.dead_contents(HOOK, id).unwrap().unwrap();
        let Contents::Alerts(kept) = contents.read().unwrap() else { panic!("alerts") };
        assert_eq!(kept, alerts);
        let (_directory, store) = folded(&records, &[]);
        assert_eq!(letters(&store), [(1, 5, false)]);
    }

    #[test]
    fn a_webhook_that_passed_records_has_delivered_nothing_and_still_fails() {
        let passed = |through| Record::Passed(Passed { webhook: HOOK, through });
        let records = [changed(Row::Webhook(webhook())), letter(1, 50), passed(70), passed(60)];
        let (_directory, store) = folded(&records, &[]);
        let expected = Cursor { through: 70, has_given_up: true, last_success_ms: None };
        assert_eq!(store.progress_of_webhooks().unwrap()[0].1.cursor, expected);
        let (_directory, store) = folded(&[passed(70)], &[]);
        assert!(store.progress_of_webhooks().unwrap().is_empty());
    }

    #[test]
    fn redelivering_a_dead_letter_clears_the_failed_state() {
        let records =
            [changed(Row::Webhook(Webhook { starts_after: 9, ..webhook() })), letter(1, 50), redelivered(1, None)];
        for (count, through, has_given_up) in [(1, 9, false), (2, 50, true), (3, 50, false)] {
            let (_directory, store) = folded(&records[..count], &[]);
            let cursor = store.progress_of_webhooks().unwrap()[0].1.cursor;
            assert_eq!((cursor.through, cursor.has_given_up), (through, has_given_up));
            assert_eq!(cursor.last_success_ms.is_some(), count == 3);
        }
    }

    #[test]
    fn a_deleted_webhook_leaves_no_rows_and_later_records_add_none() {
        let records = [
            changed(Row::Webhook(webhook())),
            letter(1, 50),
            changed(Row::Redeliver(HOOK, DeadLetterId(1))),
            changed(Row::WebhookGone(HOOK)),
            Record::Delivered(Delivered { webhook: HOOK, through: 70 }),
            letter(2, 80),
            redelivered(1, Some(failure(1, "no"))),
        ];
        for cuts in [&[][..], &[1, 2, 3, 4, 5, 6], &[3]] {
            let (_directory, store) = folded(&records, cuts);
            assert!(letters(&store).is_empty(), "{cuts:?}");
            assert!(store.progress_of_webhooks().unwrap().is_empty());
            let tables = store.tables().unwrap();
            assert!(WEBHOOK_TABLES.iter().all(|table| tables.of(*table).is_empty()));
        }
    }
}
