//! Webhooks: who is told of billing events, and how far each has come.
//!
//! A webhook has one cursor. It moves by records only: past events that its receiver took ([`Delivered`]), or past those
//! that were given up and kept ([`DeadLetter`]). So nothing is passed over, whenever the process ends.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    delivery,
    id::{DeadLetterId, WebhookId},
    record::Settled,
};

/// Whom to tell of billing events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// Where deliveries go.
    pub url: String,
    /// For people.
    pub description: Option<String>,
    /// While it is not, its cursor waits.
    pub enabled: bool,
    /// What deliveries are signed with (`crypto::seal`).
    pub secret: Vec<u8>,
    /// The secret before that.
    pub replaced: Option<ReplacedSecret>,
    /// The last record of the journal when it was created: its events are those after it.
    pub starts_after: u64,
    /// Unix ms.
    pub created_at_ms: u64,
    /// Unix ms.
    pub updated_at_ms: u64,
}

/// A secret that deliveries are signed with as well, for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplacedSecret {
    /// As it was stored.
    pub secret: Vec<u8>,
    /// Unix ms, exclusive.
    pub until_ms: u64,
}

impl Webhook {
    /// Scheme, host and port of its address: what follows them may hold a credential.
    pub fn origin(&self) -> &str {
        let host = self.url.find("://").map_or(0, |scheme| scheme + 3);
        let end = self.url[host..].find(['/', '?', '#']).map_or(self.url.len(), |end| host + end);
        &self.url[..end]
    }

    /// The replaced secret, while it still counts.
    pub fn replaced_at(&self, now_ms: u64) -> Option<&ReplacedSecret> {
        self.replaced.as_ref().filter(|replaced| now_ms < replaced.until_ms)
    }
}

/// A receiver took events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    /// Whose.
    pub webhook: WebhookId,
    /// Up to this record.
    pub through: u64,
}

/// A delivery that was given up: its events are kept here until they are delivered after all.
#[derive(Debug, Serialize, Deserialize)]
pub struct DeadLetter<'a> {
    /// Whose.
    pub webhook: WebhookId,
    /// Its id.
    pub id: DeadLetterId,
    /// The cursor goes on behind this record.
    pub through: u64,
    /// Why.
    pub failure: Failure,
    /// In their order.
    #[serde(borrow)]
    pub events: Vec<DatedEvent<'a>>,
}

/// A dead letter was delivered again, or that failed too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redelivered {
    /// Whose.
    pub webhook: WebhookId,
    /// Which.
    pub id: DeadLetterId,
    /// `None`: its events were taken.
    pub failure: Option<Failure>,
}

/// A billed request with the time of its record.
#[derive(Debug, Serialize, Deserialize)]
pub struct DatedEvent<'a> {
    /// Unix ms.
    pub at_ms: u64,
    /// What was billed.
    #[serde(borrow)]
    pub settled: Settled<'a>,
}

/// How a delivery failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// How often it was tried.
    pub attempts: u32,
    /// What was answered last, if anything was.
    pub last_status: Option<u16>,
    /// What was wrong last, in words.
    pub last_error: String,
}

/// For how long a replaced secret still signs.
pub const REPLACED_SIGNS_FOR: Duration = Duration::from_secs(24 * 60 * 60);

impl Failure {
    /// Whether an answer ended it for good.
    pub fn is_final(&self) -> bool {
        delivery::is_final(self.last_status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_secret_counts_for_a_day() {
        let replaced = Some(ReplacedSecret { secret: Vec::new(), until_ms: 1000 });
        let webhook = Webhook {
            id: WebhookId(1),
            url: String::new(),
            description: None,
            enabled: true,
            secret: Vec::new(),
            replaced,
            starts_after: 0,
            created_at_ms: 0,
            updated_at_ms: 0,
        };
        assert!(webhook.replaced_at(999).is_some() && webhook.replaced_at(1000).is_none());
    }
}
