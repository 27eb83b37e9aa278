//! The head and body of a response. Its headers are our own. From the upstream come only the content type and the
//! `Retry-After` of a refusal that is passed on.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use actix_http::{
    ConnectionType, Payload, Response, StatusCode, Version,
    body::{BodySize, MessageBody},
    header::{self, HeaderName, HeaderValue},
};
use bytes::Bytes;
use serde::Serialize;
use uuid::Uuid;

use super::{
    api::Api,
    error::{Methods, Problem, Retry},
    headers::{request_id, value},
    rate_limits,
};
use crate::{
    domain::{ledger::Standings, route::Route},
    service::{
        metrics::RequestMetrics,
        request::{Answer, AnswerBody, CustomerBody, KeptAliveStep, Refused, RequestFailure},
    },
};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The name of the header in Anthropic's API.
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const X_SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// A response that does not have its request id yet.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) retry_after: Option<Bytes>,
    pub(super) should_retry: Option<bool>,
    pub(super) standings: Option<Box<Standings>>,
    /// The methods that the URL accepts.
    pub(super) allow: Option<&'static str>,
    /// Whether the connection is closed after this response.
    pub(super) closes: bool,
    content_type: Option<Bytes>,
    body: CustomerBody,
}

impl Reply {
    /// A 200 with a JSON body.
    pub(super) fn json(body: &impl Serialize) -> Self {
        Self {
            status: 200,
            retry_after: None,
            should_retry: None,
            standings: None,
            allow: None,
            closes: false,
            content_type: None,
            body: whole(serde_json::to_vec(body).unwrap_or_default()),
        }
    }

    /// The response for an error.
    pub(super) fn of_problem(problem: Problem, api: Api, id: Uuid) -> Self {
        let mut reply = Self::json(&problem.body(api, id));
        reply.status = problem.status;
        match problem.retry {
            Retry::Nothing => {}
            Retry::Never => reply.should_retry = Some(false),
            Retry::After(value) => reply.retry_after = Some(value),
            Retry::Limit(wait) => {
                reply.retry_after = wait.retry_after();
                reply.should_retry = wait.should_retry();
            }
        }
        reply.standings = problem.standings;
        reply.allow = problem.allow.map(Methods::header);
        reply.closes = problem.closes;
        reply
    }

    /// A 204.
    pub(super) fn no_content() -> Self {
        Self { status: 204, body: whole(Bytes::new()), ..Self::json(&()) }
    }

    /// Makes the HTTP response. It holds `unread`, the unread part of the request. This way actix knows that the
    /// connection cannot be used again, and does not read the rest of a body that is not needed. `measured` measures the
    /// request until the last byte of the response has been handed over.
    pub(super) fn into_response(
        self,
        api: Api,
        id: Uuid,
        version: Version,
        unread: Payload,
        measured: RequestMetrics,
    ) -> Response<ReplyBody> {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_GATEWAY);
        let (is_whole, is_stream) = match &self.body {
            CustomerBody::Answered(AnswerBody::Whole(_)) => (true, false),
            CustomerBody::Answered(AnswerBody::Stream(stream)) => (false, stream.is_event_stream()),
            CustomerBody::Waiting(_) => (false, true),
        };
        // HTTP/1.0 has no chunked encoding, so a stream ends with its connection.
        let is_unframed = version < Version::HTTP_11 && !is_whole;
        // A whole body is handed over with the head.
        let measured = Some(measured).filter(|_| !is_whole);
        let body = ReplyBody { body: self.body, api, id, has_failed: false, measured, _unread: unread };
        let mut response = Response::with_body(status, body);
        response.head_mut().no_chunking(is_unframed);
        if self.closes || is_unframed {
            response.head_mut().set_connection_type(ConnectionType::Close);
        }
        let headers = response.headers_mut();
        let content_type = self.content_type.and_then(value);
        if status != StatusCode::NO_CONTENT {
            let json = || HeaderValue::from_static("application/json");
            headers.insert(header::CONTENT_TYPE, content_type.unwrap_or_else(json));
        }
        let id = value(request_id(id));
        if api == Api::Anthropic {
            insert(headers, REQUEST_ID, id.clone());
        }
        insert(headers, X_REQUEST_ID, id);
        insert(headers, header::RETRY_AFTER, self.retry_after.and_then(value));
        insert(headers, header::ALLOW, self.allow.map(HeaderValue::from_static));
        if let Some(should_retry) = self.should_retry {
            headers.insert(X_SHOULD_RETRY, HeaderValue::from_static(if should_retry { "true" } else { "false" }));
        }
        if is_stream {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
        }
        if let Some(standings) = &self.standings {
            rate_limits::write(standings, headers);
        }
        response
    }
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        let Answer { status, content_type, standings, body } = answer;
        Self {
            status,
            retry_after: None,
            should_retry: None,
            standings: Some(Box::new(standings)),
            allow: None,
            closes: false,
            content_type: Some(content_type),
            body,
        }
    }
}

