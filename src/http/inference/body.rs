//! Reads a customer's request body. The body must not be encoded and must be at most `max_body` bytes. Its memory
//! counts towards `max_bodies`.

use actix_http::{
    Payload,
    header::{self, HeaderMap},
};
use bytes::Bytes;

use super::error::Problem;
use crate::{
    http::body::{self, Unread},
    service::{
        Gateway,
        capacity::bodies::{Holder, Room},
        catalog::KeyEntry,
    },
};

/// The declared length of the body, in bytes.
///
/// # Errors
///
/// The head declares an encoding or a length that is not accepted.
pub(super) fn declared_length(gateway: &Gateway, headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let encoding = headers.get(header::CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Problem::unsupported_encoding());
    }
    let max = gateway.core.config.max_body;
    let declared = body::declared_length(headers);
    if declared.is_some_and(|declared| declared > max) { Err(Problem::request_too_large(max)) } else { Ok(declared) }
}

/// Reads the whole body and reserves its memory.
pub(super) async fn read_body(
    gateway: &Gateway,
    key: &KeyEntry,
    headers: &HeaderMap,
    payload: &mut Payload,
) -> Result<(Bytes, Room), Problem> {
    let declared = declared_length(gateway, headers)?;
    let read = body::read(&gateway.bodies, holder(key), payload, declared, gateway.core.config.max_body).await;
    read.map_err(|unread| problem(gateway, unread))
}

/// Reserves the memory of a body that has already been read, under the same limits.
pub(super) async fn admit_body(gateway: &Gateway, key: &KeyEntry, body: &Bytes) -> Result<Room, Problem> {
    let length = body.len() as u64;
    let mut room = gateway.bodies.room(holder(key));
    let admitted = match length > gateway.core.config.max_body {
        true => Err(Unread::TooLarge),
        false => body::cover(&gateway.bodies, &mut room, length).await,
    };
    admitted.map(|()| room).map_err(|unread| problem(gateway, unread))
}

/// The holder of a customer's bodies: the root of the key's group, so a whole tree of groups counts as one customer.
fn holder(key: &KeyEntry) -> Holder {
    Holder::Customer(key.group.root())
}

fn problem(gateway: &Gateway, unread: Unread) -> Problem {
    match unread {
        Unread::TooLarge => Problem::request_too_large(gateway.core.config.max_body),
        Unread::TooSlow => Problem::request_timeout(),
        Unread::Broken => Problem::broken_body(),
        Unread::NoRoom => {
            gateway.core.counts.failed();
            Problem::overloaded()
        }
    }
}
