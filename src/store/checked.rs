//! Files that are written once as a whole, and used only if every byte is intact.
//!
//! ```text
//! "TOLLGATE" | kind u8 | version u8 | chunk … | end
//! chunk: len u32, not 0 | crc u32 | items, len bytes      (little-endian)
//! end:   0 u32          | crc u32                          and nothing after it
//! ```
//!
//! The CRC (CRC32C) of each chunk continues from the previous chunk's, and that of the first from the file header, so
//! chunks that were swapped, removed or copied from another file are detected. An item is the bincode of one value and
//! does not span chunks. A file gets its name when all of it is on the disk.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use bincode::config::{Configuration, LittleEndian, Varint};
use serde::{Deserialize, Serialize};

const MAGIC: &[u8; 8] = b"TOLLGATE";
const HEAD: usize = MAGIC.len() + 2;

/// The extension of a file that is being written.
pub(super) const UNFINISHED: &str = "new";

/// A chunk is closed when it has this many bytes.
const CHUNK: usize = 64 << 10;

/// The largest length that is accepted as valid.
const MAX_CHUNK: usize = 128 << 20;

const CONFIG: Configuration<LittleEndian, Varint> = bincode::config::standard();

/// The kind of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// All tables.
    Snapshot = b'S' as isize,
    /// The rollups of a day.
    Rollups = b'R' as isize,
}

impl Kind {
    /// The version that is written. Files of earlier versions have other items.
    fn version(self) -> u8 {
        match self {
            Self::Snapshot => 1,
            Self::Rollups => 2,
        }
    }
}

/// Why a file cannot be used.
#[derive(Debug)]
pub enum FileError {
    /// The operating system reported an error.
    Io(io::Error),
    /// It is not intact.
    Damaged(&'static str),
    /// A newer version wrote it.
    Newer {
        /// The version found.
        found: u8,
        /// The newest version that this program reads.
        known: u8,
    },
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Damaged(what) => f.write_str(what),
            Self::Newer { found, known } => {
                write!(f, "a newer version of Tollgate wrote it (version {found}; this one reads up to {known})")
            }
        }
    }
}

impl std::error::Error for FileError {}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Damaged("it ends too early"),
            _ => Self::Io(error),
        }
    }
}

/// A file that is being written. If it is dropped unfinished, it is removed.
pub(super) struct Writer {
    path: PathBuf,
    temporary: PathBuf,
    file: Option<File>,
    chunk: Vec<u8>,
    crc: u32,
    bytes: u64,
}

impl Writer {
    /// Starts the file that will be `path`, and creates its directory if needed.
    pub(super) fn create(path: &Path, kind: Kind) -> io::Result<Self> {
        Self::create_version(path, kind, kind.version())
    }

