//! Reads a customer's request body, which may be encoded. It must be at most `max_body` bytes after it is decoded. Its
//! memory counts towards `max_bodies`.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    time::{Duration, Instant},
};

use actix_http::{Payload, header::HeaderMap};
use bytes::Bytes;

use super::error::Problem;
use crate::{
    decode::Encoding,
    http::body::{self, Declared, Unread},
    service::{
        Gateway,
        capacity::bodies::{Holder, Room},
        catalog::KeyEntry,
    },
};

/// The encoding and the length of the body, as declared by the head.
///
/// # Errors
///
/// The head declares an encoding or a length that is not accepted.
pub(super) fn declared(gateway: &Gateway, headers: &HeaderMap) -> Result<Declared, Problem> {
    let declared = Declared::of(headers).map_err(|_| Problem::unsupported_encoding())?;
    let is_too_large = declared.exceeds(gateway.core.config.max_body);
    if is_too_large { Err(problem(gateway, declared.encoding, Unread::TooLarge)) } else { Ok(declared) }
}

/// Reads and decodes the whole body, and reserves its memory.
pub(super) async fn read_body(
    gateway: &Gateway,
    key: &KeyEntry,
    headers: &HeaderMap,
    payload: &mut Payload,
) -> Result<(Bytes, Room), Problem> {
    let declared = declared(gateway, headers)?;
    let read = body::read(&gateway.bodies, holder(key), payload, declared, gateway.core.config.max_body).await;
    read.map_err(|unread| problem(gateway, declared.encoding, unread))
}

/// Awaits a future. Returns its output, and the time for which it was not ready.
pub(super) async fn timed<F: Future>(future: F) -> (F::Output, Duration) {
    let (mut future, mut since) = (pin!(future), None);
    let output = poll_fn(|cx| {
        let polled = future.as_mut().poll(cx);
        if polled.is_pending() {
            // Most bodies have arrived with the head, so the clock is not read.
            since.get_or_insert_with(Instant::now);
        }
        polled
    });
    let output = output.await;
    (output, since.map_or(Duration::ZERO, |since| since.elapsed()))
}

/// Reserves the memory of a body that has already been read, under the same limits.
pub(super) async fn admit_body(gateway: &Gateway, key: &KeyEntry, body: &Bytes) -> Result<Room, Problem> {
    let length = body.len() as u64;
    let mut room = gateway.bodies.room(holder(key));
    let admitted = match length > gateway.core.config.max_body {
        true => Err(Unread::TooLarge),
        false => body::cover(&gateway.bodies, &mut room, length).await,
    };
    admitted.map(|()| room).map_err(|unread| problem(gateway, None, unread))
}

/// The holder of a customer's bodies: the root of the key's group, so a whole tree of groups counts as one customer.
fn holder(key: &KeyEntry) -> Holder {
    Holder::Customer(key.group.root())
}

fn problem(gateway: &Gateway, encoding: Option<Encoding>, unread: Unread) -> Problem {
    match unread {
        Unread::TooLarge => Problem::request_too_large(gateway.core.config.max_body, encoding.is_some()),
        Unread::TooSlow => Problem::request_timeout(),
        Unread::Broken => Problem::broken_body(),
        Unread::Encoding(fault) => Problem::invalid_encoding(encoding, &fault),
        Unread::NoRoom => {
            gateway.core.counts.failed();
            Problem::overloaded()
        }
    }
}
