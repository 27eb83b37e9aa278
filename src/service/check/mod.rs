//! Whether an endpoint would work, before customers find out: each target is called as a customer's request would call
//! it, and what was seen is told in sentences.
//!
//! * Nothing is stored, billed or counted, the targets' health included.
//! * What is sent goes through the same code as customers' requests: addresses, credentials, the rewritten body, the
//!   reading of usage. So what is found holds for them.
//! * A target takes at most [`PATIENCE`], whatever it does, and all are asked at the same time. Who hangs up cancels.
//! * No sentence holds a credential, not even if the server says it.

mod probe;
mod words;

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinSet, time::Instant};

use self::probe::Probe;
use super::{
    Gateway,
    endpoints::{NewEndpoint, known_secrets},
    error::Error,
};
use crate::upstream::client::{Client, Timeouts};

/// How long a target is given for all that is asked of it.
const PATIENCE: Duration = Duration::from_secs(20);

/// What was found out about a target.
pub struct Checks {
    /// It answers HTTP at all.
    pub reachable: Finding,
    /// It has the model.
    pub model: Finding,
    /// It streams.
    pub stream: Finding,
    /// It reports the usage of an answer.
    pub usage: Finding,
}

/// What was found out.
pub struct Finding {
    /// `None`: it could not be found out.
    pub ok: Option<bool>,
    /// What was seen, and what to do if that is not good.
    pub detail: String,
}

impl Finding {
    fn good(detail: impl Into<String>) -> Self {
        Self { ok: Some(true), detail: detail.into() }
    }

    fn bad(detail: impl Into<String>) -> Self {
        Self { ok: Some(false), detail: detail.into() }
    }

    fn open(detail: impl Into<String>) -> Self {
        Self { ok: None, detail: detail.into() }
    }
}

impl Gateway {
    /// Tries the targets of an endpoint that need not be there; gives what each of them did, in their order.
    pub async fn check_endpoint(&self, new: NewEndpoint) -> Result<Vec<Checks>, Error> {
        let catalog = self.catalog.load_full();
        known_secrets(&catalog, &new.targets)?;
        let upstream = &self.config.upstream;
        let timeouts = Timeouts {
            connect: upstream.connect_timeout.min(PATIENCE),
            first_byte: upstream.first_byte_timeout.min(PATIENCE),
            idle: upstream.idle_timeout.min(PATIENCE),
        };
        let slug: Arc<str> = new.slug.into_string().into();
        let deadline = Instant::now() + PATIENCE;
        let mut running = JoinSet::new();
        for (index, target) in new.targets.into_iter().enumerate() {
            // A client of its own: it meets the server as a first request does, without a connection that is open.
            let client = Client::new(timeouts, self.listeners());
            let secret = target.secret.and_then(|id| catalog.open_secret(id));
            let probe = Probe::new(client, &target, slug.clone(), secret, deadline);
            running.spawn_local(async move { (index, probe.run().await) });
        }
        let mut found = Vec::new();
        while let Some(checked) = running.join_next().await {
            found.push(checked.map_err(Error::internal)?);
        }
        found.sort_unstable_by_key(|(index, _)| *index);
        Ok(found.into_iter().map(|(_, checks)| checks).collect())
    }
}
