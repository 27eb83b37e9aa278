//! Segments: the journal's files, and the list of them that readers use.
//!
//! A segment is named by the first sequence number it owns, in 20 digits, and owns the numbers up to the next segment's
//! name. Everything else (`applied`, cursors, retention) refers to sequence numbers, so the file that holds one is
//! found by its name. Frames in a file with numbers that it does not own (remains of a write whose sync failed, written
//! again in the next segment) are ignored.
//!
//! A segment is listed once it holds a durable record. It is then never replaced, only removed by retention.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;

#[cfg(test)]
use super::faults::{self, Op};

/// The bytes of a journal's first segment: few, so that a new journal opens at once. Each later segment is [`GROWTH`]
/// times as large, up to [`FULL_CAPACITY`].
pub(super) const FIRST_CAPACITY: u64 = 1 << 20;
/// The size of a segment in a journal that is in use.
pub(super) const FULL_CAPACITY: u64 = 64 << 20;
/// The growth factor of segments.
pub(super) const GROWTH: u64 = 4;

const EXTENSION: &str = "log";
const ZEROS: &[u8] = &[0; 64 << 10];

/// A segment as readers see it.
#[derive(Debug)]
pub(super) struct Segment {
    /// The first sequence number it owns.
    pub(super) first: u64,
    pub(super) path: PathBuf,
    /// The end of the durable bytes, which may be read.
    end: AtomicU64,
    /// The timestamp of its first record, once it was read. Over all segments, these are the index by time.
    pub(super) head_ms: OnceLock<u64>,
}

impl Segment {
    pub(super) fn new(dir: &Path, first: u64, end: u64) -> Self {
        Self {
            first,
            path: dir.join(format!("{first:020}.{EXTENSION}")),
            end: AtomicU64::new(end),
            head_ms: OnceLock::new(),
        }
    }

    pub(super) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    pub(super) fn set_end(&self, end: u64) {
        self.end.store(end, Ordering::Release);
    }
}

/// The listed segments, in order.
#[derive(Debug, Default)]
pub(super) struct Table(Mutex<Vec<Arc<Segment>>>);

impl Table {
    pub(super) fn new(segments: Vec<Arc<Segment>>) -> Self {
        Self(Mutex::new(segments))
    }

    pub(super) fn push(&self, segment: Arc<Segment>) {
        self.0.lock().push(segment);
    }

    pub(super) fn all(&self) -> Vec<Arc<Segment>> {
        self.0.lock().clone()
    }

    /// Whether this segment is still listed.
    pub(super) fn lists(&self, segment: &Segment) -> bool {
        self.0.lock().iter().any(|listed| listed.first == segment.first)
    }

    /// The segment that owns `seq`; the first one if all segments are newer.
    pub(super) fn owner_of(&self, seq: u64) -> Option<Arc<Segment>> {
        let segments = self.0.lock();
        segments[..segments.partition_point(|s| s.first <= seq)].last().or(segments.first()).cloned()
    }

    /// The segment after the one that starts with `first`, and whether the latter is still listed.
    pub(super) fn after(&self, first: u64) -> (Option<Arc<Segment>>, bool) {
        let segments = self.0.lock();
        let next = segments.partition_point(|s| s.first <= first);
        (segments.get(next).cloned(), next > 0 && segments[next - 1].first == first)
    }

    /// The segment before the one that starts with `first`.
    pub(super) fn before(&self, first: u64) -> Option<Arc<Segment>> {
        let segments = self.0.lock();
        segments[..segments.partition_point(|s| s.first < first)].last().cloned()
    }

    /// Removes from the list, and returns, the segments that own only numbers below `seq`. The last one always stays.
    pub(super) fn take_before(&self, seq: u64) -> Vec<Arc<Segment>> {
        let mut segments = self.0.lock();
        let gone = segments.windows(2).take_while(|pair| pair[1].first <= seq).count();
        segments.drain(..gone).collect()
    }
}

/// The first sequence numbers of the segments in `dir`, ascending.
pub(super) fn list(dir: &Path) -> io::Result<Vec<u64>> {
    let mut firsts = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            let digits = path.file_stem().and_then(|s| s.to_str()).filter(|s| s.len() == 20);
            firsts.extend(digits.and_then(|s| s.parse().ok()).filter(|first| (1..u64::MAX / 2).contains(first)));
        }
    }
    firsts.sort_unstable();
    Ok(firsts)
}

/// Removes the unfinished segments of an earlier run.
pub(super) fn remove_half_made(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "tmp") {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Creates `dir` if needed, and makes it private to its owner, whatever the umask.
pub(super) fn make_dir(dir: &Path) -> io::Result<()> {
    if !dir.is_dir() {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        if let Some(parent) = dir.parent().filter(|p| !p.as_os_str().is_empty()) {
            sync_dir(parent)?;
        }
    }
    fs::set_permissions(dir, Permissions::from_mode(0o700))
}

/// Makes the file names in `dir` durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    #[cfg(test)]
    faults::hit(dir, Op::SyncDir)?;
    File::open(dir)?.sync_all()
}

