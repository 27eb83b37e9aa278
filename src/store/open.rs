//! Opens the store with the log that it was computed from: opens it, folds new records, and reads everything.
//!
//! If the store cannot be used (an error, or a panic of the database library), it is moved aside and rebuilt once, and
//! that is reported. It is rebuilt from the newest intact snapshot, or from the log alone if that reaches back to the
//! first record. These problems stop the start instead: data of a newer version, a missing log, nothing left to rebuild
//! from, and an error that new files would not avoid, such as a full disk.

use std::{fs, io, path::Path};

use super::{
    catalog_rows::Rows,
    checked::{self, FileError},
    database::database,
    error::{StoreError, is_environment_error},
    fold::{FoldError, Folder},
    handle::Store,
    migrate::{self, FORMAT},
    snapshot::{self, Snapshot},
};
use crate::{
    domain::{
        calendar::Calendar,
        id::{GroupId, SlugId},
        money::Currency,
        sums::{Spent, Used},
    },
    journal::Journal,
    panics::catch_unreported,
};

/// A store that is up to date with the log, and the data that a gateway starts from.
pub struct Opened {
    /// The store.
    pub store: Store,
    /// The rows of the catalog.
    pub rows: Rows,
    /// The use of each slug by each group. Empty if the store was opened without a calendar and has no zone.
    pub used: Vec<((GroupId, SlugId), Used)>,
    /// The spending of each group in each currency. Empty like `used`.
    pub spent: Vec<((GroupId, Currency), Spent)>,
    /// The number of records that the store had not folded yet.
    pub replayed: usize,
    /// Problems found and what was done about them, in sentences for an operator.
    pub findings: Vec<String>,
}

impl Store {
    /// Opens the store in a data directory, or creates it. Fails if the journal lacks records that the store includes,
    /// or records that the store still needs.
    ///
    /// Its sums are those of the windows of `calendar`; without one, they keep their zone. If they were computed for
    /// another zone, none are counted until [`Self::renew_sums`].
    pub fn open(data_dir: &Path, journal: &Journal, calendar: Option<&Calendar>) -> Result<Self, StoreError> {
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
        if !directory.exists() {
            create(data_dir)?;
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
            _ => {
                store.use_calendar(calendar)?;
                Ok(store)
            }
        }
    }

    fn check_format(&self, journal: &Journal) -> Result<(), StoreError> {
        match self.meta("format")? {
            None => self.set_meta("format", u64::from(FORMAT)),
            Some(found) if found == u64::from(FORMAT) => Ok(()),
            Some(found) => migrate::migrate(self, journal, u32::try_from(found).unwrap_or(u32::MAX)),
        }
    }
}

/// Creates an empty database. It gets its name once it is complete, because sled cannot open one whose creation was
/// interrupted.
fn create(data_dir: &Path) -> Result<(), StoreError> {
    let (directory, scratch) = (data_dir.join("store"), data_dir.join(SCRATCH));
    remove_directory(&scratch)?;
    database(&scratch)?.flush()?;
    fs::rename(&scratch, &directory).map_err(|error| StoreError::File(scratch, FileError::Io(error)))
}

/// The last record that any snapshot includes.
fn newest_snapshot(data_dir: &Path) -> Option<u64> {
    snapshot::list(data_dir).ok()?.first().map(|newest| newest.applied).filter(|applied| *applied > 0)
}

/// Opens the store in `data_dir`, brings it up to date with `journal` and reads it. Its sums are those of the windows of
/// `calendar`; without one, they keep the zone that they have.
pub fn open(data_dir: &Path, journal: &Journal, calendar: Option<&Calendar>) -> Result<Opened, FoldError> {
    let mut opened = open_or_build(data_dir, journal, calendar)?;
    remove_directory(&data_dir.join(FAILED))?;
    opened.findings.extend(opened.store.lost_events(journal)?);
    opened.findings.extend(skip_snapshots_ahead(data_dir, journal, &opened.store)?);
    Ok(opened)
}

