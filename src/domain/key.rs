//! Keys as they are kept: never the key, only a keyed hash of it.

use serde::{Deserialize, Serialize};

use super::id::{GroupId, SecretId};

/// A keyed hash of a whole key. `Debug` shows nothing: it is of no use to a reader and some to an attacker.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct KeyHash(pub [u8; 32]);

impl std::fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyHash(…)")
    }
}

/// The prefix of what operators try out. No key has it: a minted one's has an underscore, a registered one's 16 characters.
pub const PLAYGROUND: &str = "playground";

/// A customer's key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ApiKey {
    /// Its public part: unique, shown in lists and events.
    pub prefix: String,
    /// For people.
    pub name: Option<String>,
    /// Whose key it is.
    pub group: GroupId,
    /// What it is compared by.
    pub hash: KeyHash,
    /// Unix ms.
    pub created_at_ms: u64,
    /// Unix ms; from then on it is refused.
    pub expires_at_ms: Option<u64>,
    /// Refused while set.
    pub disabled: bool,
}

/// An Ed25519 public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKey(pub [u8; 32]);

/// What an operator key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OperatorType {
    /// Read groups; mint, register, list, get, patch and revoke customers' keys.
    ManageApiKeys,
    /// Read metrics, usage, limits, events, reports and status.
    ExportMetrics,
    /// Everything.
    ManageAll,
}

/// A key to the admin API.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OperatorKey {
    /// Its public part.
    pub prefix: String,
    /// For people.
    pub name: Option<String>,
    /// What it may do.
    pub operator_type: OperatorType,
    /// What it is compared by.
    pub hash: KeyHash,
    /// Unix ms.
    pub created_at_ms: u64,
}

/// A provider credential, sealed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StoredSecret {
    /// Its id.
    pub id: SecretId,
    /// Unique; an upsert by name keeps the id.
    pub name: String,
    /// AES-256-GCM, nonce first (`crypto::seal`).
    pub sealed: Vec<u8>,
    /// Unix ms.
    pub created_at_ms: u64,
}
