//! A stream whose head is sent before a target has answered, so that proxies and clients do not give up during a long
//! prefill or in a queue.
//!
//! The request goes on in the response body. Until its answer begins, the customer gets a comment at regular intervals.
//! A failure can no longer have a status; it becomes an event.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::time::{Sleep, sleep};

use super::{
    answer_body::AnswerBody,
    failure::RequestFailure,
    forward::{Admitted, Forwarded, forward},
    worker::InferenceWorker,
};
use crate::{
    domain::{route::Route, trace_context::TraceId},
    service::core::Core,
};

/// The body of a response to a customer.
pub enum CustomerBody {
    /// A target has answered.
    Answered(AnswerBody),
    /// No target has answered yet.
    Waiting(Box<KeptAlive>),
}

/// A request whose answer has not begun although its head has been sent.
pub struct KeptAlive {
    answering: Pin<Box<dyn Future<Output = Result<Forwarded, RequestFailure>>>>,
    core: Arc<Core>,
    interval: Duration,
    timer: Pin<Box<Sleep>>,
    /// The route that was called.
    pub route: Route,
    /// The id of the customer's trace, for the log.
    pub trace_id: Option<TraceId>,
    /// The time when the request's head had been read.
    pub at: Instant,
}

/// The next step of a request that is kept alive.
pub enum KeptAliveStep {
    /// The interval is over.
    Comment,
    /// A target has answered. This is the body of the answer.
    Answered(AnswerBody),
    /// No target has answered.
    Failed(RequestFailure),
}

/// Forwards a request. If its answer has not begun after `interval`, returns a body that waits for it. Returns status,
/// content type and body.
pub(super) async fn forward_within(
    worker: &InferenceWorker,
    admitted: Box<Admitted>,
    interval: Duration,
) -> Result<(u16, Bytes, CustomerBody), RequestFailure> {
    let (core, reservation) = (worker.core.clone(), &admitted.reservation);
    let (route, trace_id, at) = (reservation.route(), reservation.trace_id(), reservation.arrived_at());
    let worker = worker.clone();
    let mut answering: Pin<Box<dyn Future<Output = _>>> = Box::pin(async move { forward(&worker, admitted).await });
    if let Ok(answered) = tokio::time::timeout(interval, &mut answering).await {
        let Forwarded { status, content_type, body } = answered?;
        return Ok((status, content_type, CustomerBody::Answered(body)));
    }
    // Its timer is due at once, so the head is followed by a comment.
    let timer = Box::pin(sleep(Duration::ZERO));
    let waiting = KeptAlive { answering, core, interval, timer, route, trace_id, at };
    Ok((200, Bytes::from_static(b"text/event-stream"), CustomerBody::Waiting(Box::new(waiting))))
}

impl KeptAlive {
    /// Returns the next step as soon as there is one. `Answered` and `Failed` are the last.
    pub fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<KeptAliveStep> {
        if let Poll::Ready(answered) = self.answering.as_mut().poll(cx) {
            return Poll::Ready(match answered {
                Ok(forwarded) => KeptAliveStep::Answered(forwarded.body),
                Err(failure) => {
                    failure.count(&self.core);
                    KeptAliveStep::Failed(failure)
                }
            });
        }
        std::task::ready!(self.timer.as_mut().poll(cx));
        self.timer.set(sleep(self.interval));
        Poll::Ready(KeptAliveStep::Comment)
    }
}
