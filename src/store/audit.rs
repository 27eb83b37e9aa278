//! An index of the changes in the journal: which records are changes, their times and actions.

use super::{
    apply::Batch,
    checked::FileError,
    error::StoreError,
    handle::Store,
    table::{DAMAGED, Table, decode, encode},
};
use crate::{
    domain::record::Record,
    journal::{self, Journal, codec},
};

/// A change in the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedChange {
    /// The sequence number of its record.
    pub seq: u64,
    /// Unix ms.
    pub at_ms: u64,
    /// The action, as `noun.verb`.
    pub action: String,
}

/// Rows that a migration writes in one batch.
const INDEX_BATCH: usize = 10_000;

impl Store {
    /// Adds a change to the index.
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

    /// Removes the changes that retention removes from the journal.
    pub(super) fn forget_changes_before(&self, seq: u64) -> Result<(), StoreError> {
        let tables = self.tables()?;
        let mut removed = sled::Batch::default();
        for key in tables.of(Table::Audit).range(..seq.to_be_bytes()).keys() {
            removed.remove(key?);
        }
        Ok(tables.of(Table::Audit).apply_batch(removed)?)
    }

    /// Indexes the records that the store has already folded.
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
            if count == INDEX_BATCH {
                tables.of(Table::Audit).apply_batch(std::mem::take(&mut rows))?;
                count = 0;
            }
        }
        Ok(tables.of(Table::Audit).apply_batch(rows)?)
    }
}
