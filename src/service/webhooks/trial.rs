//! Test deliveries: one attempt with an event that cannot be mistaken for a billed one.

use std::time::Instant;

use uuid::Uuid;

use super::{
    attempt::{Attempt, Failed, client},
    batch::{self, Kind},
    history::{AttemptOutcome, Attempted, Content},
    registry::Webhooks,
};
use crate::{
    crypto::random,
    domain::{
        id::{GroupId, SlugId, WebhookId},
        route::Route,
        settled::Settled,
        usage::{Usage, UsageSource},
    },
    service::{error::Error, reading::event::Event},
};

/// The result of a test delivery.
pub struct Tested {
    /// The id of the delivery.
    pub request_id: Uuid,
    /// The status of the answer; `None` without an answer.
    pub status: Option<u16>,
    /// The failure, in words; `None` if there was none.
    pub error: Option<String>,
    /// The duration of the attempt, up to its answer.
    pub duration_ms: u64,
}

impl Webhooks {
    /// Sends a recognizable test event, which is not billed, to a webhook's receiver once.
    pub async fn test(&self, id: WebhookId) -> Result<Tested, Error> {
        let webhook = self.core.catalog.load().find_webhook(id)?;
        // Taken now: if the webhook is deleted meanwhile, a later lookup would create a new state that is never
        // removed.
        let state = self.state(&webhook);
        let event = Event::new(self.core.now().unix_ms, &test_event()?);
        let body = batch::body(Kind::Test, &[event]).map_err(Error::internal)?;
        let request_id = random::uuid().map_err(Error::internal)?;
        let (at_ms, began) = (self.core.now().unix_ms, Instant::now());
        let attempt = Attempt { webhook: &webhook, request_id, body, now_ms: at_ms };
        let outcome = match attempt.sign(&self.sealer) {
            Ok(signed) => signed.send(&client(&self.core)).await,
            Err(error) => Err(Failed { status: None, error }),
        };
        let duration_ms = began.elapsed().as_millis() as u64;
        let (status, error) = match outcome {
            Ok(status) => (Some(status), None),
            Err(Failed { status, error }) => (status, Some(error)),
        };
        let outcome = if error.is_none() { AttemptOutcome::Delivered } else { AttemptOutcome::Failed };
        state.history.note(Attempted {
            request_id,
            at_ms,
            attempt: 1,
            content: Content::Test,
            events: 1,
            status,
            error: error.clone(),
            duration_ms,
            outcome,
        });
        if outcome == AttemptOutcome::Delivered {
            state.is_back();
        }
        Ok(Tested { request_id, status, error, duration_ms })
    }
}

/// An event that cannot be mistaken for a customer's.
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
        usage: Usage { input: 0, output: 0, cached: 0, cache_write: 0 },
        usage_source: UsageSource::Upstream,
        route: Route::ChatCompletions,
        streamed: false,
        status: 200,
        duration_ms: 0,
        ttft_ms: None,
        choices: 1,
        prompt_bytes: 0,
        cost: None,
        target: Some(0),
        queue_ms: 0,
        units: None,
    })
}
