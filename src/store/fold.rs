//! The fold: durable records become rows and sums.
//!
//! A folder follows the journal with a reader of its own. What a stretch of records changes is gathered in memory as
//! absolute values and written in one transaction, so the cost on the disk depends on how many rows changed and not on
//! how many requests there were.

use std::collections::HashMap;

use sled::{
    Transactional,
    transaction::{ConflictableTransactionError, TransactionError, TransactionalTree},
};

use super::{
    Store, StoreError,
    table::{Table, counter_key, decode, encode, split_counter_key},
};
use crate::{
    domain::{
        day::Day,
        group::Group,
        id::{GroupId, SlugId},
        record::{Record, Row, Settled},
    },
    journal::{Journal, Reader, codec},
};

/// The most records that one transaction takes in, so that its memory is bounded.
const BATCH: usize = 50_000;

/// What a group used of a slug on a day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counter {
    /// Billed requests.
    pub requests: u64,
    /// Prompt and completion tokens.
    pub tokens: u64,
}

/// Why folding stopped.
#[derive(Debug)]
pub enum FoldError {
    /// The store failed.
    Store(StoreError),
    /// The journal could not be read, in words.
    Journal(String),
}

impl std::fmt::Display for FoldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Journal(error) => write!(f, "the journal cannot be read: {error}"),
        }
    }
}

impl std::error::Error for FoldError {}

impl<E: Into<StoreError>> From<E> for FoldError {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}

type Key = (Day, GroupId, SlugId);

/// What a stretch of records comes to.
#[derive(Default)]
struct Batch {
    records: usize,
    last_seq: u64,
    rows: Vec<(Table, Vec<u8>, Option<Vec<u8>>)>,
    counters: HashMap<Key, Counter>,
    last_used: HashMap<String, u64>,
}

/// Follows the journal and keeps the store up to date with it.
pub struct Folder<'a> {
    store: &'a Store,
    journal: &'a Journal,
    /// Absent after an error, until the store can say where to go on.
    reader: Option<Reader>,
}

impl<'a> Folder<'a> {
    /// Goes on where the store stopped.
    pub fn new(store: &'a Store, journal: &'a Journal) -> Result<Self, StoreError> {
        Ok(Self { reader: Some(journal.reader(store.applied()?)), journal, store })
    }

    /// Takes in everything that is durable by now. Gives the number of records. After an error it goes on from what the
    /// store contains, never from what was read: a record that was passed over would be lost to the store for good.
    pub fn catch_up(&mut self) -> Result<usize, FoldError> {
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => self.journal.reader(self.store.applied()?),
        };
        let mut total = 0;
        loop {
            let batch = self.gather(&mut reader)?;
            if batch.records == 0 {
                self.reader = Some(reader);
                return Ok(total);
            }
            total += batch.records;
            self.store.write(batch)?;
        }
    }

    fn gather(&self, reader: &mut Reader) -> Result<Batch, FoldError> {
        let mut batch = Batch::default();
        while batch.records < BATCH {
            let frame = reader.next().map_err(|error| FoldError::Journal(error.to_string()))?;
            let Some(frame) = frame else { break };
            batch.records += 1;
            batch.last_seq = frame.seq;
            let record = codec::decode(frame.body)
                .map_err(|error| FoldError::Journal(format!("record {} cannot be decoded: {error}", frame.seq)))?;
            match record {
                Record::Settled(settled) => {
                    self.store.count(&mut batch, Day::from_unix_ms(frame.at_ms), frame.at_ms, &settled)?
                }
                Record::Changed(changed) => {
                    for row in changed.rows {
                        self.store.put(&mut batch, row)?;
                    }
                }
            }
        }
        Ok(batch)
    }
}

impl Store {
    fn count(&self, batch: &mut Batch, day: Day, at_ms: u64, settled: &Settled<'_>) -> Result<(), StoreError> {
        for group in &settled.counted_for {
            let key = (day, *group, settled.slug);
            let counter = match batch.counters.entry(key) {
                std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
                std::collections::hash_map::Entry::Vacant(unknown) => {
                    let stored = self.tables.of(Table::Counters).get(counter_key(day, *group, settled.slug))?;
                    unknown.insert(stored.map(|value| decode(&value)).transpose()?.unwrap_or_default())
                }
            };
            counter.requests = counter.requests.saturating_add(1);
            counter.tokens = counter.tokens.saturating_add(settled.usage.total());
        }
        match batch.last_used.get_mut(settled.api_key_prefix) {
            Some(last) => *last = at_ms,
            None => drop(batch.last_used.insert(settled.api_key_prefix.to_owned(), at_ms)),
        }
        Ok(())
    }

