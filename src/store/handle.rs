//! The store's handle: its tables, and the numbers that say which records they include.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::{Mutex, RwLock};

use super::{
    error::StoreError,
    sum_rows::Counting,
    table::{self, Table, Tables},
};
use crate::journal::Damage;

/// The tables, and the related files.
pub struct Store {
    /// `None` while they are being reopened.
    pub(super) tables: RwLock<Option<Arc<Tables>>>,
    /// The data directory.
    pub(super) directory: PathBuf,
    /// Write-locked while rollups move from the table to a file.
    pub(super) closing: RwLock<()>,
    /// The calendar of `Used` and `Spent`.
    pub(super) counting: RwLock<Counting>,
    /// Locked while a rollup file is rebuilt.
    pub(super) rebuilding: Mutex<()>,
}

impl Store {
    pub(super) fn new(data_dir: &Path, db: sled::Db) -> Result<Self, StoreError> {
        Ok(Self {
            tables: RwLock::new(Some(Arc::new(Tables::open(db)?))),
            directory: data_dir.to_owned(),
            closing: RwLock::default(),
            counting: RwLock::default(),
            rebuilding: Mutex::default(),
        })
    }

    /// Whether it has failed and is waiting to be rebuilt.
    pub fn is_closed(&self) -> bool {
        self.tables.read().is_none()
    }

    pub(super) fn tables(&self) -> Result<Arc<Tables>, StoreError> {
        self.tables.read().clone().ok_or(StoreError::Closed)
    }

    pub(super) fn set_meta(&self, name: &str, value: u64) -> Result<(), StoreError> {
        Ok(self.tables()?.of(Table::Meta).insert(name, &value.to_be_bytes()).map(drop)?)
    }

    pub(super) fn meta(&self, name: &str) -> Result<Option<u64>, StoreError> {
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
        self.forget_alerts_before(seq)?;
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
