//! Opening the store together with the log that it was computed from: open, take in what is missing, read everything.
//!
//! Whatever is wrong with the store on that way, be it an error or a panic of the library under it, the store is moved
//! aside and built anew from the log, once, and that is said. Only two things are not the store's fault and stop the
//! start: a newer version's data, and a log that is not there.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook},
    path::{Path, PathBuf},
};

use super::{
    Store, StoreError,
    fold::{Counter, FoldError, Folder},
    table::Rows,
};
use crate::{
    domain::{
        day::Day,
        id::{GroupId, SlugId},
    },
    journal::Journal,
};

/// A store that is up to date with the log, and what a gateway is made of.
pub struct Opened {
    /// The store.
    pub store: Store,
    /// Everything that the catalog is made of.
    pub rows: Rows,
    /// What was used on each day since the one asked for.
    pub counters: Vec<((Day, GroupId, SlugId), Counter)>,
    /// Records that the store had not taken in yet.
    pub replayed: usize,
    /// What was wrong with the store, and where it was moved to.
    pub set_aside: Option<(PathBuf, StoreError)>,
}

/// Opens the store in `directory`, brings it up to date with `journal` and reads it, with the counters since `first`.
pub fn open(directory: &Path, journal: &Journal, first: Day) -> Result<Opened, FoldError> {
    let why = match without_panic(|| read(directory, journal, first)) {
        Err(FoldError::Store(why)) if why.is_the_stores_fault() => why,
        outcome => return outcome,
    };
    if journal.durable_seq() == 0 {
        // A damaged store and no log to build it from: whatever was here is not ours to throw away.
        return Err(FoldError::Store(StoreError::NothingLeft { why: why.to_string() }));
    }
    let aside = directory.with_file_name(format!("store.damaged-{}", journal.now_ms()));
    std::fs::rename(directory, &aside).map_err(|error| StoreError::Sled(error.into()))?;
    let opened = read(directory, journal, first)?;
    Ok(Opened { set_aside: Some((aside, why)), ..opened })
}

fn read(directory: &Path, journal: &Journal, first: Day) -> Result<Opened, FoldError> {
    let store = Store::open(directory, journal.durable_seq())?;
    let replayed = Folder::new(&store, journal)?.catch_up()?;
    let rows = store.rows()?;
    let counters = store.counters_since(first).collect::<Result<_, _>>()?;
    Ok(Opened { store, rows, counters, replayed, set_aside: None })
}

/// sled panics on some damaged files. Its message would only hide ours.
fn without_panic(open: impl FnOnce() -> Result<Opened, FoldError>) -> Result<Opened, FoldError> {
    let hook = take_hook();
    set_hook(Box::new(|_| {}));
    let outcome = catch_unwind(AssertUnwindSafe(open));
    set_hook(hook);
    outcome.unwrap_or(Err(FoldError::Store(StoreError::Damaged("its library could not read it"))))
}
