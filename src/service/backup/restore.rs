//! From a backup to a data directory: checked first, whole or not at all.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use ring::digest;

use super::{BackupError, FORMAT, KEYS, MANIFEST, Manifest, SUMS, Watched, is_ours, sum_line};
use crate::{
    domain::{day::Day, record::Row},
    journal::{Durability, Journal},
    service::{
        BootError,
        installation::{Installation, write_private},
    },
    store,
};

/// The manifest and the sums are read into memory, up to so many bytes.
const MAX_TEXT: u64 = 64 << 20;

/// What was restored.
pub struct Restored {
    /// When the backup was made.
    pub created_at: String,
    /// The last record in it.
    pub last_record: u64,
    /// How many groups there are.
    pub groups: usize,
    /// How many customers' keys.
    pub api_keys: usize,
    /// How many webhooks that deliver as soon as somebody serves from it.
    pub webhooks: usize,
}

/// Makes a data directory in `data_dir` from the backup `file`. `progress` is told of every piece of the file's bytes,
/// which is read twice.
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
        // As it was before. What cannot be removed is in nobody's way but ours, and the error is the better news.
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

/// Reads the whole backup and compares it with its sums.
fn check(file: &Path, progress: &impl Fn(u64)) -> Result<Manifest, BackupError> {
    let (mut sums, mut told, mut manifest) = (String::new(), None, None);
    let mut names = Vec::new();
    each_file(file, |name, content| {
        if told.is_some() {
            return Err(damaged(format!("{name} stands behind {SUMS}")));
        }
        if name == SUMS {
            let mut text = String::new();
            content.take(MAX_TEXT).read_to_string(&mut text).map_err(|error| unreadable(file, error))?;
            told = Some(text);
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
    let told = told.ok_or_else(|| damaged("it ends too early".to_owned()))?;
    if let Some((_, told)) = sums.lines().zip(told.lines()).find(|(found, told)| found != told) {
        let name = told.split_once("  ").map_or(told, |(_, name)| name);
        return Err(damaged(format!("the checksum of {name} is wrong")));
    }
    let missing = |name: &&str| !names.iter().any(|found| found == name);
    if sums != told || KEYS.iter().any(missing) {
        return Err(damaged("files are missing in it".to_owned()));
    }
    let manifest = manifest.ok_or_else(|| damaged(format!("{MANIFEST} cannot be read")))?;
    if manifest.format > FORMAT {
        return Err(BackupError::Newer(manifest.version));
    }
    Ok(manifest)
}

/// The keys come last: a start refuses data without them, so nobody serves what a kill left half unpacked.
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

/// Opens what was unpacked as a start would, so that the store is there and everything is known to be readable.
fn open(data_dir: &Path, manifest: Manifest) -> Result<Restored, BackupError> {
    let installation =
        Installation::open(data_dir).map_err(|error| BackupError::Boot(BootError::Installation(error)))?;
    let opened = Journal::open(&data_dir.join("journal"), Durability::Disk);
    let (journal, _) = opened.map_err(|error| BackupError::Boot(BootError::Journal(error.to_string())))?;
    let opened = store::open(data_dir, &journal, Day(u32::MAX));
    let opened = opened.map_err(|error| BackupError::Boot(BootError::Store(data_dir.to_owned(), error)))?;
    let flushed = opened.store.flush();
    flushed.map_err(|error| BackupError::Boot(BootError::Store(data_dir.to_owned(), error.into())))?;
    if journal.last_seq() != manifest.last_record {
        let (found, told) = (journal.last_seq(), manifest.last_record);
        return Err(damaged(format!("its journal ends with record {found}, and should end with {told}")));
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

/// Goes through the files of a backup in order.
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

/// What the library says of bytes that are no tar file is no trouble of the operating system.
fn unreadable(file: &Path, error: io::Error) -> BackupError {
    match error.raw_os_error() {
        Some(_) => BackupError::Io(file.to_owned(), error),
        None => damaged(format!("{error}")),
    }
}
