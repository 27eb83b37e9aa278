//! The file of a closed day: a head, the rows of the whole day, and the rows of its hours.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        day::{Day, Hour},
        id::{GroupId, SlugId},
        rollup::{Rollup, Sums},
    },
    store::{
        checked::{FileError, Kind, Reader, Writer},
        error::StoreError,
    },
};

/// The start of a file. It is followed by the rows of the whole day, and then those of its hours.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) day: Day,
    /// The index of this file among the day's files, from 0.
    pub(super) part: usize,
    /// The last record that this file includes. Its first one follows the last one of the previous part.
    pub(super) through: u64,
    /// The number of rows for the whole day.
    pub(super) day_rows: u64,
}

/// The period of each sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grain {
    /// Hours.
    Hour,
    /// Days. `hour` is the first hour of the day.
    Day,
}

/// Group, slug with its id, and key.
type DayKey = (GroupId, String, Option<SlugId>, String);

/// Sums over a whole day, by the fields of a row without its hour, with the group's external id.
#[derive(Default)]
struct DaySums(BTreeMap<DayKey, (String, Sums)>);

impl DaySums {
    fn add(&mut self, row: Rollup) {
        let Rollup { group, external_entity_id, model_slug, api_key_prefix, sums, slug, .. } = row;
        let known = self.0.entry((group, model_slug, slug, api_key_prefix));
        known.or_insert_with(|| (external_entity_id, Sums::default())).1.add(&sums);
    }

    fn into_rows(self, day: Day) -> impl ExactSizeIterator<Item = Rollup> {
        self.0.into_iter().map(move |((group, model_slug, slug, api_key_prefix), (external_entity_id, sums))| Rollup {
            hour: day.first_hour(),
            group,
            external_entity_id,
            model_slug,
            api_key_prefix,
            sums,
            slug,
        })
    }
}

/// A row of version 1, without the slug's id.
#[derive(Serialize, Deserialize)]
struct RollupV1 {
    hour: Hour,
    group: GroupId,
    external_entity_id: String,
    model_slug: String,
    api_key_prefix: String,
    sums: Sums,
}

impl From<RollupV1> for Rollup {
    fn from(RollupV1 { hour, group, external_entity_id, model_slug, api_key_prefix, sums }: RollupV1) -> Self {
        Self { hour, group, external_entity_id, model_slug, api_key_prefix, sums, slug: None }
    }
}

/// The name of a day's file.
pub(super) fn file_name(day: Day, part: usize) -> String {
    let date = day.date();
    if part == 0 { date } else { format!("{date}.{}", part + 1) }
}

/// Writes the file at `path`. `rows` is called twice: for the sums of the day, and for the rows of its hours.
pub(super) fn write<I>(path: &Path, head: Head, rows: impl Fn() -> Result<I, StoreError>) -> Result<(), StoreError>
where
    I: Iterator<Item = Result<Rollup, StoreError>>,
{
    let failed = |error| StoreError::File(path.to_owned(), FileError::Io(error));
    let mut day_rows = DaySums::default();
    rows()?.try_for_each(|row| row.map(|row| day_rows.add(row)))?;
    let day_rows = day_rows.into_rows(head.day);
    let mut file = Writer::create(path, Kind::Rollups).map_err(failed)?;
    file.put(&Head { day_rows: day_rows.len() as u64, ..head }).map_err(failed)?;
    for row in day_rows {
        file.put(&row).map_err(failed)?;
    }
    for row in rows()? {
        file.put(&row?).map_err(failed)?;
    }
    file.finish().map(drop).map_err(failed)
}

/// Opens a file and reads its head.
pub(super) fn open_file(path: &Path) -> Result<(Head, Reader), FileError> {
    let mut reader = Reader::open(path, Kind::Rollups)?;
    let head: Head = reader.next()?.ok_or(FileError::Damaged("it is empty"))?;
    if path.file_name().is_none_or(|name| name != file_name(head.day, head.part).as_str()) {
        return Err(FileError::Damaged("it belongs to another day or is unfinished"));
    }
    Ok((head, reader))
}

/// The rows of a file.
pub(in crate::store) fn read_file(path: &Path, grain: Grain) -> Result<Vec<Rollup>, FileError> {
    let (head, mut reader) = open_file(path)?;
    let mut rows = Vec::new();
    for _ in 0..head.day_rows {
        let row = next_row(&mut reader)?.ok_or(FileError::Damaged("it ends too early"))?;
        if grain == Grain::Day {
            rows.push(row);
        }
    }
    // The requested rows have been read. The rest of a large file is not needed.
    if grain == Grain::Day {
        return Ok(rows);
    }
    while let Some(row) = next_row(&mut reader)? {
        rows.push(row);
    }
    Ok(rows)
}

fn next_row(reader: &mut Reader) -> Result<Option<Rollup>, FileError> {
    match reader.version() {
        1 => Ok(reader.next::<RollupV1>()?.map(Rollup::from)),
        _ => reader.next(),
    }
}

/// Writes the file again as version 1, without the ids of slugs.
#[cfg(test)]
pub(in crate::store) fn make_earlier(path: &Path) {
    let (head, _) = open_file(path).unwrap();
    let mut file = Writer::create_version(path, Kind::Rollups, 1).unwrap();
    let rows: Vec<Rollup> = [Grain::Day, Grain::Hour].iter().flat_map(|of| read_file(path, *of).unwrap()).collect();
    file.put(&head).unwrap();
    for Rollup { hour, group, external_entity_id, model_slug, api_key_prefix, sums, .. } in rows {
        file.put(&RollupV1 { hour, group, external_entity_id, model_slug, api_key_prefix, sums }).unwrap();
    }
    file.finish().unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_the_earlier_version_is_read_without_the_ids_of_slugs() {
        let directory = tempfile::tempdir().unwrap();
        let day = Day(20_000);
        let path = directory.path().join(file_name(day, 0));
        let row = |hour: u32, slug| Rollup {
            hour: Hour(day.first_hour().0 + hour),
            group: GroupId(7),
            external_entity_id: "cust_42".to_owned(),
            model_slug: "acme/chat".to_owned(),
            api_key_prefix: "sk_abc".to_owned(),
            sums: Sums { requests: 3, ..Sums::default() },
            slug,
        };
        let head = Head { day, part: 0, through: 9, day_rows: 0 };
        write(&path, head, || Ok([row(1, Some(SlugId(4))), row(2, Some(SlugId(4)))].map(Ok).into_iter())).unwrap();
        let of_day = |slug| Rollup { sums: Sums { requests: 6, ..Sums::default() }, ..row(0, slug) };
        for (is_earlier, slug) in [(false, Some(SlugId(4))), (true, None)] {
            if is_earlier {
                make_earlier(&path);
            }
            assert_eq!(read_file(&path, Grain::Hour).unwrap(), [row(1, slug), row(2, slug)]);
            assert_eq!(read_file(&path, Grain::Day).unwrap(), [of_day(slug)]);
        }
    }
}
