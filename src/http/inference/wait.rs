//! The wait after a refusal by a limit or budget, as it is shown in headers, in the error object and in the message.

use std::fmt;

use bytes::Bytes;

use crate::domain::ledger::Refusal;

/// The longest `Retry-After` that is sent, in seconds. Some clients sleep as long as it says, even for hours.
const LONGEST_RETRY_AFTER_S: u64 = 300;

/// The longest wait, in seconds, after which an SDK should retry by itself instead of giving up.
const LONGEST_RETRY_S: u64 = 60;

/// A wait in whole seconds, at least 1; `None` if waiting never helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wait(pub(super) Option<u64>);

impl Wait {
    /// The wait after this refusal.
    pub(super) fn of(refusal: &Refusal) -> Self {
        Self(refusal.retry_after_s())
    }

    /// The value of `Retry-After`; `None` if the header is not sent.
    pub(super) fn retry_after(self) -> Option<Bytes> {
        self.0.filter(|seconds| *seconds <= LONGEST_RETRY_AFTER_S).map(|seconds| seconds.to_string().into())
    }

    /// Whether a client should retry by itself; `None` leaves the decision to the client.
    pub(super) fn should_retry(self) -> Option<bool> {
        self.0.is_none_or(|seconds| seconds > LONGEST_RETRY_S).then_some(false)
    }
}

/// Writes `Try again in 3 min 5 s.` From one hour, the precision is minutes; above two days, hours. The wait is rounded
/// up.
impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        const DAY: u64 = 24 * HOUR;
        let Some(seconds) = self.0 else { return f.write_str("This request can never pass this limit.") };
        let ((large, name), (small, small_name)) = match seconds {
            0..HOUR => ((MINUTE, "min"), (1, "s")),
            HOUR..=172_800 => ((HOUR, "h"), (MINUTE, "min")),
            _ => ((DAY, "days"), (HOUR, "h")),
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
    fn a_wait_is_written_in_words_and_never_too_short() {
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
            (172_801, "2 days 1 h"),
            (259_200, "3 days"),
            (u64::MAX, "213503982334601 days 8 h"),
        ] {
            assert_eq!(Wait(Some(seconds)).to_string(), format!("Try again in {words}."));
        }
        assert_eq!(Wait(None).to_string(), "This request can never pass this limit.");
    }

    #[test]
    fn a_long_wait_is_not_sent_as_retry_after() {
        let headers = |seconds| (Wait(seconds).retry_after(), Wait(seconds).should_retry());
        assert_eq!(headers(Some(60)), (Some("60".into()), None));
        assert_eq!(headers(Some(61)), (Some("61".into()), Some(false)));
        assert_eq!(headers(Some(300)), (Some("300".into()), Some(false)));
        assert_eq!(headers(Some(301)), (None, Some(false)));
        assert_eq!(headers(None), (None, Some(false)));
    }
}
