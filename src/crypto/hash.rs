//! Keys are compared by a keyed hash of the whole key, under a key of this installation: a stolen store can neither be
//! used nor searched offline without it.

use std::hash::{Hash, Hasher};

use crate::domain::key::KeyHash;

/// Hashes keys.
#[derive(Clone)]
pub struct KeyHasher([u8; 32]);

impl KeyHasher {
    /// With the installation's hashing key.
    pub fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// The fingerprint of a key that somebody presents. Every key, known or not, costs the same here.
    pub fn fingerprint(&self, key: &str) -> Fingerprint {
        Fingerprint(blake3::keyed_hash(&self.0, key.as_bytes()))
    }
}

/// A keyed hash, to look keys up by. Whoever presents a key cannot choose or foresee it, so the time of a lookup tells
/// nothing about the keys that exist; the comparison itself is constant-time besides (blake3's `Eq`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(blake3::Hash);

impl Fingerprint {
    /// As it is stored.
    pub fn to_stored(self) -> KeyHash {
        KeyHash(*self.0.as_bytes())
    }

    /// From what is stored.
    pub fn from_stored(hash: KeyHash) -> Self {
        Self(blake3::Hash::from_bytes(hash.0))
    }
}

impl Hash for Fingerprint {
    // Already uniform: its first bytes are as good as any hash of it.
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
    fn one_key_has_another_fingerprint_in_every_installation() {
        let (one, other) = (KeyHasher::new([1; 32]), KeyHasher::new([2; 32]));
        assert!(one.fingerprint("sk_a.b") == one.fingerprint("sk_a.b"));
        assert!(one.fingerprint("sk_a.b") != one.fingerprint("sk_a.c"));
        assert!(one.fingerprint("sk_a.b") != other.fingerprint("sk_a.b"));
        let stored = one.fingerprint("sk_a.b").to_stored();
        assert!(Fingerprint::from_stored(stored) == one.fingerprint("sk_a.b"));
        assert!(!format!("{stored:?}").contains(char::is_numeric));
    }
}
