//! An answer that is being read: the upstream's body, the meter beside it, and what becomes of both when the customer
//! goes.

use tokio::sync::mpsc;

use crate::{
    service::meter::{Form, Meter},
    upstream::Body,
};

/// The largest JSON answer that is read whole, in bytes.
pub(super) const WHOLE: usize = 1 << 20;

/// The upstream's body and the meter beside it.
pub(super) struct Running {
    pub(super) body: Body,
    pub(super) meter: Meter,
}

impl Running {
    /// Reads on without a customer until the usage is known or the answer ends; then it is settled by being dropped.
    pub(super) async fn read_on(mut self) {
        while self.meter.awaits_usage() {
            let Some(Ok(piece)) = self.body.chunk().await else { return };
            if self.meter.form() != Form::Whole {
                drop(self.meter.feed(piece));
            } else if self.meter.collect(piece) > WHOLE {
                let read = self.meter.set_form(Form::Pieces);
                drop(self.meter.feed(read));
            }
        }
    }
}

/// An answer that is being passed on.
pub(super) struct Answering {
    /// Absent when it has ended.
    pub(super) running: Option<Running>,
    left_behind: mpsc::UnboundedSender<Running>,
}

impl Answering {
    pub(super) fn begin(running: Running, left_behind: mpsc::UnboundedSender<Running>) -> Self {
        Self { running: Some(running), left_behind }
    }
}

impl Drop for Answering {
    /// The customer hung up. If only the usage is missing it is waited for; else the upstream is cancelled. A worker
    /// that is stopping takes nothing in any more: what it refuses is settled by being dropped.
    fn drop(&mut self) {
        if let Some(running) = self.running.take().filter(|running| running.meter.awaits_usage()) {
            let _ = self.left_behind.send(running);
        }
    }
}
