//! What the journal holds. Every durable fact is one record: a billed request, or an operator's change.
//!
//! A record's bytes are read again by every later version. So: a struct here is frozen once a version was released, a
//! changed one is a new variant of `Record`, and enums that stand in records only grow at their end. The frame around
//! a record gives its sequence number and time; both belong to the record and are not repeated in it.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    endpoint::Endpoint,
    group::Group,
    id::{DeadLetterId, EndpointId, GroupId, SecretId, SlugId, WebhookId},
    key::{ApiKey, OperatorKey, PublicKey, StoredSecret},
    money::Cost,
    route::Route,
    usage::{Usage, UsageSource},
    webhook::{DeadLetter, Delivered, Redelivered, Webhook},
};

/// One durable fact.
#[derive(Debug)]
pub enum Record<'a> {
    /// An upstream answered a customer's request.
    Settled(Settled<'a>),
    /// An operator changed something.
    Changed(Changed),
    /// A webhook's receiver took events.
    Delivered(Delivered),
    /// A webhook's delivery was given up.
    DeadLettered(DeadLetter<'a>),
    /// Such a delivery was tried again.
    Redelivered(Redelivered),
}

/// Every kind of record that was ever written, each at the place that stands for it in the journal.
#[derive(Deserialize)]
enum Stored<'a> {
    #[serde(borrow)]
    Settled(Settled<'a>),
    ChangedV1(ChangedV1),
    Changed(Changed),
    Delivered(Delivered),
    DeadLettered(DeadLetter<'a>),
    Redelivered(Redelivered),
}

impl Serialize for Record<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const NAME: &str = "Record";
        match self {
            Self::Settled(settled) => serializer.serialize_newtype_variant(NAME, 0, "Settled", settled),
            Self::Changed(changed) => serializer.serialize_newtype_variant(NAME, 2, "Changed", changed),
            Self::Delivered(delivered) => serializer.serialize_newtype_variant(NAME, 3, "Delivered", delivered),
            Self::DeadLettered(letter) => serializer.serialize_newtype_variant(NAME, 4, "DeadLettered", letter),
            Self::Redelivered(again) => serializer.serialize_newtype_variant(NAME, 5, "Redelivered", again),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Record<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Stored::deserialize(deserializer)? {
            Stored::Settled(settled) => Self::Settled(settled),
            Stored::ChangedV1(ChangedV1 { actor, action, rows }) => {
                Self::Changed(Changed { actor, action, before: None, rows })
            }
            Stored::Changed(changed) => Self::Changed(changed),
            Stored::Delivered(delivered) => Self::Delivered(delivered),
            Stored::DeadLettered(letter) => Self::DeadLettered(letter),
            Stored::Redelivered(again) => Self::Redelivered(again),
        })
    }
}

/// A billed request: the billing event, and what replay needs when the group, key or slug has changed or gone since.
/// Borrowed, so that a scan over millions of them allocates one path each and no text.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Settled<'a> {
    /// The random 80 bits of the idempotency key; its time is the record's.
    pub key_random: u128,
    /// A UUID.
    pub request_id: u128,
    /// The body's `metadata` object, as the customer wrote it.
    pub metadata: Option<&'a str>,
    /// The slug that was called.
    pub model_slug: &'a str,
    /// Where it counts: it outlives the slug's name.
    pub slug: SlugId,
    /// The group's, at that time.
    pub external_entity_id: &'a str,
    /// The groups that it counts for: the key's own, and in CASCADING its ancestors.
    pub counted_for: Vec<GroupId>,
    /// The key's public part.
    pub api_key_prefix: &'a str,
    /// The figures that are billed.
    pub usage: Usage,
    /// Where `usage` comes from.
    pub usage_source: UsageSource,
    /// The route that was called.
    pub route: Route,
    /// Whether it was a stream.
    pub streamed: bool,
    /// The HTTP status of the answer.
    pub status: u16,
    /// From the request's arrival to its settlement.
    pub duration_ms: u64,
    /// From the request's arrival to the first byte of the answer's body.
    pub ttft_ms: Option<u64>,
    /// Choices answered: the mean output is learned for one.
    pub choices: u64,
    /// What the prompt's estimate was made from; the ratio is learned from it again after a restart. 0 if none can be.
    pub prompt_bytes: u64,
    /// Fixed at settlement, never computed again.
    pub cost: Option<Cost>,
}

impl Settled<'_> {
    /// The key's own group.
    pub fn group(&self) -> GroupId {
        self.counted_for.first().copied().unwrap_or(GroupId(0))
    }
}

/// Who made a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// By what way.
    pub kind: ActorKind,
    /// The operator key's public part; empty for the system itself.
    pub api_key_prefix: String,
    /// That key's name.
    pub api_key_name: Option<String>,
}

impl Actor {
    /// Tollgate itself, at a start.
    pub fn system() -> Self {
        Self { kind: ActorKind::System, api_key_prefix: String::new(), api_key_name: None }
    }
}

/// By what way a change was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ActorKind {
    /// An operator key.
    ApiKey,
    /// A session of the web UI.
    Session,
    /// Tollgate itself.
    System,
}

/// A change: the rows as they are after it. Rows are whole values, so applying one twice changes nothing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Changed {
    /// Who.
    pub actor: Actor,
    /// What, as `noun.verb`: `group.created`.
    pub action: String,
    /// Those of `rows` that were there before, as they were. `None` if they were very many, or if a version wrote the
    /// record that did not keep them.
    pub before: Option<Vec<Row>>,
    /// In one step.
    pub rows: Vec<Row>,
}

/// What 0.1.0's first journals have in the place of [`Changed`].
#[derive(Deserialize)]
struct ChangedV1 {
    actor: Actor,
    action: String,
    rows: Vec<Row>,
}

/// One row of the catalog after a change, or its end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Row {
    /// A slug has this name.
    Slug(SlugId, String),
    /// A slug has no name any more: another one took it.
    SlugGone(SlugId),
    /// An endpoint was written.
    Endpoint(Endpoint),
    /// An endpoint was deleted.
    EndpointGone(EndpointId),
    /// A group was written.
    Group(Group),
    /// A group was deleted; it stays as a tombstone that reports can name.
    GroupGone(GroupId),
    /// A customer's key was written.
    ApiKey(ApiKey),
    /// A customer's key, by prefix, was revoked.
    ApiKeyGone(String),
    /// An operator key was written.
    Operator(OperatorKey),
    /// An operator key, by prefix, was deleted.
    OperatorGone(String),
    /// A credential was written.
    Secret(StoredSecret),
    /// A credential was deleted.
    SecretGone(SecretId),
    /// A webhook was written.
    Webhook(Webhook),
    /// A webhook was deleted, and its dead letters with it.
    WebhookGone(WebhookId),
    /// A dead letter is to be delivered again.
    Redeliver(WebhookId, DeadLetterId),
    /// What the registration of customers' keys is signed with, or that it is not.
    SigningKey(Option<PublicKey>),
}
