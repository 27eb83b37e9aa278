//! The output of commands: results on standard output, progress on standard error.

use std::{
    cell::{Cell, OnceCell},
    io::{self, Write},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use super::failed::{Failed, failed};

/// How long a command runs before it shows a progress bar.
const PROGRESS_AFTER: Duration = Duration::from_secs(1);

/// Prints a line on standard output. A closed pipe is not an error.
pub(super) fn say(line: &str) -> Result<(), Failed> {
    match writeln!(io::stdout(), "{line}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(failed(error)),
        _ => Ok(()),
    }
}

/// A progress bar, shown on a terminal only, once the command has run for [`PROGRESS_AFTER`].
pub(super) struct Progress {
    began: Instant,
    total: u64,
    bar: OnceCell<ProgressBar>,
    done: Cell<u64>,
}

impl Progress {
    pub(super) fn new(total: u64) -> Self {
        Self { began: Instant::now(), total, bar: OnceCell::new(), done: Cell::new(0) }
    }

    pub(super) fn add(&self, more: u64) {
        self.set(self.done.get() + more, self.total);
    }

    pub(super) fn set(&self, done: u64, total: u64) {
        self.done.set(done);
        if self.began.elapsed() >= PROGRESS_AFTER {
            let bar = self.bar.get_or_init(|| {
                let style = ProgressStyle::with_template("{wide_bar} {percent}% {eta}");
                ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
            });
            bar.set_length(total);
            bar.set_position(done);
        }
    }

    pub(super) fn end(&self) {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
    }
}