/// Renames snapshots that include records that the journal has lost. New records get the same numbers, and those
/// snapshots do not include them.
fn skip_snapshots_ahead(data_dir: &Path, journal: &Journal, store: &Store) -> Result<Vec<String>, StoreError> {
    let failed = |error| StoreError::File(data_dir.join("snapshots"), FileError::Io(error));
    let last_seq = journal.durable_seq();
    let mut ahead = snapshot::list(data_dir).map_err(failed)?;
    ahead.retain(|snapshot| snapshot.applied > last_seq);
    let Some(newest) = ahead.first() else { return Ok(Vec::new()) };
    // Record the loss before the snapshots that show it are renamed.
    store.note_lost_end(last_seq + 1..=newest.applied, journal.now_ms())?;
    let mut findings = Vec::new();
    for snapshot in ahead {
        findings.push(skip_snapshot(&snapshot, "it includes records that the journal has lost")?);
    }
    Ok(findings)
}

fn skip_snapshot(snapshot: &Snapshot, why_not: &str) -> Result<String, StoreError> {
    let path = &snapshot.path;
    let renamed = fs::rename(path, path.with_extension("unused"));
    renamed.map_err(|error| StoreError::File(path.clone(), FileError::Io(error)))?;
    Ok(format!("A snapshot was skipped and renamed to end in .unused: {}: {why_not}.", path.display()))
}

fn remove_directory(path: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::File(path.to_owned(), FileError::Io(error)))
        }
        _ => Ok(()),
    }
}

fn open_or_build(data_dir: &Path, journal: &Journal, calendar: Option<&Calendar>) -> Result<Opened, FoldError> {
    let why = match without_panic(|| read(data_dir, journal, calendar)) {
        Err(FoldError::Store(why)) if why.is_fixed_by_rebuilding() => why,
        outcome => return outcome,
    };
    if journal.durable_seq() == 0 {
        // A damaged store without a log to rebuild it from must not be discarded.
        return Err(FoldError::Store(StoreError::NothingLeft { why: why.to_string() }));
    }
    let directory = data_dir.join("store");
    let mut findings = Vec::new();
    if directory.exists() {
        let aside = data_dir.join(format!("store.damaged-{}", journal.now_ms()));
        fs::rename(&directory, &aside).map_err(|error| StoreError::Sled(error.into()))?;
        findings.push(format!("The old store was moved to {}.", aside.display()));
    }
    let base = build_base(data_dir, journal, &why, &mut findings)?;
    let opened = read(data_dir, journal, calendar)?;
    if base.is_some() {
        // Retention runs after a snapshot, so the snapshot does not say where the journal starts now.
        opened.store.keep_from(journal.first_seq())?;
    }
    if let StoreError::AheadOfJournal { applied, last_seq } = why {
        opened.store.note_lost_end(last_seq + 1..=applied, journal.now_ms())?;
    }
    let from = match base {
        Some(applied) => format!("a snapshot at record {applied} and the {} records after it", opened.replayed),
        None => format!("all {} records of the journal", opened.replayed),
    };
    findings.insert(0, format!("The store was rebuilt from {from}: {why}."));
    findings.extend(opened.findings);
    Ok(Opened { findings, ..opened })
}

