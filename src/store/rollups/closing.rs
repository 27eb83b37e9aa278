//! Closing a day: its rows move from the table to a file.

use std::{collections::BTreeMap, fs, ops::Range};

use super::{
    file::{self, Head, open_file},
    files::Files,
};
use crate::{
    domain::day::Day,
    store::{checked::FileError, error::StoreError, handle::Store, table::Table},
};

/// Rows that are removed from the table in one batch.
const REMOVE_BATCH: usize = 10_000;

impl Store {
    /// Closes the days before `today`. All their records must be folded, with no more to come.
    pub fn close_days(&self, today: Day) -> Result<Vec<Day>, StoreError> {
        let mut closed = Vec::new();
        while let Some(day) = self.first_open_day()?.filter(|day| *day < today) {
            let mut parts = self.parts(day)?;
            let head = Head { day, part: parts.len(), through: self.applied()?, day_rows: 0 };
            let rows = || self.open_rows(day.hours());
            file::write(&self.rollup_file(head.day, head.part), head, rows)?;
            #[cfg(test)]
            crate::crash::point("day file written, rows still in the table");
            parts.push(head.through);
            self.remove_from_table(day, parts)?;
            closed.push(day);
        }
        Ok(closed)
    }

    /// Removes the rows of a day from the table. All of them must be in its files.
    fn remove_from_table(&self, day: Day, parts: Vec<u64>) -> Result<(), StoreError> {
        {
            let _no_readers = self.closing.write();
            self.set_files(day, &Files { parts: parts.clone(), rows_are_gone: false })?;
        }
        self.remove_rows(day, parts)
    }

    /// Removes rows in batches, because a day may have very many.
    fn remove_rows(&self, day: Day, parts: Vec<u64>) -> Result<(), StoreError> {
        let Range { start, end } = day.hours();
        let (tables, mut from) = (self.tables()?, start.0.to_be_bytes().to_vec());
        loop {
            let (mut removed, mut count) = (sled::Batch::default(), 0);
            for key in tables.of(Table::Rollups).range(from.as_slice()..&end.0.to_be_bytes()).keys().take(REMOVE_BATCH)
            {
                from = key?.to_vec();
                removed.remove(from.as_slice());
                count += 1;
            }
            tables.of(Table::Rollups).apply_batch(removed)?;
            #[cfg(test)]
            crate::crash::point("day rows partly removed");
            if count < REMOVE_BATCH {
                return self.set_files(day, &Files { parts, rows_are_gone: true });
            }
        }
    }

    /// Registers files that a crash kept from being registered. Must be called before anything is folded, while each
    /// row of their days in the table is also in the file. `last` is the journal's last record. Records of a file after
    /// `last` were lost from the journal, and new records get their numbers, so the file counts as ending at `last`.
    pub(in crate::store) fn adopt_files(&self, last: u64) -> Result<(), StoreError> {
        let mut found: BTreeMap<Day, Vec<Head>> = BTreeMap::new();
        let directory = self.directory.join("rollups");
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(StoreError::File(directory, FileError::Io(error))),
        };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            // An unreadable file is reported when it is needed, and by `tollgate verify`.
            if let Ok((head, _)) = open_file(&path) {
                found.entry(head.day).or_default().push(head);
            }
        }
        for (day, mut heads) in found {
            heads.sort_by_key(|head| head.part);
            let mut parts = self.parts(day)?;
            let known = parts.len();
            for head in heads {
                if head.part == parts.len() && parts.last().is_none_or(|before| *before < head.through) {
                    parts.push(head.through.min(last));
                }
            }
            if parts.len() > known {
                self.remove_from_table(day, parts)?;
            }
        }
        for (day, files) in self.files(Day(0)..Day(u32::MAX))? {
            if !files.rows_are_gone {
                self.remove_rows(day, files.parts)?;
            }
        }
        Ok(())
    }
}
