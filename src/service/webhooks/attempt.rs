//! One attempt at a delivery: sign, send, look at the answer.
//!
//! What a receiver can do to us is bounded: an attempt ends after ten seconds, an answer is read to 64 KiB, and of what it
//! says at most 1 KiB is kept. No redirect is followed.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};
use url::Url;
use uuid::Uuid;

use crate::{
    crypto::{hmac, seal::Sealer, secret::Secret},
    domain::{delivery::ATTEMPT_TIMEOUT, webhook::Webhook},
    service::{Gateway, one_line::one_line},
    upstream::client::{Body, Client, Method, Origin, Request, SendError, Template, Timeouts},
};

/// An answer is read so far, so that its connection can be used again.
const MAX_ANSWER: usize = 64 << 10;

/// For so long an answer is read whose status is good: it was taken, whatever comes after.
const LEFTOVER: Duration = Duration::from_secs(1);

/// So much of an answer is kept to be shown.
const MAX_SHOWN: usize = 1 << 10;

const USER_AGENT: &str = concat!("tollgate/", env!("CARGO_PKG_VERSION"));

/// A client for deliveries.
pub(super) fn client(gateway: &Gateway) -> Client {
    let connect = gateway.config.upstream.connect_timeout.min(ATTEMPT_TIMEOUT);
    Client::new(Timeouts { connect, first_byte: ATTEMPT_TIMEOUT, idle: ATTEMPT_TIMEOUT }, gateway.listeners())
}

/// What is to be sent.
pub(super) struct Attempt<'a> {
    /// To whom.
    pub(super) webhook: &'a Arc<Webhook>,
    /// Of the delivery.
    pub(super) request_id: Uuid,
    pub(super) body: Bytes,
    /// Unix ms.
    pub(super) now_ms: u64,
}

/// It was not taken.
pub(super) struct Failed {
    /// What was answered, if anything was.
    pub(super) status: Option<u16>,
    /// What was wrong, in words.
    pub(super) error: String,
}

impl From<SendError> for Failed {
    fn from(error: SendError) -> Self {
        Self { status: None, error: error.to_string() }
    }
}

impl Attempt<'_> {
    /// Signs it. An error is our own, in words.
    pub(super) fn sign(self, sealer: &Sealer) -> Result<Signed, String> {
        let url = Url::parse(&self.webhook.url).map_err(|error| error.to_string())?;
        let id = self.request_id.to_string();
        let signature = self.signature(sealer).ok_or("the webhook's secret cannot be opened; give it another one")?;
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

/// An attempt that is ready to be made.
pub(super) struct Signed {
    origin: Origin,
    query: Option<String>,
    request: Request,
}

impl Signed {
    /// Sends it. Gives the status of an answer that says that it was taken.
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
            // What it was not sent it has not taken, whatever it says.
            let is_taken = response.body.is_request_sent();
            return if is_taken { Ok(status) } else { Err(failed(format!("{origin} answered {status} too early"))) };
        }
        // Some send back what they were sent.
        let hidden = query.as_deref().unwrap_or_default();
        let said = shown(&read(&mut response.body, deadline).await, hidden);
        let hint = if (300..400).contains(&status) { " (redirects are not followed)" } else { "" };
        let colon = if said.is_empty() { "" } else { ": " };
        Err(failed(format!("{origin} answered {status}{hint}{colon}{said}")))
    }
}

/// Reads an answer as far as it is of use. Gives the beginning of it.
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

/// As a text in one line, without `hidden`.
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
    fn what_a_receiver_says_is_shown_in_one_short_line() {
        assert_eq!(shown(b" not\r\n\tnow!", ""), "not now!");
        assert!(shown(&[0xff; MAX_SHOWN], "").len() <= MAX_SHOWN);
        assert_eq!(shown(b"POST /hook?token=hush", "token=hush"), "POST /hook?***");
        assert!(shown(&[b'a'; MAX_SHOWN], "a").len() <= MAX_SHOWN);
        assert_eq!(shown(b"", ""), "");
    }
}
