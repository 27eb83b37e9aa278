//! Opening the store together with the log that it was computed from: open, take in what is missing, read everything.
//!
//! Whatever is wrong with the store on that way, be it an error or a panic of the library under it, the store is moved
//! aside and built anew, once, and that is said: from the newest snapshot that is whole, or from the log alone if that
//! reaches back to the first record. Only these are not the store's fault and stop the start: a newer version's data, a
//! log that is not there, and nothing left to build from.

use std::{
    fs, io,
    panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook},
    path::Path,
};

use super::{
    Store, StoreError,
    apply::{Counter, CounterKey},
    checked::{self, FileError},
    fold::{FoldError, Folder},
    snapshot::{self, Snapshot},
    table::Rows,
};
use crate::{domain::day::Day, journal::Journal};

/// A store that is up to date with the log, and what a gateway is made of.
pub struct Opened {
    /// The store.
    pub store: Store,
    /// Everything that the catalog is made of.
    pub rows: Rows,
    /// What was used on each day since the one asked for.
    pub counters: Vec<(CounterKey, Counter)>,
    /// Records that the store had not taken in yet.
    pub replayed: usize,
    /// What was wrong and what was done about it, in sentences for an operator.
    pub findings: Vec<String>,
}

/// Opens the store in `data_dir`, brings it up to date with `journal` and reads it, with the counters since `first`.
pub fn open(data_dir: &Path, journal: &Journal, first: Day) -> Result<Opened, FoldError> {
    let mut opened = open_or_build(data_dir, journal, first)?;
    remove_directory(&data_dir.join(FAILED))?;
    opened.findings.extend(opened.store.lost_events(journal)?);
    opened.findings.extend(pass_over_snapshots_ahead(data_dir, journal, &opened.store)?);
    Ok(opened)
}

/// Snapshots of records that the journal has lost are of another history: the records that get these numbers now are
/// not in them.
fn pass_over_snapshots_ahead(data_dir: &Path, journal: &Journal, store: &Store) -> Result<Vec<String>, StoreError> {
    let failed = |error| StoreError::File(data_dir.join("snapshots"), FileError::Io(error));
    let last_seq = journal.durable_seq();
    let mut ahead = snapshot::list(data_dir).map_err(failed)?;
    ahead.retain(|snapshot| snapshot.applied > last_seq);
    let Some(newest) = ahead.first() else { return Ok(Vec::new()) };
    // First what is lost, then what knows of it.
    store.note_lost_end(last_seq + 1..=newest.applied, journal.now_ms())?;
    let mut findings = Vec::new();
    for snapshot in ahead {
        findings.push(pass_over(&snapshot, "it knows records that the journal has lost")?);
    }
    Ok(findings)
}

fn pass_over(snapshot: &Snapshot, why_not: &str) -> Result<String, StoreError> {
    let path = &snapshot.path;
    let renamed = fs::rename(path, path.with_extension("unused"));
    renamed.map_err(|error| StoreError::File(path.clone(), FileError::Io(error)))?;
    Ok(format!("A snapshot was passed over, and renamed to end in .unused: {}: {why_not}.", path.display()))
}

fn remove_directory(path: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::File(path.to_owned(), FileError::Io(error)))
        }
        _ => Ok(()),
    }
}

fn open_or_build(data_dir: &Path, journal: &Journal, first: Day) -> Result<Opened, FoldError> {
    let why = match without_panic(|| read(data_dir, journal, first)) {
        Err(FoldError::Store(why)) if why.is_the_stores_fault() => why,
        outcome => return outcome,
    };
    if journal.durable_seq() == 0 {
        // A damaged store and no log to build it from: whatever was here is not ours to throw away.
        return Err(FoldError::Store(StoreError::NothingLeft { why: why.to_string() }));
    }
    let directory = data_dir.join("store");
    let mut findings = Vec::new();
    if directory.exists() {
        let aside = data_dir.join(format!("store.damaged-{}", journal.now_ms()));
        fs::rename(&directory, &aside).map_err(|error| StoreError::Sled(error.into()))?;
        findings.push(format!("What was there of the store is in {}.", aside.display()));
    }
    let base = build_base(data_dir, journal, &why, &mut findings)?;
    let opened = read(data_dir, journal, first)?;
    if base.is_some() {
        // Retention removes after a snapshot, so the snapshot does not know from where on there are records now.
        opened.store.keep_from(journal.first_seq())?;
    }
    if let StoreError::AheadOfJournal { applied, last_seq } = why {
        opened.store.note_lost_end(last_seq + 1..=applied, journal.now_ms())?;
    }
    let from = match base {
        Some(applied) => format!("a snapshot of record {applied} and the {} after it", opened.replayed),
        None => format!("all {} records of the journal", opened.replayed),
    };
    findings.insert(0, format!("The store was built anew from {from}: {why}."));
    findings.extend(opened.findings);
    Ok(Opened { findings, ..opened })
}

