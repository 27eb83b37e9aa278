//! `tollgate export`.

use std::{
    io::{self, BufWriter, Write},
    path::Path,
};

use super::{
    failed::{Failed, failed},
    output::Progress,
};
use crate::{
    domain::time,
    service::reading::events::{Event, EventFilter, export_events},
};

/// The format of exported events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One JSON object per line.
    #[default]
    Jsonl,
    /// Comma-separated values with a header line.
    Csv,
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