    fn put(&self, batch: &mut Batch, row: Row) -> Result<(), StoreError> {
        let mut write = |table, key: &[u8], value| batch.rows.push((table, key.to_vec(), value));
        match row {
            Row::Slug(id, name) => write(Table::Slugs, &id.0.to_be_bytes(), Some(encode(&name)?)),
            // An id is never given out again, so its row stays, without a name.
            Row::SlugGone(id) => write(Table::Slugs, &id.0.to_be_bytes(), Some(encode(&"")?)),
            Row::Endpoint(endpoint) => {
                write(Table::Endpoints, &endpoint.id.0.to_be_bytes(), Some(encode(&endpoint)?));
            }
            Row::EndpointGone(id) => write(Table::Endpoints, &id.0.to_be_bytes(), None),
            Row::Group(group) => write(Table::Groups, &group.id.0.to_be_bytes(), Some(encode(&group)?)),
            Row::GroupGone(id) => {
                let key = id.0.to_be_bytes();
                let gone = self.group_in(batch, &key)?.map(|group| encode(&group)).transpose()?;
                batch.rows.push((Table::Groups, key.to_vec(), None));
                batch.rows.extend(gone.map(|gone| (Table::GoneGroups, key.to_vec(), Some(gone))));
            }
            Row::ApiKey(key) => write(Table::ApiKeys, key.prefix.as_bytes(), Some(encode(&key)?)),
            Row::ApiKeyGone(prefix) => {
                write(Table::ApiKeys, prefix.as_bytes(), None);
                write(Table::LastUsed, prefix.as_bytes(), None);
            }
            Row::Operator(key) => write(Table::Operators, key.prefix.as_bytes(), Some(encode(&key)?)),
            Row::OperatorGone(prefix) => write(Table::Operators, prefix.as_bytes(), None),
            Row::Secret(secret) => write(Table::Secrets, &secret.id.0.to_be_bytes(), Some(encode(&secret)?)),
            Row::SecretGone(id) => write(Table::Secrets, &id.0.to_be_bytes(), None),
        }
        Ok(())
    }

    /// A group as the batch leaves it so far.
    fn group_in(&self, batch: &Batch, key: &[u8]) -> Result<Option<Group>, StoreError> {
        let in_batch = batch.rows.iter().rev().find(|(table, known, _)| *table == Table::Groups && known == key);
        match in_batch {
            Some((_, _, value)) => value.as_deref().map(decode).transpose(),
            None => self.tables.of(Table::Groups).get(key)?.map(|value| decode(&value)).transpose(),
        }
    }

    fn write(&self, batch: Batch) -> Result<(), StoreError> {
        let mut writes = batch.rows;
        for ((day, group, slug), counter) in &batch.counters {
            writes.push((Table::Counters, counter_key(*day, *group, *slug).to_vec(), Some(encode(counter)?)));
        }
        for (prefix, at_ms) in &batch.last_used {
            writes.push((Table::LastUsed, prefix.as_bytes().to_vec(), Some(encode(at_ms)?)));
        }
        writes.push((Table::Meta, b"applied".to_vec(), Some(batch.last_seq.to_be_bytes().to_vec())));
        let write = |trees: &Vec<TransactionalTree>| -> Result<(), ConflictableTransactionError<()>> {
            for (table, key, value) in &writes {
                match value {
                    Some(value) => trees[*table as usize].insert(key.as_slice(), value.as_slice())?,
                    None => trees[*table as usize].remove(key.as_slice())?,
                };
            }
            Ok(())
        };
        self.tables.all().transaction(write).map_err(|error| match error {
            TransactionError::Storage(error) => StoreError::Sled(error),
            TransactionError::Abort(()) => StoreError::Damaged("a transaction was aborted"),
        })
    }

    /// The counters of `first` and every later day.
    pub(super) fn counters_since(&self, first: Day) -> impl Iterator<Item = Result<(Key, Counter), StoreError>> {
        let read = |entry: sled::Result<(sled::IVec, sled::IVec)>| {
            let (key, value) = entry?;
            Ok((split_counter_key(&key)?, decode(&value)?))
        };
        self.tables.of(Table::Counters).range(first.0.to_be_bytes()..).map(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::record::{Actor, Changed},
        journal::Durability,
    };

    fn slug(id: u64) -> Vec<u8> {
        let rows = vec![Row::Slug(SlugId(id), format!("a/{id}"))];
        let mut bytes = Vec::new();
        codec::encode(&Record::Changed(Changed { actor: Actor::system(), action: "a.b".to_owned(), rows }), &mut bytes)
            .unwrap();
        bytes
    }

    #[test]
    fn a_fold_that_fails_loses_nothing_of_what_it_had_read() {
        let directory = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(&directory.path().join("journal"), Durability::Process).unwrap();
        let store = Store::open(&directory.path().join("store"), 4).unwrap();
        let mut folder = Folder::new(&store, &journal).unwrap();
        for body in [slug(1), slug(2), b"no record".to_vec(), slug(4)] {
            let appended = journal.append(&body).unwrap();
            assert!(journal.durable_blocking(appended.seq, std::time::Duration::from_secs(10)));
        }
        for _ in 0..3 {
            assert!(folder.catch_up().is_err());
            assert!(store.applied().unwrap() < 3, "it went past what it could not read");
        }
    }

    #[test]
    fn an_id_whose_slug_was_taken_is_never_given_out_again() {
        let directory = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(&directory.path().join("journal"), Durability::Process).unwrap();
        let rows = vec![
            Row::Slug(SlugId(1), "a/one".to_owned()),
            Row::Slug(SlugId(2), "a/two".to_owned()),
            Row::SlugGone(SlugId(2)),
            Row::Slug(SlugId(1), "a/two".to_owned()),
        ];
        let mut bytes = Vec::new();
        let record = Record::Changed(Changed { actor: Actor::system(), action: "a.b".to_owned(), rows });
        codec::encode(&record, &mut bytes).unwrap();
        let appended = journal.append(&bytes).unwrap();
        assert!(journal.durable_blocking(appended.seq, std::time::Duration::from_secs(10)));
        let store = Store::open(&directory.path().join("store"), 1).unwrap();
        Folder::new(&store, &journal).unwrap().catch_up().unwrap();
        let rows = store.rows().unwrap().rows;
        assert_eq!(format!("{rows:?}"), r#"[Slug(SlugId(1), "a/two"), SlugGone(SlugId(2))]"#);
    }
}
