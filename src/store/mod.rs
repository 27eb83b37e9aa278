//! The store: tables that are computed from the journal, so that a start need not read the whole of it, and what is kept
//! longer than the journal's records.
//!
//! * The store folds the log in the log's order and keeps its own sums. Each write is one atomic batch of absolute
//!   values together with `applied`, the last sequence number that they contain, so nothing is ever counted twice.
//! * It takes durable records only. A store that knows more than the log is not the log's: it is thrown away.
//! * It is disposable. Whatever is wrong with it, it is moved aside and built anew from a snapshot and the log, and that is
//!   said. That holds while it runs, too: after an error of sled's nothing is read from it or written to it any more.
//! * What totals do not contain since it was missing from the log is noted with them.

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
    rollups::Grain,
    table::Rows,
    webhooks::{BuriedEvents, Cursor, DeadLetterRow, WebhookProgress},
};
use self::{
    migrate::FORMAT,
    table::{Table, Tables},
};
use crate::journal::{Damage, Journal};

/// The tables, and the files beside them.
pub struct Store {
    /// Absent while they are opened again.
    tables: RwLock<Option<Arc<Tables>>>,
    /// The data directory.
    directory: PathBuf,
    /// Held for writing while rollups go from the table to a file.
    closing: RwLock<()>,
    /// Held while a file of rollups is made anew.
    healing: Mutex<()>,
}

/// Why the store cannot be used.
#[derive(Debug)]
pub enum StoreError {
    /// sled, or the file system under it, failed.
    Sled(sled::Error),
    /// What is stored is not what this version writes.
    Damaged(&'static str),
    /// It is not there.
    Gone,
    /// It has failed, and could not be opened again yet.
    Closed,
    /// A file beside it.
    File(PathBuf, FileError),
    /// A newer version wrote it.
    Newer {
        /// The format found.
        found: u32,
    },
    /// An older version wrote it, and it is only to be looked at.
    Older {
        /// The format found.
        found: u64,
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
            Self::Sled(sled::Error::Io(error)) => !is_the_machines(error),
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
            Self::Gone => f.write_str("the store was not there"),
            Self::Closed => f.write_str("the store has failed and is not open again yet"),
            Self::File(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Newer { found } => write!(
                f,
                "the store was written by a newer version of Tollgate (format {found}, this version knows {FORMAT})"
            ),
            Self::Older { found } => write!(f, "it is of an older format ({found}, this version writes {FORMAT})"),
            Self::AheadOfJournal { applied, last_seq: 0 } => write!(
                f,
                "the journal is missing: the store was computed from {applied} records, and there are none. Put the \
                 directory journal/ back from a backup, or move the data directory away to begin with nothing"
            ),
            Self::AheadOfJournal { applied, last_seq } => write!(
                f,
                "records {} to {applied} are missing from the journal, so totals are incomplete",
                last_seq + 1
            ),
            Self::NothingLeft { why } => write!(
                f,
                "{why}; and nothing is left that it could be built from: no whole snapshot, and no journal that reaches \
                 back to the first record. Put the data directory back from a backup, or move it away to begin with \
                 nothing"
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
    /// Opens the store in a data directory, or makes it. What it knows of the log must be there, and what it does not
    /// know too.
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
                Err(StoreError::Damaged("it is older than the journal"))
            }

            _ => Ok(store),
        }
    }

    fn new(data_dir: &Path, db: sled::Db) -> Result<Self, StoreError> {
        Ok(Self {
            tables: RwLock::new(Some(Arc::new(Tables::open(db)?))),
            directory: data_dir.to_owned(),
            closing: RwLock::default(),
            healing: Mutex::default(),
        })
    }

    /// Whether it was given up, and waits to be built anew.
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
            value.as_ref().try_into().map_err(|_| StoreError::Damaged("a number in its meta table is not one"))?;
        Ok(Some(u64::from_be_bytes(bytes)))
    }

    /// The last record that the tables contain.
    pub fn applied(&self) -> Result<u64, StoreError> {
        Ok(self.meta("applied")?.unwrap_or(0))
    }

    /// What totals do not contain since it was missing from the journal, in order.
    pub fn missing(&self) -> Result<Vec<Damage>, StoreError> {
        self.tables()?.of(Table::Missing).iter().values().map(|value| table::decode(&value?)).collect()
    }

    /// The first record that retention has left in the journal.
    pub fn kept_from(&self) -> Result<u64, StoreError> {
        Ok(self.meta("kept_from")?.unwrap_or(1))
    }

    /// Notes, durably, that the journal may begin with the record `seq`: to be called before it does.
    pub fn keep_from(&self, seq: u64) -> Result<(), StoreError> {
        self.set_meta("kept_from", seq)?;
        self.forget_changes_before(seq)?;
        self.flush()
    }

    /// Everything on its way to the disk is there.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.tables()?.db.flush().map(drop).map_err(Into::into)
    }

    /// Bytes on the disk.
    pub fn size_on_disk(&self) -> u64 {
        self.tables().ok().and_then(|tables| tables.db.size_on_disk().ok()).unwrap_or(0)
    }
}

/// The last record that any snapshot contains.
fn newest_snapshot(data_dir: &Path) -> Option<u64> {
    snapshot::list(data_dir).ok()?.first().map(|newest| newest.applied).filter(|applied| *applied > 0)
}

/// How long the lock of a database that was closed a moment ago is waited for: sled lets go of it when its last thread
/// has ended, and tells nobody.
const UNLOCKED_WITHIN: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// sled, as we use it: writes are batched by the fold and flushed by it; its own timer would only add syncs.
fn database(directory: &Path) -> Result<sled::Db, StoreError> {
    let began = Instant::now();
    loop {
        match sled::Config::new().path(directory).cache_capacity(32 << 20).flush_every_ms(None).open() {
            Err(sled::Error::Io(error)) if is_lock(&error) && began.elapsed() < UNLOCKED_WITHIN => {
                thread::sleep(LOOK_AGAIN);
            }
            opened => return Ok(opened?),
        }
    }
}

/// sled has no kind of its own for this.
fn is_lock(error: &io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

/// What the operating system refuses (a full disk, a file that is not ours to read) no new file would mend; one that it
/// cannot read may be on a bad place of the disk.
fn is_the_machines(error: &io::Error) -> bool {
    is_lock(error) || error.raw_os_error().is_some_and(|error| error != rustix::io::Errno::IO.raw_os_error())
}
