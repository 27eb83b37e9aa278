//! An index of the changes in the journal: which records are changes, when and of what kind.

use super::{
    Store, StoreError,
    apply::Batch,
    checked::FileError,
    table::{DAMAGED, Table, decode, encode},
};
use crate::{
    domain::record::Record,
    journal::{self, Journal, codec},
};

/// A change in the index: the number of its record, when it was made (Unix ms), and what was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedChange {
    /// The number of its record.
    pub seq: u64,
    /// Unix ms.
    pub at_ms: u64,
    /// `noun.verb`.
    pub action: String,
}

/// Rows that are written at once by a migration.
const INDEXED_AT_ONCE: usize = 10_000;

impl Store {
    /// Takes a change into the index.
    pub(super) fn note_change(batch: &mut Batch, seq: u64, at_ms: u64, action: &str) -> Result<(), StoreError> {
        batch.write(Table::Audit, &seq.to_be_bytes(), Some(encode(&(at_ms, action))?));
        Ok(())
    }

    /// The changes in the index before the record `before`, the newest first.
    pub fn changes_before(
        &self,
        before: u64,
    ) -> Result<impl Iterator<Item = Result<IndexedChange, StoreError>> + use<>, StoreError> {
        let read = |entry: sled::Result<(sled::IVec, sled::IVec)>| {
            let (key, value) = entry?;
            let seq = u64::from_be_bytes(key.as_ref().try_into().map_err(|_| DAMAGED)?);
            let (at_ms, action) = decode(&value)?;
            Ok(IndexedChange { seq, at_ms, action })
        };
        Ok(self.tables()?.of(Table::Audit).range(..before.to_be_bytes()).rev().map(read))
    }

    /// Forgets the changes that retention takes out of the journal.
    pub(super) fn forget_changes_before(&self, seq: u64) -> Result<(), StoreError> {
        let tables = self.tables()?;
        let mut gone = sled::Batch::default();
        for key in tables.of(Table::Audit).range(..seq.to_be_bytes()).keys() {
            gone.remove(key?);
        }
        Ok(tables.of(Table::Audit).apply_batch(gone)?)
    }

    /// Indexes what the store has taken in of the journal already.
    pub(super) fn index_changes(&self, journal: &Journal) -> Result<(), StoreError> {
        let (tables, applied, mut reader) = (self.tables()?, self.applied()?, journal.reader(0));
        let (mut rows, mut count) = (sled::Batch::default(), 0);
        let failed = |error: journal::Error| {
            StoreError::File(self.directory.clone(), FileError::Io(std::io::Error::other(error.to_string())))
        };
        while let Some(frame) = reader.next().map_err(failed)?.filter(|frame| frame.seq <= applied) {
            if let Ok(Record::Changed(changed)) = codec::decode(frame.body) {
                rows.insert(&frame.seq.to_be_bytes(), encode(&(frame.at_ms, &changed.action))?);
                count += 1;
            }
            if count == INDEXED_AT_ONCE {
                tables.of(Table::Audit).apply_batch(std::mem::take(&mut rows))?;
                count = 0;
            }
        }
        Ok(tables.of(Table::Audit).apply_batch(rows)?)
    }
}
