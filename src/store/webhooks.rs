//! How far webhooks have come, and what they could not deliver.
//!
//! Records about a webhook that is gone change nothing: a delivery may end after its webhook was deleted.

use serde::{Deserialize, Serialize};

use super::{
    Store, StoreError,
    apply::Batch,
    table::{DAMAGED, Table, decode, encode},
};
use crate::domain::{
    id::{DeadLetterId, WebhookId},
    webhook::{DatedEvent, DeadLetter, Delivered, Failure, Redelivered, Webhook},
};

/// How far a webhook has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Cursor {
    /// The last record that it need not deliver.
    through: u64,
    /// Its last delivery was given up.
    has_given_up: bool,
}

/// How far a webhook has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebhookProgress {
    /// The last record that it need not deliver.
    pub through: u64,
    /// Its last delivery was given up.
    pub has_given_up: bool,
    /// How many dead letters it has.
    pub dead_letters: u64,
}

/// A dead letter without its events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetterRow {
    /// Unix ms of the last attempt.
    pub failed_at_ms: u64,
    /// How it failed; all attempts are counted.
    pub failure: Failure,
}

/// The events of a dead letter, as they are stored.
pub struct BuriedEvents(sled::IVec);

impl BuriedEvents {
    /// In their order.
    pub fn read(&self) -> Result<Vec<DatedEvent<'_>>, StoreError> {
        decode(&self.0)
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

/// The tables whose keys begin with a webhook's id.
const OF_WEBHOOK: [Table; 5] =
    [Table::Webhooks, Table::Cursors, Table::DeadLetters, Table::DeadEvents, Table::Redeliveries];

/// The tables that a dead letter has a row in.
const OF_LETTER: [Table; 3] = [Table::DeadLetters, Table::DeadEvents, Table::Redeliveries];

impl Store {
    fn is_webhook(&self, batch: &Batch, id: WebhookId) -> Result<bool, StoreError> {
        Ok(self.row_in::<Webhook>(batch, Table::Webhooks, &id.0.to_be_bytes())?.is_some())
    }

    fn move_cursor(batch: &mut Batch, id: WebhookId, cursor: Cursor) -> Result<(), StoreError> {
        batch.rows.push((Table::Cursors, id.0.to_be_bytes().to_vec(), Some(encode(&cursor)?)));
        Ok(())
    }

    /// Takes in that events were taken.
    pub(super) fn deliver(&self, batch: &mut Batch, delivered: &Delivered) -> Result<(), StoreError> {
        let Delivered { webhook, through } = *delivered;
        match self.is_webhook(batch, webhook)? {
            true => Self::move_cursor(batch, webhook, Cursor { through, has_given_up: false }),
            false => Ok(()),
        }
    }

    /// Takes a dead letter in.
    pub(super) fn bury(&self, batch: &mut Batch, at_ms: u64, letter: &DeadLetter<'_>) -> Result<(), StoreError> {
        let DeadLetter { webhook, id, through, failure, events } = letter;
        if !self.is_webhook(batch, *webhook)? {
            return Ok(());
        }
        let row = DeadLetterRow { failed_at_ms: at_ms, failure: failure.clone() };
        let key = letter_key(*webhook, *id);
        batch.rows.push((Table::DeadLetters, key.to_vec(), Some(encode(&row)?)));
        batch.rows.push((Table::DeadEvents, key.to_vec(), Some(encode(events)?)));
        Self::move_cursor(batch, *webhook, Cursor { through: *through, has_given_up: true })
    }

    /// Takes in what came of a redelivery.
    pub(super) fn redeliver(&self, batch: &mut Batch, at_ms: u64, again: Redelivered) -> Result<(), StoreError> {
        let Redelivered { webhook, id, failure } = again;
        let key = letter_key(webhook, id);
        let Some(known) = self.row_in::<DeadLetterRow>(batch, Table::DeadLetters, &key)? else { return Ok(()) };
        let Some(failure) = failure else {
            batch.rows.extend(OF_LETTER.map(|table| (table, key.to_vec(), None)));
            return Ok(());
        };
        let attempts = known.failure.attempts.saturating_add(failure.attempts);
        let row = DeadLetterRow { failed_at_ms: at_ms, failure: Failure { attempts, ..failure } };
        batch.rows.push((Table::DeadLetters, key.to_vec(), Some(encode(&row)?)));
        batch.rows.push((Table::Redeliveries, key.to_vec(), None));
        Ok(())
    }

    /// Notes that a dead letter is to be delivered again.
    pub(super) fn queue_redelivery(
        &self,
        batch: &mut Batch,
        webhook: WebhookId,
        id: DeadLetterId,
    ) -> Result<(), StoreError> {
        let key = letter_key(webhook, id);
        if self.row_in::<DeadLetterRow>(batch, Table::DeadLetters, &key)?.is_some() {
            batch.rows.push((Table::Redeliveries, key.to_vec(), Some(Vec::new())));
        }
        Ok(())
    }

    /// Removes everything of a webhook.
    pub(super) fn forget_webhook(&self, batch: &mut Batch, id: WebhookId) -> Result<(), StoreError> {
        let prefix = id.0.to_be_bytes();
        batch.rows.retain(|(table, key, _)| !(OF_WEBHOOK.contains(table) && key.starts_with(&prefix)));
        let tables = self.tables()?;
        for table in OF_WEBHOOK {
            for key in tables.of(table).scan_prefix(prefix).keys() {
                batch.rows.push((table, key?.to_vec(), None));
            }
        }
        Ok(())
    }

    /// How far each webhook has come that has come anywhere.
    pub(super) fn progress_of_webhooks(&self) -> Result<Vec<(WebhookId, WebhookProgress)>, StoreError> {
        let tables = self.tables()?;
        let progress = |entry: sled::Result<(sled::IVec, sled::IVec)>| {
            let (key, value) = entry?;
            let id = WebhookId(u128::from_be_bytes(key.as_ref().try_into().map_err(|_| DAMAGED)?));
            let Cursor { through, has_given_up } = decode(&value)?;
            let mut dead_letters = 0;
            for key in tables.of(Table::DeadLetters).scan_prefix(&key).keys() {
                key?;
                dead_letters += 1;
            }
            Ok((id, WebhookProgress { through, has_given_up, dead_letters }))
        };
        tables.of(Table::Cursors).iter().map(progress).collect()
    }

    /// A webhook's dead letters after `after`, in the order in which they were given up, each with whether it is to be
    /// delivered again.
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

    /// The events of a dead letter, if there is one with this id.
    pub fn dead_events(&self, webhook: WebhookId, id: DeadLetterId) -> Result<Option<BuriedEvents>, StoreError> {
        Ok(self.tables()?.of(Table::DeadEvents).get(letter_key(webhook, id))?.map(BuriedEvents))
    }

    /// The first of a webhook's dead letters that is to be delivered again.
    pub fn next_redelivery(&self, webhook: WebhookId) -> Result<Option<DeadLetterId>, StoreError> {
        let tables = self.tables()?;
        let first = tables.of(Table::Redeliveries).scan_prefix(webhook.0.to_be_bytes()).keys().next();
        first.map(|key| letter_id(&key?)).transpose()
    }
}
