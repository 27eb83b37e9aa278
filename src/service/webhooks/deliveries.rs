//! The thread that makes all deliveries, with a task for each webhook.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::{
    runtime,
    sync::Notify,
    task::{self, JoinSet, LocalSet},
    time::{sleep, timeout},
};
use tracing::error;

use super::{attempt::client, worker::DeliveryWorker};
use crate::{domain::id::WebhookId, service::gateway::Gateway};

/// How long a stop waits for attempts that have begun. Deliveries that have not ended by then are made again after the
/// next start.
const LAST_ATTEMPTS: Duration = Duration::from_secs(5);

/// The pause before a worker that panicked is started again.
const AFTER_PANIC: Duration = Duration::from_secs(5);

/// The signal that ends the deliveries.
#[derive(Clone, Default)]
pub(super) struct Stop(Arc<Stopping>);

#[derive(Default)]
struct Stopping {
    is_stopping: AtomicBool,
    wake: Notify,
}

impl Stop {
    pub(super) fn is_stopping(&self) -> bool {
        self.0.is_stopping.load(Ordering::SeqCst)
    }
}

/// The running deliveries.
pub struct Deliveries {
    stop: Stop,
    thread: thread::JoinHandle<()>,
}

impl Deliveries {
    /// Starts the thread. Our listening addresses must be set by then, since no delivery may go to one of them.
    pub fn start(gateway: &Arc<Gateway>) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let stop = Stop::default();
        let (own_gateway, own_stop) = (gateway.clone(), stop.clone());
        let work = move || {
            LocalSet::new().block_on(&runtime, supervise(&own_gateway, &own_stop));
            // Do not wait for a name that is still being resolved.
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new().name("webhooks".to_owned()).spawn(work)?;
        Ok(Self { stop, thread })
    }

    /// Ends the deliveries. Undelivered events are delivered after the next start.
    pub fn stop(self) {
        self.stop.0.is_stopping.store(true, Ordering::SeqCst);
        self.stop.0.wake.notify_one();
        if self.thread.join().is_err() {
            error!("the webhook thread panicked");
        }
    }
}

/// Keeps one worker running for each webhook.
async fn supervise(gateway: &Arc<Gateway>, stop: &Stop) {
    let client = client(gateway);
    task::spawn_local(client.sweep_idle());
    let (mut workers, mut running): (JoinSet<()>, HashMap<task::Id, WebhookId>) = Default::default();
    while !stop.is_stopping() {
        for (id, webhook) in gateway.catalog.load().webhooks() {
            if !running.values().any(|known| known == id) {
                let worker = DeliveryWorker::new(gateway, webhook, &client, stop);
                running.insert(workers.spawn_local(worker.run()).id(), *id);
            }
        }
        tokio::select! {
            () = gateway.webhooks.changed.notified() => {}
            () = stop.0.wake.notified() => {}
            Some(ended) = workers.join_next_with_id() => {
                let (task, has_panicked) = ended.map_or_else(|panicked| (panicked.id(), true), |(task, ())| (task, false));
                let Some(id) = running.remove(&task) else { continue };
                if has_panicked {
                    error!(webhook = %id, "a webhook's worker panicked");
                    gateway.webhooks.problem(id, "an internal error occurred; see the log");
                    running.insert(workers.spawn_local(sleep(AFTER_PANIC)).id(), id);
                } else if !gateway.catalog.load().webhooks().contains_key(&id) {
                    gateway.webhooks.forget(id);
                }
            }
        }
    }
    gateway.webhooks.states.lock().values().for_each(|state| state.wake());
    let _ = timeout(LAST_ATTEMPTS, async { while workers.join_next().await.is_some() {} }).await;
}
