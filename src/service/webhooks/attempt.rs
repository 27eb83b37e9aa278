//! One attempt at a delivery: sign it, send it, check the answer.
//!
//! A receiver can cost us only a bounded amount: an attempt ends after ten seconds, at most 64 KiB of an answer are
//! read, and at most 1 KiB of it is kept. Redirects are not followed.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};
use url::Url;
use uuid::Uuid;

use crate::{
    crypto::{hmac, seal::Sealer, secret::Secret},
    domain::{delivery::ATTEMPT_TIMEOUT, webhook::Webhook},
    service::{core::Core, one_line::one_line},
    upstream::client::{Body, Client, Method, Origin, Request, SendError, Template, Timeouts},
};

/// The most bytes of an answer that are read. Reading it to its end lets the connection be reused.
const MAX_ANSWER: usize = 64 << 10;

/// How long the body of a 2xx answer is read. The delivery counts as accepted even if the body is bad.
const LEFTOVER: Duration = Duration::from_secs(1);

/// The most bytes of an answer that are kept for display.
const MAX_SHOWN: usize = 1 << 10;

const USER_AGENT: &str = concat!("tollgate/", env!("CARGO_PKG_VERSION"));

/// A client for deliveries.
pub(super) fn client(core: &Core) -> Client {
    let connect = core.config.upstream.connect_timeout.min(ATTEMPT_TIMEOUT);
    Client::new(Timeouts { connect, first_byte: ATTEMPT_TIMEOUT, idle: ATTEMPT_TIMEOUT }, core.listeners())
}

/// An attempt to be sent.
pub(super) struct Attempt<'a> {
    /// The webhook that gets it.
    pub(super) webhook: &'a Arc<Webhook>,
    /// The id of the delivery.
    pub(super) request_id: Uuid,
    pub(super) body: Bytes,
    /// The current time, in Unix ms.
    pub(super) now_ms: u64,
}

/// A failed attempt.
pub(super) struct Failed {
    /// The status of the answer; `None` without an answer.
    pub(super) status: Option<u16>,
    /// The failure, in words.
    pub(super) error: String,
}

impl From<SendError> for Failed {
    fn from(error: SendError) -> Self {
        Self { status: None, error: error.to_string() }
    }
}

impl Attempt<'_> {
    /// Signs the attempt. An error is a failure on our side, in words.
    pub(super) fn sign(self, sealer: &Sealer) -> Result<Signed, String> {
        let url = Url::parse(&self.webhook.url).map_err(|error| error.to_string())?;
        let id = self.request_id.to_string();
        let signature = self.signature(sealer).ok_or("the webhook's secret cannot be decrypted; rotate it")?;
        let headers: [(&str, &[u8]); 6] = [
            ("content-type", b"application/json"),
            ("user-agent", USER_AGENT.as_bytes()),
            ("x-tollgate-signature", signature.as_bytes()),
            ("x-baseten-signature", signature.as_bytes()),
            ("x-tollgate-request-id", id.as_bytes()),
            ("x-baseten-request-id", id.as_bytes()),
        ];
        let template = Template::new(Method::Post, &url, &headers).map_err(|error| error.to_string())?;
        let request = template.request(&[], vec![self.body]).map_err(|error| error.to_string())?;
        Ok(Signed { origin: template.origin().clone(), query: url.query().map(str::to_owned), request })
    }

    /// The signature by the secret and, during a rotation, the one by the secret before it: `v1=NEW,v1=OLD`.
    fn signature(&self, sealer: &Sealer) -> Option<String> {
        let open = |sealed: &[u8]| sealer.open(self.webhook.id.0, sealed).ok();
        let sign = |secret: &Secret| format!("v1={}", hmac::sign(secret, &self.body));
        let newest = sign(&open(&self.webhook.secret)?);
        let replaced = self.webhook.replaced_at(self.now_ms).and_then(|replaced| open(&replaced.secret));
        Some(replaced.map_or_else(|| newest.clone(), |replaced| format!("{newest},{}", sign(&replaced))))
    }
}

/// A signed attempt.
pub(super) struct Signed {
    origin: Origin,
    query: Option<String>,
    request: Request,
}

impl Signed {
    /// Sends the attempt. Returns the status if the receiver accepted it (2xx).
    pub(super) async fn send(self, client: &Client) -> Result<u16, Failed> {
        let Self { origin, query, request } = self;
        let deadline = Instant::now() + ATTEMPT_TIMEOUT;
        let too_slow = |_| {
            let error = format!("{origin}: no answer within {} s", ATTEMPT_TIMEOUT.as_secs());
            Failed { status: None, error }
        };
        let mut response = timeout_at(deadline, client.send(request)).await.map_err(too_slow)??;
        let status = response.status;
        let failed = |error| Failed { status: Some(status), error };
        if (200..300).contains(&status) {
            read(&mut response.body, Instant::now() + LEFTOVER).await;
            // A receiver that answered before the whole request was sent has not accepted it.
            let is_taken = response.body.is_request_sent();
            return if is_taken {
                Ok(status)
            } else {
                Err(failed(format!("{origin} answered {status} before it had read the whole request")))
            };
        }
        // Some servers echo the request's URL.
        let hidden = query.as_deref().unwrap_or_default();
        let text = shown(&read(&mut response.body, deadline).await, hidden);
        let hint = if (300..400).contains(&status) { " (redirects are not followed)" } else { "" };
        let colon = if text.is_empty() { "" } else { ": " };
        Err(failed(format!("{origin} answered {status}{hint}{colon}{text}")))
    }
}

/// Reads up to [`MAX_ANSWER`] bytes of an answer. Returns its first [`MAX_SHOWN`] bytes.
async fn read(body: &mut Body, deadline: Instant) -> Vec<u8> {
    let (mut kept, mut seen) = (Vec::new(), 0);
    while seen < MAX_ANSWER
        && let Ok(Some(Ok(chunk))) = timeout_at(deadline, body.chunk()).await
    {
        seen += chunk.len();
        kept.extend_from_slice(&chunk[..chunk.len().min(MAX_SHOWN - kept.len())]);
    }
    kept
}

/// The bytes as text in one line, with `hidden` masked.
fn shown(bytes: &[u8], hidden: &str) -> String {
    let mut text = String::from_utf8_lossy(bytes).into_owned();
    if !hidden.is_empty() {
        text = text.replace(hidden, "***");
    }
    text.truncate(text.floor_char_boundary(MAX_SHOWN));
    one_line(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_shown_in_one_short_line() {
        assert_eq!(shown(b" not\r\n\tnow!", ""), "not now!");
        assert!(shown(&[0xff; MAX_SHOWN], "").len() <= MAX_SHOWN);
        assert_eq!(shown(b"POST /hook?token=hush", "token=hush"), "POST /hook?***");
        assert!(shown(&[b'a'; MAX_SHOWN], "a").len() <= MAX_SHOWN);
        assert_eq!(shown(b"", ""), "");
    }
}
