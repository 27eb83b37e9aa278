//! The store: tables that are computed from the journal, so that a start need not read the whole of it.
//!
//! * The store folds the log in the log's order and keeps its own sums. Each write is one atomic batch of absolute
//!   values together with `applied`, the last sequence number that they contain, so nothing is ever counted twice.
//! * It takes durable records only. A store that knows more than the log is not the log's: it is thrown away.
//! * It is disposable. Whatever is wrong with it, it is moved aside and built anew from the log, and that is said.

mod fold;
mod migrate;
mod open;
mod table;

use std::{fmt, path::Path};

pub use self::{
    fold::{Counter, FoldError, Folder},
    open::{Opened, open},
    table::Rows,
};
use self::{migrate::FORMAT, table::Table};

/// The tables.
pub struct Store {
    db: sled::Db,
    tables: table::Tables,
}

/// Why the store cannot be used.
#[derive(Debug)]
pub enum StoreError {
    /// sled, or the file system under it, failed.
    Sled(sled::Error),
    /// What is stored is not what this version writes.
    Damaged(&'static str),
    /// A newer version wrote it.
    Newer {
        /// The format found.
        found: u32,
    },
    /// It knows records that the journal does not have.
    AheadOfJournal {
        /// The last record that it contains.
        applied: u64,
        /// The last record of the journal; 0 if that is empty.
        last_seq: u64,
    },
    /// It cannot be read, and the journal is empty.
    NothingLeft {
        /// What is wrong with it.
        why: String,
    },
}

impl StoreError {
    /// Whether building it anew from the journal is the remedy.
    fn is_the_stores_fault(&self) -> bool {
        match self {
            Self::Sled(_) | Self::Damaged(_) => true,
            Self::AheadOfJournal { last_seq, .. } => *last_seq > 0,
            Self::Newer { .. } | Self::NothingLeft { .. } => false,
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sled(error) => write!(f, "the store failed: {error}"),
            Self::Damaged(what) => write!(f, "the store is damaged: {what}"),
            Self::Newer { found } => write!(
                f,
                "the store was written by a newer version of Tollgate (format {found}, this version knows {FORMAT})"
            ),
            Self::AheadOfJournal { applied, last_seq: 0 } => write!(
                f,
                "the journal is missing: the store was computed from {applied} records, and there are none. Put the \
                 directory journal/ back from a backup, or move store/ away to begin with nothing"
            ),
            Self::AheadOfJournal { applied, last_seq } => write!(
                f,
                "records {} to {applied} are missing from the journal, so totals are incomplete",
                last_seq + 1
            ),
            Self::NothingLeft { why } => write!(
                f,
                "{why}, and the journal, which it could be built from, is empty. Put the data directory back from a \
                 backup, or move store/ away to begin with nothing"
            ),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<sled::Error> for StoreError {
    fn from(error: sled::Error) -> Self {
        Self::Sled(error)
    }
}

impl Store {
    /// Opens the store, or makes it. It must not know more of the log than `last_seq`.
    pub fn open(directory: &Path, last_seq: u64) -> Result<Self, StoreError> {
        // Writes are batched by the fold and flushed by it; sled's own timer would only add syncs.
        let db = sled::Config::new().path(directory).cache_capacity(32 << 20).flush_every_ms(None).open()?;
        let store = Self { tables: table::Tables::open(&db)?, db };
        store.check_format()?;
        if store.applied()? > last_seq {
            return Err(StoreError::AheadOfJournal { applied: store.applied()?, last_seq });
        }
        Ok(store)
    }

    fn check_format(&self) -> Result<(), StoreError> {
        match self.meta("format")? {
            None => Ok(self.tables.of(Table::Meta).insert("format", &u64::from(FORMAT).to_be_bytes()).map(drop)?),
            Some(found) if found == u64::from(FORMAT) => Ok(()),
            Some(found) => migrate::migrate(u32::try_from(found).unwrap_or(u32::MAX)),
        }
    }

    fn meta(&self, name: &str) -> Result<Option<u64>, StoreError> {
        let Some(value) = self.tables.of(Table::Meta).get(name)? else { return Ok(None) };
        let bytes =
            value.as_ref().try_into().map_err(|_| StoreError::Damaged("a number in its meta table is not one"))?;
        Ok(Some(u64::from_be_bytes(bytes)))
    }

    /// The last record that the tables contain.
    pub fn applied(&self) -> Result<u64, StoreError> {
        Ok(self.meta("applied")?.unwrap_or(0))
    }

    /// Everything on its way to the disk is there.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.db.flush().map(drop).map_err(Into::into)
    }

    /// Bytes on the disk.
    pub fn size_on_disk(&self) -> u64 {
        self.db.size_on_disk().unwrap_or(0)
    }
}
