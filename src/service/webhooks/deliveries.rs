//! The thread that makes all deliveries, with a task for each webhook.

use std::{collections::HashMap, io, sync::Arc, thread, time::Duration};

use tokio::{
    runtime,
    task::{self, JoinSet, LocalSet},
    time::{sleep, timeout},
};
use tracing::error;

use super::{attempt::client, registry::Webhooks, stop::Stop, worker::DeliveryWorker};
use crate::{domain::id::WebhookId, service::storage::Storage};

/// How long a stop waits for attempts that have begun. Deliveries that have not ended by then are made again after the
/// next start.
const LAST_ATTEMPTS: Duration = Duration::from_secs(5);

/// The pause before a worker that panicked is started again.
const AFTER_PANIC: Duration = Duration::from_secs(5);

/// The running deliveries.
pub struct Deliveries {
    stop: Stop,
    thread: thread::JoinHandle<()>,
}

impl Deliveries {
    /// Starts the thread. Our listening addresses must be set by then, since no delivery may go to one of them.
    pub fn start(webhooks: &Arc<Webhooks>, storage: &Arc<Storage>) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let stop = Stop::default();
        let (webhooks, storage, own_stop) = (webhooks.clone(), storage.clone(), stop.clone());
        let work = move || {
            LocalSet::new().block_on(&runtime, supervise(&webhooks, &storage, &own_stop));
            // Do not wait for a name that is still being resolved.
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new().name("webhooks".to_owned()).spawn(work)?;
        Ok(Self { stop, thread })
    }

    /// Ends the deliveries. Undelivered events are delivered after the next start.
    pub fn stop(self) {
        self.stop.request();
        if self.thread.join().is_err() {
            error!("the webhook thread panicked");
        }
    }
}

/// Keeps one worker running for each webhook.
async fn supervise(webhooks: &Arc<Webhooks>, storage: &Arc<Storage>, stop: &Stop) {
    let core = &webhooks.core;
    let client = client(core);
    task::spawn_local(client.sweep_idle());
    let (mut workers, mut running): (JoinSet<()>, HashMap<task::Id, WebhookId>) = Default::default();
    while !stop.is_stopping() {
        for (id, webhook) in core.catalog.load().webhooks() {
            if !running.values().any(|known| known == id) {
                let worker = DeliveryWorker::new(webhooks, storage, webhook, &client, stop);
                running.insert(workers.spawn_local(worker.run()).id(), *id);
            }
        }
        tokio::select! {
            () = webhooks.changed.notified() => {}
            () = stop.requested() => {}
            Some(ended) = workers.join_next_with_id() => {
                let (task, has_panicked) = ended.map_or_else(|panicked| (panicked.id(), true), |(task, ())| (task, false));
                let Some(id) = running.remove(&task) else { continue };
                if has_panicked {
                    error!(webhook = %id, "a webhook's worker panicked");
                    webhooks.problem(id, "an internal error occurred; see the log");
                    running.insert(workers.spawn_local(sleep(AFTER_PANIC)).id(), id);
                } else if !core.catalog.load().webhooks().contains_key(&id) {
                    webhooks.forget(id);
                }
            }
        }
    }
    webhooks.wake_all();
    let _ = timeout(LAST_ATTEMPTS, async { while workers.join_next().await.is_some() {} }).await;
}
