//! Passing an upstream's answer on.
//!
//! * A JSON answer up to `WHOLE` has been read whole and goes out when its event is durable.
//! * A stream of events, and a larger JSON answer, go out as they come (`stream`).
//! * From the first sight of a 2xx on there is exactly one event, whatever happens: the customer hangs up, the upstream
//!   breaks off. Only an answer that said nothing makes none (`beginning`).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    Worker,
    beginning::{Begun, First},
    failure::Refused,
    stream::{AnswerStream, Origin},
};
use crate::service::Gateway;

/// How long an answer waits for its record before it is cut.
const LOG_PATIENCE: Duration = Duration::from_secs(30);

/// What the customer gets of an answer.
pub enum AnswerBody {
    /// All of it.
    Whole(Bytes),
    /// As it comes.
    Stream(Box<AnswerStream>),
}

/// Hands an answer over that has begun. Gives status, content type and body.
pub(super) async fn hand_over(
    worker: &Worker,
    begun: Begun,
    origin: Origin,
) -> Result<(u16, Bytes, AnswerBody), Refused> {
    let Begun { status, content_type, mut answering, first } = begun;
    let gateway: &Arc<Gateway> = &worker.gateway;
    let body = match first {
        First::Part(fed) => AnswerBody::Stream(Box::new(AnswerStream::new(gateway.clone(), answering, fed, origin))),
        First::Whole(whole) => match answering.running.take().and_then(|running| running.meter.settle()) {
            Some(seq) if gateway.is_durable_in_time(seq).await => AnswerBody::Whole(whole),
            _ => return Err(Refused::CannotMeter("an answer waited too long for its record".to_owned())),
        },
    };
    Ok((status, content_type, body))
}

/// An error as it stands in an answer that has begun as a success.
pub(super) fn error_object(message: &str) -> Value {
    json!({ "message": message, "type": "server_error", "param": null, "code": "upstream_error" })
}

impl Gateway {
    /// Whether a record became durable while its customer could still be kept waiting.
    pub(super) async fn is_durable_in_time(&self, seq: u64) -> bool {
        let durable = self.journal.durable(seq);
        self.journal.durable_seq() >= seq || tokio::time::timeout(LOG_PATIENCE, durable).await.is_ok()
    }
}
