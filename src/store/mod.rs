//! The store: tables computed from the journal, so that a start does not have to read the whole journal, and data that
//! is kept longer than the journal's records.
//!
//! * The store folds the log in order and keeps its own sums. Each write is one atomic batch of absolute values with
//!   `applied`, the last sequence number that they include, so nothing is counted twice.
//! * It takes durable records only. A store that includes records beyond the end of the log does not belong to that log
//!   and is discarded.
//! * It is disposable. If anything is wrong with it, it is moved aside and rebuilt from a snapshot and the log, and
//!   that is reported. This also holds at run time: after a sled error, the store is neither read nor written any more.
//! * Records that totals do not include because the log has lost them are listed in the store.

mod apply;
mod audit;
mod checked;
mod compare;
mod fold;
mod migrate;
mod open;
mod rollups;
pub mod snapshot;
mod table;
#[cfg(test)]
mod tests;
mod webhooks;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use parking_lot::{Mutex, RwLock};

pub use self::{
    apply::{Counter, CounterKey},
    audit::IndexedChange,
    checked::FileError,
    compare::{load_copy, open_copy, scratch, unreadable_rollups},
    fold::{FoldError, Folder},
    open::{Opened, open},
    rollups::file::Grain,
    table::Rows,
    webhooks::{Cursor, DeadLetterEvents, DeadLetterRow, WebhookProgress},
};
use self::{
    migrate::FORMAT,
    table::{Table, Tables},
};
use crate::journal::{Damage, Journal};

/// The tables, and the related files.
pub struct Store {
    /// `None` while they are being reopened.
    tables: RwLock<Option<Arc<Tables>>>,
    /// The data directory.
    directory: PathBuf,
    /// Write-locked while rollups move from the table to a file.
    closing: RwLock<()>,
    /// Locked while a rollup file is rebuilt.
    rebuilding: Mutex<()>,
}

