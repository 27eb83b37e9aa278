//! A hasher for ids that Tollgate makes.
//!
//! Clients cannot choose group and slug ids, so they cannot make them collide. One folded multiplication per word is
//! enough, and it is several times faster than the standard library's keyed hasher. Do not use it for keys that a
//! client chooses.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

/// A map keyed by ids that Tollgate makes.
pub(crate) type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;

/// Hashes ids that Tollgate made.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct IdHasher(u64);

impl IdHasher {
    /// Folds the high half of the product into the low half, so that both ends of the result are well mixed. The map
    /// takes the bucket from one end and the tag from the other.
    fn fold(&mut self, word: u64) {
        const ODD: u128 = 0x9e37_79b9_7f4a_7c15;
        let product = u128::from(self.0.rotate_left(32) ^ word ^ 0x2545_f491_4f6c_dd1d) * ODD;
        self.0 = (product as u64) ^ ((product >> 64) as u64);
    }
}

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.fold(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.fold(word);
    }

    fn write_u128(&mut self, word: u128) {
        self.fold(word as u64);
        self.fold((word >> 64) as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, hash::BuildHasher};

    use super::*;
    use crate::domain::id::{GroupId, SlugId};

    #[test]
    fn consecutive_ids_spread_over_both_ends_of_the_hash() {
        let build = BuildHasherDefault::<IdHasher>::default();
        let (mut low, mut high) = (HashSet::new(), HashSet::new());
        for n in 0..4096_u128 {
            let hash = build.hash_one((GroupId(0x0190_0000 << 96 | n), SlugId(n as u64 % 7)));
            low.insert(hash & 0xfff);
            high.insert(hash >> 52);
        }
        // 4096 balls thrown at random into 4096 bins occupy 63 % of them.
        assert!(low.len() > 2300, "{}", low.len());
        assert!(high.len() > 2300, "{}", high.len());
    }
}
