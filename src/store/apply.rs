//! Computes the changes that records make to the tables, and writes them.
//!
//! A batch holds absolute values, so the cost on the disk depends on the number of changed rows, not on the number of
//! requests. It is written in one transaction, together with the number of the last record that it includes.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    ops::RangeInclusive,
};

use serde::de::DeserializeOwned;
use sled::{
    Transactional,
    transaction::{ConflictableTransactionError, TransactionError, TransactionalTree},
};

use super::{
    error::StoreError,
    handle::Store,
    rollups::rows::{self, Stored},
    sum_rows::Changes,
    table::{ENDPOINT_VERSION, GROUP_VERSION, Table, Write, decode, encode, encode_version},
};
use crate::{
    domain::{day::Day, record::Row, rollup::Sums, settled::Settled},
    journal::{Damage, Journal},
};

/// The changes of a range of records.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) records: usize,
    pub(super) last_seq: u64,
    /// The rows after the batch; `None` is a removed row.
    pub(super) rows: BTreeMap<(Table, Vec<u8>), Option<Vec<u8>>>,
    /// Bytes of all written values.
    pub(super) bytes: usize,
    /// Changed sums of calendar windows.
    pub(super) sums: Changes,
    rollups: HashMap<Vec<u8>, Stored>,
    last_used: HashMap<String, u64>,
    /// The last record that each day's files include, for the days that were looked up.
    through: HashMap<Day, u64>,
    /// The key of a rollup; a buffer that is reused.
    key: Vec<u8>,
}

impl Batch {
    /// A batch that continues after the record `last_seq`.
    pub(super) fn after(last_seq: u64, sums: Changes) -> Self {
        Self { last_seq, sums, ..Self::default() }
    }

    /// Writes a row, or removes it.
    pub(super) fn write(&mut self, table: Table, key: &[u8], value: Option<Vec<u8>>) {
        self.bytes += value.as_ref().map_or(0, Vec::len);
        self.rows.insert((table, key.to_vec()), value);
    }
}

