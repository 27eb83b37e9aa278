//! The fold: follows the journal and keeps the tables up to date with it.
//!
//! A folder has its own reader of the journal. It gathers the changes of a range of records ([`super::apply`]) and
//! writes them in one transaction. Records that are missing from the journal are listed in the same transaction: from
//! then on, every total of the store lacks them, and says so.

use super::{apply::Batch, error::StoreError, handle::Store};
use crate::{
    domain::record::Record,
    journal::{Journal, Reader, codec},
};

/// The most records of one transaction, and the most bytes of its rows (one record may exceed it). They limit the
/// memory of a transaction.
const BATCH: usize = 50_000;
const BATCH_BYTES: usize = 16 << 20;

/// Why folding stopped.
#[derive(Debug)]
pub enum FoldError {
    /// The store failed.
    Store(StoreError),
    /// The journal could not be read, with a message for people.
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

/// Follows the journal and keeps the store up to date with it.
pub struct Folder<'a> {
    store: &'a Store,
    journal: &'a Journal,
    /// `None` after an error, until the store's position is read again.
    reader: Option<Reader>,
}

impl<'a> Folder<'a> {
    /// Continues where the store stopped.
    pub fn new(store: &'a Store, journal: &'a Journal) -> Result<Self, StoreError> {
        Ok(Self { reader: Some(journal.reader(store.applied()?)), journal, store })
    }

    /// Folds all records that are durable now. Returns the number of records. After an error it continues from the
    /// store's position rather than the reader's; otherwise the store would miss the records in between for good.
    pub fn catch_up(&mut self) -> Result<usize, FoldError> {
        self.catch_up_to(u64::MAX)
    }

    /// Folds the durable records up to `last`.
    pub fn catch_up_to(&mut self, last: u64) -> Result<usize, FoldError> {
        let applied = self.store.applied()?;
        // The position of a reopened store may be earlier than before.
        let reader = self.reader.take().filter(|reader| reader.position() == applied);
        let (mut reader, mut applied) = (reader.unwrap_or_else(|| self.journal.reader(applied)), applied);
        let mut total = 0;
        loop {
            let batch = self.gather(&mut reader, applied, last)?;
            if batch.records == 0 {
                self.reader = Some(reader);
                return Ok(total);
            }
            total += batch.records;
            applied = batch.last_seq;
            self.store.write(batch)?;
        }
    }

    fn gather(&self, reader: &mut Reader, applied: u64, last: u64) -> Result<Batch, FoldError> {
        let mut batch = Batch::after(applied, self.store.begin_sums());
        while batch.records < BATCH && batch.bytes < BATCH_BYTES && batch.last_seq < last {
            let frame = reader.next().map_err(|error| FoldError::Journal(error.to_string()))?;
            let Some(frame) = frame else { break };
            if frame.seq > batch.last_seq + 1 {
                self.store.note_missing(&mut batch, self.journal, frame.seq, frame.at_ms)?;
            }
            batch.records += 1;
            batch.last_seq = frame.seq;
            let record = codec::decode(frame.body)
                .map_err(|error| FoldError::Journal(format!("record {} cannot be decoded: {error}", frame.seq)))?;
            match record {
                Record::Settled(settled) => self.store.count(&mut batch, frame.seq, frame.at_ms, &settled)?,
                Record::Changed(changed) => {
                    Store::note_change(&mut batch, frame.seq, frame.at_ms, &changed.action)?;
                    for row in changed.rows {
                        self.store.put(&mut batch, row)?;
                    }
                }
                Record::Delivered(delivered) => self.store.fold_delivered(&mut batch, frame.at_ms, &delivered)?,
                Record::DeadLettered(letter) => self.store.fold_dead_lettered(&mut batch, frame.at_ms, &letter)?,
                Record::Redelivered(again) => self.store.fold_redelivered(&mut batch, frame.at_ms, again)?,
                Record::Passed(passed) => self.store.fold_passed(&mut batch, &passed)?,
                Record::AlertsDeadLettered(letter) => {
                    self.store.fold_alerts_dead_lettered(&mut batch, frame.at_ms, &letter)?;
                }
                Record::Alerted(alert) => self.store.fold_alerted(&mut batch, frame.seq, frame.at_ms, &alert)?,
            }
        }
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{
            id::SlugId,
            record::{Actor, Changed, Row},
        },
        journal::Durability,
    };

    fn slug(id: u64) -> Vec<u8> {
        let rows = vec![Row::Slug(SlugId(id), format!("a/{id}"))];
        let mut bytes = Vec::new();
        let changed = Changed { actor: Actor::system(), action: "a.b".to_owned(), before: None, rows };
        codec::encode(&Record::Changed(changed), &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_fold_that_fails_skips_no_record() {
        let directory = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(&directory.path().join("journal"), Durability::Process).unwrap();
        let store = Store::open(directory.path(), &journal, None).unwrap();
        let mut folder = Folder::new(&store, &journal).unwrap();
        for body in [slug(1), slug(2), b"no record".to_vec(), slug(4)] {
            let appended = journal.append(&body).unwrap();
            assert!(journal.durable_blocking(appended.seq, std::time::Duration::from_secs(10)));
        }
        for _ in 0..3 {
            assert!(folder.catch_up().is_err());
            assert!(store.applied().unwrap() < 3, "it went past a record that it could not read");
        }
    }

    #[test]
    fn the_id_of_a_replaced_slug_is_never_reused() {
        let directory = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(&directory.path().join("journal"), Durability::Process).unwrap();
        let rows = vec![
            Row::Slug(SlugId(1), "a/one".to_owned()),
            Row::Slug(SlugId(2), "a/two".to_owned()),
            Row::SlugGone(SlugId(2)),
            Row::Slug(SlugId(1), "a/two".to_owned()),
        ];
        let mut bytes = Vec::new();
        let changed = Changed { actor: Actor::system(), action: "a.b".to_owned(), before: None, rows };
        let record = Record::Changed(changed);
        codec::encode(&record, &mut bytes).unwrap();
        let appended = journal.append(&bytes).unwrap();
        assert!(journal.durable_blocking(appended.seq, std::time::Duration::from_secs(10)));
        let store = Store::open(directory.path(), &journal, None).unwrap();
        Folder::new(&store, &journal).unwrap().catch_up().unwrap();
        let rows = store.rows().unwrap().rows;
        assert_eq!(format!("{rows:?}"), r#"[Slug(SlugId(1), "a/two"), SlugGone(SlugId(2))]"#);
    }
}
