//! How Tollgate is: what the status page and the health checks are made of.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::Gateway;
use crate::{
    domain::usage::Usage,
    upstream::{health::Trouble, target::Target},
};

/// How long a record may wait before new requests are refused.
const STALL: Duration = Duration::from_secs(5);

/// What happened since the start.
#[derive(Default)]
pub struct Counts {
    admitted: AtomicU64,
    ended: AtomicU64,
    refused: AtomicU64,
    target_failures: AtomicU64,
    billed: AtomicU64,
    input_tokens: AtomicU64,
    output_tokens: AtomicU64,
    /// Standing when the last running request ends while somebody waits for that.
    idle: Notify,
    is_draining: AtomicBool,
}

/// [`Counts`], read.
pub struct Counted {
    /// Requests that are running.
    pub running: u64,
    /// Requests that passed their limits.
    pub admitted: u64,
    /// Requests that a limit stopped.
    pub refused: u64,
    /// Times that a target was passed over.
    pub target_failures: u64,
    /// Events.
    pub billed: u64,
    /// Prompt tokens billed.
    pub input_tokens: u64,
    /// Output tokens billed.
    pub output_tokens: u64,
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

impl Counts {
    pub(super) fn admitted(&self) {
        add(&self.admitted, 1);
    }

    pub(super) fn ended(&self) {
        // Sequentially consistent with `is_draining`: either this sees that somebody waits, or he sees that it ended.
        self.ended.fetch_add(1, Ordering::SeqCst);
        if self.is_draining.load(Ordering::SeqCst) && self.running() == 0 {
            self.idle.notify_one();
        }
    }

    fn running(&self) -> u64 {
        let ended = self.ended.load(Ordering::SeqCst);
        self.admitted.load(Ordering::SeqCst).saturating_sub(ended)
    }

    /// Waits until no admitted request is running; no new one is admitted any more.
    pub async fn drained(&self) {
        self.is_draining.store(true, Ordering::SeqCst);
        while self.running() > 0 {
            self.idle.notified().await;
        }
    }

    pub(super) fn refused(&self) {
        add(&self.refused, 1);
    }

    pub(super) fn target_failed(&self) {
        add(&self.target_failures, 1);
    }

    pub(super) fn billed(&self, usage: &Usage) {
        add(&self.billed, 1);
        add(&self.input_tokens, usage.input);
        add(&self.output_tokens, usage.output);
    }

    /// All of them.
    pub fn read(&self) -> Counted {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counted {
            running: self.running(),
            admitted: get(&self.admitted),
            refused: get(&self.refused),
            target_failures: get(&self.target_failures),
            billed: get(&self.billed),
            input_tokens: get(&self.input_tokens),
            output_tokens: get(&self.output_tokens),
        }
    }
}

impl Gateway {
    /// Why nothing can be billed now, in words for the operator; `None` while all is well.
    pub fn cannot_meter(&self) -> Option<String> {
        let stalled = self.journal.stalled(Instant::now()).filter(|waited| *waited > STALL);
        if stalled.is_none() && !self.journal.running_out() {
            return None;
        }
        let cause = self.journal.last_error().unwrap_or_else(|| "the disk does not answer".to_owned());
        Some(match stalled {
            Some(waited) => format!("The journal has not been written for {} s: {cause}.", waited.as_secs()),
            None => format!("The journal's next file cannot be made: {cause}."),
        })
    }

    /// What needs an operator's attention, in sentences.
    pub fn attention(&self) -> Vec<String> {
        let catalog = self.catalog.load();
        let troubles = catalog.models().flat_map(|model| {
            let of_target = |(index, target): (usize, &Arc<Target>)| {
                let Trouble { why, times, .. } = target.health.trouble()?;
                let what = if times == 1 { "did not answer the last call" } else { "has not answered lately" };
                Some(format!("Target {index} of {} {what} (failures in a row: {times}): {why}.", model.slug))
            };
            model.targets.iter().enumerate().filter_map(of_target)
        });
        let behind = [&self.fold_error, &self.housekeeping_error].map(|error| error.lock().clone());
        let own = self.cannot_meter().into_iter().chain(behind.into_iter().flatten()).chain(self.in_flight.trouble());
        let own = own.chain(self.guessing_told()).chain(self.trouble_with_webhooks());
        self.findings.iter().cloned().chain(self.damage_told()).chain(own).chain(troubles).collect()
    }

    /// Free and total bytes of the file system under the data directory.
    pub fn disk_space(&self) -> Option<(u64, u64)> {
        let stat = rustix::fs::statvfs(&self.config.data_dir).ok()?;
        Some((stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize)))
    }
}
