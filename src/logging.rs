//! Log lines: for people on a terminal, JSON otherwise, always on standard error.
//!
//! They go through a writer of its own thread: a slow terminal or a full pipe costs lines, which are counted, and never
//! a customer's time.

use std::io::{IsTerminal, stderr};

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{EnvFilter, fmt};

/// What the server's libraries say of themselves, and of what strangers send them, is of no use to an operator.
const QUIET: &str = "actix_server=warn,actix_http=off";

/// The running log; what is still queued is written when it is dropped.
pub(crate) struct Log {
    pub(crate) dropped: ErrorCounter,
    _writer: WorkerGuard,
}

/// Starts to log what passes `filter`, which `config` has checked.
pub(crate) fn start(filter: &str) -> Log {
    let (writer, guard) = NonBlockingBuilder::default().lossy(true).finish(stderr());
    let dropped = writer.error_counter();
    let lines = fmt().with_env_filter(EnvFilter::new(format!("{QUIET},{filter}"))).with_writer(writer);
    // A second start in one process (a test's) keeps the first's log.
    let _ = match stderr().is_terminal() {
        true => lines.try_init(),
        false => lines.json().flatten_event(true).with_ansi(false).try_init(),
    };
    Log { dropped, _writer: guard }
}
