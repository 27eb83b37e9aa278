//! `tollgate check`: whether a start with this configuration would succeed, as far as that can be seen without starting.
//!
//! It creates, changes and migrates nothing, and a gateway may be running on the data directory. It reads the keys and
//! the end of the journal. It opens a copy of the store, unless a running gateway has it open. `verify` checks all
//! records and totals.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::fs::{Access, access};

use super::{
    boot::{BootError, is_admin_key},
    installation::{damaged_keys, lock_existing},
};
use crate::{
    config::Config,
    crypto::secret::Secret,
    journal::Journal,
    service::{backup::verify, certificates::Certificates, clock::Clock},
    store::{self, StoreError, snapshot},
};

/// The result of a check.
#[derive(Default)]
pub struct Inspected {
    /// Why a start would fail, a sentence each; empty if nothing was found.
    pub problems: Vec<String>,
    /// The parts that were checked, a sentence each.
    pub seen: Vec<String>,
}

/// Checks a configuration that has been read, its TLS files and its data directory. `admin_key` is the value of
/// `TOLLGATE_ADMIN_KEY`.
pub fn inspect(config: &Config, admin_key: Option<&Secret>) -> Inspected {
    let now = Clock::start().now();
    let mut inspected = Inspected::default();
    inspected.seen.push("configuration: every field is valid".to_owned());
    if admin_key.is_some_and(|key| !is_admin_key(key.expose())) {
        inspected.problems.push(format!("{}.", BootError::AdminKey));
    }
    match Certificates::load(config, now) {
        Ok(certificates) => {
            inspected.seen.extend(certificates.views().iter().map(|view| {
                format!("{} listener: the certificate in {} can be used", view.listener, view.file.display())
            }))
        }
        Err(problem) => inspected.problems.push(format!("{problem}.")),
    }
    match directory(&config.data_dir, &mut inspected) {
        Ok(()) => {}
        Err(problem) => inspected.problems.push(format!("data_dir: {}: {problem}.", config.data_dir.display())),
    }
    inspected
}

/// Checks the data directory. The error is why it cannot be used at all.
fn directory(data_dir: &Path, inspected: &mut Inspected) -> Result<(), String> {
    let shown = data_dir.display();
    let metadata = match fs::metadata(data_dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let parent = existing_ancestor(data_dir);
            if !parent.is_dir() || access(&parent, Access::WRITE_OK | Access::EXEC_OK).is_err() {
                return Err(format!("it cannot be created, since {} is not a writable directory", parent.display()));
            }
            inspected.seen.push(format!("data directory: {shown} does not exist; the first start creates it"));
            return Ok(());
        }
        metadata => metadata.map_err(|error| error.to_string())?,
    };
    if !metadata.is_dir() {
        return Err("it is not a directory".to_owned());
    }
    access(data_dir, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK).map_err(|error| error.to_string())?;
    let me = rustix::process::geteuid();
    if !me.is_root() && metadata.uid() != me.as_raw() {
        return Err(format!("it belongs to the user {}, and this is the user {}", metadata.uid(), me.as_raw()));
    }
    let has = |name: &str| data_dir.join(name).exists();
    if !["journal", "store", "snapshots", "rollups"].iter().any(|name| has(name)) {
        inspected.seen.push(format!("data directory: {shown} has no data; the first start creates them"));
        return Ok(());
    }
    inspected.problems.extend(damaged_keys(data_dir).map(|error| format!("{error}.")));
    let lock = if has("lock") { lock_existing(data_dir).map_err(|error| error.to_string())? } else { None };
    let is_running = has("lock") && lock.is_none();
    inspected.seen.push(match is_running {
        true => format!("data directory: {shown} is in use by a running gateway, so its store was not opened"),
        false => format!("data directory: {shown}"),
    });
    let last_record = match has("journal") {
        true => journal(data_dir, inspected)?,
        false => 0,
    };
    let snapshots = snapshot::list(data_dir).map_err(|error| error.to_string())?;
    let newest = snapshots.first().map_or(0, |newest| newest.applied);
    if last_record == 0 && newest > 0 {
        return Err(StoreError::AheadOfJournal { applied: newest, last_seq: 0 }.to_string());
    }
    if !is_running && has("store") {
        store(data_dir, last_record, inspected)?;
    }
    Ok(())
}

fn existing_ancestor(path: &Path) -> PathBuf {
    let above = path.ancestors().skip(1).find(|ancestor| ancestor.exists() && !ancestor.as_os_str().is_empty());
    above.unwrap_or(Path::new(".")).to_owned()
}

/// Reads the end of the journal. Returns its last record.
fn journal(data_dir: &Path, inspected: &mut Inspected) -> Result<u64, String> {
    let (_, report) = Journal::open_read_only(&data_dir.join("journal"))
        .map_err(|error| format!("the journal cannot be opened: {error}"))?;
    inspected.seen.push(format!("journal: ends with record {}", report.last_seq));
    Ok(report.last_seq)
}

/// Opens a copy of the store.
fn store(data_dir: &Path, last_record: u64, inspected: &mut Inspected) -> Result<(), String> {
    let scratch = tempfile::tempdir().map_err(|error| format!("no copy of the store could be made: {error}"))?;
    let directory = scratch.path().join("copy");
    verify::copy(&data_dir.join("store"), &directory.join("store"))
        .map_err(|error| format!("no copy of the store could be made: {error}"))?;
    let applied = store::open_copy(&directory, &data_dir.join("rollups")).and_then(|copy| copy.applied());
    match applied {
        Ok(applied) if applied > 0 && last_record == 0 => {
            return Err(StoreError::AheadOfJournal { applied, last_seq: 0 }.to_string());
        }
        Ok(applied) => inspected.seen.push(format!("store: up to record {applied}")),
        Err(StoreError::Older { found, known }) if found > u64::from(known) => {
            let found = u32::try_from(found).unwrap_or(u32::MAX);
            return Err(StoreError::Newer { found, known }.to_string());
        }
        Err(error @ StoreError::Older { .. }) => {
            inspected.seen.push(format!("store: {error}; the next start converts it"))
        }
        Err(error) if last_record > 0 => inspected.seen.push(format!("store: {error}; the next start rebuilds it")),
        Err(error) => return Err(error.to_string()),
    }
    Ok(())
}
