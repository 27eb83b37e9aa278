//! Requests that were refused because this process could open no connection to a target. Neither the customer nor the
//! target is at fault; the operator is told in the log and in status.

use parking_lot::Mutex;
use tracing::warn;

use crate::process_limits::open_files;

/// At most one line is logged in this time.
const LOGGED_EACH_MS: u64 = 60_000;

/// For so long status tells of it.
const TOLD_FOR_MS: u64 = 60 * 60 * 1000;

/// How often that happened, and when.
#[derive(Default)]
pub(super) struct OutOfFiles(Mutex<Option<Since>>);

struct Since {
    times: u64,
    last_ms: u64,
    logged_ms: u64,
}

impl OutOfFiles {
    /// It happened at this moment, Unix ms.
    pub(super) fn note(&self, now_ms: u64) {
        if let Some(sentence) = self.count(now_ms) {
            warn!("{sentence}");
        }
    }

    /// Counts it. The sentence is to be logged, unless that was done a moment ago.
    fn count(&self, now_ms: u64) -> Option<String> {
        let mut since = self.0.lock();
        let before = since.take().filter(|since| now_ms.saturating_sub(since.last_ms) < TOLD_FOR_MS);
        let logged_ms = before.as_ref().map(|since| since.logged_ms);
        let is_due = logged_ms.is_none_or(|logged_ms| now_ms.saturating_sub(logged_ms) >= LOGGED_EACH_MS);
        let times = before.map_or(0, |since| since.times).saturating_add(1);
        *since = Some(Since { times, last_ms: now_ms, logged_ms: logged_ms.filter(|_| !is_due).unwrap_or(now_ms) });
        is_due.then(|| sentence(times))
    }

    /// A sentence for status, for an hour after it last happened.
    pub(super) fn told(&self, now_ms: u64) -> Option<String> {
        let since = self.0.lock();
        let lately = since.as_ref().filter(|since| now_ms.saturating_sub(since.last_ms) < TOLD_FOR_MS)?;
        Some(sentence(lately.times))
    }
}

fn sentence(times: u64) -> String {
    let (requests, were) = if times == 1 { ("request", "was") } else { ("requests", "were") };
    format!(
        "{times} {requests} {were} refused because no connection to a target could be opened: this process may have {} \
         files open (ulimit -n).",
        open_files()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_logged_once_a_minute_and_told_for_an_hour() {
        let out = OutOfFiles::default();
        assert_eq!(out.told(0), None);
        let logged: Vec<bool> = [5, 6, 59_999, 60_005, 60_006].map(|at_ms| out.count(at_ms).is_some()).to_vec();
        assert_eq!(logged, [true, false, false, true, false]);
        let told = out.told(60_007).unwrap();
        assert!(told.starts_with("5 requests were") && told.contains(&open_files().to_string()), "{told}");
        assert!(out.told(60_006 + TOLD_FOR_MS - 1).is_some());
        assert_eq!(out.told(60_006 + TOLD_FOR_MS), None);
        assert!(out.count(60_006 + TOLD_FOR_MS).is_some_and(|said| said.starts_with("1 request was")));
    }
}