fn insert(headers: &mut header::HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    if let Some(value) = value {
        headers.insert(name, value);
    }
}

fn whole(body: impl Into<Bytes>) -> CustomerBody {
    CustomerBody::Answered(AnswerBody::Whole(body.into()))
}

/// The comment that keeps a stream alive.
const COMMENT: Bytes = Bytes::from_static(b": keep-alive\n\n");

/// The body of a response.
pub(super) struct ReplyBody {
    body: CustomerBody,
    api: Api,
    id: Uuid,
    /// The stream failed before its answer began.
    has_failed: bool,
    /// `None` when the last byte has been handed over.
    measured: Option<RequestMetrics>,
    _unread: Payload,
}

impl ReplyBody {
    /// Whether the last event of the stream is an error.
    pub(super) fn is_broken(&self) -> bool {
        let is_broken = |body: &CustomerBody| match body {
            CustomerBody::Answered(AnswerBody::Stream(stream)) => stream.is_broken(),
            _ => false,
        };
        self.has_failed || is_broken(&self.body)
    }

    fn count_refusal(&self, problem: &Problem) {
        if let Some(measured) = &self.measured {
            measured.refused(problem.logged_code());
        }
    }

    /// Turns the answer to a stream that was kept alive into the rest of the stream.
    fn begin_late(&mut self, route: Route, body: AnswerBody) {
        self.body = match body {
            // The head says that the answer is a stream of events.
            AnswerBody::Whole(json) => whole(event(&json)),
            AnswerBody::Stream(stream) if !stream.is_event_stream() => {
                self.has_failed = true;
                let problem = Problem::from(RequestFailure::from(Refused::Upstream(None)));
                self.count_refusal(&problem);
                whole(problem.event(self.api, self.id, route))
            }
            body => CustomerBody::Answered(body),
        };
    }
}

/// Makes an event with this data.
fn event(data: &[u8]) -> Bytes {
    let mut event = Vec::with_capacity(data.len() + 16);
    for line in data.split(|byte| *byte == b'\n') {
        event.extend_from_slice(b"data: ");
        event.extend_from_slice(line.trim_ascii_end());
        event.push(b'\n');
    }
    event.push(b'\n');
    event.into()
}

impl MessageBody for ReplyBody {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        match &self.body {
            CustomerBody::Answered(AnswerBody::Whole(bytes)) => BodySize::Sized(bytes.len() as u64),
            CustomerBody::Answered(AnswerBody::Stream(_)) | CustomerBody::Waiting(_) => BodySize::Stream,
        }
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.get_mut();
        loop {
            let waiting = match &mut this.body {
                CustomerBody::Answered(AnswerBody::Whole(bytes)) if bytes.is_empty() => return Poll::Ready(None),
                CustomerBody::Answered(AnswerBody::Whole(bytes)) => {
                    this.measured = None;
                    return Poll::Ready(Some(Ok(std::mem::take(bytes))));
                }
                CustomerBody::Answered(AnswerBody::Stream(stream)) => {
                    let piece = stream.poll_piece(cx);
                    if stream.has_ended() {
                        this.measured = None;
                    }
                    return piece.map(|piece| piece.map(|piece| piece.map_err(Into::into)));
                }
                CustomerBody::Waiting(waiting) => waiting,
            };
            let (route, trace_id, at) = (waiting.route, waiting.trace_id, waiting.at);
            match ready!(waiting.poll_step(cx)) {
                KeptAliveStep::Comment => return Poll::Ready(Some(Ok(COMMENT))),
                KeptAliveStep::Answered(body) => this.begin_late(route, body),
                KeptAliveStep::Failed(failure) => {
                    let problem = Problem::from(failure);
                    problem.log(this.id, trace_id, route.path(), at);
                    this.count_refusal(&problem);
                    this.has_failed = true;
                    this.body = whole(problem.event(this.api, this.id, route));
                }
            }
        }
    }
}
