//! Passing an upstream's answer on.
//!
//! * A JSON answer up to [`WHOLE`] is read whole and goes out when its event is durable.
//! * A stream of events, and a larger JSON answer, go out as they come (`stream`).
//! * From the first sight of a 2xx on there is exactly one event, whatever happens: the customer hangs up, the upstream
//!   breaks off. Only a JSON answer that broke before the customer got anything of it makes none.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tracing::warn;

use super::{Worker, failure::Refused, stream::AnswerStream, targets::Found};
use crate::{
    service::{
        Gateway,
        metering::{Form, Meter},
    },
    upstream::{Body, BodyError, Response},
};

/// The largest JSON answer that is read whole, in bytes.
const WHOLE: usize = 1 << 20;

/// How long an answer waits for its record before it is cut.
const LOG_PATIENCE: Duration = Duration::from_secs(30);

/// What the customer gets of an answer.
pub enum AnswerBody {
    /// All of it.
    Whole(Bytes),
    /// As it comes.
    Stream(Box<AnswerStream>),
}

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
                let read = self.meter.read_in_pieces();
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

impl Drop for Answering {
    /// The customer hung up. If only the usage is missing it is waited for; else the upstream is cancelled. A worker
    /// that is stopping takes nothing in any more: what it refuses is settled by being dropped.
    fn drop(&mut self) {
        if let Some(running) = self.running.take().filter(|running| running.meter.awaits_usage()) {
            let _ = self.left_behind.send(running);
        }
    }
}

/// Reads a JSON answer whole, or starts to pass a stream on. Gives status, content type and body.
pub(super) async fn begin(
    worker: &Worker,
    found: Found,
    hide_usage: bool,
) -> Result<(u16, Option<Bytes>, AnswerBody), Refused> {
    let Found { response: Response { status, content_type, body, .. }, target, reservation } = found;
    let form = form(content_type.as_deref(), reservation.is_stream());
    let meter = Meter::new(reservation, status, form, hide_usage);
    let mut answering = Answering { running: Some(Running { body, meter }), left_behind: worker.left_behind.clone() };
    let gateway = &worker.gateway;
    let stream = |answering, read| {
        let stream = AnswerStream::new(gateway.clone(), answering, read, target);
        AnswerBody::Stream(Box::new(stream))
    };
    if form == Form::Events {
        return Ok((status, content_type, stream(answering, Bytes::new())));
    }
    let Some(running) = &mut answering.running else { return Err(Refused::Upstream) };
    match read_whole(running).await {
        Ok(true) => {}
        Ok(false) => {
            let read = running.meter.read_in_pieces();
            return Ok((status, content_type, stream(answering, read)));
        }
        Err(error) => {
            warn!(%error, "an upstream's answer broke off");
            if let Some(running) = answering.running.take() {
                running.meter.forget();
            }
            return Err(if error.is_timeout() { Refused::UpstreamTimeout } else { Refused::Upstream });
        }
    }
    let whole = running.meter.whole();
    match answering.running.take().and_then(|running| running.meter.settle()) {
        Some(seq) if gateway.is_durable_in_time(seq).await => Ok((status, content_type, AnswerBody::Whole(whole))),
        _ => Err(Refused::CannotMeter("an answer waited too long for its record".to_owned())),
    }
}

/// Whether the answer is a stream of events: by its content type, or since it was asked for and nothing says otherwise.
fn form(content_type: Option<&[u8]>, stream_was_asked: bool) -> Form {
    let begins = |with: &str| {
        content_type
            .and_then(|text| text.get(..with.len()))
            .is_some_and(|start| start.eq_ignore_ascii_case(with.as_bytes()))
    };
    let is_stream = begins("text/event-stream") || (stream_was_asked && !begins("application/json"));
    if is_stream { Form::Events } else { Form::Whole }
}

/// Reads up to the end; `false` if it is more than [`WHOLE`], and goes on.
async fn read_whole(running: &mut Running) -> Result<bool, BodyError> {
    while let Some(piece) = running.body.chunk().await.transpose()? {
        if running.meter.collect(piece) > WHOLE {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Gateway {
    /// Whether a record became durable while its customer could still be kept waiting.
    pub(super) async fn is_durable_in_time(&self, seq: u64) -> bool {
        let durable = self.journal.durable(seq);
        self.journal.durable_seq() >= seq || tokio::time::timeout(LOG_PATIENCE, durable).await.is_ok()
    }
}
