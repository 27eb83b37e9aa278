//! The state of the mails, written by the worker and read by the admin API.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tracing::{error, info, warn};

use super::position::Position;
use crate::{
    config::Smtp,
    domain::{mail_schedule::GIVE_UP_AFTER, time::rfc3339},
    service::storage::Storage,
    store::StoreError,
};

/// The last failure, while mails cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailFailure {
    /// The time of the first failure since the last mail, in Unix ms.
    pub since_ms: u64,
    /// The last failure: a clause that begins with the server's name.
    pub why: String,
}

/// The state of the mails.
#[derive(Debug, Clone)]
struct Standing {
    position: Position,
    /// Why the position could not be read at the start; `None` if it could.
    lost: Option<String>,
    /// Why the position cannot be saved; `None` if it is saved.
    unsaved: Option<String>,
    /// The number of mails since the start.
    mails: u64,
    failing: Option<MailFailure>,
    /// The recipients that the server has refused when it took the last mail: a clause each.
    refused: Vec<String>,
    /// The number of alerts given up since the start.
    given_up: u64,
}

/// The mails: their settings and their state.
pub struct Mail {
    pub(super) storage: Arc<Storage>,
    pub(super) smtp: Smtp,
    standing: Mutex<Standing>,
}

/// The state of the mails, for the status.
pub struct MailView {
    /// Host and port of the mail server.
    pub server: String,
    /// The number of mails since the start.
    pub mails: u64,
    /// The time of the last mail, in Unix ms. It may have been before the start.
    pub last_sent_ms: Option<u64>,
    /// The number of alerts that wait for a mail; `None` if the store cannot be read.
    pub waiting: Option<u64>,
    /// The last failure, while mails cannot be sent.
    pub failing: Option<MailFailure>,
    /// The number of alerts given up since the start.
    pub given_up: u64,
    /// The problems that need an operator, a sentence each.
    pub problems: Vec<String>,
}

impl Mail {
    /// Reads or begins the position. `None` if mails are off.
    pub(in crate::service) fn open(storage: &Arc<Storage>) -> Option<Arc<Self>> {
        let core = &storage.core;
        let data_dir = &core.config.data_dir;
        let Some(smtp) = core.config.mail.clone() else {
            if let Err(error) = Position::remove(data_dir) {
                warn!("mail.json cannot be removed, so mails would resume where they ended: {error}");
            }
            return None;
        };
        let last_seq = core.journal.durable_seq();
        let (read, lost) = match Position::read(data_dir) {
            Ok(read) => (read, None),
            Err(why) => (None, Some(why)),
        };
        let position = match read {
            // A journal that ends earlier is another one, or has lost its end.
            Some(position) => Position { through: position.through.min(last_seq), ..position },
            None if lost.is_some() => Position { through: before_last_day(storage), last_sent_ms: None },
            None => Position { through: last_seq, last_sent_ms: None },
        };
        if let Some(why) = &lost {
            error!("it is not known which alerts were mailed, so those of the last 24 hours are mailed again: {why}");
        }
        let standing =
            Standing { position, lost, unsaved: None, mails: 0, failing: None, refused: Vec::new(), given_up: 0 };
        let mail = Arc::new(Self { storage: storage.clone(), smtp, standing: Mutex::new(standing) });
        if read != Some(position) {
            mail.save();
        }
        Some(mail)
    }

    /// The state now.
    pub fn view(&self) -> MailView {
        let standing = self.standing.lock().clone();
        let waiting = self.storage.store.count_alerts_after(standing.position.through).ok();
        MailView {
            server: self.smtp.server.name(),
            problems: problems(&standing, waiting),
            mails: standing.mails,
            last_sent_ms: standing.position.last_sent_ms,
            waiting,
            failing: standing.failing,
            given_up: standing.given_up,
        }
    }

    pub(super) fn position(&self) -> Position {
        self.standing.lock().position
    }

    /// Whether the position could not be saved.
    pub(super) fn is_unsaved(&self) -> bool {
        self.standing.lock().unsaved.is_some()
    }

    /// Saves the position.
    pub(super) fn save(&self) {
        let position = self.position();
        let unsaved = position.save(&self.storage.core.config.data_dir).err();
        let mut standing = self.standing.lock();
        if let Some(why) = &unsaved
            && standing.unsaved.is_none()
        {
            error!("the position of the mails is not saved: {why}");
        }
        standing.unsaved = unsaved;
    }

