//! The counts and latencies of a run.

use std::io;

use crate::histogram::Histogram;

/// The counts and latencies of a run. `answered` and `failed` cover the whole run, the other fields the measured time.
pub(crate) struct Tally {
    answered: u64,
    failed: u64,
    first_failure: Option<String>,
    requests: u64,
    events: u64,
    /// For a JSON answer, the time from its request to its end. For an event, the time from its timestamp to its
    /// arrival.
    latency: Histogram,
    /// The time from the last timestamp of a stream to its end.
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

    /// Records the end of a JSON answer.
    pub(crate) fn json(&mut self, measured: bool, latency_ns: u64) {
        self.answered += 1;
        if measured {
            self.requests += 1;
            self.latency.record(latency_ns);
        }
    }

    /// Records the arrival of an event with text.
    pub(crate) fn event(&mut self, measured: bool, latency_ns: u64) {
        if measured {
            self.events += 1;
            self.latency.record(latency_ns);
        }
    }

    /// Records the end of a stream.
    pub(crate) fn stream(&mut self, measured: bool, ending_ns: u64) {
        self.answered += 1;
        if measured {
            self.requests += 1;
            self.ending.record(ending_ns);
        }
    }

    /// Records a connection that failed.
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
