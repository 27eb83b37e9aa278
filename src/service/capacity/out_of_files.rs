//! Counts the requests that were refused because the process had no file descriptor left for a connection to a target.
//! Neither the customer nor the target is at fault. The log and the status report it to the operator.

use parking_lot::Mutex;
use tracing::warn;

use crate::process_limits::open_files;

/// The shortest time between two log lines.
const LOGGED_EACH_MS: u64 = 60_000;

/// How long the status reports it after the last time.
const SHOWN_FOR_MS: u64 = 60 * 60 * 1000;

/// The count of refused requests, with the times of the last one and of the last log line.
#[derive(Default)]
pub(in crate::service) struct OutOfFiles(Mutex<Option<Since>>);

struct Since {
    times: u64,
    last_ms: u64,
    logged_ms: u64,
}

impl OutOfFiles {
    /// Counts a refused request at `now_ms` (Unix ms) and logs it, at most once a minute.
    pub(in crate::service) fn note(&self, now_ms: u64) {
        if let Some(sentence) = self.count(now_ms) {
            warn!("{sentence}");
        }
    }

    /// Counts a refused request. Returns the sentence to log; `None` if the last log line is less than a minute old.
    fn count(&self, now_ms: u64) -> Option<String> {
        let mut since = self.0.lock();
        let before = since.take().filter(|since| now_ms.saturating_sub(since.last_ms) < SHOWN_FOR_MS);
        let logged_ms = before.as_ref().map(|since| since.logged_ms);
        let is_due = logged_ms.is_none_or(|logged_ms| now_ms.saturating_sub(logged_ms) >= LOGGED_EACH_MS);
        let times = before.map_or(0, |since| since.times).saturating_add(1);
        *since = Some(Since { times, last_ms: now_ms, logged_ms: logged_ms.filter(|_| !is_due).unwrap_or(now_ms) });
        is_due.then(|| sentence(times))
    }

    /// The sentence for the status, until an hour after the last refused request.
    pub(in crate::service) fn notice(&self, now_ms: u64) -> Option<String> {
        let since = self.0.lock();
        let lately = since.as_ref().filter(|since| now_ms.saturating_sub(since.last_ms) < SHOWN_FOR_MS)?;
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
    fn it_is_logged_once_a_minute_and_shown_for_an_hour() {
        let out = OutOfFiles::default();
        assert_eq!(out.notice(0), None);
        let logged: Vec<bool> = [5, 6, 59_999, 60_005, 60_006].map(|at_ms| out.count(at_ms).is_some()).to_vec();
        assert_eq!(logged, [true, false, false, true, false]);
        let notice = out.notice(60_007).unwrap();
        assert!(notice.starts_with("5 requests were") && notice.contains(&open_files().to_string()), "{notice}");
        assert!(out.notice(60_006 + SHOWN_FOR_MS - 1).is_some());
        assert_eq!(out.notice(60_006 + SHOWN_FOR_MS), None);
        assert!(out.count(60_006 + SHOWN_FOR_MS).is_some_and(|sentence| sentence.starts_with("1 request was")));
    }
}
