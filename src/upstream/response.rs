//! An answer of a server or of the demo upstream.

use std::task::{Context, Poll};

use bytes::Bytes;

use super::{body_error::BodyError, client, provider::demo};
use crate::decode::{Decoded, Encoding};

/// An answer from a server or from the demo upstream. Its head has been read, its body has not.
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The `content-type` header, unchanged.
    pub content_type: Option<Bytes>,
    /// The `retry-after` header, unchanged.
    pub retry_after: Option<Bytes>,
    /// Whether the body has an encoding that Tollgate cannot decode. It can neither be read nor passed on.
    pub is_encoded: bool,
    /// The body, decoded as it arrives.
    pub body: Body,
}

impl Response {
    /// Wraps an answer from a server.
    pub fn from_http(response: client::Response) -> Self {
        let header = |name| response.headers.get(name).map(Bytes::copy_from_slice);
        let encoding = Encoding::parse(response.headers.get("content-encoding"));
        Self {
            status: response.status,
            content_type: header("content-type"),
            retry_after: header("retry-after"),
            is_encoded: encoding.is_err(),
            body: match encoding {
                Ok(Some(encoding)) => Body::Decoded(Box::new(Decoded::new(encoding, response.body))),
                _ => Body::Http(response.body),
            },
        }
    }
}

impl From<demo::DemoBody> for Response {
    fn from(answer: demo::DemoBody) -> Self {
        Self {
            status: 200,
            content_type: Some(Bytes::from_static(answer.content_type().as_bytes())),
            retry_after: None,
            is_encoded: false,
            body: Body::Demo(answer),
        }
    }
}

/// The body of an answer. Dropping it before its end cancels the request.
pub enum Body {
    /// A body that a server sent without an encoding.
    Http(client::Body),
    /// A body that a server sent with an encoding.
    Decoded(Box<Decoded<client::Body, client::BodyError>>),
    /// A body from the demo upstream.
    Demo(demo::DemoBody),
}

impl Body {
    /// Returns the next piece as soon as it has arrived, or `None` at the end.
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        match self {
            Self::Http(body) => body.poll_chunk(cx).map(|piece| piece.map(|piece| piece.map_err(BodyError::Body))),
            Self::Decoded(body) => body.poll_chunk(cx).map(|piece| piece.map(|piece| piece.map_err(BodyError::from))),
            Self::Demo(answer) => answer.poll_chunk(cx).map(|piece| piece.map(Ok)),
        }
    }

    /// Returns the next piece as soon as it has arrived, or `None` at the end.
    pub async fn chunk(&mut self) -> Option<Result<Bytes, BodyError>> {
        std::future::poll_fn(|cx| self.poll_chunk(cx)).await
    }
}
