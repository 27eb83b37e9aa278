//! Checks whether an endpoint would work, before customers use it. Each target is called as a customer's request would
//! call it, and the findings are sentences.
//!
//! * Nothing is stored, billed or counted, not even in the targets' health.
//! * The calls use the same code as customers' requests: addresses, credentials, the rewritten body, the reading of
//!   usage. So the findings also hold for customers' requests.
//! * The check of a target takes at most [`CHECK_TIMEOUT`]. All targets are checked at the same time. A hang-up cancels
//!   the check.
//! * No sentence contains a credential, even if the server echoes it.

mod called;
mod finding;
mod probe;
mod words;

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinSet, time::Instant};

pub use self::finding::{Checks, Finding};
use self::probe::Probe;
use super::{
    changes::endpoints::{NewEndpoint, known_secrets},
    core::Core,
    error::Error,
};
use crate::upstream::client::{Client, Timeouts};

/// The longest duration of all checks of a target.
const CHECK_TIMEOUT: Duration = Duration::from_secs(20);

/// Checks the targets of an endpoint, which need not be stored. Returns the findings in the order of the targets.
pub async fn check_endpoint(core: &Core, new: NewEndpoint) -> Result<Vec<Checks>, Error> {
    let catalog = core.catalog.load_full();
    known_secrets(&catalog, &new.targets)?;
    let upstream = &core.config.upstream;
    let timeouts = Timeouts {
        connect: upstream.connect_timeout.min(CHECK_TIMEOUT),
        first_byte: upstream.first_byte_timeout.min(CHECK_TIMEOUT),
        idle: upstream.idle_timeout.min(CHECK_TIMEOUT),
    };
    let slug: Arc<str> = new.slug.into_string().into();
    let deadline = Instant::now() + CHECK_TIMEOUT;
    let mut running = JoinSet::new();
    for (index, target) in new.targets.into_iter().enumerate() {
        // Each target gets a client of its own, so that it is called without an open connection, like a first
        // request.
        let client = Client::new(timeouts, core.listeners());
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
