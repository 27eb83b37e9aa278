//! Keys as they are stored: only a keyed hash, never the key itself.

use serde::{Deserialize, Serialize};

use super::id::{GroupId, SecretId};

/// A keyed hash of a whole key. `Debug` hides it: it does not help a reader and may help an attacker.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct KeyHash(pub [u8; 32]);

impl std::fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyHash(…)")
    }
}

/// The key prefix of requests from the operators' playground. No real key has it: a minted key's prefix contains an
/// underscore, and a registered key's has 16 characters.
pub const PLAYGROUND: &str = "playground";

/// A customer's key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ApiKey {
    /// The public part: unique, shown in lists and events.
    pub prefix: String,
    /// A name for people.
    pub name: Option<String>,
    /// The group that owns the key.
    pub group: GroupId,
    /// The hash that a presented key is compared with.
    pub hash: KeyHash,
    /// Unix ms.
    pub created_at_ms: u64,
    /// Unix ms. The key is refused from then on.
    pub expires_at_ms: Option<u64>,
    /// The key is refused while this is set.
    pub disabled: bool,
}

/// An Ed25519 public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKey(pub [u8; 32]);

/// The permissions of an operator key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OperatorType {
    /// Read groups; mint, register, rotate, list, get, patch and revoke customers' keys.
    ManageApiKeys,
    /// Read metrics, usage, limits, events, reports and status.
    ExportMetrics,
    /// Everything.
    ManageAll,
}

/// A key for the admin API.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OperatorKey {
    /// The public part.
    pub prefix: String,
    /// A name for people.
    pub name: Option<String>,
    /// Its permissions.
    pub operator_type: OperatorType,
    /// The hash that a presented key is compared with.
    pub hash: KeyHash,
    /// Unix ms.
    pub created_at_ms: u64,
}

/// A provider credential, sealed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StoredSecret {
    /// Its id.
    pub id: SecretId,
    /// Unique. An upsert by name keeps the id.
    pub name: String,
    /// AES-256-GCM ciphertext, nonce first (`crypto::seal`).
    pub sealed: Vec<u8>,
    /// Unix ms.
    pub created_at_ms: u64,
}