    /// Notes a mail that had all alerts up to the record `through`, and saves the position.
    pub(super) fn sent(&self, through: u64, at_ms: u64, refused: Vec<String>) {
        for clause in &refused {
            warn!("the mail server takes alerts, but not for every recipient: {clause}");
        }
        let mut standing = self.standing.lock();
        standing.position = Position { through, last_sent_ms: Some(at_ms) };
        standing.mails += 1;
        standing.refused = refused;
        if standing.failing.take().is_some() {
            info!("alerts can be mailed again");
        }
        drop(standing);
        self.save();
    }

    /// Notes a failed attempt. Gives up the alerts that are too old, if attempts have failed for as long: the process may
    /// not have run when it could have mailed them.
    pub(super) fn failed(&self, why: String, at_ms: u64) -> Result<(), StoreError> {
        let before_ms = at_ms.saturating_sub(millis(GIVE_UP_AFTER));
        let since_ms = {
            let mut standing = self.standing.lock();
            let last = standing.failing.take();
            if last.as_ref().is_none_or(|last| last.why != why) {
                warn!("alerts cannot be mailed: {why}");
            }
            let since_ms = last.map_or(at_ms, |last| last.since_ms);
            standing.failing = Some(MailFailure { since_ms, why });
            since_ms
        };
        if since_ms < before_ms { self.give_up_before(before_ms) } else { Ok(()) }
    }

    fn give_up_before(&self, before_ms: u64) -> Result<(), StoreError> {
        let (mut through, mut count) = (None, 0);
        for alert in self.storage.store.alerts_after(self.position().through)? {
            let alert = alert?;
            if alert.at_ms >= before_ms {
                break;
            }
            (through, count) = (Some(alert.seq), count + 1);
        }
        let Some(through) = through else { return Ok(()) };
        error!(alerts = count, "alerts could not be mailed for a day and were given up");
        {
            let mut standing = self.standing.lock();
            standing.position.through = through;
            standing.given_up += count;
        }
        self.save();
        Ok(())
    }
}

/// The last record before the alerts of the last day. If the store cannot be read, all alerts count.
fn before_last_day(storage: &Storage) -> u64 {
    let since_ms = storage.core.now_ms().saturating_sub(millis(GIVE_UP_AFTER));
    let older = storage.store.alerts_before(u64::MAX).map(|mut alerts| {
        alerts.find_map(|alert| alert.ok().filter(|alert| alert.at_ms < since_ms).map(|alert| alert.seq))
    });
    older.ok().flatten().unwrap_or(0)
}

/// The sentences for the operator.
fn problems(standing: &Standing, waiting: Option<u64>) -> Vec<String> {
    let mut problems = Vec::new();
    if let Some(MailFailure { since_ms, why }) = &standing.failing {
        let alerts = match waiting {
            None | Some(0) => String::new(),
            Some(1) => " 1 alert waits.".to_owned(),
            Some(count) => format!(" {count} alerts wait."),
        };
        problems.push(format!("Alerts cannot be mailed since {}: {why}.{alerts}", rfc3339(*since_ms)));
    }
    if let Some(why) = &standing.lost {
        problems.push(format!(
            "It was not known at the start which alerts were mailed, so those of the last 24 hours are mailed again: {why}."
        ));
    }
    problems.extend(standing.refused.iter().map(|clause| format!("Alerts are not mailed to {clause}.")));
    match standing.given_up {
        0 => {}
        1 => {
            problems.push("1 alert could not be mailed for a day and was given up. It is in the list of alerts.".into())
        }
        count => problems.push(format!(
            "{count} alerts could not be mailed for a day and were given up. They are in the list of alerts."
        )),
    }
    if let Some(why) = &standing.unsaved {
        problems.push(format!("It is not saved which alerts were mailed, so a restart repeats mails: {why}."));
    }
    problems
}

/// Milliseconds of a duration, at most the largest number.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_waiting_alerts_is_shown_if_it_is_known_and_not_zero() {
        let mut standing = Standing {
            position: Position { through: 0, last_sent_ms: None },
            lost: None,
            unsaved: None,
            mails: 0,
            failing: Some(MailFailure { since_ms: 0, why: "a:25 is down".to_owned() }),
            refused: Vec::new(),
            given_up: 0,
        };
        let failing = "Alerts cannot be mailed since 1970-01-01T00:00:00.000Z: a:25 is down.";
        for (waiting, end) in [(None, ""), (Some(0), ""), (Some(1), " 1 alert waits."), (Some(2), " 2 alerts wait.")] {
            assert_eq!(problems(&standing, waiting), [format!("{failing}{end}")]);
        }
        standing.failing = None;
        assert!(problems(&standing, Some(2)).is_empty());
    }
}
