//! A test delivery: one attempt with an event that nobody can take for a billed one.

use std::time::Instant;

use uuid::Uuid;

use super::{
    attempt::{Attempt, Failed, client},
    batch::{self, Kind},
};
use crate::{
    crypto::random,
    domain::{
        id::{GroupId, SlugId, WebhookId},
        record::Settled,
        route::Route,
        usage::{Usage, UsageSource},
    },
    service::{Gateway, error::Error, event::Event},
};

/// What came of a test delivery.
pub struct Tested {
    /// Of the delivery.
    pub request_id: Uuid,
    /// What was answered, if anything was.
    pub status: Option<u16>,
    /// What was wrong, in words.
    pub error: Option<String>,
    /// From the first byte sent to the answer.
    pub duration_ms: u64,
}

impl Gateway {
    /// Sends a webhook's receiver an event that can be recognised and is not billed, once.
    pub async fn test_webhook(&self, id: WebhookId) -> Result<Tested, Error> {
        let webhook = self.webhook(id)?.webhook;
        let event = Event::new(self.now().unix_ms, &test_event()?);
        let body = batch::body(Kind::Test, &[event]).map_err(Error::internal)?;
        let request_id = random::uuid().map_err(Error::internal)?;
        let began = Instant::now();
        let attempt = Attempt { webhook: &webhook, request_id, body, now_ms: self.now().unix_ms };
        let outcome = match attempt.sign(&self.sealer) {
            Ok(signed) => signed.send(&client(self)).await,
            Err(error) => Err(Failed { status: None, error }),
        };
        let duration_ms = began.elapsed().as_millis() as u64;
        Ok(match outcome {
            Ok(status) => {
                self.webhooks.state(&webhook).is_back();
                Tested { request_id, status: Some(status), error: None, duration_ms }
            }
            Err(failed) => Tested { request_id, status: failed.status, error: Some(failed.error), duration_ms },
        })
    }
}

/// An event that nobody can take for a customer's.
fn test_event() -> Result<Settled<'static>, Error> {
    Ok(Settled {
        key_random: random::id().map_err(Error::internal)?,
        request_id: random::uuid().map_err(Error::internal)?.as_u128(),
        metadata: Some(r#"{"test":true}"#),
        model_slug: "tollgate/test",
        slug: SlugId(0),
        external_entity_id: "test",
        counted_for: vec![GroupId(0)],
        api_key_prefix: "test",
        usage: Usage { input: 0, output: 0, cached: 0 },
        usage_source: UsageSource::Upstream,
        route: Route::ChatCompletions,
        streamed: false,
        status: 200,
        duration_ms: 0,
        ttft_ms: None,
        choices: 1,
        prompt_bytes: 0,
        cost: None,
    })
}
