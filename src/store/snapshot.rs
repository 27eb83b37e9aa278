//! Snapshots: all tables in one file, so that a store can be built without the beginning of the journal.
//!
//! A snapshot is named by the last record that it includes, `snapshots/<applied, 20 digits>`. It is a copy of the
//! tables, keys and values, in their format at the time: one of an older format is loaded and then migrated like a
//! store. Two are kept, and the journal from the older one on, so that one of them may be damaged.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    checked::{FileError, Kind, Reader, Writer},
    error::StoreError,
    handle::Store,
};

/// The number of snapshots that are kept.
const KEPT: usize = 2;

/// Rows that are written to the store in one batch.
const LOAD_BATCH: usize = 10_000;

/// The start of a file.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Head {
    applied: u64,
}

#[derive(Serialize, Deserialize)]
enum Item<'a> {
    /// The following rows belong to this table.
    Table(&'a str),
    /// A key and a value.
    Row(&'a [u8], &'a [u8]),
}

/// A snapshot in the data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The file.
    pub path: PathBuf,
    /// The last record that it includes, according to its name.
    pub applied: u64,
    /// Its length in bytes.
    pub bytes: u64,
}

/// The snapshots in a data directory, the newest first.
pub fn list(data_dir: &Path) -> std::io::Result<Vec<Snapshot>> {
    let entries = match fs::read_dir(data_dir.join("snapshots")) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut snapshots = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let applied = name.to_str().filter(|name| name.len() == 20).and_then(|name| name.parse().ok());
        if let Some(applied) = applied {
            snapshots.push(Snapshot { path: entry.path(), applied, bytes: entry.metadata()?.len() });
        }
    }
    snapshots.sort_by_key(|snapshot| std::cmp::Reverse(snapshot.applied));
    Ok(snapshots)
}

impl Store {
    /// Writes a snapshot and removes all but the newest two. Nothing may be folded at the same time.
    pub fn write_snapshot(&self) -> Result<Snapshot, StoreError> {
        let applied = self.applied()?;
        let path = self.directory.join("snapshots").join(format!("{applied:020}"));
        let failed = |error| StoreError::File(path.clone(), FileError::Io(error));
        let mut file = Writer::create(&path, Kind::Snapshot).map_err(failed)?;
        file.put(&Head { applied }).map_err(failed)?;
        let tables = self.tables()?;
        let earlier = tables.of_earlier_formats()?;
        let earlier = earlier.iter().map(|(name, tree)| (*name, tree));
        for (name, tree) in tables.by_name().chain(earlier) {
            #[cfg(test)]
            crate::crash::point("snapshot partly written");
            file.put(&Item::Table(name)).map_err(failed)?;
            for entry in tree.iter() {
                let (key, value) = entry?;
                file.put(&Item::Row(&key, &value)).map_err(failed)?;
            }
        }
        // sled reports errors only here. A snapshot of rows read after an error must not be kept.
        self.flush()?;
        let bytes = file.finish().map_err(failed)?;
        #[cfg(test)]
        crate::crash::point("old snapshots not removed");
        for old in list(&self.directory).map_err(failed)?.iter().skip(KEPT) {
            fs::remove_file(&old.path).map_err(failed)?;
        }
        Ok(Snapshot { path, applied, bytes })
    }
}

/// Builds the tables in the empty `directory` from a snapshot. Returns the last record that they include.
pub(super) fn load(snapshot: &Path, directory: &Path) -> Result<u64, StoreError> {
    let failed = |error| StoreError::File(snapshot.to_owned(), error);
    let mut file = Reader::open(snapshot, Kind::Snapshot).map_err(failed)?;
    let head: Option<Head> = file.next().map_err(failed)?;
    let head = head.ok_or_else(|| failed(FileError::Damaged("it is empty")))?;
    let db = super::database::database(directory)?;
    let (mut tree, mut rows, mut count) = (None, sled::Batch::default(), 0);
    loop {
        let item = file.next().map_err(failed)?;
        if count == LOAD_BATCH || !matches!(item, Some(Item::Row(..))) {
            if let Some(tree) = &tree {
                sled::Tree::apply_batch(tree, std::mem::take(&mut rows))?;
            }
            count = 0;
        }
        match item {
            Some(Item::Table(name)) => tree = Some(db.open_tree(name)?),
            Some(Item::Row(key, value)) => {
                rows.insert(key, value);
                count += 1;
            }
            None => break,
        }
    }
    db.flush()?;
    Ok(head.applied)
}

/// Checks that a snapshot is intact.
pub fn check(snapshot: &Path) -> Result<(), FileError> {
    let mut file = Reader::open(snapshot, Kind::Snapshot)?;
    let _: Option<Head> = file.next()?;
    while file.next::<Item<'_>>()?.is_some() {}
    Ok(())
}
