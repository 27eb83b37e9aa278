//! Restores a data directory from a backup. The backup is checked first, and it is restored completely or not at all.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use ring::digest;

use super::{BackupError, FORMAT, KEYS, MANIFEST, Manifest, SUMS, Watched, is_ours, sum_line};
use crate::{
    domain::record::Row,
    journal::{Durability, Journal},
    service::{
        BootError,
        start::installation::{Installation, write_private},
    },
    store,
};

/// The most bytes of the manifest, the checksums or a key that are read into memory.
const MAX_TEXT: u64 = 64 << 20;

/// The result of a restore.
pub struct Restored {
    /// The time when the backup was made.
    pub created_at: String,
    /// The last record in it.
    pub last_record: u64,
    /// The number of groups.
    pub groups: usize,
    /// The number of customers' keys.
    pub api_keys: usize,
    /// The number of enabled webhooks, which deliver as soon as a gateway serves from the directory.
    pub webhooks: usize,
}

/// Restores the backup `file` into `data_dir`, which must be empty or missing. `progress` gets the size of each piece
/// read in bytes; the file is read twice.
pub fn restore(file: &Path, data_dir: &Path, progress: impl Fn(u64)) -> Result<Restored, BackupError> {
    let existed = match fs::read_dir(data_dir).map(|mut entries| entries.next().is_none()) {
        Ok(true) => true,
        Ok(false) => return Err(BackupError::NotEmpty(data_dir.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(BackupError::Io(data_dir.to_owned(), error)),
    };
    let manifest = check(file, &progress)?;
    let unpacked = unpack(file, data_dir, &progress).and_then(|()| open(data_dir, manifest));
    if unpacked.is_err() {
        // Undo the restore. If that fails too, the first error is the one to report.
        let _ = if existed { clear(data_dir) } else { fs::remove_dir_all(data_dir) };
    }
    unpacked
}

/// Empties a directory, which may be a link or a mount.
fn clear(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path())? } else { fs::remove_file(entry.path())? }
    }
    Ok(())
}

/// Reads the whole backup and compares it with its checksums.
fn check(file: &Path, progress: &impl Fn(u64)) -> Result<Manifest, BackupError> {
    let (mut sums, mut recorded, mut manifest) = (String::new(), None, None);
    let mut names = Vec::new();
    each_file(file, |name, content| {
        if recorded.is_some() {
            return Err(damaged(format!("{name} comes after {SUMS}")));
        }
        if name == SUMS {
            let mut text = String::new();
            content.take(MAX_TEXT).read_to_string(&mut text).map_err(|error| unreadable(file, error))?;
            recorded = Some(text);
            return Ok(());
        }
        let mut watched = Watched { content, sum: digest::Context::new(&digest::SHA256), read: 0, progress };
        if name == MANIFEST {
            let mut text = Vec::new();
            (&mut watched).take(MAX_TEXT).read_to_end(&mut text).map_err(|error| unreadable(file, error))?;
            manifest = serde_json::from_slice::<Manifest>(&text).ok();
        }
        io::copy(&mut watched, &mut io::sink()).map_err(|error| unreadable(file, error))?;
        sums.push_str(&sum_line(watched.sum, name));
        names.push(name.to_owned());
        Ok(())
    })?;
    let recorded = recorded.ok_or_else(|| damaged("it is truncated".to_owned()))?;
    if let Some((_, recorded)) = sums.lines().zip(recorded.lines()).find(|(found, recorded)| found != recorded) {
        let name = recorded.split_once("  ").map_or(recorded, |(_, name)| name);
        return Err(damaged(format!("the checksum of {name} is wrong")));
    }
    let missing = |name: &&str| !names.iter().any(|found| found == name);
    if sums != recorded || KEYS.iter().any(missing) {
        return Err(damaged("files are missing from it".to_owned()));
    }
    let manifest = manifest.ok_or_else(|| damaged(format!("{MANIFEST} cannot be read")))?;
    if manifest.format > FORMAT {
        return Err(BackupError::Newer(manifest.version));
    }
    Ok(manifest)
}

