//! The thread that sends the mails.

use std::{io, sync::Arc, thread, time::Duration};

use tokio::{
    runtime,
    sync::watch,
    task::{self, LocalSet},
    time::sleep,
};
use tracing::{error, info};

use super::{registry::Mail, session, waiting::Waiting};
use crate::{
    domain::mail_schedule::{Failure, MailSchedule},
    store::StoreError,
};

/// How long a stop waits for an attempt that has begun. A mail that has not ended by then is sent again after the next
/// start.
const LAST_ATTEMPT: Duration = Duration::from_secs(5);

/// The pause after a failure of our own: of the store, of the disk, or a panic.
const OWN_FAILURE_PAUSE: Duration = Duration::from_secs(5);

/// The running mails.
pub struct Mails(Option<thread::JoinHandle<()>>);

impl Mails {
    /// Starts the thread, unless mails are off.
    pub fn start(mail: Option<&Arc<Mail>>) -> io::Result<Self> {
        let Some(mail) = mail.cloned() else { return Ok(Self(None)) };
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let work = move || {
            LocalSet::new().block_on(&runtime, supervise(&mail));
            // Do not wait for a name that is still being resolved.
            runtime.shutdown_background();
        };
        Ok(Self(Some(thread::Builder::new().name("mail".to_owned()).spawn(work)?)))
    }

    /// Waits until the thread has ended. It ends by itself once the process has been asked to stop. Alerts that still
    /// wait are mailed after the next start.
    pub fn stop(self) {
        if self.0.is_some_and(|thread| thread.join().is_err()) {
            error!("the mail thread panicked");
        }
    }
}

/// Keeps the worker running until the process stops.
async fn supervise(mail: &Arc<Mail>) {
    let core = &mail.storage.core;
    let work = async {
        while task::spawn_local(Worker::new(mail.clone()).run()).await.is_err() {
            error!("the worker of the mails panicked");
            sleep(OWN_FAILURE_PAUSE).await;
        }
    };
    let stopped = async {
        core.drain_started().await;
        sleep(LAST_ATTEMPT).await;
    };
    tokio::select! {
        () = work => {}
        () = stopped => {}
    }
}

struct Worker {
    mail: Arc<Mail>,
    schedule: MailSchedule,
    /// The last record of a mail that the server may have taken although its answer was lost. It is tried again with
    /// the same alerts, so that servers and readers can recognize it.
    uncertain: Option<u64>,
    /// Changes when the store has applied records, which may be alerts.
    applied: watch::Receiver<u64>,
}

impl Worker {
    fn new(mail: Arc<Mail>) -> Self {
        let core = &mail.storage.core;
        let since_last = mail.position().last_sent_ms.map(|at_ms| core.now_ms().saturating_sub(at_ms));
        let applied = mail.storage.upkeep.applied();
        let schedule = MailSchedule::new(now(&mail), since_last.map(Duration::from_millis));
        Self { schedule, uncertain: None, applied, mail }
    }

    /// Sends mails until the process is asked to stop.
    async fn run(mut self) {
        let mail = self.mail.clone();
        let core = &mail.storage.core;
        loop {
            self.applied.borrow_and_update();
            let pause = match self.round().await {
                Ok(pause) => pause,
                // The store says in the status why it cannot be read.
                Err(_) => Some(OWN_FAILURE_PAUSE),
            };
            let pause = pause.or_else(|| mail.is_unsaved().then_some(OWN_FAILURE_PAUSE));
            tokio::select! {
                () = core.drain_started() => return,
                // While a mail waits for its time, new alerts change nothing.
                changed = self.applied.changed(), if pause.is_none() => if changed.is_err() { return },
                () = sleep(pause.unwrap_or_default()), if pause.is_some() => {}
            }
        }
    }

