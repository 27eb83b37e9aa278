//! The journal's records. Each durable fact, such as a billed request or an operator's change, is one record.
//!
//! Every later version must be able to read a record's bytes. So once a version is released, its structs here are
//! frozen, a changed struct becomes a new variant of `Record`, and enums in records only grow at their end. The frame
//! around a record holds its sequence number and time, so the record does not repeat them.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use self::row::Row;
use self::v1::{DeadLetterV1, SettledV1};
use super::{
    alert::Alert,
    settled::Settled,
    webhook::{DeadAlerts, DeadLetter, Delivered, Passed, Redelivered},
};

mod row;
pub mod v1;
pub mod v2;

/// One durable fact.
#[derive(Debug)]
pub enum Record<'a> {
    /// An upstream answered a customer's request.
    Settled(Settled<'a>),
    /// An operator changed something.
    Changed(Changed),
    /// A webhook's receiver accepted events.
    Delivered(Delivered),
    /// A webhook's delivery of events was abandoned.
    DeadLettered(DeadLetter<'a>),
    /// An abandoned delivery was tried again.
    Redelivered(Redelivered),
    /// The use of a limit or budget reached a share.
    Alerted(Alert),
    /// A webhook's delivery of alerts was abandoned.
    AlertsDeadLettered(DeadAlerts),
    /// A webhook has nothing to deliver up to a record.
    Passed(Passed),
}

/// Every kind of record ever written. The position of a variant is its number in the journal.
#[derive(Deserialize)]
enum Stored<'a> {
    #[serde(borrow)]
    SettledV1(SettledV1<'a>),
    ChangedV1(ChangedV1),
    Changed(Changed),
    Delivered(Delivered),
    DeadLetteredV1(DeadLetterV1<'a>),
    Redelivered(Redelivered),
    Settled(Settled<'a>),
    DeadLettered(DeadLetter<'a>),
    Alerted(Alert),
    AlertsDeadLettered(DeadAlerts),
    Passed(Passed),
}

impl Record<'_> {
    /// The numbers of billed requests, in every form ever written.
    pub const SETTLED: [u8; 2] = [0, 6];

    /// The number of alerts.
    pub const ALERTED: u8 = 8;
}

impl Serialize for Record<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const NAME: &str = "Record";
        match self {
            Self::Settled(settled) => serializer.serialize_newtype_variant(NAME, 6, "Settled", settled),
            Self::Changed(changed) => serializer.serialize_newtype_variant(NAME, 2, "Changed", changed),
            Self::Delivered(delivered) => serializer.serialize_newtype_variant(NAME, 3, "Delivered", delivered),
            Self::DeadLettered(letter) => serializer.serialize_newtype_variant(NAME, 7, "DeadLettered", letter),
            Self::Redelivered(again) => serializer.serialize_newtype_variant(NAME, 5, "Redelivered", again),
            Self::Alerted(alert) => serializer.serialize_newtype_variant(NAME, 8, "Alerted", alert),
            Self::AlertsDeadLettered(letter) => {
                serializer.serialize_newtype_variant(NAME, 9, "AlertsDeadLettered", letter)
            }
            Self::Passed(passed) => serializer.serialize_newtype_variant(NAME, 10, "Passed", passed),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Record<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Stored::deserialize(deserializer)? {
            Stored::SettledV1(settled) => Self::Settled(settled.into()),
            Stored::ChangedV1(ChangedV1 { actor, action, rows }) => {
                Self::Changed(Changed { actor, action, before: None, rows })
            }
            Stored::Changed(changed) => Self::Changed(changed),
            Stored::Delivered(delivered) => Self::Delivered(delivered),
            Stored::DeadLetteredV1(letter) => Self::DeadLettered(letter.into()),
            Stored::Redelivered(again) => Self::Redelivered(again),
            Stored::Settled(settled) => Self::Settled(settled),
            Stored::DeadLettered(letter) => Self::DeadLettered(letter),
            Stored::Alerted(alert) => Self::Alerted(alert),
            Stored::AlertsDeadLettered(letter) => Self::AlertsDeadLettered(letter),
            Stored::Passed(passed) => Self::Passed(passed),
        })
    }
}

/// Who made a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// How it was made.
    pub kind: ActorKind,
    /// The operator key's public part; empty for the system itself.
    pub api_key_prefix: String,
    /// That key's name.
    pub api_key_name: Option<String>,
}

impl Actor {
    /// Tollgate itself, at startup.
    pub fn system() -> Self {
        Self { kind: ActorKind::System, api_key_prefix: String::new(), api_key_name: None }
    }
}

/// How a change was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ActorKind {
    /// An operator key.
    ApiKey,
    /// A session of the web UI.
    Session,
    /// Tollgate itself.
    System,
}

/// A change: the rows after it. Rows are whole values, so applying a change twice has no further effect.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Changed {
    /// The author of the change.
    pub actor: Actor,
    /// The action as `noun.verb`, such as `group.created`.
    pub action: String,
    /// The previous values of those `rows` that existed. `None` if there were too many, or if an older version wrote
    /// the record without them.
    pub before: Option<Vec<Row>>,
    /// The rows, applied in one step.
    pub rows: Vec<Row>,
}

/// The form of [`Changed`] in the first journals of 0.1.0.
#[derive(Deserialize)]
struct ChangedV1 {
    actor: Actor,
    action: String,
    rows: Vec<Row>,
}
