//! The log: text if standard error is a terminal, else JSON lines; always on standard error.
//!
//! A separate thread writes the lines. If a terminal is slow or a pipe is full, lines are dropped and counted; requests
//! are never delayed.

use std::io::{IsTerminal, stderr};

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{EnvFilter, fmt};

/// A filter for the server libraries: their messages about themselves and about malformed input do not help an
/// operator.
const QUIET: &str = "actix_server=warn,actix_http=off";

/// The running log. Dropping it writes the lines that are still queued.
pub(crate) struct Log {
    pub(crate) dropped: ErrorCounter,
    _writer: WorkerGuard,
}

/// Starts the log with a tracing filter that `config` has validated.
pub(crate) fn start(filter: &str) -> Log {
    let (writer, guard) = NonBlockingBuilder::default().lossy(true).finish(stderr());
    let dropped = writer.error_counter();
    let lines = fmt().with_env_filter(EnvFilter::new(format!("{QUIET},{filter}"))).with_writer(writer);
    // If a test starts a second gateway in the same process, the first log stays.
    let _ = match stderr().is_terminal() {
        true => lines.try_init(),
        false => lines.json().flatten_event(true).with_ansi(false).try_init(),
    };
    Log { dropped, _writer: guard }
}
