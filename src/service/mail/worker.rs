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
    /// Changes when the store has applied records, which may be alerts.
    applied: watch::Receiver<u64>,
}

impl Worker {
    fn new(mail: Arc<Mail>) -> Self {
        let core = &mail.storage.core;
        let since_last = mail.position().last_sent_ms.map(|at_ms| core.now_ms().saturating_sub(at_ms));
        let applied = mail.storage.upkeep.applied();
        Self { schedule: MailSchedule::new(now(&mail), since_last.map(Duration::from_millis)), applied, mail }
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
            self.attempt(&Waiting::read(&self.mail.storage.store, self.mail.position().through)?).await?;
            return Ok(Some(self.schedule.wait(now(&self.mail))));
        }
        Ok(Some(wait))
    }

    /// Tries to send one mail with all alerts that wait.
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
                info!(alerts = waiting.count(), "alerts were mailed");
                mail.sent(waiting.through(), mail.storage.core.now_ms(), refused);
            }
            Err(session::Failed { failure, why }) => {
                self.schedule.failed(now(mail), failure);
                mail.failed(why, mail.storage.core.now_ms())?;
            }
        }
        Ok(())
    }
}

fn now(mail: &Mail) -> Duration {
    Duration::from_nanos(mail.storage.core.clock.now().monotonic_ns)
}
