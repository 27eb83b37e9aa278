//! Copies of stores, and the differences between two of them, for `tollgate verify`.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::symlink,
    path::Path,
};

use super::{
    checked::{FileError, UNFINISHED},
    database::database,
    error::StoreError,
    fold::FoldError,
    handle::Store,
    migrate::FORMAT,
    open::without_panic,
    rollups::{self, file::Grain},
    snapshot,
    table::Table,
};
use crate::{
    domain::{
        calendar::Calendar,
        day::{Day, Hour},
        id::GroupId,
        rollup::{Rollup, Sums},
    },
    journal::{Damage, Journal},
};

/// The most days with differences that are reported.
const MAX_REPORTED: usize = 5;

type Totals = BTreeMap<(Hour, GroupId, String, String), Sums>;

/// Opens a copy of a store in `directory`, with the rollups of the data directory that it was copied from. It must have
/// this version's format. Its sums keep their time zone.
pub fn open_copy(directory: &Path, rollups: &Path) -> Result<Store, StoreError> {
    let store = without_panic(|| scratch(directory, rollups))?;
    match store.meta("format")? {
        None => Err(StoreError::Damaged("it is empty")),
        Some(found) if found == u64::from(FORMAT) => {
            store.use_calendar(None)?;
            Ok(store)
        }
        Some(found) => Err(StoreError::Older { found, known: FORMAT }),
    }
}

/// Loads a snapshot as a store in `directory`.
pub fn load_copy(path: &Path, directory: &Path, rollups: &Path) -> Result<Store, StoreError> {
    snapshot::load(path, &directory.join("store"))?;
    open_copy(directory, rollups)
}

/// An empty store in `directory`, with the rollups of a data directory. It has no time zone yet.
pub fn scratch(directory: &Path, rollups: &Path) -> Result<Store, StoreError> {
    let db = database(&directory.join("store"))?;
    symlink(rollups, directory.join("rollups"))
        .map_err(|error| StoreError::File(rollups.to_owned(), FileError::Io(error)))?;
    Store::new(directory, db)
}

/// The rollup files in a data directory that cannot be read.
pub fn unreadable_rollups(data_dir: &Path) -> Result<Vec<(std::path::PathBuf, FileError)>, StoreError> {
    let directory = data_dir.join("rollups");
    let failed = |error| StoreError::File(directory.clone(), FileError::Io(error));
    if !directory.exists() {
        return Ok(Vec::new());
    }
    let mut bad = Vec::new();
    for entry in std::fs::read_dir(&directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == UNFINISHED) {
            continue; // being written, or left by a crash; it is never read
        }
        if let Err(error) = rollups::file::read_file(&path, Grain::Hour) {
            bad.push((path, error));
        }
    }
    Ok(bad)
}

impl Store {
    /// Takes the time zone of `other`. If there are records in this store, its sums are computed anew. Returns whether
    /// the sums of both can be compared: `other` has some, and these could be computed exactly.
    pub fn count_like(&self, other: &Self, journal: &Journal) -> Result<bool, FoldError> {
        let Some(calendar) = other.zone()?.and_then(|zone| Calendar::new(&zone).ok()) else { return Ok(false) };
        self.use_calendar(Some(&calendar))?;
        if self.renew_sums(journal)?.is_inexact {
            self.forget_zone()?;
        }
        Ok(self.counts_like(other)?)
    }

    fn counts_like(&self, other: &Self) -> Result<bool, StoreError> {
        let zone = self.zone()?;
        Ok(zone.is_some() && zone == other.zone()?)
    }

    /// The differences of `other`, which includes the same records. Sums of calendar windows are compared if both have
    /// the same time zone.
    pub fn differences(&self, other: &Self) -> Result<Vec<String>, FoldError> {
        let mut differences = Vec::new();
        for (table, name) in [
            (Table::Slugs, "slugs"),
            (Table::Endpoints, "endpoints"),
            (Table::Groups, "groups"),
            (Table::GoneGroups, "deleted groups"),
            (Table::ApiKeys, "keys"),
            (Table::Operators, "operators"),
            (Table::Secrets, "secrets"),
            (Table::LastUsed, "last-use times"),
            (Table::Settings, "settings"),
            (Table::Webhooks, "webhooks"),
            (Table::Cursors, "webhooks' cursors"),
            (Table::DeadLetters, "dead letters"),
            (Table::DeadEvents, "dead letters' events"),
            (Table::Redeliveries, "redeliveries"),
            (Table::Audit, "change index"),
            (Table::Alerts, "alerts"),
            (Table::LastAlerts, "last alerts"),
        ] {
            let differ = self.differing_rows(other, table)?;
            if differ > 0 {
                differences.push(format!("{differ} rows of its {name} differ from the journal"));
            }
        }
        if self.counts_like(other)? {
            for (table, name) in [(Table::Used, "sums of requests and tokens"), (Table::Spent, "sums of costs")] {
                let differ = self.differing_rows(other, table)?;
                if differ > 0 {
                    differences.push(format!("{differ} rows of its {name} differ from the journal"));
                }
            }
        }
        let noted = other.missing()?;
        let is_noted = |damage: &Damage| noted.iter().any(|noted| noted.covers(damage));
        let unknown = self.missing()?.iter().filter(|damage| !is_noted(damage)).count();
        if unknown > 0 {
            differences.push(format!("it does not list {unknown} ranges of missing records"));
        }
        differences.extend(self.differing_rollups(other)?);
        Ok(differences)
    }

    fn differing_rows(&self, other: &Self, table: Table) -> Result<usize, StoreError> {
        let (own, others) = (self.tables()?, other.tables()?);
        let (own, others) = (own.of(table), others.of(table));
        // One store may drop changes and alerts past their retention sooner than another.
        let first = || others.first().map(|first| first.map_or_else(|| [u8::MAX; 8].as_slice().into(), |(key, _)| key));
        let dropped_before = match table {
            Table::Audit | Table::Alerts => first()?,
            _ => sled::IVec::default(),
        };
        let mut differ = 0;
        for entry in others.iter() {
            let (key, value) = entry?;
            differ += usize::from(own.get(&key)? != Some(value));
        }
        for key in own.range(dropped_before..).keys() {
            differ += usize::from(!others.contains_key(key?)?);
        }
        Ok(differ)
    }

    /// Compares hours, one day at a time, so that only one day is in memory.
    fn differing_rollups(&self, other: &Self) -> Result<Vec<String>, FoldError> {
        let mut differences = Vec::new();
        let days: BTreeSet<Day> = self.rollup_days()?.into_iter().chain(other.rollup_days()?).collect();
        for day in days {
            // A file that cannot be read is reported elsewhere.
            let (Some(own), Some(others)) = (self.sums_of(day)?, other.sums_of(day)?) else { continue };
            let differ = own.iter().filter(|(key, sums)| others.get(*key) != Some(sums)).count();
            let unknown = others.keys().filter(|key| !own.contains_key(*key)).count();
            if differ + unknown > 0 && differences.len() < MAX_REPORTED {
                let rows = differ + unknown;
                differences.push(format!("{rows} rollup rows of {} differ from the sums of its events", day.date()));
            }
        }
        Ok(differences)
    }

    fn sums_of(&self, day: Day) -> Result<Option<Totals>, FoldError> {
        let mut sums = Totals::new();
        let add = |row: Rollup| {
            sums.entry((row.hour, row.group, row.model_slug, row.api_key_prefix)).or_default().add(&row.sums);
        };
        let problems = self.rollups(None, day.hours(), Grain::Hour, add)?;
        Ok(problems.is_empty().then_some(sums))
    }
}
