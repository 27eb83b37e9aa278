//! Backups: one file from which a data directory can be restored. A backup can be made while the gateway is serving.
//!
//! A backup is a tar file with the same file names as the data directory: the two keys, the rollups of closed days, the
//! snapshots, and the journal up to its durable end. It leaves out `store/`, which can be rebuilt, and `admin.key`,
//! which must not leave the machine. `SHA256SUMS` at its end allows checking it, by `restore` or by `sha256sum -c`.
//!
//! All files are opened before the first byte is read, and the bytes that a backup contains never change. So neither
//! the running gateway nor its retention affects a backup. Snapshots are listed before the journal, so the journal
//! contains every record that a snapshot contains.

mod restore;
pub mod verify;

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use ring::digest;
use serde::{Deserialize, Serialize};

pub use self::restore::{Restored, restore};
use super::BootError;
use crate::{
    domain::time::rfc3339,
    journal::{self, Journal},
    store::snapshot,
};

const MANIFEST: &str = "manifest.json";
const SUMS: &str = "SHA256SUMS";
const KEYS: [&str; 2] = ["hash.key", "seal.key"];

/// The format that this version writes.
const FORMAT: u32 = 1;

/// The most attempts to open all files. Retention may remove a file after it was listed; then all files are listed
/// again.
const ATTEMPTS: usize = 5;

/// The bytes of a tar block. A tar file ends with two empty blocks.
const BLOCK: u64 = 512;

/// The manifest of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    format: u32,
    /// The version of Tollgate that wrote it.
    version: String,
    created_at: String,
    /// The last record of the journal in it.
    last_record: u64,
}

/// Why a backup could not be written or restored.
#[derive(Debug)]
pub enum BackupError {
    /// An error of the operating system.
    Io(PathBuf, io::Error),
    /// The journal cannot be read.
    Journal(journal::Error),
    /// The backup is damaged.
    Damaged(String),
    /// A newer version of Tollgate wrote the backup.
    Newer(String),
    /// The directory to restore into is not empty.
    NotEmpty(PathBuf),
    /// The restored data directory cannot be opened.
    Boot(BootError),
}

impl fmt::Display for BackupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Journal(error) => error.fmt(f),
            Self::Damaged(what) => write!(f, "the backup is damaged: {what}"),
            Self::Newer(version) => write!(f, "the backup was written by a newer version of Tollgate ({version})"),
            Self::NotEmpty(path) => {
                write!(f, "{} is not empty; a backup is restored into an empty directory", path.display())
            }
            Self::Boot(error) => write!(f, "the backup is intact, but its data cannot be opened: {error}"),
        }
    }
}

impl std::error::Error for BackupError {}

/// A backup that is ready to be written.
pub struct Backup {
    files: Vec<(String, File, u64)>,
    manifest: Vec<u8>,
    /// The last record in it.
    pub last_record: u64,
}

impl Backup {
    /// Opens all files of `data_dir` that belong to a backup.
    pub fn open(data_dir: &Path) -> Result<Self, BackupError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            match Self::try_open(data_dir) {
                Err(BackupError::Io(_, error)) if error.kind() == io::ErrorKind::NotFound && attempts < ATTEMPTS => {}
                outcome => return outcome,
            }
        }
    }

    fn try_open(data_dir: &Path) -> Result<Self, BackupError> {
        let mut files = Vec::new();
        for name in KEYS {
            files.push(open(data_dir, name.to_owned(), None)?);
        }
        let failed = |error| BackupError::Io(data_dir.to_owned(), error);
        let mut bases = vec![0];
        for snapshot in snapshot::list(data_dir).map_err(failed)? {
            files.push(open(data_dir, format!("snapshots/{:020}", snapshot.applied), None)?);
            bases.push(snapshot.applied);
        }
        for name in rollups(data_dir).map_err(failed)? {
            files.push(open(data_dir, format!("rollups/{name}"), None)?);
        }
        let (journal, report) = Journal::open_read_only(&data_dir.join("journal")).map_err(BackupError::Journal)?;
        let first = journal.first_seq();
        if first > 0 && !bases.iter().any(|applied| applied.saturating_add(1) >= first) {
            // No listed snapshot reaches the journal's first record: they were replaced after they were listed, or they
            // are missing.
            return Err(BackupError::Io(data_dir.join("snapshots"), io::ErrorKind::NotFound.into()));
        }
        for segment in journal.segments().map_err(BackupError::Journal)? {
            files.push(open(data_dir, format!("journal/{:020}.log", segment.first_seq), Some(segment.bytes))?);
        }
        let manifest = Manifest {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            created_at: rfc3339(journal::system_clock()),
            last_record: report.last_seq,
        };
        let manifest = serde_json::to_vec_pretty(&manifest).map_err(|error| failed(error.into()))?;
        Ok(Self { files, manifest, last_record: report.last_seq })
    }

    /// The size of the backup, in bytes.
    pub fn bytes(&self) -> u64 {
        let member = |len: u64| BLOCK + len.next_multiple_of(BLOCK);
        let sum_line = |name: &str| (digest::SHA256_OUTPUT_LEN * 2 + 3 + name.len()) as u64;
        let names = self.files.iter().map(|(name, ..)| name.as_str()).chain([MANIFEST]);
        let files: u64 = self.files.iter().map(|(.., len)| member(*len)).sum();
        member(self.manifest.len() as u64) + files + member(names.map(sum_line).sum()) + 2 * BLOCK
    }

    /// Writes the backup. `progress` gets the size of each piece in bytes.
    pub fn write(self, out: impl Write, progress: impl Fn(u64)) -> io::Result<()> {
        let mut tar = tar::Builder::new(out);
        let mut sums = String::new();
        add(&mut tar, MANIFEST, self.manifest.len() as u64, self.manifest.as_slice(), &mut sums, &progress)?;
        for (name, file, len) in self.files {
            add(&mut tar, &name, len, file.take(len), &mut sums, &progress)?;
        }
        tar.append_data(&mut header(sums.len() as u64), SUMS, sums.as_bytes())?;
        tar.into_inner()?.flush()
    }
}

