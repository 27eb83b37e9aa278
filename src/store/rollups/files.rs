//! The list of the closed days' files, and the rows of the open days.

use std::{collections::BTreeSet, fs, ops::Range, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{file::file_name, rows::read_row};
use crate::{
    domain::{
        day::{Day, Hour},
        rollup::Rollup,
    },
    store::{
        error::StoreError,
        handle::Store,
        table::{DAMAGED, Table, decode, encode},
    },
};

/// The files of a day.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Files {
    /// The last record that each file includes.
    pub(super) parts: Vec<u64>,
    /// Whether the rows in these files were removed from the table.
    pub(super) rows_are_gone: bool,
}

impl Store {
    pub(super) fn rollup_file(&self, day: Day, part: usize) -> PathBuf {
        self.directory.join("rollups").join(file_name(day, part))
    }

    /// The names of the missing files.
    pub fn lost_rollups(&self) -> Result<Vec<String>, StoreError> {
        let mut lost = Vec::new();
        for (day, files) in self.files(Day(0)..Day(u32::MAX))? {
            let is_lost = |part: &usize| !self.rollup_file(day, *part).exists();
            lost.extend((0..files.parts.len()).filter(is_lost).map(|part| file_name(day, part)));
        }
        Ok(lost)
    }

    /// The last record that the files of a day include; 0 if there are none.
    pub(in crate::store) fn counted_through(&self, day: Day) -> Result<u64, StoreError> {
        Ok(self.parts(day)?.last().copied().unwrap_or(0))
    }

    /// The last record that each file of a day includes.
    pub(super) fn parts(&self, day: Day) -> Result<Vec<u64>, StoreError> {
        let files = self.tables()?.of(Table::RollupFiles).get(day.0.to_be_bytes())?;
        Ok(files.map(|files| decode::<Files>(&files)).transpose()?.unwrap_or_default().parts)
    }

    pub(super) fn set_files(&self, day: Day, files: &Files) -> Result<(), StoreError> {
        Ok(self.tables()?.of(Table::RollupFiles).insert(day.0.to_be_bytes(), encode(files)?).map(drop)?)
    }

    /// The days in `days` that have files, in order.
    pub(super) fn files(&self, days: Range<Day>) -> Result<Vec<(Day, Files)>, StoreError> {
        let files = self.tables()?.of(Table::RollupFiles).range(days.start.0.to_be_bytes()..days.end.0.to_be_bytes());
        let read = |entry: sled::Result<(sled::IVec, sled::IVec)>| {
            let (key, value) = entry?;
            Ok((Day(u32::from_be_bytes(key.as_ref().try_into().map_err(|_| DAMAGED)?)), decode(&value)?))
        };
        files.map(read).collect()
    }

    /// The rows of the table for `hours`, in order.
    pub(super) fn open_rows(
        &self,
        hours: Range<Hour>,
    ) -> Result<impl Iterator<Item = Result<Rollup, StoreError>> + use<>, StoreError> {
        let rows = self.tables()?.of(Table::Rollups).range(hours.start.0.to_be_bytes()..hours.end.0.to_be_bytes());
        Ok(rows.map(|entry| {
            let (key, value) = entry?;
            read_row(&key, &value)
        }))
    }

    /// The first day whose rows are in the table. The store needs the journal from the start of that day on.
    pub fn first_open_day(&self) -> Result<Option<Day>, StoreError> {
        let first = self.tables()?.of(Table::Rollups).first()?;
        let hour = first.map(|(key, _)| key.first_chunk().copied().ok_or(DAMAGED)).transpose()?;
        Ok(hour.map(|hour| Hour(u32::from_be_bytes(hour)).day()))
    }

    /// The number of files, and their total bytes.
    pub fn rollup_files(&self) -> (usize, u64) {
        let Ok(entries) = fs::read_dir(self.directory.join("rollups")) else { return (0, 0) };
        let lengths = entries.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()));
        lengths.fold((0, 0), |(files, bytes), len| (files + 1, bytes + len))
    }

    /// The days that have rows.
    pub(in crate::store) fn rollup_days(&self) -> Result<BTreeSet<Day>, StoreError> {
        let closed = self.files(Day(0)..Day(u32::MAX))?;
        let mut days: BTreeSet<Day> = closed.into_iter().map(|(day, _)| day).collect();
        let mut from = Hour(0);
        while let Some((key, _)) = self.tables()?.of(Table::Rollups).get_gt(from.0.to_be_bytes())? {
            let day = Hour(u32::from_be_bytes(*key.first_chunk().ok_or(DAMAGED)?)).day();
            days.insert(day);
            from = day.hours().end;
        }
        Ok(days)
    }
}
