//! The head and body of a response. Its headers are our own. From the upstream come only the content type and the
//! `Retry-After` of a refusal that is passed on.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use actix_http::{
    ConnectionType, Payload, Response, StatusCode, Version,
    body::{BodySize, MessageBody},
    header::{self, HeaderName, HeaderValue},
};
use bytes::Bytes;
use serde::Serialize;
use uuid::Uuid;

use super::{api::Api, headers::value, rate_limits};
use crate::{
    domain::ledger::Standings,
    service::request::{Answer, AnswerBody},
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
    body: AnswerBody,
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
            body: AnswerBody::Whole(serde_json::to_vec(body).unwrap_or_default().into()),
        }
    }

    /// A 204.
    pub(super) fn no_content() -> Self {
        Self { status: 204, body: AnswerBody::Whole(Bytes::new()), ..Self::json(&()) }
    }

    /// Makes the HTTP response. It holds `unread`, the unread part of the request. This way actix knows that the
    /// connection cannot be used again, and does not read the rest of a body that is not needed.
    pub(super) fn into_response(self, api: Api, id: Uuid, version: Version, unread: Payload) -> Response<ReplyBody> {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_GATEWAY);
        let is_stream = matches!(&self.body, AnswerBody::Stream(stream) if stream.is_event_stream());
        // HTTP/1.0 has no chunked encoding, so a stream ends with its connection.
        let is_unframed = version < Version::HTTP_11 && matches!(&self.body, AnswerBody::Stream(_));
        let mut response = Response::with_body(status, ReplyBody { body: self.body, _unread: unread });
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
        let mut buffer = Uuid::encode_buffer();
        let id = id.hyphenated().encode_lower(&mut buffer);
        let id = value(Bytes::copy_from_slice(id.as_bytes()));
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

/// The body of a response.
pub(super) struct ReplyBody {
    body: AnswerBody,
    _unread: Payload,
}

impl ReplyBody {
    /// Whether the stream broke off, so that its last event is an error.
    pub(super) fn is_broken(&self) -> bool {
        matches!(&self.body, AnswerBody::Stream(stream) if stream.is_broken())
    }
}

impl MessageBody for ReplyBody {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        match &self.body {
            AnswerBody::Whole(bytes) => BodySize::Sized(bytes.len() as u64),
            AnswerBody::Stream(_) => BodySize::Stream,
        }
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        match &mut self.get_mut().body {
            AnswerBody::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            AnswerBody::Whole(bytes) => Poll::Ready(Some(Ok(std::mem::take(bytes)))),
            AnswerBody::Stream(stream) => {
                stream.poll_piece(cx).map(|piece| piece.map(|piece| piece.map_err(Into::into)))
            }
        }
    }
}