/// Replaces the store by the newest intact snapshot and returns its last record. Returns `None` if there is no intact
/// snapshot but the log is complete.
fn build_base(
    data_dir: &Path,
    journal: &Journal,
    why: &StoreError,
    findings: &mut Vec<String>,
) -> Result<Option<u64>, StoreError> {
    let first_seq = journal.stats().first_seq;
    let (directory, scratch) = (data_dir.join("store"), data_dir.join(SCRATCH));
    let failed = |error| StoreError::File(scratch.clone(), FileError::Io(error));
    let snapshots = snapshot::list(data_dir).map_err(failed)?;
    for snapshot in snapshots {
        if snapshot.applied > journal.durable_seq() {
            continue; // see `skip_snapshots_ahead`
        }
        remove_directory(&scratch)?;
        let fits = (first_seq..=journal.durable_seq().saturating_add(1)).contains(&(snapshot.applied + 1));
        let loaded = snapshot::load(&snapshot.path, &scratch);
        if !fits || loaded.is_err() {
            remove_directory(&scratch)?;
        }
        let why_not = match loaded {
            Ok(applied) if fits => {
                #[cfg(test)]
                crate::crash::point("store partly rebuilt");
                fs::rename(&scratch, &directory).map_err(failed)?;
                return Ok(Some(applied));
            }
            Ok(_) => "the journal does not continue from it".to_owned(),
            // Another version wrote it, or there is no room for the copy. The snapshot is not damaged.
            Err(error @ (StoreError::Sled(_) | StoreError::File(_, FileError::Newer { .. }))) => return Err(error),
            Err(StoreError::File(path, FileError::Io(error))) if is_environment_error(&error) => {
                return Err(StoreError::File(path, FileError::Io(error)));
            }
            Err(StoreError::File(_, error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        findings.push(skip_snapshot(&snapshot, &why_not)?);
    }
    if first_seq > 1 {
        return Err(StoreError::NothingLeft { why: [vec![why.to_string()], findings.clone()].concat().join(" ") });
    }
    Ok(None)
}

fn read(data_dir: &Path, journal: &Journal, calendar: Option<&Calendar>) -> Result<Opened, FoldError> {
    for name in ["snapshots", "rollups"] {
        let directory = data_dir.join(name);
        checked::remove_unfinished(&directory)
            .map_err(|error| StoreError::File(directory.clone(), FileError::Io(error)))?;
    }
    let store = Store::open(data_dir, journal, calendar)?;
    store.adopt_files(journal.durable_seq())?;
    let replayed = Folder::new(&store, journal)?.catch_up()?;
    // Afterwards, because the files of days may include records that only the fold has reached.
    let findings = store.renew_sums(journal)?.findings;
    let (rows, used, spent) = (store.rows()?, store.used_by_groups()?, store.spent_by_groups()?);
    Ok(Opened { store, rows, used, spent, replayed, findings })
}

/// The directory of a store that failed at run time, until it is replaced.
const FAILED: &str = "store.failed";

/// The directory of a database that is not complete yet.
const SCRATCH: &str = "store.new";

impl Store {
    /// Closes a store that has failed. After a disk error, sled never retries the disk, and the files may contain half
    /// a write, so they must not be used again, not even at the next start.
    pub fn give_up(&self) -> Result<(), StoreError> {
        drop(self.tables.write().take());
        let (directory, failed) = (self.directory.join("store"), self.directory.join(FAILED));
        let io = |error| StoreError::File(directory.clone(), FileError::Io(error));
        if directory.exists() {
            remove_directory(&failed)?;
            fs::rename(&directory, &failed).map_err(io)?;
        }
        Ok(())
    }

    /// Rebuilds a store that was closed by [`Self::give_up`], as a start does. The fold then adds the remaining
    /// records.
    pub fn rebuild(&self, journal: &Journal) -> Result<(), FoldError> {
        self.give_up()?;
        let mut skipped = Vec::new();
        build_base(&self.directory, journal, &StoreError::Closed, &mut skipped)?;
        skipped.iter().for_each(|finding| tracing::warn!("{finding}"));
        let fresh = without_panic(|| Self::open(&self.directory, journal, self.calendar().as_ref()))?;
        fresh.adopt_files(journal.durable_seq())?;
        fresh.keep_from(journal.first_seq())?;
        if !fresh.has_complete_sums() {
            Folder::new(&fresh, journal)?.catch_up()?;
            fresh.renew_sums(journal)?.findings.iter().for_each(|finding| tracing::warn!("{finding}"));
        }
        *self.counting.write() = std::mem::take(&mut *fresh.counting.write());
        *self.tables.write() = fresh.tables.write().take();
        Ok(remove_directory(&self.directory.join(FAILED))?)
    }

    /// Reports a journal that starts after the first record that retention kept: it has lost events that totals
    /// include.
    fn lost_events(&self, journal: &Journal) -> Result<Vec<String>, StoreError> {
        let (kept_from, first_seq) = (self.kept_from()?, journal.first_seq());
        let lost = (first_seq > kept_from).then(|| {
            format!(
                "Records {kept_from} to {} are gone from the journal: their events can no longer be read. Totals \
                 include them.",
                first_seq - 1
            )
        });
        Ok(Vec::from_iter(lost))
    }
}

/// Turns a panic into an error, because sled panics on some damaged files. The panic is not reported, since the error
/// is.
pub(super) fn without_panic<T, E: From<StoreError>>(open: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    let damaged = |_| Err(StoreError::Damaged("the database library could not read it").into());
    catch_unreported(open).unwrap_or_else(damaged)
}
