//! Model servers: how they are reached, what is read of the bytes that pass through.
//!
//! Bytes are forwarded; usage is observed beside them. What need not be touched is not touched.

pub mod address;
pub mod begins;
pub mod client;
pub mod declined;
pub mod decode;
pub mod health;
pub mod json;
pub mod observe;
pub mod provider;
pub mod refusal;
pub mod request;
pub mod splice;
pub mod sse;
pub mod target;
pub mod usage;

use std::{
    fmt,
    task::{Context, Poll},
};

use bytes::Bytes;

use self::{
    decode::{Decoded, Encoding},
    provider::demo,
};

/// An answer whose head has been read: of a server, or of the demo upstream.
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// As sent.
    pub content_type: Option<Bytes>,
    /// As sent.
    pub retry_after: Option<Bytes>,
    /// The body is encoded in a way that nobody here can decode: it can be neither read nor passed on.
    pub is_encoded: bool,
    /// As it comes in, decoded.
    pub body: Body,
}

impl Response {
    /// Of a server.
    pub fn from_http(response: client::Response) -> Self {
        let header = |name| response.headers.get(name).map(Bytes::copy_from_slice);
        let encoding = response.headers.get("content-encoding").map_or(Ok(None), Encoding::parse);
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

/// An answer's body. Dropping it before its end cancels the request.
pub enum Body {
    /// From a server.
    Http(client::Body),
    /// From a server, encoded by it.
    Decoded(Box<Decoded>),
    /// From the demo upstream.
    Demo(demo::Answer),
}

/// The body broke off.
#[derive(Debug)]
pub enum BodyError {
    /// As it came.
    Body(client::BodyError),
    /// It is not encoded as its head says.
    Encoding(String),
}

impl BodyError {
    /// Whether the upstream was silent for too long.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Body(client::BodyError::TimedOut))
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body(error) => error.fmt(f),
            Self::Encoding(error) => write!(f, "the answer cannot be decoded: {error}"),
        }
    }
}

impl Body {
    /// The next piece, as soon as it is in; `None` at the end.
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        match self {
            Self::Http(body) => body.poll_chunk(cx).map(|piece| piece.map(|piece| piece.map_err(BodyError::Body))),
            Self::Decoded(body) => body.poll_chunk(cx),
            Self::Demo(answer) => answer.poll_chunk(cx).map(|piece| piece.map(Ok)),
        }
    }

    /// The next piece, as soon as it is in; `None` at the end.
    pub async fn chunk(&mut self) -> Option<Result<Bytes, BodyError>> {
        std::future::poll_fn(|cx| self.poll_chunk(cx)).await
    }
}