/// A file of zeros that can become a segment. It is removed if it does not.
#[derive(Debug)]
pub(super) struct Blank {
    path: PathBuf,
    file: Option<File>,
    capacity: u64,
}

impl Blank {
    /// Creates `dir/name.tmp` filled with zeros, and calls `step` after each piece. A sync over blocks that were
    /// written before has no metadata to write and takes half the time.
    pub(super) fn make(
        dir: &Path,
        name: &str,
        capacity: u64,
        mut step: impl FnMut(&File) -> io::Result<()>,
    ) -> io::Result<Self> {
        #[cfg(test)]
        faults::hit(dir, Op::Make)?;
        let path = dir.join(format!("{name}.tmp"));
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        let blank = Self { path, file: Some(file), capacity };
        if let Some(file) = &blank.file {
            file.set_permissions(Permissions::from_mode(0o600))?;
            const PIECE: u64 = 1 << 20;
            for from in (0..capacity).step_by(PIECE as usize) {
                zero(file, from, capacity.min(from + PIECE))?;
                step(file)?;
            }
        }
        Ok(blank)
    }

    /// Renames the file to a segment's name. An existing file of that name has never held a durable record, so it is
    /// replaced.
    pub(super) fn become_segment(mut self, path: &Path) -> io::Result<Output> {
        fs::rename(&self.path, path)?;
        let file = self.file.take().ok_or(io::ErrorKind::NotFound)?;
        Ok(Output { path: path.to_owned(), file: Arc::new(file), end: 0, capacity: self.capacity })
    }
}

impl Drop for Blank {
    fn drop(&mut self) {
        if self.file.is_some() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Overwrites the bytes `from..to` with zeros.
pub(super) fn zero(file: &File, mut from: u64, to: u64) -> io::Result<()> {
    while from < to {
        let piece = &ZEROS[..ZEROS.len().min(usize::try_from(to - from).unwrap_or(usize::MAX))];
        file.write_all_at(piece, from)?;
        from += piece.len() as u64;
    }
    Ok(())
}

/// The offset after the last byte of `from..to` that is not zero; `from` if all are.
pub(super) fn end_of_nonzero(file: &File, from: u64, to: u64) -> io::Result<u64> {
    let mut piece = vec![0; ZEROS.len()];
    let mut upto = to;
    while upto > from {
        let start = from.max(upto.saturating_sub(piece.len() as u64));
        let piece = &mut piece[..usize::try_from(upto - start).unwrap_or(0)];
        file.read_exact_at(piece, start)?;
        // Comparing slices is a memcmp. Only the piece that differs is searched byte by byte.
        if *piece != ZEROS[..piece.len()] {
            let last = piece.iter().rposition(|b| *b != 0).unwrap_or(0);
            return Ok(start + last as u64 + 1);
        }
        upto = start;
    }
    Ok(from)
}

/// The segment that is being written.
#[derive(Debug)]
pub(super) struct Output {
    path: PathBuf,
    file: Arc<File>,
    end: u64,
    capacity: u64,
}

impl Output {
    /// Continues after `end` in a segment of an earlier run.
    pub(super) fn resume(path: &Path, end: u64) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        let capacity = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file: Arc::new(file), end, capacity })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self) -> &Arc<File> {
        &self.file
    }

    pub(super) fn end(&self) -> u64 {
        self.end
    }

    pub(super) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Whether `bytes` more fit. An empty segment accepts any batch, even one that is too large for all segments.
    pub(super) fn takes(&self, bytes: usize) -> bool {
        self.end == 0 || self.end.saturating_add(bytes as u64) <= self.capacity
    }

    /// Writes after the end without moving it. The bytes count once [`Self::advance`] is called.
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        faults::hit(self.path.parent().unwrap_or(&self.path), Op::Write)?;
        self.file.write_all_at(bytes, self.end)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        #[cfg(test)]
        faults::hit(self.path.parent().unwrap_or(&self.path), Op::Sync)?;
        self.file.sync_data()
    }

    pub(super) fn advance(&mut self, bytes: usize) {
        self.end = self.end.saturating_add(bytes as u64);
    }

    /// Removes the bytes after the end: unused zeros, or a failed write.
    pub(super) fn truncate(&self) -> io::Result<()> {
        #[cfg(test)]
        faults::hit(self.path.parent().unwrap_or(&self.path), Op::Truncate)?;
        self.file.set_len(self.end)
    }
}
