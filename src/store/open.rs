//! Opening the store together with the log that it was computed from: open, take in what is missing, read everything.
//!
//! Whatever is wrong with the store on that way, be it an error or a panic of the library under it, the store is moved
//! aside and built anew, once, and that is said: from the newest snapshot that is whole, or from the log alone if that
//! reaches back to the first record. Only these are not the store's fault and stop the start: a newer version's data, a
//! log that is not there, and nothing left to build from.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook},
    path::Path,
};

use super::{
    Store, StoreError,
    apply::{Counter, CounterKey},
    checked::FileError,
    fold::{FoldError, Folder},
    snapshot,
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
        if scratch.exists() {
            fs::remove_dir_all(&scratch).map_err(failed)?;
        }
        let fits = (first_seq..=journal.durable_seq().saturating_add(1)).contains(&(snapshot.applied + 1));
        let why_not = match snapshot::load(&snapshot.path, &scratch) {
            Ok(applied) if fits => {
                #[cfg(test)]
                crate::crash::point("a store half rebuilt");
                fs::rename(&scratch, &directory).map_err(failed)?;
                return Ok(Some(applied));
            }
            Ok(_) => format!("{}: the journal does not go on from it", snapshot.path.display()),
            // Another version's, or no room for the copy: that is not the snapshot's fault.
            Err(error @ (StoreError::Sled(_) | StoreError::File(_, FileError::Newer(_)))) => return Err(error),
            Err(error) => error.to_string(),
        };
        fs::rename(&snapshot.path, snapshot.path.with_extension("unused")).map_err(failed)?;
        findings.push(format!("A snapshot was passed over, and renamed to end in .unused: {why_not}."));
    }
    if scratch.exists() {
        fs::remove_dir_all(&scratch).map_err(failed)?;
    }
    if first_seq > 1 {
        return Err(StoreError::NothingLeft { why: [vec![why.to_string()], findings.clone()].concat().join(" ") });
    }
    Ok(None)
}

fn read(data_dir: &Path, journal: &Journal, first: Day) -> Result<Opened, FoldError> {
    let store = Store::open(data_dir, journal)?;
    store.adopt_files()?;
    let replayed = Folder::new(&store, journal)?.catch_up()?;
    let rows = store.rows()?;
    let counters = store.counters_since(first).collect::<Result<_, _>>()?;
    Ok(Opened { findings: store.lost_events(journal)?, store, rows, counters, replayed })
}

impl Store {
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