impl Store {
    /// Counts an event.
    pub(super) fn count(
        &self,
        batch: &mut Batch,
        seq: u64,
        at_ms: u64,
        settled: &Settled<'_>,
    ) -> Result<(), StoreError> {
        let day = Day::from_unix_ms(at_ms);
        self.add_to_sums(batch, at_ms, settled)?;
        let through = match batch.through.entry(day) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(unknown) => *unknown.insert(self.counted_through(day)?),
        };
        if seq > through {
            self.roll_up(batch, at_ms, settled)?;
        }
        match batch.last_used.get_mut(settled.api_key_prefix) {
            Some(last) => *last = at_ms,
            None => drop(batch.last_used.insert(settled.api_key_prefix.to_owned(), at_ms)),
        }
        Ok(())
    }

    fn roll_up(&self, batch: &mut Batch, at_ms: u64, settled: &Settled<'_>) -> Result<(), StoreError> {
        rows::write_key(&mut batch.key, at_ms, settled);
        let one = Sums::of(settled.usage, settled.cost);
        if let Some(known) = batch.rollups.get_mut(&batch.key) {
            known.sums.add(&one);
            return Ok(());
        }
        let stored = self.tables()?.of(Table::Rollups).get(&batch.key)?;
        let mut row = stored.map(|value| decode::<Stored>(&value)).transpose()?.unwrap_or_else(|| Stored {
            external_entity_id: settled.external_entity_id.to_owned(),
            sums: Sums::default(),
        });
        row.sums.add(&one);
        batch.rollups.insert(batch.key.clone(), row);
        Ok(())
    }

    /// Notes in the batch that the records between its last one and `seq` are missing from the journal.
    pub(super) fn note_missing(
        &self,
        batch: &mut Batch,
        journal: &Journal,
        seq: u64,
        at_ms: u64,
    ) -> Result<(), StoreError> {
        let somewhere = Damage::somewhere(batch.last_seq + 1..=seq - 1, at_ms);
        let known = journal.damage().into_iter().find(|known| known.overlaps(&somewhere));
        let damage = Damage { missing: somewhere.missing.clone(), ..known.unwrap_or(somewhere) };
        batch.write(Table::Missing, &damage.missing.start().to_be_bytes(), Some(encode(&damage)?));
        Ok(())
    }

    /// Stores the records that the journal has lost at its end. Totals were rebuilt without them.
    pub(super) fn note_lost_end(&self, missing: RangeInclusive<u64>, now_ms: u64) -> Result<(), StoreError> {
        let (tables, key) = (self.tables()?, missing.start().to_be_bytes());
        let table = tables.of(Table::Missing);
        let known = table.get(key)?.map(|value| decode::<Damage>(&value)).transpose()?;
        let last = known.map_or(0, |known| *known.missing.end()).max(*missing.end());
        table.insert(key, encode(&Damage::somewhere(*missing.start()..=last, now_ms))?)?;
        self.flush()
    }

    /// Adds a row of the catalog to the batch.
    pub(super) fn put(&self, batch: &mut Batch, row: Row) -> Result<(), StoreError> {
        let mut write = |table, key: &[u8], value| batch.write(table, key, value);
        match row {
            Row::Slug(id, name) => write(Table::Slugs, &id.0.to_be_bytes(), Some(encode(&name)?)),
            // An id is never reused, so its row stays, without a name.
            Row::SlugGone(id) => write(Table::Slugs, &id.0.to_be_bytes(), Some(encode(&"")?)),
            Row::Endpoint(endpoint) => {
                let value = encode_version(ENDPOINT_VERSION, &endpoint)?;
                write(Table::Endpoints, &endpoint.id.0.to_be_bytes(), Some(value));
            }
            Row::EndpointGone(id) => write(Table::Endpoints, &id.0.to_be_bytes(), None),
            Row::Group(group) => {
                let value = encode_version(GROUP_VERSION, &group)?;
                write(Table::Groups, &group.id.0.to_be_bytes(), Some(value));
            }
            Row::GroupGone(id) => {
                let key = id.0.to_be_bytes();
                let deleted = self.value_in(batch, Table::Groups, &key)?;
                batch.write(Table::Groups, &key, None);
                if deleted.is_some() {
                    batch.write(Table::GoneGroups, &key, deleted);
                }
                self.forget_sums(batch, id)?;
                self.forget_last_alerts(batch, id)?;
            }
            Row::ApiKey(key) => write(Table::ApiKeys, key.prefix.as_bytes(), Some(encode(&key)?)),
            Row::ApiKeyGone(prefix) => {
                batch.last_used.remove(&prefix);
                batch.write(Table::ApiKeys, prefix.as_bytes(), None);
                batch.write(Table::LastUsed, prefix.as_bytes(), None);
            }
            Row::Operator(key) => write(Table::Operators, key.prefix.as_bytes(), Some(encode(&key)?)),
            Row::OperatorGone(prefix) => write(Table::Operators, prefix.as_bytes(), None),
            Row::Secret(secret) => write(Table::Secrets, &secret.id.0.to_be_bytes(), Some(encode(&secret)?)),
            Row::SecretGone(id) => write(Table::Secrets, &id.0.to_be_bytes(), None),
            Row::Webhook(webhook) => self.put_webhook(batch, &webhook)?,
            Row::WebhookGone(id) => self.forget_webhook(batch, id)?,
            Row::Redeliver(webhook, id) => self.queue_redelivery(batch, webhook, id)?,
            Row::SigningKey(key) => write(Table::Settings, b"signing_key", Some(encode(&key)?)),
        }
        Ok(())
    }

    /// A row after the batch so far.
    pub(super) fn row_in<T: DeserializeOwned>(
        &self,
        batch: &Batch,
        table: Table,
        key: &[u8],
    ) -> Result<Option<T>, StoreError> {
        self.value_in(batch, table, key)?.map(|value| decode(&value)).transpose()
    }

    /// The value of a row after the batch so far, in stored form.
    pub(super) fn value_in(&self, batch: &Batch, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match batch.rows.get(&(table, key.to_vec())) {
            Some(value) => Ok(value.clone()),
            None => Ok(self.tables()?.of(table).get(key)?.map(|value| value.to_vec())),
        }
    }

    /// Whether there is a row after the batch so far.
    pub(super) fn exists_in(&self, batch: &Batch, table: Table, key: &[u8]) -> Result<bool, StoreError> {
        match batch.rows.get(&(table, key.to_vec())) {
            Some(value) => Ok(value.is_some()),
            None => Ok(self.tables()?.of(table).contains_key(key)?),
        }
    }

    /// Writes a batch.
    pub(super) fn write(&self, batch: Batch) -> Result<(), StoreError> {
        let mut writes: Vec<Write> = batch.rows.into_iter().map(|((table, key), value)| (table, key, value)).collect();
        writes.extend(batch.sums.into_writes()?);
        for (key, row) in batch.rollups {
            writes.push((Table::Rollups, key, Some(encode(&row)?)));
        }
        for (prefix, at_ms) in &batch.last_used {
            writes.push((Table::LastUsed, prefix.as_bytes().to_vec(), Some(encode(at_ms)?)));
        }
        writes.push((Table::Meta, b"applied".to_vec(), Some(batch.last_seq.to_be_bytes().to_vec())));
        #[cfg(test)]
        crate::crash::point("synced, not in the store");
        self.transact(&writes)?;
        #[cfg(test)]
        crate::crash::point("in the store, not flushed");
        Ok(())
    }

    /// Writes all rows or none.
    fn transact(&self, writes: &[Write]) -> Result<(), StoreError> {
        let write = |trees: &Vec<TransactionalTree>| -> Result<(), ConflictableTransactionError<()>> {
            for (table, key, value) in writes {
                match value {
                    Some(value) => trees[*table as usize].insert(key.as_slice(), value.as_slice())?,
                    None => trees[*table as usize].remove(key.as_slice())?,
                };
            }
            Ok(())
        };
        self.tables()?.all().transaction(write).map_err(|error| match error {
            TransactionError::Storage(error) => StoreError::Sled(error),
            TransactionError::Abort(()) => StoreError::Damaged("a transaction was aborted"),
        })
    }
}