    /// The same for a file whose items are those of an earlier version.
    pub(super) fn create_version(path: &Path, kind: Kind, version: u8) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        }
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(format!(".{UNFINISHED}"));
        let temporary = PathBuf::from(temporary);
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        let mut head = MAGIC.to_vec();
        head.extend([kind as u8, version]);
        let writer = file.write_all(&head);
        let writer = writer.map(|()| Self {
            path: path.to_owned(),
            temporary: temporary.clone(),
            file: Some(file),
            chunk: Vec::with_capacity(CHUNK),
            crc: crc32c::crc32c(&head),
            bytes: HEAD as u64,
        });
        writer.inspect_err(|_| drop(fs::remove_file(&temporary)))
    }

    /// Adds an item.
    pub(super) fn put(&mut self, item: &impl Serialize) -> io::Result<()> {
        bincode::serde::encode_into_std_write(item, &mut self.chunk, CONFIG).map_err(io::Error::other)?;
        if self.chunk.len() >= CHUNK { self.write_chunk() } else { Ok(()) }
    }

    fn write_chunk(&mut self) -> io::Result<()> {
        let len = u32::try_from(self.chunk.len()).map_err(io::Error::other)?;
        self.crc = crc32c::crc32c_append(self.crc, &self.chunk);
        let file = self.file.as_mut().ok_or(io::ErrorKind::NotFound)?;
        file.write_all(&len.to_le_bytes())?;
        file.write_all(&self.crc.to_le_bytes())?;
        file.write_all(&self.chunk)?;
        self.bytes += 8 + u64::from(len);
        self.chunk.clear();
        Ok(())
    }

    /// Makes the file durable and gives it its name. Returns its length in bytes.
    pub(super) fn finish(mut self) -> io::Result<u64> {
        if !self.chunk.is_empty() {
            self.write_chunk()?;
        }
        self.write_chunk()?; // the empty chunk that ends the file
        if let Some(file) = &self.file {
            file.sync_all()?;
        }
        fs::rename(&self.temporary, &self.path)?;
        self.file = None;
        File::open(self.path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(self.bytes)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.file.is_some() {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Removes the unfinished files of a crash. Nothing else may be writing in the directory.
pub(super) fn remove_unfinished(directory: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == UNFINISHED) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// A file that is being read. Each item is checked when it is returned, the whole file once there are no more items.
#[derive(Debug)]
pub(super) struct Reader {
    file: File,
    chunk: Vec<u8>,
    at: usize,
    crc: u32,
    ended: bool,
    version: u8,
}

impl Reader {
    pub(super) fn open(path: &Path, kind: Kind) -> Result<Self, FileError> {
        let mut file = File::open(path)?;
        let mut head = [0; HEAD];
        file.read_exact(&mut head)?;
        if head[..MAGIC.len()] != *MAGIC || head[HEAD - 2] != kind as u8 {
            return Err(FileError::Damaged("it does not start with a valid header"));
        }
        match head[HEAD - 1] {
            0 => Err(FileError::Damaged("it has no version number")),
            found if found > kind.version() => Err(FileError::Newer { found, known: kind.version() }),
            version => Ok(Self { file, chunk: Vec::new(), at: 0, crc: crc32c::crc32c(&head), ended: false, version }),
        }
    }

    /// The version of its items.
    pub(super) fn version(&self) -> u8 {
        self.version
    }

    /// The next item, which borrows from the reader. `None`: there are no more, and the file is intact.
    pub(super) fn next<'a, T: Deserialize<'a>>(&'a mut self) -> Result<Option<T>, FileError> {
        if self.at == self.chunk.len() && !self.read_chunk()? {
            return Ok(None);
        }
        let (item, len) = bincode::serde::borrow_decode_from_slice(&self.chunk[self.at..], CONFIG)
            .map_err(|_| FileError::Damaged("it contains an item that cannot be read"))?;
        self.at += len;
        Ok(Some(item))
    }

    /// Reads the next chunk. Returns false at the end.
    fn read_chunk(&mut self) -> Result<bool, FileError> {
        if self.ended {
            return Ok(false);
        }
        let mut head = [[0; 4]; 2];
        self.file.read_exact(head.as_flattened_mut())?;
        let [len, crc] = head.map(u32::from_le_bytes);
        let len = len as usize;
        if len > MAX_CHUNK {
            return Err(FileError::Damaged("it contains a length that is too large"));
        }
        self.at = 0;
        self.chunk.resize(len, 0);
        self.file.read_exact(&mut self.chunk)?;
        self.crc = crc32c::crc32c_append(self.crc, &self.chunk);
        if self.crc != crc {
            return Err(FileError::Damaged("it contains a wrong checksum"));
        }
        self.ended = len == 0;
        if self.ended && self.file.read(&mut [0])? > 0 {
            return Err(FileError::Damaged("it has data after its end"));
        }
        Ok(len > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, items: &[String]) {
        let mut writer = Writer::create(path, Kind::Snapshot).unwrap();
        items.iter().for_each(|item| writer.put(item).unwrap());
        assert_eq!(writer.finish().unwrap(), path.metadata().unwrap().len());
    }

    fn read(path: &Path) -> Result<Vec<String>, FileError> {
        let mut reader = Reader::open(path, Kind::Snapshot)?;
        let mut items = Vec::new();
        while let Some(item) = reader.next::<&str>()? {
            items.push(item.to_owned());
        }
        Ok(items)
    }

    #[test]
    fn a_file_is_read_as_it_was_written_and_any_damage_is_detected() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sub/file");
        for items in [vec![], vec!["one".to_owned()], (0..3000).map(|n| "x".repeat(n % 100)).collect()] {
            write(&path, &items);
            assert_eq!(read(&path).unwrap(), items);
        }
        assert!(matches!(Reader::open(&path, Kind::Rollups), Err(FileError::Damaged(_))));
        let whole = fs::read(&path).unwrap();
        let chunk = |at: usize| 8 + u32::from_le_bytes(whole[at..at + 4].try_into().unwrap()) as usize;
        let (first, second) = (HEAD, HEAD + chunk(HEAD));
        let swapped = [&whole[..first], &whole[second..second + chunk(second)], &whole[first..second]].concat();
        for damaged in [&whole[..whole.len() - 1], &[&whole[..], &[0]].concat(), &swapped, &whole[..4], &[]] {
            fs::write(&path, damaged).unwrap();
            assert!(matches!(read(&path), Err(FileError::Damaged(_))));
        }
        for at in (0..whole.len()).step_by(37) {
            let mut damaged = whole.clone();
            damaged[at] ^= 4;
            fs::write(&path, &damaged).unwrap();
            assert!(read(&path).is_err(), "byte {at}");
        }
    }

    #[test]
    fn an_unfinished_file_leaves_the_previous_one_in_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        write(&path, &["old".to_owned()]);
        let mut writer = Writer::create(&path, Kind::Snapshot).unwrap();
        writer.put(&"new").unwrap();
        drop(writer);
        assert_eq!(read(&path).unwrap(), ["old"]);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_newer_version_is_not_reported_as_damage() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        write(&path, &[]);
        let mut bytes = fs::read(&path).unwrap();
        bytes[HEAD - 1] = 9;
        fs::write(&path, bytes).unwrap();
        assert!(matches!(read(&path), Err(FileError::Newer { found: 9, known: 1 })));
    }
}
