//! Opens sled's files.

use std::{
    io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// How long to wait for the lock of a database that was just closed. sled releases it when its last thread has ended,
/// without a notification.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
const LOCK_POLL: Duration = Duration::from_millis(10);

/// Opens sled without its flush timer. The fold batches the writes and flushes them; the timer would only add syncs.
pub(super) fn database(directory: &Path) -> sled::Result<sled::Db> {
    let began = Instant::now();
    loop {
        match sled::Config::new().path(directory).cache_capacity(32 << 20).flush_every_ms(None).open() {
            Err(sled::Error::Io(error)) if is_lock(&error) && began.elapsed() < LOCK_TIMEOUT => {
                thread::sleep(LOCK_POLL);
            }
            opened => return opened,
        }
    }
}

/// sled has no error kind for this.
pub(super) fn is_lock(error: &io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}
