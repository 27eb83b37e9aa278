//! The data directory: it is locked by one process at a time, readable only by its owner, and holds the two keys that
//! protect API keys and secrets.

use std::{
    fmt, fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use crate::crypto::random;

/// The open data directory; locked until dropped.
pub(in crate::service) struct Installation {
    pub(super) hash_key: [u8; 32],
    pub(super) seal_key: [u8; 32],
    pub(super) lock: fs::File,
}

/// Why the data directory cannot be used.
#[derive(Debug)]
pub enum InstallationError {
    /// It cannot be created, read or written.
    Io(PathBuf, io::Error),
    /// Another process has locked it.
    InUse(PathBuf),
    /// It holds data, but the key that protects its secrets is missing.
    KeyMissing(PathBuf),
    /// A key file does not hold a key.
    KeyDamaged(PathBuf),
    /// No random numbers were available for a new key.
    NoRandom(random::NoRandom),
}

impl fmt::Display for InstallationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "data_dir: {} cannot be used: {error}", path.display()),
            Self::InUse(path) => {
                write!(
                    f,
                    "data_dir: {} is in use by another Tollgate process; each process needs its own directory",
                    path.display()
                )
            }
            Self::KeyMissing(path) => write!(
                f,
                "data_dir: {} is missing, but the directory holds data; without this file no API key and no secret in \
                 it can be used. Restore the file from a backup",
                path.display()
            ),
            Self::KeyDamaged(path) => {
                write!(f, "data_dir: {} is damaged; restore it from a backup", path.display())
            }
            Self::NoRandom(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for InstallationError {}

impl Installation {
    pub(in crate::service) fn open(directory: &Path) -> Result<Self, InstallationError> {
        // Override the umask, so that nothing in the data directory is accessible to others.
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
        let failed = |error| InstallationError::Io(directory.to_owned(), error);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).map_err(failed)?;
        let lock = private().write(true).create(true).truncate(false).open(directory.join("lock")).map_err(failed)?;
        take(&lock, directory)?;
        let is_new = !["journal", "store", "snapshots", "rollups"].iter().any(|name| directory.join(name).exists());
        Ok(Self {
            hash_key: key(&directory.join("hash.key"), is_new)?,
            seal_key: key(&directory.join("seal.key"), is_new)?,
            lock,
        })
    }
}

/// Locks an existing data directory for reading. Returns `None` if another process has locked it. Creates nothing.
pub(in crate::service) fn lock_existing(directory: &Path) -> Result<Option<fs::File>, InstallationError> {
    let path = directory.join("lock");
    let lock = fs::File::open(&path).map_err(|error| InstallationError::Io(path, error))?;
    match take(&lock, directory) {
        Ok(()) => Ok(Some(lock)),
        Err(InstallationError::InUse(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn take(lock: &fs::File, directory: &Path) -> Result<(), InstallationError> {
    lock.try_lock().map_err(|error| match error {
        fs::TryLockError::WouldBlock => InstallationError::InUse(directory.to_owned()),
        fs::TryLockError::Error(error) => InstallationError::Io(directory.to_owned(), error),
    })
}

fn private() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.mode(0o600);
    options
}

/// Reads a key, or creates it if the installation is new.
fn key(path: &Path, is_new: bool) -> Result<[u8; 32], InstallationError> {
    match fs::read(path) {
        Ok(bytes) => read_key(path, &bytes).ok_or_else(|| InstallationError::KeyDamaged(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound && is_new => {
            let mut key = [0; 32];
            random::fill(&mut key).map_err(InstallationError::NoRandom)?;
            let bytes = [&key[..], &checksum(path, &key)].concat();
            write_private(path, &bytes).map_err(|error| InstallationError::Io(path.to_owned(), error))?;
            Ok(key)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(InstallationError::KeyMissing(path.to_owned())),
        Err(error) => Err(InstallationError::Io(path.to_owned(), error)),
    }
}

/// The errors of the key files of a data directory. Creates nothing.
pub(in crate::service) fn damaged_keys(directory: &Path) -> impl Iterator<Item = InstallationError> {
    let read = |name| key(&directory.join(name), false).err();
    ["hash.key", "seal.key"].into_iter().filter_map(read)
}

/// Parses a key file: a key and a checksum, or only a key in files of earlier versions.
fn read_key(path: &Path, bytes: &[u8]) -> Option<[u8; 32]> {
    let (key, rest) = bytes.split_first_chunk::<32>()?;
    (rest.is_empty() || rest == checksum(path, key)).then_some(*key)
}

/// The checksum of a key and its file's name, which detects swapped key files.
fn checksum(path: &Path, key: &[u8; 32]) -> [u8; 4] {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    crc32c::crc32c_append(crc32c::crc32c(name), key).to_le_bytes()
}

/// Writes a file that only its owner can read, atomically, and syncs it.
pub(in crate::service) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = private().write(true).create(true).truncate(true).open(&temporary)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}
