//! The shell commands: `backup`, `restore`, `verify` and `export` for a data directory, `completions` and `man` for an
//! installation.
//!
//! Results go to standard output. If standard error is a terminal, a progress bar appears there after one second.

mod installation;

use std::{
    cell::OnceCell,
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

pub use self::installation::{Shell, completions, man_pages};
use crate::{
    domain::time,
    service::{
        backup::{self, Backup, verify},
        reading::events::{Event, EventFilter, export_events},
    },
};

/// How long a command runs before it shows a progress bar.
const PROGRESS_AFTER: Duration = Duration::from_secs(1);

/// The format of exported events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One JSON object per line.
    #[default]
    Jsonl,
    /// Comma-separated values with a header line.
    Csv,
}

/// The error message of a command that failed.
#[derive(Debug)]
pub struct Failed(String);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failed {}

fn failed(error: impl fmt::Display) -> Failed {
    Failed(error.to_string())
}

fn failed_at(path: &Path) -> impl Fn(io::Error) -> Failed {
    move |error| Failed(format!("{}: {error}", path.display()))
}

/// Writes a backup of `data_dir` to `file`.
pub fn backup(data_dir: &Path, file: &Path) -> Result<(), Failed> {
    if file.exists() {
        return Err(Failed(format!("{} already exists", file.display())));
    }
    let backup = Backup::open(data_dir).map_err(failed)?;
    let (bytes, last_record) = (backup.bytes(), backup.last_record);
    let progress = Progress::new(bytes);
    let mut unfinished = file.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = Path::new(&unfinished);
    if unfinished.exists() {
        return Err(Failed(format!("{} already exists", unfinished.display())));
    }
    let write = || {
        let out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(unfinished)?;
        backup.write(BufWriter::with_capacity(256 << 10, &out), |bytes| progress.add(bytes))?;
        out.sync_all()?;
        fs::rename(unfinished, file)?;
        File::open(file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))?.sync_all()
    };
    if let Err(error) = write() {
        let _ = fs::remove_file(unfinished);
        return Err(failed_at(file)(error));
    }
    progress.end();
    say(&format!("{}: everything up to record {last_record}, {bytes} bytes.", file.display()))
}

/// Creates `data_dir` from the backup `file`.
pub fn restore(file: &Path, data_dir: &Path) -> Result<(), Failed> {
    let bytes = file.metadata().map_err(failed_at(file))?.len();
    let progress = Progress::new(bytes * 2);
    let restored = backup::restore(file, data_dir, |bytes| progress.add(bytes)).map_err(failed)?;
    progress.end();
    let backup::Restored { created_at, last_record, groups, api_keys, webhooks } = restored;
    let mut sentences = vec![
        format!("{}: restored the state of {created_at}, up to record {last_record}.", data_dir.display()),
        format!("Groups: {groups}. Customer keys: {api_keys}. Operators sign in with the operator keys of that time."),
    ];
    if webhooks > 0 {
        sentences.push(format!("Webhooks that resume delivery when the gateway starts: {webhooks}."));
    }
    say(&sentences.join(" "))
}

/// Checks `data_dir`, prints the findings and returns failure if there are any.
pub fn verify(data_dir: &Path) -> Result<ExitCode, Failed> {
    let progress = Progress::new(0);
    let verified = verify::verify(data_dir, &|done, total| progress.set(done, total)).map_err(Failed)?;
    progress.end();
    for seen in &verified.seen {
        say(&format!("ok: {seen}"))?;
    }
    for finding in &verified.findings {
        say(&format!("FOUND: {finding}"))?;
    }
    match verified.findings.len() {
        0 => say("No problems found.")?,
        1 => say("1 problem found.")?,
        count => say(&format!("{count} problems found."))?,
    }
    Ok(if verified.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints the billing events of `data_dir` from the start time (inclusive) to the end time (exclusive).
pub fn export(
    data_dir: &Path,
    (start_time, end_time): (Option<&str>, Option<&str>),
    api_keys: Vec<String>,
    external_entity_ids: Vec<String>,
    format: Format,
) -> Result<(), Failed> {
    let moment = |flag: &str, text: Option<&str>, absent| match text {
        None => Ok(absent),
        Some(text) => time::parse(text)
            .ok_or_else(|| Failed(format!("--{flag}: must be a time such as 2026-11-23T10:00:00Z, not {text:?}"))),
    };
    let window = moment("start-time", start_time, 0)?..moment("end-time", end_time, u64::MAX)?;
    let filter = EventFilter { api_keys, external_entity_ids, ..EventFilter::default() };
    let progress = Progress::new(0);
    let mut out = Out::new(format, BufWriter::with_capacity(256 << 10, io::stdout().lock()))?;
    let on_progress = |done, total| progress.set(done, total);
    let incomplete = export_events(data_dir, window, &filter, &on_progress, |event| match out.write(&event) {
        // The reader has closed the pipe, as `head` does: end without an error.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true).map_err(|error| error.to_string()),
    });
    let incomplete = incomplete.map_err(Failed)?;
    match out.end() {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(failed(error)),
        _ => progress.end(),
    }
    if incomplete.is_empty() { Ok(()) } else { Err(Failed(format!("incomplete: {}", incomplete.join(" ")))) }
}

/// The writer of exported events.
enum Out<W: Write> {
    Jsonl(W),
    Csv(Box<csv::Writer<W>>),
}

impl<W: Write> Out<W> {
    fn new(format: Format, out: W) -> Result<Self, Failed> {
        match format {
            Format::Jsonl => Ok(Self::Jsonl(out)),
            Format::Csv => {
                let mut writer = csv::Writer::from_writer(out);
                writer.write_record(Event::COLUMNS).map_err(failed)?;
                Ok(Self::Csv(Box::new(writer)))
            }
        }
    }

    fn write(&mut self, event: &Event) -> io::Result<()> {
        match self {
            Self::Jsonl(out) => {
                serde_json::to_writer(&mut *out, event)?;
                out.write_all(b"\n")
            }
            Self::Csv(writer) => writer.write_record(event.values()).map_err(io::Error::from),
        }
    }

    fn end(self) -> io::Result<()> {
        match self {
            Self::Jsonl(mut out) => out.flush(),
            Self::Csv(mut writer) => writer.flush(),
        }
    }
}

/// Prints a line on standard output. A closed pipe is not an error.
fn say(line: &str) -> Result<(), Failed> {
    match writeln!(io::stdout(), "{line}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(failed(error)),
        _ => Ok(()),
    }
}

/// A progress bar, shown on a terminal only, once the command has run for [`PROGRESS_AFTER`].
struct Progress {
    began: Instant,
    total: u64,
    bar: OnceCell<ProgressBar>,
    done: std::cell::Cell<u64>,
}

impl Progress {
    fn new(total: u64) -> Self {
        Self { began: Instant::now(), total, bar: OnceCell::new(), done: std::cell::Cell::new(0) }
    }

    fn add(&self, more: u64) {
        self.set(self.done.get() + more, self.total);
    }

    fn set(&self, done: u64, total: u64) {
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

    fn end(&self) {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
    }
}
