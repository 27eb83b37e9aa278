//! Hashing of keys. Keys are compared by a keyed hash of the whole key, with a key of this installation. Without that
//! key, a stolen store cannot be used or searched offline.

use std::hash::{Hash, Hasher};

use crate::domain::key::KeyHash;

/// Hashes keys.
#[derive(Clone)]
pub struct KeyHasher([u8; 32]);

impl KeyHasher {
    /// Uses the installation's hashing key.
    pub fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// The fingerprint of a presented key. It costs the same for every key, known or not.
    pub fn fingerprint(&self, key: &str) -> Fingerprint {
        Fingerprint(blake3::keyed_hash(&self.0, key.as_bytes()))
    }
}

/// A keyed hash, used to look up keys. A client cannot choose or predict the hash of the key that it presents, so the
/// time of a lookup reveals nothing about existing keys. The comparison is also constant-time (blake3's `Eq`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(blake3::Hash);

impl Fingerprint {
    /// The stored form.
    pub fn to_stored(self) -> KeyHash {
        KeyHash(*self.0.as_bytes())
    }

    /// Reads the stored form.
    pub fn from_stored(hash: KeyHash) -> Self {
        Self(blake3::Hash::from_bytes(hash.0))
    }
}

impl Hash for Fingerprint {
    // The value is already uniform, so its first bytes serve as its hash.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let mut first = [0; 8];
        first.copy_from_slice(&self.0.as_bytes()[..8]);
        state.write_u64(u64::from_le_bytes(first));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_a_different_fingerprint_in_every_installation() {
        let (one, other) = (KeyHasher::new([1; 32]), KeyHasher::new([2; 32]));
        assert!(one.fingerprint("sk_a.b") == one.fingerprint("sk_a.b"));
        assert!(one.fingerprint("sk_a.b") != one.fingerprint("sk_a.c"));
        assert!(one.fingerprint("sk_a.b") != other.fingerprint("sk_a.b"));
        let stored = one.fingerprint("sk_a.b").to_stored();
        assert!(Fingerprint::from_stored(stored) == one.fingerprint("sk_a.b"));
        assert!(!format!("{stored:?}").contains(char::is_numeric));
    }
}
