//! The circuit of a target: whether requests may go to it, from the outcomes of its earlier attempts. Times are
//! milliseconds of a monotonic clock.
//!
//! * **Closed**: every attempt may go. A failure opens the circuit if it is the fifth in a row, or if at least 20
//!   attempts ended in the last 30 seconds and at least half of them failed. A success ends a row of failures.
//! * **Open**: the target is left out for a pause. The first pause is 1 s, each later one is twice as long, at most
//!   60 s. After the pause exactly one attempt is the probe. Its success closes the circuit, and counting begins anew
//!   with a pause of 1 s. Its failure opens the circuit again. If its customer hangs up, the next attempt is the probe.
//! * **Limited**: the target answered 429 with Retry-After, so it is left out for that long, at most 60 s. A later 429
//!   may extend the time and cannot shorten it. Afterwards the circuit is closed, since the server is alive. The 429
//!   itself is neither a success nor a failure, and earlier failures still count unless the circuit was open.
//!
//! If all targets are out, an attempt may be made although the circuit is open or limited. Its success closes the
//! circuit; its failure changes nothing.
//!
//! Each change of state begins a new generation. The outcome of an attempt that began in an earlier one is ignored:
//! otherwise 64 attempts that fail together would double the pause many times. The exception is a 429 with Retry-After
//! while the circuit is not open, because its time counts from the moment when it arrives.
//!
//! The window has 30 buckets of a second each, so it covers between 29 and 30 seconds.

use std::{mem, time::Duration};

/// Failures in a row that open a circuit.
const FAILURES_IN_A_ROW: u32 = 5;
/// The least attempts of the window of which half must fail to open a circuit.
const LEAST_ATTEMPTS: u64 = 20;
/// The length of the window, in seconds.
const WINDOW_S: u64 = 30;
/// The length of the first pause.
const FIRST_PAUSE_MS: u64 = 1000;
/// The longest pause.
const LONGEST_PAUSE_MS: u64 = 60_000;

/// The circuit of one target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Circuit {
    state: State,
    generation: u64,
    tally: Tally,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Closed,
    Open {
        until_ms: u64,
        pause_ms: u64,
        probing: bool,
    },
    Limited {
        until_ms: u64,
    },
}

/// An attempt whose outcome is not known yet.
#[derive(Debug)]
#[must_use = "an outcome must be reported, or a probe would hold its place forever"]
pub struct Ticket {
    generation: u64,
    is_probe: bool,
    ends_pause: bool,
}

/// Whether a request may go to a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// It may.
    In,
    /// It may only if all targets are out.
    Out {
        /// The end of the pause. It is in the past while a probe runs.
        until_ms: u64,
    },
}

impl Circuit {
    /// Begins an attempt. It is the probe if the circuit is open, its pause is over and no probe runs.
    pub fn begin(&mut self, now_ms: u64) -> Ticket {
        let (mut is_probe, mut ends_pause) = (false, false);
        match &mut self.state {
            State::Open { until_ms, probing, .. } if *until_ms <= now_ms => is_probe = !mem::replace(probing, true),
            State::Limited { until_ms } if *until_ms <= now_ms => {
                self.change(State::Closed);
                ends_pause = true;
            }
            _ => {}
        }
        Ticket { generation: self.generation, is_probe, ends_pause }
    }

    /// Records an answer. Returns whether it ended a pause.
    pub fn succeeded(&mut self, ticket: Ticket, now_ms: u64) -> bool {
        if ticket.generation != self.generation {
            return false;
        }
        if self.state == State::Closed {
            self.tally.record(now_ms, false);
            return false;
        }
        self.tally = Tally::default();
        self.change(State::Closed);
        true
    }

    /// Records a failure. Returns the length of the pause if it began one.
    pub fn failed(&mut self, ticket: Ticket, now_ms: u64) -> Option<Duration> {
        if ticket.generation != self.generation {
            return None;
        }
        match self.state {
            State::Closed => {
                self.tally.record(now_ms, true);
                self.tally.opens(now_ms).then(|| self.open(FIRST_PAUSE_MS, now_ms))
            }
            State::Open { pause_ms, .. } if ticket.is_probe => {
                Some(self.open((pause_ms * 2).min(LONGEST_PAUSE_MS), now_ms))
            }
            _ => None,
        }
    }

    /// Records a 429 with Retry-After. Returns the length of the pause if it began one.
    pub fn limited(&mut self, ticket: Ticket, retry_after: Duration, now_ms: u64) -> Option<Duration> {
        let pause_ms = retry_after.as_millis().min(LONGEST_PAUSE_MS.into()) as u64;
        let end_ms = now_ms.saturating_add(pause_ms);
        match &mut self.state {
            State::Closed if pause_ms == 0 => None,
            State::Open { .. } if ticket.generation != self.generation => None,
            State::Limited { until_ms } if now_ms < *until_ms => {
                *until_ms = end_ms.max(*until_ms);
                None
            }
            _ => {
                self.change(State::Limited { until_ms: end_ms });
                (pause_ms > 0).then(|| Duration::from_millis(pause_ms))
            }
        }
    }

    /// Records that the attempt ended without an outcome, because the customer hung up or nothing was sent.
    pub fn abandoned(&mut self, ticket: Ticket) {
        if let State::Open { probing, .. } = &mut self.state
            && ticket.is_probe
            && ticket.generation == self.generation
        {
            *probing = false;
        }
    }

