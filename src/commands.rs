//! What can be done with a data directory from a shell: back it up, restore it, check it, print what is in it.
//!
//! Results go to standard output, progress to standard error if that is a terminal and somebody has waited a second.

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

use crate::{
    domain::time,
    service::{
        backup::{self, Backup},
        events::{Event, EventFilter, export_events},
        verify,
    },
};

/// Before this there is no progress bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// How exported events are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One JSON object a line.
    #[default]
    Jsonl,
    /// Comma-separated values with a header line.
    Csv,
}

/// Why a command failed, in words.
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
        return Err(Failed(format!("{} is there already", file.display())));
    }
    let backup = Backup::open(data_dir).map_err(failed)?;
    let (bytes, last_record) = (backup.bytes(), backup.last_record);
    let progress = Progress::new(bytes);
    let mut unfinished = file.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = Path::new(&unfinished);
    if unfinished.exists() {
        return Err(Failed(format!("{} is there already", unfinished.display())));
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

/// Makes `data_dir` from the backup `file`.
pub fn restore(file: &Path, data_dir: &Path) -> Result<(), Failed> {
    let bytes = file.metadata().map_err(failed_at(file))?.len();
    let progress = Progress::new(bytes * 2);
    let restored = backup::restore(file, data_dir, |bytes| progress.add(bytes)).map_err(failed)?;
    progress.end();
    let backup::Restored { created_at, last_record, groups, api_keys, webhooks } = restored;
    let mut told = vec![
        format!("{}: restored as it was at {created_at}, up to record {last_record};", data_dir.display()),
        format!("groups: {groups}, customers' keys: {api_keys}. Operators sign in with the keys that they had then."),
    ];
    if webhooks > 0 {
        told.push(format!("Webhooks that deliver to their receivers as soon as it serves: {webhooks}."));
    }
    say(&told.join(" "))
}

/// Checks `data_dir`.
pub fn verify(data_dir: &Path) -> Result<ExitCode, Failed> {
    let progress = Progress::new(0);
    let verified = verify::verify(data_dir, &|done, all| progress.set(done, all)).map_err(Failed)?;
    progress.end();
    for seen in &verified.seen {
        say(&format!("ok: {seen}"))?;
    }
    for finding in &verified.findings {
        say(&format!("FOUND: {finding}"))?;
    }
    match verified.findings.len() {
        0 => say("All is well.")?,
        1 => say("1 finding.")?,
        more => say(&format!("{more} findings."))?,
    }
    Ok(if verified.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints the events of `data_dir` in a window.
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
    let told = |done, all| progress.set(done, all);
    let incomplete = export_events(data_dir, window, &filter, &told, |event| match out.write(&event) {
        // Whoever reads us has heard enough.
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

/// Where exported events go.
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

/// A line on standard output. One that nobody reads is no failure.
fn say(line: &str) -> Result<(), Failed> {
    match writeln!(io::stdout(), "{line}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(failed(error)),
        _ => Ok(()),
    }
}

/// A progress bar for whoever waits; on a terminal only.
struct Progress {
    began: Instant,
    all: u64,
    bar: OnceCell<ProgressBar>,
    done: std::cell::Cell<u64>,
}

impl Progress {
    fn new(all: u64) -> Self {
        Self { began: Instant::now(), all, bar: OnceCell::new(), done: std::cell::Cell::new(0) }
    }

    fn add(&self, more: u64) {
        self.set(self.done.get() + more, self.all);
    }

    fn set(&self, done: u64, all: u64) {
        self.done.set(done);
        if self.began.elapsed() >= PATIENCE {
            let bar = self.bar.get_or_init(|| {
                let style = ProgressStyle::with_template("{wide_bar} {percent}% {eta}");
                ProgressBar::new(all).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
            });
            bar.set_length(all);
            bar.set_position(done);
        }
    }

    fn end(&self) {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
    }
}
