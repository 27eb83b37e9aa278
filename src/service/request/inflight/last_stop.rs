//! The requests that were in flight when the previous run ended, found from its file and the journal.

use std::{collections::HashMap, fs, io, path::Path};

use tracing::warn;
use uuid::Uuid;

use super::{CELL, FILE, MAGIC, Request, State, VERSION, WORDS, boot_id, whole};
use crate::{
    domain::{
        id::{GroupId, SlugId},
        record::Record,
        time::rfc3339,
    },
    journal::{self, Journal, codec},
};

/// The most requests that are listed in the status, and the most that are logged.
const LISTED: usize = 1000;
const LOGGED: usize = 100;

/// The requests that were in flight when the previous run ended, and so have no event.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LastStop {
    /// The number of requests; `None` if unknown.
    pub count: Option<u64>,
    /// The oldest requests, at most [`LISTED`].
    pub requests: Vec<Unfinished>,
    /// Why the number is unknown.
    pub(in crate::service) unknown: Option<String>,
}

/// A request that was in flight.
#[derive(Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// The request's `x-request-id`, which the customer may not have received yet.
    pub request_id: u128,
    /// The group of its key.
    pub group: GroupId,
    /// The slug that the model had at that time; `None` if another model has taken it since.
    pub model_slug: Option<String>,
    /// The time of admission, in Unix ms of the journal's clock.
    pub admitted_at_ms: u64,
}

impl LastStop {
    /// Reads the file that the previous run left in `directory`. `journal` must be unchanged since that run;
    /// `slug_name` returns a slug of that time, or an empty string.
    pub fn read<'a>(
        directory: &Path,
        journal: &Journal,
        slug_name: impl Fn(SlugId) -> &'a str,
    ) -> Result<Self, journal::Error> {
        let left = match fs::read(directory.join(FILE)) {
            Ok(bytes) => FileContents::read(&bytes, boot_id()),
            Err(error) if error.kind() == io::ErrorKind::NotFound && journal.last_seq() == 0 => {
                Ok(FileContents::default())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err("there is no record of them".to_owned()),
            Err(error) => Err(format!("their file cannot be read: {error}")),
        };
        let left = match left {
            Ok(left) => left,
            Err(why) => return Ok(Self { unknown: Some(why), ..Self::default() }),
        };
        let without_slot = left.without_slot;
        let mut requests = left.without_event(journal)?;
        requests.sort_unstable_by_key(|request| (request.admitted_at_ms, request.id));
        let count = without_slot.saturating_add(requests.len() as u64);
        let unfinished = |request: Request| Unfinished {
            request_id: request.id,
            group: request.group,
            model_slug: Some(slug_name(request.slug).to_owned()).filter(|name| !name.is_empty()),
            admitted_at_ms: request.admitted_at_ms,
        };
        let requests = requests.into_iter().take(LISTED).map(unfinished).collect();
        Ok(Self { count: Some(count), requests, unknown: None })
    }

    /// Writes up to [`LOGGED`] requests to the log.
    pub(in crate::service) fn log(&self) {
        for request in self.requests.iter().take(LOGGED) {
            warn!(
                target: "tollgate::request",
                id = %Uuid::from_u128(request.request_id),
                model = request.model_slug,
                group = %request.group,
                admitted_at = rfc3339(request.admitted_at_ms),
                "was running at the last stop"
            );
        }
        let more = self.count.unwrap_or(0).saturating_sub(LOGGED as u64);
        if more > 0 {
            warn!(more, "more requests were running at the last stop");
        }
    }
}

/// The contents of the file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct FileContents {
    /// The requests of the slots that are in use, or whose events may be lost.
    slots: Vec<(State, Request)>,
    /// The number of requests that had no slot.
    without_slot: u64,
}

impl FileContents {
    /// Reads the file's bytes. `boot` is the machine's current boot; an error says why the requests are unknown.
    pub(super) fn read(bytes: &[u8], boot: Option<u128>) -> Result<Self, String> {
        let (cells, rest) = bytes.as_chunks::<CELL>();
        let mut cells = cells.iter().map(|cell| -> [u64; WORDS] { zerocopy::transmute!(*cell) });
        let unreadable = || "their file cannot be read".to_owned();
        let (Some(head), Some(counts)) = (cells.next(), cells.next()) else { return Err(unreadable()) };
        let [magic, version, slots, is_closed, boot_high, boot_low, ..] = head;
        if (magic, version, slots, rest.len()) != (MAGIC, VERSION, cells.len() as u64, 0) {
            return Err(unreadable());
        }
        if is_closed != 1 && boot != Some(whole([boot_high, boot_low])) {
            return Err("the machine has restarted since".to_owned());
        }
        if is_closed != 1 && slots == 0 {
            return Err("they were not tracked".to_owned());
        }
        let in_use = |[request @ .., state]: [u64; WORDS]| match State::from_word(state) {
            State::Free => None,
            state => Some((state, Request::from_words(request))),
        };
        Ok(Self { slots: cells.filter_map(in_use).collect(), without_slot: counts[0] })
    }

    /// The requests whose events are not in `journal`.
    fn without_event(self, journal: &Journal) -> Result<Vec<Request>, journal::Error> {
        let last_seq = journal.last_seq();
        let mut lost = Vec::new();
        let mut settling = HashMap::new();
        let mut first = u64::MAX;
        for (state, request) in self.slots {
            match state {
                State::Free => {}
                State::Running => lost.push(request),
                State::Settled { seq } if seq > last_seq => lost.push(request),
                State::Settled { .. } => {}
                State::Settling { after } => {
                    first = first.min(after);
                    settling.insert(request.id, request);
                }
            }
        }
        let mut records = journal.reader(first);
        while !settling.is_empty()
            && let Some(frame) = records.next()?
        {
            if let Ok(Record::Settled(settled)) = codec::decode(frame.body) {
                settling.remove(&settled.request_id);
            }
        }
        lost.extend(settling.into_values());
        Ok(lost)
    }
}