    /// Its present state in brief.
    pub fn snapshot(&self) -> Snapshot {
        match self.state {
            State::Closed => Snapshot::Closed { generation: self.generation },
            State::Limited { until_ms } => Snapshot::Limited { until_ms },
            State::Open { until_ms, probing: false, .. } => Snapshot::Open { until_ms },
            State::Open { until_ms, probing: true, .. } => Snapshot::Probing { until_ms },
        }
    }

    fn open(&mut self, pause_ms: u64, now_ms: u64) -> Duration {
        self.tally = Tally::default();
        self.change(State::Open { until_ms: now_ms.saturating_add(pause_ms), pause_ms, probing: false });
        Duration::from_millis(pause_ms)
    }

    fn change(&mut self, state: State) {
        self.state = state;
        self.generation += 1;
    }
}

impl Ticket {
    /// Whether the attempt is the probe of an open circuit.
    pub fn is_probe(&self) -> bool {
        self.is_probe
    }

    /// Whether the attempt is the first one after the pause of a 429.
    pub fn ends_pause(&self) -> bool {
        self.ends_pause
    }
}

/// The phase of a circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Every request may go to the target.
    Closed,
    /// The target is left out.
    Open,
    /// The pause is over. One request tries the target, or the next one will.
    HalfOpen,
}

/// The state of a circuit in brief. It fits a word, so that it can be read without a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Snapshot {
    /// Closed.
    Closed {
        /// The generation, for tickets.
        generation: u64,
    },
    /// Left out after a 429 with Retry-After.
    Limited {
        /// The end of the pause.
        until_ms: u64,
    },
    /// Left out after failures. No probe runs.
    Open {
        /// The end of the pause.
        until_ms: u64,
    },
    /// The pause is over and the probe runs.
    Probing {
        /// The end of the pause, which is in the past.
        until_ms: u64,
    },
}

impl Snapshot {
    /// Whether a request may go to the target.
    pub fn availability(self, now_ms: u64) -> Availability {
        match self {
            Self::Closed { .. } => Availability::In,
            Self::Limited { until_ms } | Self::Open { until_ms } if until_ms <= now_ms => Availability::In,
            Self::Limited { until_ms } | Self::Open { until_ms } | Self::Probing { until_ms } => {
                Availability::Out { until_ms }
            }
        }
    }

    /// The phase of the circuit. A pause after a 429 ends in `Closed`, one after failures in `HalfOpen`.
    pub fn phase(self, now_ms: u64) -> Phase {
        match self {
            Self::Limited { until_ms } | Self::Open { until_ms } if now_ms < until_ms => Phase::Open,
            Self::Closed { .. } | Self::Limited { .. } => Phase::Closed,
            Self::Open { .. } | Self::Probing { .. } => Phase::HalfOpen,
        }
    }

    /// The ticket of an attempt that begins now. `None` if only the circuit itself can tell, because it is not closed.
    pub fn ticket(self) -> Option<Ticket> {
        match self {
            Self::Closed { generation } => Some(Ticket { generation, is_probe: false, ends_pause: false }),
            _ => None,
        }
    }

    /// The word: a tag in the lowest two bits, and a number of at most 62 bits.
    pub fn to_word(self) -> u64 {
        let (tag, number) = match self {
            Self::Closed { generation } => (0, generation),
            Self::Limited { until_ms } => (1, until_ms),
            Self::Open { until_ms } => (2, until_ms),
            Self::Probing { until_ms } => (3, until_ms),
        };
        number << 2 | tag
    }

    /// Reads a word.
    pub fn from_word(word: u64) -> Self {
        let number = word >> 2;
        match word & 3 {
            0 => Self::Closed { generation: number },
            1 => Self::Limited { until_ms: number },
            2 => Self::Open { until_ms: number },
            _ => Self::Probing { until_ms: number },
        }
    }
}

/// The outcomes while the circuit is closed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Tally {
    in_a_row: u32,
    /// A second has the slot of its remainder.
    window: [Bucket; WINDOW_S as usize],
}

/// The outcomes of one second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Bucket {
    second: u64,
    attempts: u32,
    failures: u32,
}

impl Tally {
    fn record(&mut self, now_ms: u64, failed: bool) {
        self.in_a_row = if failed { self.in_a_row.saturating_add(1) } else { 0 };
        let second = now_ms / 1000;
        let bucket = &mut self.window[(second % WINDOW_S) as usize];
        if bucket.second != second {
            *bucket = Bucket { second, ..Bucket::default() };
        }
        bucket.attempts = bucket.attempts.saturating_add(1);
        bucket.failures = bucket.failures.saturating_add(failed.into());
    }

    /// Whether a failure that was just recorded opens the circuit.
    fn opens(&self, now_ms: u64) -> bool {
        let recent = self.window.iter().filter(|bucket| now_ms / 1000 < bucket.second + WINDOW_S);
        let add = |(attempts, failures), bucket: &Bucket| {
            (attempts + u64::from(bucket.attempts), failures + u64::from(bucket.failures))
        };
        let (attempts, failures) = recent.fold((0, 0), add);
        self.in_a_row >= FAILURES_IN_A_ROW || attempts >= LEAST_ATTEMPTS && failures * 2 >= attempts
    }
}

#[cfg(test)]
mod tests;
