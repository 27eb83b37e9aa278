//! The schedule of mails about alerts: when one may be sent, and when one that could not be sent is tried again.
//!
//! * There is at least [`INTERVAL`] between two mails. Alerts that are made meanwhile wait and share the next mail.
//! * After a failure, the pause doubles from one failure to the next. A server that was not reached may have been
//!   restarted and is tried again soon. A server that has refused the mail is not, and one that may have taken it gets
//!   it again after [`INTERVAL`] at the earliest.
//! * Failures because of a recipient are counted by themselves: other failures do not use up the patience with it.
//!
//! Times are on a monotonic clock, from any beginning.

use std::time::Duration;

/// The shortest time between two mails.
pub const INTERVAL: Duration = Duration::from_secs(60);

/// The age from which an alert is no longer mailed if an attempt fails.
pub const GIVE_UP_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// The pause after the first failure, and the longest pause.
const BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(15 * 60);

/// The shortest pause after a [`Failure::Refused`].
const AFTER_REFUSAL: Duration = Duration::from_secs(30);

/// The number of attempts, about eight minutes, in which a mail waits for a recipient that the server does not accept
/// yet. Servers that delay unknown senders (greylisting) accept within that time.
const PATIENT_ATTEMPTS: u32 = 9;

/// The kind of a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The server was not reached, or it asked to try again. It has not taken the mail.
    Temporary,
    /// The server does not accept a recipient yet. It has not taken the mail.
    Recipient,
    /// The server has refused the login or the mail.
    Refused,
    /// It is unknown whether the server has taken the mail.
    Unknown,
}

/// The state of the schedule.
#[derive(Debug, Clone, Copy)]
pub struct MailSchedule {
    not_before: Duration,
    /// The number of failures since the last mail, except those because of a recipient.
    failed: u32,
    /// The number of failures since the last mail because of a recipient.
    recipient_failed: u32,
}

impl MailSchedule {
    /// The schedule of a process that starts at `now`. `since_last` is the time since the last mail; `None` if there
    /// was none.
    pub fn new(now: Duration, since_last: Option<Duration>) -> Self {
        let wait = since_last.map_or(Duration::ZERO, |since| INTERVAL.saturating_sub(since));
        Self { not_before: now + wait, failed: 0, recipient_failed: 0 }
    }

    /// The time until a mail may be sent; zero if it may be sent now.
    pub fn wait(&self, now: Duration) -> Duration {
        self.not_before.saturating_sub(now)
    }

    /// Whether a mail may go to some recipients only, because the others have not been accepted for some time.
    pub fn is_patience_over(&self) -> bool {
        self.recipient_failed >= PATIENT_ATTEMPTS
    }

    /// Notes that a mail was sent.
    pub fn sent(&mut self, now: Duration) {
        *self = Self { not_before: now + INTERVAL, failed: 0, recipient_failed: 0 };
    }

    /// Notes that an attempt failed.
    pub fn failed(&mut self, now: Duration, failure: Failure) {
        let (count, least) = match failure {
            Failure::Temporary => (&mut self.failed, Duration::ZERO),
            Failure::Recipient => (&mut self.recipient_failed, Duration::ZERO),
            Failure::Refused => (&mut self.failed, AFTER_REFUSAL),
            Failure::Unknown => (&mut self.failed, INTERVAL),
        };
        let backoff = BACKOFF.saturating_mul(1 << (*count).min(20)).min(LONGEST_BACKOFF);
        *count = count.saturating_add(1);
        self.not_before = now + backoff.max(least);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_first_mail_is_sent_at_once_and_the_next_one_a_minute_later() {
        let mut schedule = MailSchedule::new(SECOND, None);
        assert_eq!(schedule.wait(SECOND), Duration::ZERO);
        schedule.sent(2 * SECOND);
        assert_eq!(schedule.wait(12 * SECOND), 50 * SECOND);
        assert_eq!(schedule.wait(62 * SECOND), Duration::ZERO);
        assert_eq!(schedule.wait(9000 * SECOND), Duration::ZERO);
    }

    #[test]
    fn a_restart_does_not_shorten_the_minute() {
        assert_eq!(MailSchedule::new(SECOND, Some(20 * SECOND)).wait(SECOND), 40 * SECOND);
        assert_eq!(MailSchedule::new(SECOND, Some(90 * SECOND)).wait(SECOND), Duration::ZERO);
        assert_eq!(MailSchedule::new(SECOND, Some(Duration::ZERO)).wait(SECOND), INTERVAL);
    }

    #[test]
    fn pauses_double_up_to_a_quarter_of_an_hour_and_begin_anew_after_a_mail() {
        let pauses = |failure| {
            let mut schedule = MailSchedule::new(SECOND, None);
            let mut after_failure = || {
                schedule.failed(SECOND, failure);
                schedule.wait(SECOND).as_secs()
            };
            let pauses: Vec<_> = (0..12).map(|_| after_failure()).collect();
            schedule.sent(SECOND);
            schedule.failed(SECOND, failure);
            (pauses, schedule.wait(SECOND).as_secs())
        };
        let temporary = vec![1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900];
        let refused = vec![30, 30, 30, 30, 30, 32, 64, 128, 256, 512, 900, 900];
        let unknown = vec![60, 60, 60, 60, 60, 60, 64, 128, 256, 512, 900, 900];
        assert_eq!(pauses(Failure::Temporary), (temporary.clone(), 1));
        assert_eq!(pauses(Failure::Recipient), (temporary, 1));
        assert_eq!(pauses(Failure::Refused), (refused, 30));
        assert_eq!(pauses(Failure::Unknown), (unknown, 60));
    }

    #[test]
    fn a_recipient_that_is_not_accepted_yet_delays_a_mail_by_minutes_only() {
        let mut schedule = MailSchedule::new(Duration::ZERO, None);
        let mut now = Duration::ZERO;
        while !schedule.is_patience_over() {
            schedule.failed(now, Failure::Recipient);
            now += schedule.wait(now);
        }
        assert!((5 * 60..15 * 60).contains(&now.as_secs()), "{now:?}");
        schedule.sent(now);
        assert!(!schedule.is_patience_over());
    }

    #[test]
    fn an_outage_does_not_use_up_the_patience_with_a_recipient() {
        let mut schedule = MailSchedule::new(SECOND, None);
        for _ in 0..100 {
            schedule.failed(SECOND, Failure::Temporary);
        }
        schedule.failed(SECOND, Failure::Recipient);
        assert!(!schedule.is_patience_over());
        assert_eq!(schedule.wait(SECOND), SECOND);
    }
}