fn open(data_dir: &Path, name: String, len: Option<u64>) -> Result<(String, File, u64), BackupError> {
    let path = data_dir.join(&name);
    let opened = File::open(&path).and_then(|file| {
        let len = len.map_or_else(|| file.metadata().map(|metadata| metadata.len()), Ok)?;
        Ok((file, len))
    });
    let (file, len) = opened.map_err(|error| BackupError::Io(path, error))?;
    Ok((name, file, len))
}

/// The names of the rollup files of closed days.
fn rollups(data_dir: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(data_dir.join("rollups")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names: Vec<String> = names.collect::<io::Result<_>>()?;
    names.retain(|name| is_ours(&format!("rollups/{name}")));
    names.sort_unstable();
    Ok(names)
}

/// Whether this is the name of a file in a backup. No other name is written or unpacked, so a name cannot point outside
/// the data directory.
fn is_ours(name: &str) -> bool {
    let is_number = |text: &str| text.len() == 20 && text.bytes().all(|b| b.is_ascii_digit());
    match name.split_once('/') {
        None => KEYS.contains(&name) || [MANIFEST, SUMS].contains(&name),
        Some(("journal", file)) => file.strip_suffix(".log").is_some_and(is_number),
        Some(("snapshots", file)) => is_number(file),
        Some(("rollups", file)) => {
            let (date, part) = file.split_once('.').unwrap_or((file, "2"));
            date.parse::<jiff::civil::Date>().is_ok_and(|parsed| parsed.to_string() == date)
                && part.parse::<u32>().is_ok_and(|number| number > 1 && number.to_string() == part)
        }
        Some(_) => false,
    }
}

fn header(len: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_size(len);
    header.set_mode(0o600);
    header.set_entry_type(tar::EntryType::Regular);
    header
}

fn add<W: Write>(
    tar: &mut tar::Builder<W>,
    name: &str,
    len: u64,
    content: impl Read,
    sums: &mut String,
    progress: &impl Fn(u64),
) -> io::Result<()> {
    let mut watched = Watched { content, sum: digest::Context::new(&digest::SHA256), read: 0, progress };
    tar.append_data(&mut header(len), name, &mut watched)?;
    if watched.read != len {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{name} became shorter")));
    }
    sums.push_str(&sum_line(watched.sum, name));
    Ok(())
}

fn sum_line(sum: digest::Context, name: &str) -> String {
    let hex: String = sum.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{hex}  {name}\n")
}

/// A reader that computes the checksum of its content and reports progress.
struct Watched<'a, R, P> {
    content: R,
    sum: digest::Context,
    read: u64,
    progress: &'a P,
}

impl<R: Read, P: Fn(u64)> Read for Watched<'_, R, P> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(buffer)?;
        self.sum.update(&buffer[..read]);
        self.read += read as u64;
        (self.progress)(read as u64);
        Ok(read)
    }
}
