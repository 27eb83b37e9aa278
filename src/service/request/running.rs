//! An answer that is being read: the upstream's body, its meter, and how both are ended when the customer hangs up.

use tokio::sync::mpsc;

use super::meter::{Form, Meter};
use crate::{service::dispatch::Attempt, upstream::Body};

/// The largest JSON answer that is read completely before it is sent, in bytes.
pub(super) const WHOLE: usize = 1 << 20;

/// The upstream's body, its meter, and the place that the request takes at the target.
pub(super) struct Running {
    pub(super) body: Body,
    pub(super) meter: Meter,
    /// The request's place at the target.
    pub(super) attempt: Attempt,
}

impl Running {
    /// Reads on after a hang-up until the usage is known or the answer ends. Dropping the meter then settles the
    /// request.
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
pub(super) struct OngoingAnswer {
    /// `None` once the answer has ended.
    pub(super) running: Option<Running>,
    abandoned: mpsc::UnboundedSender<Running>,
}

impl OngoingAnswer {
    pub(super) fn begin(running: Running, abandoned: mpsc::UnboundedSender<Running>) -> Self {
        Self { running: Some(running), abandoned }
    }
}

impl Drop for OngoingAnswer {
    /// Runs when the customer has hung up. If only the usage is missing, the worker reads on for it; otherwise the
    /// upstream request is cancelled. A worker that is stopping accepts no more answers; one that it does not accept is
    /// dropped, which settles it.
    fn drop(&mut self) {
        if let Some(running) = self.running.take().filter(|running| running.meter.awaits_usage()) {
            let _ = self.abandoned.send(running);
        }
    }
}
