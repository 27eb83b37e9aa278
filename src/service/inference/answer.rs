//! Passing an upstream's answer on.
//!
//! * A JSON answer up to [`WHOLE`] is read whole and goes out when its event is durable.
//! * A stream of events, and a larger JSON answer, go out as they come (`stream`).
//! * From the first sight of a 2xx on there is exactly one event, whatever happens: the customer hangs up, the upstream
//!   breaks off. Only a JSON answer that broke before the customer got anything of it makes none.

use std::time::Duration;

use bytes::Bytes;
use tracing::warn;

use super::{
    Worker,
    failure::Refused,
    running::{Answering, Running, WHOLE},
    stream::AnswerStream,
    targets::Found,
};
use crate::{
    service::{
        Gateway,
        meter::{Form, Meter},
    },
    upstream::{BodyError, Response},
};

/// How long an answer waits for its record before it is cut.
const LOG_PATIENCE: Duration = Duration::from_secs(30);

/// What the customer gets of an answer.
pub enum AnswerBody {
    /// All of it.
    Whole(Bytes),
    /// As it comes.
    Stream(Box<AnswerStream>),
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
    let mut answering = Answering::begin(Running { body, meter }, worker.left_behind.clone());
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
pub(in crate::service) fn form(content_type: Option<&[u8]>, stream_was_asked: bool) -> Form {
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
