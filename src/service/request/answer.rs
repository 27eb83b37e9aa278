//! Passes an upstream's answer on to the customer.
//!
//! * A JSON answer of up to `WHOLE` bytes has been read completely and is sent when its event is durable.
//! * A stream of events, or a larger JSON answer, is sent piece by piece as it arrives (`stream`).
//! * Once an upstream has answered 2xx, exactly one event is written, even if the customer hangs up or the upstream
//!   breaks off. The only exception is an answer without content, which makes no event (`beginning`).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    InferenceWorker,
    beginning::{Begun, First},
    failure::Refused,
    stream::{AnswerStream, Origin},
};
use crate::service::gateway::Gateway;

/// How long an answer waits for its record to become durable before it is cut.
const LOG_PATIENCE: Duration = Duration::from_secs(30);

/// The body of an answer for the customer.
pub enum AnswerBody {
    /// The complete body.
    Whole(Bytes),
    /// A body that is sent piece by piece as it arrives.
    Stream(Box<AnswerStream>),
}

/// Turns an answer that has begun into what HTTP sends. Returns status, content type and body.
pub(super) async fn hand_over(
    worker: &InferenceWorker,
    begun: Begun,
    origin: Origin,
) -> Result<(u16, Bytes, AnswerBody), Refused> {
    let Begun { status, content_type, mut answering, first } = begun;
    let gateway: &Arc<Gateway> = &worker.gateway;
    let body = match first {
        First::Part(fed) => AnswerBody::Stream(Box::new(AnswerStream::new(gateway.clone(), answering, fed, origin))),
        First::Whole(whole) => match answering.running.take().and_then(|running| running.meter.settle()) {
            Some(seq) if gateway.is_durable_in_time(seq).await => AnswerBody::Whole(whole),
            _ => return Err(Refused::CannotMeter("an answer waited too long for its record to be written".to_owned())),
        },
    };
    Ok((status, content_type, body))
}

/// An error as it stands in an answer that has begun as a success.
pub(super) fn error_object(message: &str) -> Value {
    json!({ "message": message, "type": "server_error", "param": null, "code": "upstream_error" })
}

impl Gateway {
    /// Waits for a record to become durable. Returns whether it did so within [`LOG_PATIENCE`].
    pub(super) async fn is_durable_in_time(&self, seq: u64) -> bool {
        let durable = self.journal.durable(seq);
        self.journal.durable_seq() >= seq || tokio::time::timeout(LOG_PATIENCE, durable).await.is_ok()
    }
}
