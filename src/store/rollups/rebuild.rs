//! Rebuilding a file that cannot be read.

use std::{collections::BTreeMap, ops::RangeInclusive};

use super::{
    file::{self, Grain, Head, read_file},
    rows::write_key,
};
use crate::{
    domain::{
        day::Day,
        record::Record,
        rollup::{Rollup, Sums},
    },
    journal::{Journal, codec},
    store::{
        error::StoreError,
        fold::FoldError,
        handle::Store,
        table::{Table, encode},
    },
};

impl Store {
    /// The rows of a file. A damaged or missing file is rebuilt first.
    pub(super) fn read_or_rebuild(
        &self,
        rebuild_from: Option<&Journal>,
        day: Day,
        part: usize,
        grain: Grain,
    ) -> Result<Vec<Rollup>, String> {
        let path = self.rollup_file(day, part);
        read_file(&path, grain).or_else(|_| {
            // Another thread may have rebuilt it in the meantime.
            let _lock = self.rebuilding.lock();
            let why = match read_file(&path, grain) {
                Ok(rows) => return Ok(rows),
                Err(why) => why,
            };
            let problem = |error: String| format!("The rollups of {} cannot be read: {error}", day.date());
            let of_file = |error: &dyn std::fmt::Display| problem(format!("{}: {error}.", path.display()));
            let Some(journal) = rebuild_from else { return Err(of_file(&why)) };
            self.rebuild_file(journal, day, part).map_err(|error| match error {
                FoldError::Journal(error) => problem(format!("{}: {why}; {error}.", path.display())),
                FoldError::Store(error) => of_file(&error),
            })?;
            tracing::warn!(path = %path.display(), %why, "a rollup file was rebuilt from the journal");
            read_file(&path, grain).map_err(|error| of_file(&error))
        })
    }

    fn rebuild_file(&self, journal: &Journal, day: Day, part: usize) -> Result<(), FoldError> {
        let parts = self.parts(day)?;
        let after = part.checked_sub(1).and_then(|before| parts.get(before)).copied().unwrap_or(0);
        let through = parts.get(part).copied().unwrap_or(0);
        let kept = journal.stats();
        if kept.first_seq > after.saturating_add(1) && kept.first_at_ms.is_none_or(|at_ms| at_ms > day.start_unix_ms())
        {
            return Err(FoldError::Journal("the journal no longer reaches back to that day".to_owned()));
        }
        let mut rows: BTreeMap<Vec<u8>, Rollup> = BTreeMap::new();
        let mut key = Vec::new();
        let mut reader = journal.reader_from_time(day.start_unix_ms());
        while let Some(frame) = reader.next().map_err(|error| FoldError::Journal(error.to_string()))? {
            if frame.at_ms >= day.end_unix_ms() || frame.seq > through {
                break;
            }
            if frame.seq <= after {
                continue;
            }
            let record = codec::decode(frame.body)
                .map_err(|error| FoldError::Journal(format!("record {} cannot be decoded: {error}", frame.seq)))?;
            let Record::Settled(settled) = record else { continue };
            write_key(&mut key, frame.at_ms, &settled);
            match rows.get_mut(&key) {
                Some(row) => row.sums.add(&Sums::of(settled.usage, settled.cost)),
                None => drop(rows.insert(key.clone(), Rollup::of(frame.at_ms, &settled))),
            }
        }
        self.note_missing_in(journal, day, after + 1..=through)?;
        let head = Head { day, part, through, day_rows: 0 };
        Ok(file::write(&self.rollup_file(day, part), head, || Ok(rows.values().cloned().map(Ok)))?)
    }

    /// Stores which records a rebuilt file lacks because the journal has lost them.
    fn note_missing_in(&self, journal: &Journal, day: Day, records: RangeInclusive<u64>) -> Result<(), StoreError> {
        let damage = journal.damage().into_iter().filter(|damage| {
            let is_of_day = damage.from_ms < day.end_unix_ms() && day.start_unix_ms() <= damage.to_ms;
            is_of_day && damage.missing.start() <= records.end() && records.start() <= damage.missing.end()
        });
        for damage in damage {
            self.tables()?.of(Table::Missing).insert(damage.missing.start().to_be_bytes(), encode(&damage)?)?;
        }
        self.flush()
    }
}
