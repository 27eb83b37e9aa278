//! Stored rollups: those of open days are in a table, those of each closed day in a file, `rollups/DATE`.
//!
//! * An event is in exactly one of them. A file says which record it includes last, and the fold skips records of that
//!   day up to there. So a store that is rebuilt from a state before the day was closed counts nothing twice.
//! * A file is on the disk before its rows leave the table. In between, the rows are marked for removal and are no
//!   longer read; a start finishes a removal that a crash interrupted.
//! * A file is never rewritten with other contents. A day gets another file only if a clock that was set back adds
//!   events after the day was closed.
//! * A file that cannot be read is rebuilt from the journal if the journal still has the day.
//! * A row has the slug's id beside its name, because names move from slug to slug. Files of version 1 lack it.

use std::ops::Range;

use self::file::Grain;
use super::{fold::FoldError, handle::Store};
use crate::{
    domain::{
        day::{Day, Hour},
        rollup::Rollup,
    },
    journal::Journal,
};

mod closing;
pub(super) mod file;
mod files;
mod rebuild;
pub(super) mod rows;

impl Store {
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
        let (mut problems, mut being_removed) = (Vec::new(), Vec::new());
        for (day, files) in self.files(hours.start.day()..Day(hours.end.0.div_ceil(24)))? {
            let is_whole = hours.start <= day.hours().start && day.hours().end <= hours.end;
            let grain = if is_whole { grain } else { Grain::Hour };
            for part in 0..files.parts.len() {
                match self.read_or_rebuild(rebuild_from, day, part, grain) {
                    Ok(rows) => rows.into_iter().filter(|row| hours.contains(&row.hour)).for_each(&mut each),
                    Err(problem) => problems.push(problem),
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
        Ok(problems)
    }
}
