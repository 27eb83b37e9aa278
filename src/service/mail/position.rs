//! The position of the mails in the list of alerts: the file `mail.json` in the data directory.
//!
//! Without the file, mails begin with the alerts made from now on. So it is removed by a start without mails. It is not
//! part of a backup: a restored gateway mails the alerts that it makes itself.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::service::start::installation::write_private;

const FILE: &str = "mail.json";

/// The position of the mails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// The alerts up to this record have been mailed or given up.
    pub(super) through: u64,
    /// The time of the last mail, in Unix ms.
    pub(super) last_sent_ms: Option<u64>,
}

impl Position {
    /// Reads the position, whose file may be missing. An error is a text for the operator.
    pub(super) fn read(data_dir: &Path) -> Result<Option<Self>, String> {
        let path = path(data_dir);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|_| format!("{} is damaged", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
        }
    }

    /// Saves the position durably. An error is a text for the operator.
    pub(super) fn save(&self, data_dir: &Path) -> Result<(), String> {
        let path = path(data_dir);
        let written = serde_json::to_vec(self).map_err(io::Error::from).and_then(|bytes| write_private(&path, &bytes));
        written.map_err(|error| format!("{} cannot be written: {error}", path.display()))
    }

    /// Removes the file, if there is one.
    pub(super) fn remove(data_dir: &Path) -> io::Result<()> {
        match fs::remove_file(path(data_dir)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_position_is_read_as_it_was_saved_and_may_be_missing_or_damaged() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Position::read(directory.path()), Ok(None));
        Position::remove(directory.path()).unwrap();
        let position = Position { through: 7, last_sent_ms: Some(9) };
        position.save(directory.path()).unwrap();
        assert_eq!(Position::read(directory.path()), Ok(Some(position)));
        fs::write(directory.path().join(FILE), "{\"through\": -1}").unwrap();
        assert!(Position::read(directory.path()).unwrap_err().contains("mail.json is damaged"));
        Position::remove(directory.path()).unwrap();
        assert_eq!(Position::read(directory.path()), Ok(None));
    }
}
