//! Stored rollups: those of open days are in a table, those of each closed day in a file, `rollups/DATE`.
//!
//! * An event is in exactly one of them. A file says which record it includes last, and the fold skips records of that
//!   day up to there. So a store that is rebuilt from a state before the day was closed counts nothing twice.
//! * A file is on the disk before its rows leave the table. In between, the rows are marked for removal and are no
//!   longer read; a start finishes a removal that a crash interrupted.
//! * A file is never rewritten with other contents. A day gets another file only if a clock that was set back adds
//!   events after the day was closed.
//! * A file that cannot be read is rebuilt from the journal if the journal still has the day.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    ops::{Range, RangeInclusive},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    Store, StoreError,
    checked::{FileError, Kind, Reader, Writer},
    fold::FoldError,
    table::{DAMAGED, Table, decode, encode},
};
use crate::{
    domain::{
        day::{Day, Hour},
        id::GroupId,
        record::{Record, Settled},
        rollup::{Rollup, Sums},
    },
    journal::{Journal, codec},
};

/// Rows that are removed from the table in one batch.
const REMOVE_BATCH: usize = 10_000;

/// Counters are kept for this many days before the last closed one, in case the clock is set back.
const COUNTER_DAYS: u32 = 2;

/// The value of a row.
#[derive(Serialize, Deserialize)]
pub(super) struct Stored {
    pub(super) external_entity_id: String,
    pub(super) sums: Sums,
}

/// The files of a day.
#[derive(Default, Serialize, Deserialize)]
struct Files {
    /// The last record that each file includes.
    parts: Vec<u64>,
    /// Whether the rows in these files were removed from the table.
    rows_are_gone: bool,
}

/// The start of a file. It is followed by the rows of the whole day, and then those of its hours.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Head {
    day: Day,
    /// The index of this file among the day's files, from 0.
    part: usize,
    /// The last record that this file includes. Its first one follows the last one of the previous part.
    through: u64,
    /// The number of rows for the whole day.
    day_rows: u64,
}

/// The period of each sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grain {
    /// Hours.
    Hour,
    /// Days. `hour` is the first hour of the day.
    Day,
}

/// Writes the key of a row: hour, group, slug, zero byte, key. Sorted by time. A slug contains no zero byte.
pub(super) fn write_key(key: &mut Vec<u8>, at_ms: u64, settled: &Settled<'_>) {
    key.clear();
    key.extend_from_slice(&Hour::from_unix_ms(at_ms).0.to_be_bytes());
    key.extend_from_slice(&settled.group().0.to_be_bytes());
    key.extend_from_slice(settled.model_slug.as_bytes());
    key.push(0);
    key.extend_from_slice(settled.api_key_prefix.as_bytes());
}

fn read_row(key: &[u8], value: &[u8]) -> Result<Rollup, StoreError> {
    let (hour, rest) = key.split_first_chunk::<4>().ok_or(DAMAGED)?;
    let (group, names) = rest.split_first_chunk::<16>().ok_or(DAMAGED)?;
    let names = std::str::from_utf8(names).map_err(|_| DAMAGED)?;
    let (model_slug, api_key_prefix) = names.split_once('\0').ok_or(DAMAGED)?;
    let Stored { external_entity_id, sums } = decode(value)?;
    Ok(Rollup {
        hour: Hour(u32::from_be_bytes(*hour)),
        group: GroupId(u128::from_be_bytes(*group)),
        external_entity_id,
        model_slug: model_slug.to_owned(),
        api_key_prefix: api_key_prefix.to_owned(),
        sums,
    })
}

/// Sums over a whole day, by the fields of a row without its hour.
#[derive(Default)]
struct DaySums(BTreeMap<(GroupId, String, String), (String, Sums)>);

impl DaySums {
    fn add(&mut self, row: Rollup) {
        let Rollup { group, external_entity_id, model_slug, api_key_prefix, sums, .. } = row;
        let known = self.0.entry((group, model_slug, api_key_prefix));
        known.or_insert_with(|| (external_entity_id, Sums::default())).1.add(&sums);
    }

