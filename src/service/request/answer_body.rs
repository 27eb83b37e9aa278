//! The body of an answer, and how an upstream's answer is passed on to the customer.
//!
//! * A JSON answer of up to `WHOLE` bytes has been read completely and is sent when its event is durable.
//! * A stream of events, or a larger JSON answer, is sent piece by piece as it arrives (`stream`).
//! * Once an upstream has answered 2xx, exactly one event is written, even if the customer hangs up or the upstream
//!   breaks off. An answer without content (`beginning`) and one of a route that is not billed make no event.

use bytes::Bytes;

use super::{
    beginning::{AnswerStart, StartedAnswer},
    failure::Refused,
    meter::Ended,
    stream::{AnswerStream, Origin},
    worker::InferenceWorker,
};

/// The body of a target's answer, for the customer.
pub enum AnswerBody {
    /// The complete body.
    Whole(Bytes),
    /// A body that is sent piece by piece as it arrives.
    Stream(Box<AnswerStream>),
}

/// Turns an answer that has begun into what HTTP sends. Returns status, content type and body. Fails if the event of a
/// complete answer does not become durable in time.
pub(super) async fn hand_over(
    worker: &InferenceWorker,
    begun: StartedAnswer,
    origin: Origin,
) -> Result<(u16, Bytes, AnswerBody), Refused> {
    let StartedAnswer { status, content_type, mut answering, first } = begun;
    let core = &worker.core;
    let body = match first {
        AnswerStart::Part(fed) => AnswerBody::Stream(Box::new(AnswerStream::new(core.clone(), answering, fed, origin))),
        AnswerStart::Whole(whole) => match answering.running.take().map(|running| running.meter.end()) {
            Some(Ended::NoEvent) => AnswerBody::Whole(whole),
            Some(Ended::Event(settled)) if core.is_durable_in_time(settled.seq).await => {
                settled.overhead.record();
                AnswerBody::Whole(whole)
            }
            _ => return Err(Refused::CannotMeter("an answer waited too long for its record to be written".to_owned())),
        },
    };
    Ok((status, content_type, body))
}
