//! Webhooks: receivers of billing events and alerts, and each one's progress.
//!
//! A webhook has one cursor. Only records move it: past events or alerts that its receiver accepted ([`Delivered`]),
//! past those that were given up and kept ([`DeadLetter`], [`DeadAlerts`]), or past records that it does not deliver
//! ([`Passed`]). So none is skipped, whenever the process ends.

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    alert::Alert,
    delivery,
    id::{DeadLetterId, WebhookId},
    settled::Settled,
};

/// A receiver of deliveries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// The address of the receiver.
    pub url: String,
    /// A description for people.
    pub description: Option<String>,
    /// Whether it gets deliveries. While it does not, its cursor stays in place.
    pub enabled: bool,
    /// The secret that deliveries are signed with, sealed (`crypto::seal`).
    pub secret: Vec<u8>,
    /// The previous secret.
    pub replaced: Option<ReplacedSecret>,
    /// The last record of the journal when the webhook was created. It receives the events after that record.
    pub starts_after: u64,
    /// Unix ms.
    pub created_at_ms: u64,
    /// Unix ms.
    pub updated_at_ms: u64,
    /// The types of deliveries that it gets.
    pub types: WebhookTypes,
}

/// A type of delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum WebhookType {
    /// Billing events.
    ApiBillingUsage,
    /// Alerts about the use of limits and budgets.
    Alert,
}

/// The types of deliveries that a webhook gets: at least one.
///
/// Stored records are decoded without this check, which the types passed before they were written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookTypes(BTreeSet<WebhookType>);

impl WebhookTypes {
    /// A set of types; `None` without any.
    pub fn new(types: impl IntoIterator<Item = WebhookType>) -> Option<Self> {
        let types: BTreeSet<_> = types.into_iter().collect();
        (!types.is_empty()).then_some(Self(types))
    }

    /// Whether deliveries of this type are sent.
    pub fn contains(&self, of: WebhookType) -> bool {
        self.0.contains(&of)
    }

    /// The types, each once.
    pub fn iter(&self) -> impl Iterator<Item = WebhookType> {
        self.0.iter().copied()
    }
}

impl Default for WebhookTypes {
    /// Billing events alone.
    fn default() -> Self {
        Self([WebhookType::ApiBillingUsage].into())
    }
}

/// A previous secret that also signs deliveries for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplacedSecret {
    /// The sealed secret.
    pub secret: Vec<u8>,
    /// Unix ms, exclusive.
    pub until_ms: u64,
}

impl Webhook {
    /// Scheme, host and port of its address. The rest may contain a credential.
    pub fn origin(&self) -> &str {
        let host = self.url.find("://").map_or(0, |scheme| scheme + 3);
        let end = self.url[host..].find(['/', '?', '#']).map_or(self.url.len(), |end| host + end);
        &self.url[..end]
    }

    /// The replaced secret, while it still signs.
    pub fn replaced_at(&self, now_ms: u64) -> Option<&ReplacedSecret> {
        self.replaced.as_ref().filter(|replaced| now_ms < replaced.until_ms)
    }
}

/// A receiver accepted events or alerts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    /// The webhook.
    pub webhook: WebhookId,
    /// The last record that was delivered.
    pub through: u64,
}

/// A delivery of events that was given up. They are kept here until they are delivered.
#[derive(Debug, Serialize, Deserialize)]
pub struct DeadLetter<'a> {
    /// The webhook.
    pub webhook: WebhookId,
    /// Its id.
    pub id: DeadLetterId,
    /// The cursor continues after this record.
    pub through: u64,
    /// Why it was given up.
    pub failure: DeliveryFailure,
    /// The events, in order.
    #[serde(borrow)]
    pub events: Vec<DatedEvent<'a>>,
}

/// A delivery of alerts that was given up. It is a dead letter too.
#[derive(Debug, Serialize, Deserialize)]
pub struct DeadAlerts {
    /// The webhook.
    pub webhook: WebhookId,
    /// The id of the dead letter.
    pub id: DeadLetterId,
    /// The cursor continues after this record.
    pub through: u64,
    /// Why it was given up.
    pub failure: DeliveryFailure,
    /// The alerts, in order.
    pub alerts: Vec<DatedAlert>,
}

/// A webhook has no events or alerts to deliver up to a record. Without this, a webhook that gets few deliveries would
/// read much of the journal again after each start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passed {
    /// The webhook.
    pub webhook: WebhookId,
    /// The cursor continues after this record.
    pub through: u64,
}

/// A redelivery of a dead letter, successful or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redelivered {
    /// The webhook.
    pub webhook: WebhookId,
    /// The dead letter.
    pub id: DeadLetterId,
    /// `None` if it was accepted.
    pub failure: Option<DeliveryFailure>,
}

/// A billed request with the time of its record.
#[derive(Debug, Serialize, Deserialize)]
pub struct DatedEvent<'a> {
    /// Unix ms.
    pub at_ms: u64,
    /// The billed request.
    #[serde(borrow)]
    pub settled: Settled<'a>,
}

/// An alert with the time of its record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatedAlert {
    /// Unix ms.
    pub at_ms: u64,
    /// The alert.
    pub alert: Alert,
}

/// The content of a delivery, in order: events or alerts, never both.
#[derive(Debug)]
pub enum Contents<'a> {
    /// Billing events.
    Events(Vec<DatedEvent<'a>>),
    /// Alerts.
    Alerts(Vec<DatedAlert>),
}

/// How a delivery failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryFailure {
    /// The number of attempts.
    pub attempts: u32,
    /// The HTTP status of the last answer, if there was one.
    pub last_status: Option<u16>,
    /// The last error, as a message for people.
    pub last_error: String,
}

/// How long a replaced secret still signs.
pub const REPLACED_SIGNS_FOR: Duration = Duration::from_secs(24 * 60 * 60);

impl DeliveryFailure {
    /// Whether an answer ended the delivery without further attempts.
    pub fn is_final(&self) -> bool {
        delivery::is_final(self.last_status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_secret_signs_until_its_end() {
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
            types: WebhookTypes::default(),
        };
        assert!(webhook.replaced_at(999).is_some() && webhook.replaced_at(1000).is_none());
    }

    #[test]
    fn a_webhook_gets_at_least_one_type_of_delivery_and_billing_events_by_default() {
        use WebhookType::*;
        assert_eq!(WebhookTypes::new([]), None);
        let both = WebhookTypes::new([Alert, ApiBillingUsage, Alert]).unwrap();
        assert_eq!(both.iter().collect::<Vec<_>>(), [ApiBillingUsage, Alert]);
        let billing = WebhookTypes::default();
        assert!(billing.contains(ApiBillingUsage) && !billing.contains(Alert));
    }
}