    fn into_rows(self, day: Day) -> impl ExactSizeIterator<Item = Rollup> {
        self.0.into_iter().map(move |((group, model_slug, api_key_prefix), (external_entity_id, sums))| Rollup {
            hour: day.first_hour(),
            group,
            external_entity_id,
            model_slug,
            api_key_prefix,
            sums,
        })
    }
}

/// The name of a day's file.
fn file_name(day: Day, part: usize) -> String {
    let date = day.date();
    if part == 0 { date } else { format!("{date}.{}", part + 1) }
}

impl Store {
    fn rollup_file(&self, day: Day, part: usize) -> PathBuf {
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
    pub(super) fn counted_through(&self, day: Day) -> Result<u64, StoreError> {
        Ok(self.parts(day)?.last().copied().unwrap_or(0))
    }

    /// The last record that each file of a day includes.
    fn parts(&self, day: Day) -> Result<Vec<u64>, StoreError> {
        let files = self.tables()?.of(Table::RollupFiles).get(day.0.to_be_bytes())?;
        Ok(files.map(|files| decode::<Files>(&files)).transpose()?.unwrap_or_default().parts)
    }

    fn set_files(&self, day: Day, files: &Files) -> Result<(), StoreError> {
        Ok(self.tables()?.of(Table::RollupFiles).insert(day.0.to_be_bytes(), encode(files)?).map(drop)?)
    }

    /// The days in `days` that have files, in order.
    fn files(&self, days: Range<Day>) -> Result<Vec<(Day, Files)>, StoreError> {
        let files = self.tables()?.of(Table::RollupFiles).range(days.start.0.to_be_bytes()..days.end.0.to_be_bytes());
        let read = |entry: sled::Result<(sled::IVec, sled::IVec)>| {
            let (key, value) = entry?;
            Ok((Day(u32::from_be_bytes(key.as_ref().try_into().map_err(|_| DAMAGED)?)), decode(&value)?))
        };
        files.map(read).collect()
    }

    /// The rows of the table for `hours`, in order.
    fn open_rows(
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
    pub(super) fn rollup_days(&self) -> Result<BTreeSet<Day>, StoreError> {
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

    /// Closes the days before `today`. All their records must be folded, with no more to come.
    pub fn close_days(&self, today: Day) -> Result<Vec<Day>, StoreError> {
        let mut closed = Vec::new();
        while let Some(day) = self.first_open_day()?.filter(|day| *day < today) {
            let mut parts = self.parts(day)?;
            let head = Head { day, part: parts.len(), through: self.applied()?, day_rows: 0 };
            let rows = || self.open_rows(day.hours());
            self.write_file(head, rows)?;
            #[cfg(test)]
            crate::crash::point("day file written, rows still in the table");
            parts.push(head.through);
            self.remove_from_table(day, parts)?;
            closed.push(day);
        }
        // Not by `today`: if the clock was ahead for a while, a restart goes back to the day of the last record.
        if let Some(last) = closed.last() {
            self.forget_counters_before(Day(last.0.saturating_sub(COUNTER_DAYS)))?;
        }
        Ok(closed)
    }

    fn write_file<I>(&self, head: Head, rows: impl Fn() -> Result<I, StoreError>) -> Result<(), StoreError>
    where
        I: Iterator<Item = Result<Rollup, StoreError>>,
    {
        let path = self.rollup_file(head.day, head.part);
        let failed = |error| StoreError::File(path.clone(), FileError::Io(error));
        let mut day_rows = DaySums::default();
        rows()?.try_for_each(|row| row.map(|row| day_rows.add(row)))?;
        let day_rows = day_rows.into_rows(head.day);
        let mut file = Writer::create(&path, Kind::Rollups).map_err(failed)?;
        file.put(&Head { day_rows: day_rows.len() as u64, ..head }).map_err(failed)?;
        for row in day_rows {
            file.put(&row).map_err(failed)?;
        }
        for row in rows()? {
            file.put(&row?).map_err(failed)?;
        }
        file.finish().map(drop).map_err(failed)
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

    fn forget_counters_before(&self, day: Day) -> Result<(), StoreError> {
        let mut removed = sled::Batch::default();
        for key in self.tables()?.of(Table::Counters).range(..day.0.to_be_bytes()).keys() {
            removed.remove(key?);
        }
        Ok(self.tables()?.of(Table::Counters).apply_batch(removed)?)
    }

    /// Registers files that a crash kept from being registered. Must be called before anything is folded, while each
    /// row of their days in the table is also in the file. A file may include records that the journal has lost:
    /// records after the journal's `last` one are new.
    pub(super) fn adopt_files(&self, last: u64) -> Result<(), StoreError> {
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

    /// Calls `each` with every row of `hours`. Days that are completely in `hours` give rows of `grain`. A file that
    /// cannot be read is rebuilt from `rebuild_from`. Returns a message for each file that still could not be read.
    pub fn rollups(
        &self,
        rebuild_from: Option<&Journal>,
        hours: Range<Hour>,
        grain: Grain,
        mut each: impl FnMut(Rollup),
    ) -> Result<Vec<String>, FoldError> {
        let _no_closing = self.closing.read();
        let (mut troubles, mut being_removed) = (Vec::new(), Vec::new());
        for (day, files) in self.files(hours.start.day()..Day(hours.end.0.div_ceil(24)))? {
            let is_whole = hours.start <= day.hours().start && day.hours().end <= hours.end;
            let grain = if is_whole { grain } else { Grain::Hour };
            for part in 0..files.parts.len() {
                match self.read_or_rebuild(rebuild_from, day, part, grain) {
                    Ok(rows) => rows.into_iter().filter(|row| hours.contains(&row.hour)).for_each(&mut each),
                    Err(trouble) => troubles.push(trouble),
                }
            }
            being_removed.extend((!files.rows_are_gone).then_some(day));
        }
        for row in self.open_rows(hours)? {
            let row = row?;
            if !being_removed.contains(&row.hour.day()) {
                each(row);
            }
        }
        Ok(troubles)
    }

    /// The rows of a file. A damaged or missing file is rebuilt first.
    fn read_or_rebuild(
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
            let trouble = |error: String| format!("The rollups of {} cannot be read: {error}", day.date());
            let of_file = |error: &dyn std::fmt::Display| trouble(format!("{}: {error}.", path.display()));
            let Some(journal) = rebuild_from else { return Err(of_file(&why)) };
            self.rebuild_file(journal, day, part).map_err(|error| match error {
                FoldError::Journal(error) => trouble(format!("{}: {why}; {error}.", path.display())),
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
        Ok(self.write_file(head, || Ok(rows.values().cloned().map(Ok)))?)
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

fn open_file(path: &Path) -> Result<(Head, Reader), FileError> {
    let mut reader = Reader::open(path, Kind::Rollups)?;
    let head: Head = reader.next()?.ok_or(FileError::Damaged("it is empty"))?;
    if path.file_name().is_none_or(|name| name != file_name(head.day, head.part).as_str()) {
        return Err(FileError::Damaged("it belongs to another day or is unfinished"));
    }
    Ok((head, reader))
}

/// The rows of a file.
pub(super) fn read_file(path: &Path, grain: Grain) -> Result<Vec<Rollup>, FileError> {
    let (head, mut reader) = open_file(path)?;
    let mut rows = Vec::new();
    for _ in 0..head.day_rows {
        let row = reader.next()?.ok_or(FileError::Damaged("it ends too early"))?;
        if grain == Grain::Day {
            rows.push(row);
        }
    }
    // The requested rows have been read. The rest of a large file is not needed.
    if grain == Grain::Day {
        return Ok(rows);
    }
    while let Some(row) = reader.next()? {
        rows.push(row);
    }
    Ok(rows)
}
