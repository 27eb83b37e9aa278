//! Fail points for the journal's tests: the next operations of a kind in a directory fail.

use std::{
    io,
    path::{Path, PathBuf},
};

use parking_lot::Mutex;

/// An operation on a file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Make,
    Write,
    Sync,
    SyncDir,
    Truncate,
}

static PLANNED: Mutex<Vec<(PathBuf, Op, usize)>> = Mutex::new(Vec::new());

/// Makes the next `times` operations `op` in `dir` fail.
pub(crate) fn fail_next(dir: &Path, op: Op, times: usize) {
    PLANNED.lock().push((dir.to_owned(), op, times));
}

/// Removes all planned failures in `dir`.
pub(crate) fn heal(dir: &Path) {
    PLANNED.lock().retain(|(planned, ..)| planned != dir);
}

/// The fail point: fails if a failure is planned here.
pub(crate) fn hit(dir: &Path, op: Op) -> io::Result<()> {
    let mut planned = PLANNED.lock();
    let Some(plan) = planned.iter_mut().find(|(d, o, left)| d == dir && *o == op && *left > 0) else { return Ok(()) };
    plan.2 -= 1;
    Err(io::Error::other(format!("planned failure of {op:?}")))
}
