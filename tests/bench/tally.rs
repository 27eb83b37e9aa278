//! What a run has seen.

use std::io;

use crate::histogram::Histogram;

/// `answered` and `failed` are of the whole run, everything else of the measured time.
pub(crate) struct Tally {
    answered: u64,
    failed: u64,
    first_failure: Option<String>,
    requests: u64,
    events: u64,
    /// Of a JSON answer from its request to its end, of an event from its stamp to its arrival.
    latency: Histogram,
    /// From the last stamp of a stream to its end.
    ending: Histogram,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            answered: 0,
            failed: 0,
            first_failure: None,
            requests: 0,
            events: 0,
            latency: Histogram::new(),
            ending: Histogram::new(),
        }
    }

    /// A JSON answer has ended.
    pub(crate) fn json(&mut self, measured: bool, latency_ns: u64) {
        self.answered += 1;
        if measured {
            self.requests += 1;
            self.latency.record(latency_ns);
        }
    }

    /// An event with text has arrived.
    pub(crate) fn event(&mut self, measured: bool, latency_ns: u64) {
        if measured {
            self.events += 1;
            self.latency.record(latency_ns);
        }
    }

    /// A stream has ended.
    pub(crate) fn stream(&mut self, measured: bool, ending_ns: u64) {
        self.answered += 1;
        if measured {
            self.requests += 1;
            self.ending.record(ending_ns);
        }
    }

    /// A connection has ended before its time.
    pub(crate) fn fail(&mut self, failure: &io::Error) {
        self.failed += 1;
        self.first_failure.get_or_insert_with(|| failure.to_string());
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.answered += other.answered;
        self.failed += other.failed;
        self.first_failure = self.first_failure.take().or_else(|| other.first_failure.clone());
        self.requests += other.requests;
        self.events += other.events;
        self.latency.add(&other.latency);
        self.ending.add(&other.ending);
    }

    pub(crate) fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "answered": self.answered,
            "failed": self.failed,
            "first_failure": self.first_failure,
            "requests": self.requests,
            "events": self.events,
            "latency": self.latency.to_json(),
            "ending": self.ending.to_json(),
        })
    }
}
