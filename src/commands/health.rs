//! `tollgate health`: asks the gateway of this configuration whether it is ready, for a container's health check.

use std::time::Duration;

use super::{
    address::inference_url,
    client::{Trust, agent, in_words},
    failed::Failed,
    output::say,
};
use crate::config::Config;

/// The longest wait for the answer. Container engines often give up after 5 seconds.
const TIMEOUT: Duration = Duration::from_secs(4);

/// Asks `/readyz` of the inference listener. The error says why the gateway is not ready.
pub fn health(config: &Config) -> Result<(), Failed> {
    let url = format!("{}/readyz", inference_url(config)?);
    let failed = |why: String| Failed(format!("{url}: {why}"));
    // The certificate names a host, and this asks an address.
    let answer = agent(&url, Trust::Any, TIMEOUT).get(&url).call().map_err(|error| failed(in_words(&error)))?;
    match answer.status().as_u16() {
        200 => say("ready"),
        503 => Err(failed("the gateway cannot meter requests; its log and status say why (503)".to_owned())),
        status => Err(failed(format!("the answer has status {status}"))),
    }
}