/// Why the store cannot be used.
#[derive(Debug)]
pub enum StoreError {
    /// sled or the file system failed.
    Sled(sled::Error),
    /// The contents are not in the form that this version writes.
    Damaged(&'static str),
    /// It is missing.
    Gone,
    /// It has failed and has not been reopened yet.
    Closed,
    /// A related file cannot be used.
    File(PathBuf, FileError),
    /// A newer version wrote it.
    Newer {
        /// The format found.
        found: u32,
    },
    /// An older version wrote it, and it was opened for comparison only.
    Older {
        /// The format found.
        found: u64,
    },
    /// It includes records that the journal does not have.
    AheadOfJournal {
        /// The last record that it includes.
        applied: u64,
        /// The last record of the journal; 0 if that is empty.
        last_seq: u64,
    },
    /// It cannot be read, and the journal is empty.
    NothingLeft {
        /// The reason.
        why: String,
    },
}

impl StoreError {
    /// Whether rebuilding it from the journal solves the problem.
    fn is_fixed_by_rebuilding(&self) -> bool {
        match self {
            Self::Sled(sled::Error::Io(error)) => !is_environment_error(error),
            Self::Sled(_) | Self::Damaged(_) | Self::Gone => true,
            Self::AheadOfJournal { last_seq, .. } => *last_seq > 0,
            Self::Closed | Self::File(..) | Self::Newer { .. } | Self::Older { .. } | Self::NothingLeft { .. } => false,
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sled(error) => write!(f, "the store failed: {error}"),
            Self::Damaged(what) => write!(f, "the store is damaged: {what}"),
            Self::Gone => f.write_str("the store was missing"),
            Self::Closed => f.write_str("the store has failed and has not been reopened yet"),
            Self::File(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Newer { found } => write!(
                f,
                "the store was written by a newer version of Tollgate (format {found}; this one reads up to {FORMAT})"
            ),
            Self::Older { found } => write!(f, "its format is older ({found}; this version writes {FORMAT})"),
            Self::AheadOfJournal { applied, last_seq: 0 } => write!(
                f,
                "the journal is missing: the store was built from {applied} records, but the journal has none. Restore \
                 the directory journal/ from a backup, or move the data directory away to start empty"
            ),
            Self::AheadOfJournal { applied, last_seq } => write!(
                f,
                "records {} to {applied} are missing from the journal, so totals are incomplete",
                last_seq + 1
            ),
            Self::NothingLeft { why } => write!(
                f,
                "{why}; nothing is left to rebuild it from: no intact snapshot, and no journal that reaches back to \
                 the first record. Restore the data directory from a backup, or move it away to start empty"
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
    /// Opens the store in a data directory, or creates it. Fails if the journal lacks records that the store includes,
    /// or records that the store still needs.
    pub fn open(data_dir: &Path, journal: &Journal) -> Result<Self, StoreError> {
        let (last_seq, first_seq) = (journal.durable_seq(), journal.first_seq());
        let is_base = |snapshot: &snapshot::Snapshot| snapshot.applied <= last_seq;
        let has_base = || snapshot::list(data_dir).map_or(true, |snapshots| snapshots.iter().any(is_base));
        let directory = data_dir.join("store");
        if let Some(applied) = newest_snapshot(data_dir).filter(|_| last_seq == 0) {
            return Err(StoreError::AheadOfJournal { applied, last_seq });
        }
        if !directory.exists() && last_seq > 0 && (first_seq > 1 || has_base()) {
            return Err(StoreError::Gone);
        }
        let store = Self::new(data_dir, database(&directory)?)?;
        if store.meta("format")?.is_none() && last_seq > 0 && has_base() {
            return Err(StoreError::Damaged("it is empty"));
        }
        store.check_format(journal)?;
        match store.applied()? {
            applied if applied > last_seq => Err(StoreError::AheadOfJournal { applied, last_seq }),
            applied if applied.saturating_add(1) < first_seq => {
                Err(StoreError::Damaged("it ends before the journal begins"))
            }

            _ => Ok(store),
        }
    }

    fn new(data_dir: &Path, db: sled::Db) -> Result<Self, StoreError> {
        Ok(Self {
            tables: RwLock::new(Some(Arc::new(Tables::open(db)?))),
            directory: data_dir.to_owned(),
            closing: RwLock::default(),
            rebuilding: Mutex::default(),
        })
    }

    /// Whether it has failed and is waiting to be rebuilt.
    pub fn is_closed(&self) -> bool {
        self.tables.read().is_none()
    }

    fn tables(&self) -> Result<Arc<Tables>, StoreError> {
        self.tables.read().clone().ok_or(StoreError::Closed)
    }

    fn check_format(&self, journal: &Journal) -> Result<(), StoreError> {
        match self.meta("format")? {
            None => self.set_meta("format", u64::from(FORMAT)),
            Some(found) if found == u64::from(FORMAT) => Ok(()),
            Some(found) => migrate::migrate(self, journal, u32::try_from(found).unwrap_or(u32::MAX)),
        }
    }

    fn set_meta(&self, name: &str, value: u64) -> Result<(), StoreError> {
        Ok(self.tables()?.of(Table::Meta).insert(name, &value.to_be_bytes()).map(drop)?)
    }

    fn meta(&self, name: &str) -> Result<Option<u64>, StoreError> {
        let Some(value) = self.tables()?.of(Table::Meta).get(name)? else { return Ok(None) };
        let bytes =
            value.as_ref().try_into().map_err(|_| StoreError::Damaged("a number in its meta table is invalid"))?;
        Ok(Some(u64::from_be_bytes(bytes)))
    }

    /// The last record that the tables include.
    pub fn applied(&self) -> Result<u64, StoreError> {
        Ok(self.meta("applied")?.unwrap_or(0))
    }

    /// The records that totals do not include because they are missing from the journal, in order.
    pub fn missing(&self) -> Result<Vec<Damage>, StoreError> {
        self.tables()?.of(Table::Missing).iter().values().map(|value| table::decode(&value?)).collect()
    }

    /// The first record that retention has left in the journal.
    pub fn kept_from(&self) -> Result<u64, StoreError> {
        Ok(self.meta("kept_from")?.unwrap_or(1))
    }

    /// Records durably that the journal may start with the record `seq`. Must be called before retention removes
    /// earlier records.
    pub fn keep_from(&self, seq: u64) -> Result<(), StoreError> {
        self.set_meta("kept_from", seq)?;
        self.forget_changes_before(seq)?;
        self.flush()
    }

    /// Flushes all writes to the disk.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.tables()?.db.flush().map(drop).map_err(Into::into)
    }

    /// The size on the disk, in bytes.
    pub fn size_on_disk(&self) -> u64 {
        self.tables().ok().and_then(|tables| tables.db.size_on_disk().ok()).unwrap_or(0)
    }
}

/// The last record that any snapshot includes.
fn newest_snapshot(data_dir: &Path) -> Option<u64> {
    snapshot::list(data_dir).ok()?.first().map(|newest| newest.applied).filter(|applied| *applied > 0)
}

/// How long to wait for the lock of a database that was just closed. sled releases it when its last thread has ended,
/// without a notification.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
const LOCK_POLL: Duration = Duration::from_millis(10);

/// Opens sled without its flush timer. The fold batches the writes and flushes them; the timer would only add syncs.
fn database(directory: &Path) -> Result<sled::Db, StoreError> {
    let began = Instant::now();
    loop {
        match sled::Config::new().path(directory).cache_capacity(32 << 20).flush_every_ms(None).open() {
            Err(sled::Error::Io(error)) if is_lock(&error) && began.elapsed() < LOCK_TIMEOUT => {
                thread::sleep(LOCK_POLL);
            }
            opened => return Ok(opened?),
        }
    }
}

/// sled has no error kind for this.
fn is_lock(error: &io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

/// Whether the environment caused the error (such as a full disk, missing permissions or a lock), so that new files
/// would not help. A read error (EIO) may come from a bad block of the disk, which new files can avoid.
fn is_environment_error(error: &io::Error) -> bool {
    is_lock(error) || error.raw_os_error().is_some_and(|error| error != rustix::io::Errno::IO.raw_os_error())
}