/// Puts the newest good snapshot in the store's place. `None` if the log is whole and has to do without.
fn build_base(
    data_dir: &Path,
    journal: &Journal,
    why: &StoreError,
    findings: &mut Vec<String>,
) -> Result<Option<u64>, StoreError> {
    let first_seq = journal.stats().first_seq;
    let (directory, scratch) = (data_dir.join("store"), data_dir.join("store.new"));
    let failed = |error| StoreError::File(scratch.clone(), FileError::Io(error));
    let snapshots = snapshot::list(data_dir).map_err(failed)?;
    for snapshot in snapshots {
        if snapshot.applied > journal.durable_seq() {
            continue; // see `pass_over_snapshots_ahead`
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
                crate::crash::point("a store half rebuilt");
                fs::rename(&scratch, &directory).map_err(failed)?;
                return Ok(Some(applied));
            }
            Ok(_) => "the journal does not go on from it".to_owned(),
            // Another version's, or no room for the copy: that is not the snapshot's fault.
            Err(error @ (StoreError::Sled(_) | StoreError::File(_, FileError::Newer(_)))) => return Err(error),
            Err(StoreError::File(path, FileError::Io(error))) if super::is_the_machines(&error) => {
                return Err(StoreError::File(path, FileError::Io(error)));
            }
            Err(StoreError::File(_, error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        findings.push(pass_over(&snapshot, &why_not)?);
    }
    if first_seq > 1 {
        return Err(StoreError::NothingLeft { why: [vec![why.to_string()], findings.clone()].concat().join(" ") });
    }
    Ok(None)
}

fn read(data_dir: &Path, journal: &Journal, first: Day) -> Result<Opened, FoldError> {
    for name in ["snapshots", "rollups"] {
        let directory = data_dir.join(name);
        checked::remove_unfinished(&directory)
            .map_err(|error| StoreError::File(directory.clone(), FileError::Io(error)))?;
    }
    let store = Store::open(data_dir, journal)?;
    store.adopt_files(journal.durable_seq())?;
    let replayed = Folder::new(&store, journal)?.catch_up()?;
    let rows = store.rows()?;
    let counters = store.counters_since(first)?;
    Ok(Opened { store, rows, counters, replayed, findings: Vec::new() })
}

/// Where a store lies that has failed while it ran, until another one is there.
const FAILED: &str = "store.failed";

impl Store {
    /// Closes a store that has failed. sled never tries a disk again that has failed it once, and what it then holds may
    /// be half of a write: nobody must believe it, at the next start either.
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

    /// Builds a store that was given up anew, as a start does. What it has not taken in yet is for the fold.
    pub fn build_anew(&self, journal: &Journal) -> Result<(), StoreError> {
        self.give_up()?;
        let mut passed_over = Vec::new();
        build_base(&self.directory, journal, &StoreError::Closed, &mut passed_over)?;
        passed_over.iter().for_each(|finding| tracing::warn!("{finding}"));
        let fresh = without_panic(|| Self::open(&self.directory, journal))?;
        fresh.adopt_files(journal.durable_seq())?;
        fresh.keep_from(journal.first_seq())?;
        *self.tables.write() = fresh.tables.write().take();
        remove_directory(&self.directory.join(FAILED))
    }

    /// Whether the journal begins later than retention has left it: events are gone that totals contain.
    fn lost_events(&self, journal: &Journal) -> Result<Vec<String>, StoreError> {
        let (kept_from, first_seq) = (self.kept_from()?, journal.first_seq());
        let lost = (first_seq > kept_from).then(|| {
            format!(
                "Records {kept_from} to {} are gone from the journal: their events cannot be read any more. Totals \
                 contain them.",
                first_seq - 1
            )
        });
        Ok(Vec::from_iter(lost))
    }
}

/// sled panics on some damaged files. Its message would only hide ours.
pub(super) fn without_panic<T, E: From<StoreError>>(open: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    let hook = take_hook();
    set_hook(Box::new(|_| {}));
    let outcome = catch_unwind(AssertUnwindSafe(open));
    set_hook(hook);
    outcome.unwrap_or_else(|_| Err(StoreError::Damaged("its library could not read it").into()))
}
