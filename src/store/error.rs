//! Why the store cannot be used.

use std::{fmt, io, path::PathBuf};

use super::{checked::FileError, database::is_lock};

/// Why the store cannot be used.
#[derive(Debug)]
pub enum StoreError {
    /// sled or the file system failed.
    Sled(sled::Error),
    /// The contents are not in the form that this version writes.
    Damaged(&'static str),
    /// It is missing.
    Gone,
    /// It has failed and has not been reopened yet.
    Closed,
    /// A related file cannot be used.
    File(PathBuf, FileError),
    /// A newer version wrote it.
    Newer {
        /// The format found.
        found: u32,
        /// The newest format that this version reads.
        known: u32,
    },
    /// An older version wrote it, and it was opened for comparison only.
    Older {
        /// The format found.
        found: u64,
        /// The format that this version writes.
        known: u32,
    },
    /// It includes records that the journal does not have.
    AheadOfJournal {
        /// The last record that it includes.
        applied: u64,
        /// The last record of the journal; 0 if that is empty.
        last_seq: u64,
    },
    /// It cannot be read, and the journal is empty.
    NothingLeft {
        /// The reason.
        why: String,
    },
}

impl StoreError {
    /// Whether rebuilding it from the journal solves the problem.
    pub(super) fn is_fixed_by_rebuilding(&self) -> bool {
        match self {
            Self::Sled(sled::Error::Io(error)) => !is_environment_error(error),
            Self::Sled(_) | Self::Damaged(_) | Self::Gone => true,
            Self::AheadOfJournal { last_seq, .. } => *last_seq > 0,
            Self::Closed | Self::File(..) | Self::Newer { .. } | Self::Older { .. } | Self::NothingLeft { .. } => false,
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sled(error) => write!(f, "the store failed: {error}"),
            Self::Damaged(what) => write!(f, "the store is damaged: {what}"),
            Self::Gone => f.write_str("the store was missing"),
            Self::Closed => f.write_str("the store has failed and has not been reopened yet"),
            Self::File(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Newer { found, known } => write!(
                f,
                "the store was written by a newer version of Tollgate (format {found}; this one reads up to {known})"
            ),
            Self::Older { found, known } => {
                write!(f, "its format is older ({found}; this version writes {known})")
            }
            Self::AheadOfJournal { applied, last_seq: 0 } => write!(
                f,
                "the journal is missing: the store was built from {applied} records, but the journal has none. Restore \
                 the directory journal/ from a backup, or move the data directory away to start empty"
            ),
            Self::AheadOfJournal { applied, last_seq } => write!(
                f,
                "records {} to {applied} are missing from the journal, so totals are incomplete",
                last_seq + 1
            ),
            Self::NothingLeft { why } => write!(
                f,
                "{why}; nothing is left to rebuild it from: no intact snapshot, and no journal that reaches back to \
                 the first record. Restore the data directory from a backup, or move it away to start empty"
            ),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<sled::Error> for StoreError {
    fn from(error: sled::Error) -> Self {
        Self::Sled(error)
    }
}

/// Whether the environment caused the error (such as a full disk, missing permissions or a lock), so that new files
/// would not help. A read error (EIO) may come from a bad block of the disk, which new files can avoid.
pub(super) fn is_environment_error(error: &io::Error) -> bool {
    is_lock(error) || error.raw_os_error().is_some_and(|error| error != rustix::io::Errno::IO.raw_os_error())
}