    /// Sends a mail if one is due. Returns the time until the next step; `None` if there is nothing to do until the
    /// store has applied more records.
    async fn round(&mut self) -> Result<Option<Duration>, StoreError> {
        if self.mail.is_unsaved() {
            self.mail.save();
        }
        let store = &self.mail.storage.store;
        if store.count_alerts_after(self.mail.position().through)? == 0 {
            return Ok(None);
        }
        let wait = self.schedule.wait(now(&self.mail));
        if wait.is_zero() {
            self.attempt(&self.waiting()?).await?;
            return Ok(Some(self.schedule.wait(now(&self.mail))));
        }
        Ok(Some(wait))
    }

    /// The alerts of the next mail: all that wait, or those of a mail that is repeated.
    fn waiting(&self) -> Result<Waiting, StoreError> {
        let (store, after) = (&self.mail.storage.store, self.mail.position().through);
        if let Some(through) = self.uncertain {
            let repeated = Waiting::read(store, after, through)?;
            // They may have been given up or removed since.
            if repeated.count() > 0 {
                return Ok(repeated);
            }
        }
        Waiting::read(store, after, u64::MAX)
    }

    /// Tries to send one mail with these alerts.
    async fn attempt(&mut self, waiting: &Waiting) -> Result<(), StoreError> {
        let mail = &self.mail;
        let sent = match waiting.mail(&mail.smtp, &mail.storage.core) {
            Ok(message) => session::send(&mail.smtp, &message, self.schedule.is_patience_over()).await,
            Err(error) => {
                Err(session::Failed { failure: Failure::Refused, why: format!("the mail cannot be written: {error}") })
            }
        };
        match sent {
            Ok(refused) => {
                self.schedule.sent(now(mail));
                self.uncertain = None;
                info!(alerts = waiting.count(), "alerts were mailed");
                mail.sent(waiting.through(), mail.storage.core.now_ms(), refused);
            }
            Err(session::Failed { failure, why }) => {
                self.schedule.failed(now(mail), failure);
                if failure == Failure::Unknown {
                    self.uncertain = Some(waiting.through());
                }
                mail.failed(why, mail.storage.core.now_ms())?;
            }
        }
        Ok(())
    }
}

fn now(mail: &Mail) -> Duration {
    Duration::from_nanos(mail.storage.core.clock.now().monotonic_ns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Config,
        domain::{alert::Alert, id::AlertId, record::Record, testing::alert},
        journal::codec,
        service::{boot, mail::testing::serve},
    };

    #[test]
    fn a_mail_whose_answer_was_lost_is_repeated_without_newer_alerts() {
        let taken = ("250 ok", "250 taken");
        let (smtp, server) = serve(vec![("250 ok", ""), ("450 later", ""), taken, taken]);
        let directory = tempfile::tempdir().unwrap();
        let config = Config { data_dir: directory.path().to_owned(), mail: Some(smtp), ..Default::default() };
        let booted = boot(config, None).unwrap();
        let (core, storage) = (&booted.gateway.core, &booted.gateway.storage);
        let mut worker = Worker::new(booted.gateway.mail.clone().unwrap());
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for id in 1..=4 {
            let mut bytes = Vec::new();
            codec::encode(&Record::Alerted(Alert { id: AlertId(id), ..alert() }), &mut bytes).unwrap();
            let appended = core.journal.append(&bytes).unwrap();
            runtime.block_on(async {
                core.journal.durable(appended.seq).await;
                storage.upkeep.folded(appended.seq).await;
                worker.schedule = MailSchedule::new(now(&worker.mail), None);
                worker.round().await.unwrap();
            });
        }
        booted.close();
        let mails = server.join().unwrap();
        let ids = mails.iter().map(|mail| mail.split("Message-ID: ").nth(1).unwrap().lines().next().unwrap());
        let ids: Vec<_> = ids.collect();
        assert_eq!((ids.len(), ids[0]), (3, ids[1]), "{mails:?}");
        assert_ne!(ids[1], ids[2]);
        assert!(mails[2].contains("Subject: 3 alerts from Tollgate"), "{}", mails[2]);
    }
}
