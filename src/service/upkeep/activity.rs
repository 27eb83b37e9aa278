//! The recent activity, for the web UI. The upkeep thread reads the counters twice a second, so a request only pays for
//! incrementing them.
//!
//! The figures of each minute are kept in a file, which is written each minute and at shutdown. The file is a
//! convenience, since all billing events are in the journal. If it is missing or damaged, a log line says so and the
//! history starts empty.

use std::{fs, io, path::Path, sync::Arc};

use bincode::config;
use parking_lot::Mutex;
use tracing::{info, warn};

use crate::{
    domain::{
        activity::{Activity, ActivityCounts, MINUTE_MS, Series},
        day::Now,
    },
    service::{core::Core, start::installation::write_private},
};

/// The file's name in the data directory.
const FILE: &str = "activity";

/// The start of the file; its last byte is the format version. The minutes follow, then their CRC-32C.
const MAGIC: &[u8; 8] = b"TGTACTV\x01";

/// The largest file that is read, in bytes: more than a day's minutes need.
const MAX_FILE: u64 = 1 << 20;

/// The recorded activity.
pub struct Recorder {
    core: Arc<Core>,
    activity: Mutex<Activity>,
}

/// A complete minute.
pub struct Minute {
    /// The start of the minute, in Unix ms.
    pub at_ms: u64,
    /// The figures of the minute.
    pub figures: ActivityCounts,
}

impl Recorder {
    /// Resumes the history of the previous run.
    pub(in crate::service) fn open(core: Arc<Core>) -> Self {
        let activity = Mutex::new(resume(&core.config.data_dir, core.journal.last_seq() == 0));
        Self { core, activity }
    }

    fn read_counters(&self) -> Now {
        let mut activity = self.activity.lock();
        let now = self.core.clock.now();
        activity.read(now, self.core.counts.activity());
        now
    }

    /// The sums over the last 60 seconds, and the last complete minute if known.
    pub fn last_60_s(&self) -> (ActivityCounts, Option<Minute>) {
        let now = self.read_counters();
        let activity = self.activity.lock();
        let minute = activity.last_minute(now).map(|(at_ms, figures)| Minute { at_ms, figures });
        (activity.last_60_s(now, self.core.counts.activity()), minute)
    }

    /// The minutes of the last 24 hours.
    pub fn last_day(&self) -> Series {
        let now = self.read_counters();
        self.activity.lock().last_day(now)
    }

    fn write(&self) -> io::Result<()> {
        let minutes: Vec<_> = self.activity.lock().minutes().collect();
        write(&self.core.config.data_dir, &minutes)
    }
}

/// Reads the history of the previous run. `is_new` says that there was no previous run.
fn resume(data_dir: &Path, is_new: bool) -> Activity {
    match read(&data_dir.join(FILE)) {
        Ok(minutes) => Activity::resume(minutes),
        Err(error) => {
            match error.kind() {
                io::ErrorKind::NotFound if is_new => {}
                io::ErrorKind::NotFound => info!("there is no history of activity; it starts empty"),
                _ => warn!("the history of activity cannot be read and starts empty: {error}"),
            }
            Activity::default()
        }
    }
}

fn write(data_dir: &Path, minutes: &[(u64, ActivityCounts)]) -> io::Result<()> {
    let mut bytes = MAGIC.to_vec();
    let body = bincode::serde::encode_to_vec(minutes, config::standard()).map_err(io::Error::other)?;
    bytes.extend_from_slice(&body);
    bytes.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
    write_private(&data_dir.join(FILE), &bytes)
}

fn read(path: &Path) -> io::Result<Vec<(u64, ActivityCounts)>> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, format!("{} is damaged", path.display()));
    if fs::metadata(path)?.len() > MAX_FILE {
        return Err(damaged());
    }
    let bytes = fs::read(path)?;
    let (body, sum) = bytes.strip_prefix(MAGIC).and_then(<[u8]>::split_last_chunk::<4>).ok_or_else(damaged)?;
    if crc32c::crc32c(body).to_le_bytes() != *sum {
        return Err(damaged());
    }
    let decoded = bincode::serde::decode_from_slice(body, config::standard());
    decoded.map(|(minutes, _)| minutes).map_err(|_| damaged())
}

/// Reads the counters regularly and writes their history.
pub(super) struct CounterReader<'a> {
    recorder: &'a Recorder,
    /// The minute of the last write.
    written: u64,
    is_written: bool,
}

impl<'a> CounterReader<'a> {
    pub(super) fn begin(recorder: &'a Recorder) -> Self {
        let Now { unix_ms, .. } = recorder.read_counters();
        Self { recorder, written: unix_ms / MINUTE_MS, is_written: true }
    }

    /// Reads the counters. Writes the history if a minute has passed and `may_write` is true.
    pub(super) fn round(&mut self, may_write: bool) {
        let minute = self.recorder.read_counters().unix_ms / MINUTE_MS;
        if may_write && minute != self.written {
            self.written = minute;
            self.write();
        }
    }

    /// Writes the history. Logs the first of several failures in a row.
    pub(super) fn write(&mut self) {
        let written = self.recorder.write();
        if let Err(error) = &written
            && self.is_written
        {
            warn!("the history of activity could not be written: {error}");
        }
        self.is_written = written.is_ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_is_empty_if_its_file_is_missing_or_damaged() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        let minutes =
            || (5..800).map(|minute| (minute, ActivityCounts { requests: minute, ..ActivityCounts::default() }));
        let kept = |is_new| resume(directory.path(), is_new).minutes().collect::<Vec<_>>();
        assert!(kept(true).is_empty());
        write(directory.path(), &Vec::from_iter(minutes())).unwrap();
        assert_eq!(kept(false), minutes().collect::<Vec<_>>());

        let whole = fs::read(&path).unwrap();
        for at in [0, 7, 8, whole.len() / 2, whole.len() - 1] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&path, &damaged).unwrap();
            assert!(kept(false).is_empty(), "byte {at}");
            fs::write(&path, &whole[..at]).unwrap();
            assert!(kept(false).is_empty(), "cut at {at}");
        }
    }
}