/// Unpacks the backup. The keys come last: a start refuses data without them, so a restore that was killed halfway is
/// never served.
fn unpack(file: &Path, data_dir: &Path, progress: &impl Fn(u64)) -> Result<(), BackupError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| BackupError::Io(path.clone(), error)
    };
    let mut keys = Vec::new();
    DirBuilder::new().recursive(true).mode(0o700).create(data_dir).map_err(failed(data_dir))?;
    for directory in ["journal", "snapshots", "rollups"] {
        let path = data_dir.join(directory);
        DirBuilder::new().mode(0o700).create(&path).map_err(failed(&path))?;
    }
    each_file(file, |name, content| {
        if [MANIFEST, SUMS].contains(&name) {
            return Ok(());
        }
        let path = data_dir.join(name);
        if KEYS.contains(&name) {
            let mut key = Vec::new();
            content.take(MAX_TEXT).read_to_end(&mut key).map_err(|error| unreadable(file, error))?;
            keys.push((path, key));
            return Ok(());
        }
        let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(failed(&path))?;
        let mut piece = vec![0; 256 << 10];
        loop {
            let read = content.read(&mut piece).map_err(|error| unreadable(file, error))?;
            if read == 0 {
                break;
            }
            out.write_all(&piece[..read]).map_err(failed(&path))?;
            progress(read as u64);
        }
        out.sync_all().map_err(failed(&path))
    })?;
    for directory in ["journal", "snapshots", "rollups"] {
        let path = data_dir.join(directory);
        File::open(&path).and_then(|directory| directory.sync_all()).map_err(failed(&path))?;
    }
    for (path, key) in keys {
        write_private(&path, &key).map_err(failed(&path))?;
    }
    Ok(())
}

/// Opens the unpacked directory as a start would, which builds the store and checks that everything is readable.
fn open(data_dir: &Path, manifest: Manifest) -> Result<Restored, BackupError> {
    let installation =
        Installation::open(data_dir).map_err(|error| BackupError::Boot(BootError::Installation(error)))?;
    let opened = Journal::open(&data_dir.join("journal"), Durability::Disk);
    let (journal, _) = opened.map_err(|error| BackupError::Boot(BootError::Journal(error.to_string())))?;
    let opened = store::open(data_dir, &journal, None);
    let opened = opened.map_err(|error| BackupError::Boot(BootError::Store(data_dir.to_owned(), error)))?;
    let flushed = opened.store.flush();
    flushed.map_err(|error| BackupError::Boot(BootError::Store(data_dir.to_owned(), error.into())))?;
    if journal.last_seq() != manifest.last_record {
        let (found, expected) = (journal.last_seq(), manifest.last_record);
        return Err(damaged(format!("its journal ends with record {found} and should end with {expected}")));
    }
    let count = |is_one: fn(&Row) -> bool| opened.rows.rows.iter().filter(|row| is_one(row)).count();
    let restored = Restored {
        created_at: manifest.created_at,
        last_record: manifest.last_record,
        groups: count(|row| matches!(row, Row::Group(_))),
        api_keys: count(|row| matches!(row, Row::ApiKey(_))),
        webhooks: count(|row| matches!(row, Row::Webhook(webhook) if webhook.enabled)),
    };
    drop((opened, journal, installation));
    Ok(restored)
}

/// Calls `each` for the files of a backup, in order.
fn each_file(
    file: &Path,
    mut each: impl FnMut(&str, &mut dyn Read) -> Result<(), BackupError>,
) -> Result<(), BackupError> {
    let opened = File::open(file).map_err(|error| BackupError::Io(file.to_owned(), error))?;
    let mut archive = tar::Archive::new(io::BufReader::with_capacity(256 << 10, opened));
    for entry in archive.entries().map_err(|error| unreadable(file, error))? {
        let mut entry = entry.map_err(|error| unreadable(file, error))?;
        let name = entry.path().map_err(|error| unreadable(file, error))?.to_string_lossy().into_owned();
        if !is_ours(&name) || entry.header().entry_type() != tar::EntryType::Regular {
            return Err(damaged(format!("{name:?} is not a file of a backup")));
        }
        each(&name, &mut entry)?;
    }
    Ok(())
}

fn damaged(what: String) -> BackupError {
    BackupError::Damaged(what)
}

/// Maps a read error. The tar library's own errors, for bytes that are not a tar file, mean a damaged backup.
fn unreadable(file: &Path, error: io::Error) -> BackupError {
    match error.raw_os_error() {
        Some(_) => BackupError::Io(file.to_owned(), error),
        None => damaged(format!("{error}")),
    }
}
