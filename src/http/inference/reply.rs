//! An answer's head and body, as they leave: only headers of ours, and of the upstream's its content type.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use actix_http::{
    Response, StatusCode,
    body::{BodySize, MessageBody},
    header::{self, HeaderName, HeaderValue},
};
use bytes::Bytes;
use serde::Serialize;
use uuid::Uuid;

use super::{headers::value, rate_limits};
use crate::{
    domain::ledger::Standings,
    service::inference::{Answer, AnswerBody, AnswerStream},
};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// An answer, before it has a request's id.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) retry_after: Option<Bytes>,
    pub(super) should_retry: Option<bool>,
    pub(super) standings: Option<Box<Standings>>,
    /// The connection cannot be used again.
    pub(super) closes: bool,
    content_type: Option<Bytes>,
    body: ReplyBody,
}

impl Reply {
    /// A 200 with a JSON body.
    pub(super) fn json(body: &impl Serialize) -> Self {
        Self {
            status: 200,
            retry_after: None,
            should_retry: None,
            standings: None,
            closes: false,
            content_type: None,
            body: ReplyBody::Whole(serde_json::to_vec(body).unwrap_or_default().into()),
        }
    }

    pub(super) fn into_response(self, id: Uuid) -> Response<ReplyBody> {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_GATEWAY);
        let is_stream = matches!(&self.body, ReplyBody::Stream(stream) if stream.is_event_stream());
        let mut response = Response::with_body(status, self.body);
        response.head_mut().set_connection_type(match self.closes {
            true => actix_http::ConnectionType::Close,
            false => actix_http::ConnectionType::KeepAlive,
        });
        let headers = response.headers_mut();
        let content_type = self.content_type.and_then(value);
        headers
            .insert(header::CONTENT_TYPE, content_type.unwrap_or_else(|| HeaderValue::from_static("application/json")));
        let mut buffer = Uuid::encode_buffer();
        let id = id.hyphenated().encode_lower(&mut buffer);
        insert(headers, X_REQUEST_ID, value(Bytes::copy_from_slice(id.as_bytes())));
        insert(headers, header::RETRY_AFTER, self.retry_after.and_then(value));
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
        let body = match answer.body {
            AnswerBody::Whole(bytes) => ReplyBody::Whole(bytes),
            AnswerBody::Stream(stream) => ReplyBody::Stream(stream),
        };
        let Answer { status, content_type, standings, .. } = answer;
        Self {
            status,
            retry_after: None,
            should_retry: None,
            standings: Some(Box::new(standings)),
            closes: false,
            content_type,
            body,
        }
    }
}

fn insert(headers: &mut header::HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    if let Some(value) = value {
        headers.insert(name, value);
    }
}

/// What goes out as the body.
pub(super) enum ReplyBody {
    /// All of it.
    Whole(Bytes),
    /// As it comes.
    Stream(Box<AnswerStream>),
}

impl Default for ReplyBody {
    fn default() -> Self {
        Self::Whole(Bytes::new())
    }
}

impl MessageBody for ReplyBody {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        match self {
            Self::Whole(bytes) => BodySize::Sized(bytes.len() as u64),
            Self::Stream(_) => BodySize::Stream,
        }
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(std::mem::take(bytes)))),
            Self::Stream(stream) => stream.poll_piece(cx).map(|piece| piece.map(|piece| piece.map_err(Into::into))),
        }
    }
}
