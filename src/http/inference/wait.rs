//! How long a customer who was refused by a limit has to wait, as headers, error object and message say it.

use std::fmt;

use bytes::Bytes;

use crate::domain::ledger::Refusal;

/// Clients may sleep for as long as `Retry-After` says; beyond so many seconds it is not sent.
const LONGEST_RETRY_AFTER_S: u64 = 300;

/// Beyond so many seconds an SDK should give up instead of retrying.
const LONGEST_RETRY_S: u64 = 60;

/// A wait in whole seconds, at least 1; `None` if room never comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wait(pub(super) Option<u64>);

impl Wait {
    /// The wait that a refusal names.
    pub(super) fn of(refusal: &Refusal) -> Self {
        Self(refusal.retry_after_s())
    }

    /// The value of `Retry-After`, if it is sent.
    pub(super) fn retry_after(self) -> Option<Bytes> {
        self.0.filter(|seconds| *seconds <= LONGEST_RETRY_AFTER_S).map(|seconds| seconds.to_string().into())
    }

    /// Whether a client should retry by itself; `None` leaves that to the client.
    pub(super) fn should_retry(self) -> Option<bool> {
        self.0.is_none_or(|seconds| seconds > LONGEST_RETRY_S).then_some(false)
    }
}

/// `Try again in 3 min 5 s.`, from an hour on in minutes, from two days on in hours, rounded up so that it is enough.
impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        const DAY: u64 = 24 * HOUR;
        let Some(seconds) = self.0 else { return f.write_str("This request can never pass it.") };
        let ((large, name), (small, small_name)) = match seconds {
            0..HOUR => ((MINUTE, "min"), (1, "s")),
            HOUR..=172_800 => ((HOUR, "h"), (MINUTE, "min")),
            _ => ((DAY, "d"), (HOUR, "h")),
        };
        let rest = seconds.div_ceil(small);
        let (larges, smalls) = (rest / (large / small), rest % (large / small));
        match (larges, smalls) {
            (0, _) => write!(f, "Try again in {smalls} {small_name}."),
            (_, 0) => write!(f, "Try again in {larges} {name}."),
            _ => write!(f, "Try again in {larges} {name} {smalls} {small_name}."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_told_in_words_and_never_too_short() {
        for (seconds, words) in [
            (1, "1 s"),
            (42, "42 s"),
            (60, "1 min"),
            (185, "3 min 5 s"),
            (3599, "59 min 59 s"),
            (3600, "1 h"),
            (3601, "1 h 1 min"),
            (61_140, "16 h 59 min"),
            (86_399, "24 h"),
            (172_800, "48 h"),
            (172_801, "2 d 1 h"),
            (259_200, "3 d"),
            (u64::MAX, "213503982334601 d 8 h"),
        ] {
            assert_eq!(Wait(Some(seconds)).to_string(), format!("Try again in {words}."));
        }
        assert_eq!(Wait(None).to_string(), "This request can never pass it.");
    }

    #[test]
    fn no_client_is_told_to_sleep_for_hours() {
        let told = |seconds| (Wait(seconds).retry_after(), Wait(seconds).should_retry());
        assert_eq!(told(Some(60)), (Some("60".into()), None));
        assert_eq!(told(Some(61)), (Some("61".into()), Some(false)));
        assert_eq!(told(Some(300)), (Some("300".into()), Some(false)));
        assert_eq!(told(Some(301)), (None, Some(false)));
        assert_eq!(told(None), (None, Some(false)));
    }
}
