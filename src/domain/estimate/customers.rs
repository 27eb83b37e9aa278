//! Estimates that several customers share and that no single one can distort: the median of the customers' averages.

use std::hash::Hash;

use arrayvec::ArrayVec;

use crate::domain::{hash::IdMap, id::GroupId};

/// An average over one customer's requests, updated with one figure for each request.
pub(super) trait Average: Default {
    fn learn(&mut self, figure: u64);
    fn mean(&self) -> u64;
}

/// A mean over about the last 32 samples. The first 32 have equal weights.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Mean {
    pub(super) scaled: u64,
    /// Up to [`Self::MEMORY`].
    pub(super) samples: u32,
}

impl Mean {
    const MEMORY: u32 = 32;
}

impl Average for Mean {
    fn learn(&mut self, scaled: u64) {
        self.samples = (self.samples + 1).min(Self::MEMORY);
        let weight = u64::from(self.samples);
        if scaled >= self.scaled {
            self.scaled += (scaled - self.scaled) / weight;
        } else {
            self.scaled -= (self.scaled - scaled) / weight;
        }
    }

    fn mean(&self) -> u64 {
        self.scaled
    }
}

/// The most customers that one estimate is made from.
pub(super) const MAX_CUSTOMERS: usize = 8;

/// When an estimate has [`MAX_CUSTOMERS`], one in this many reports from other customers replaces the customer that has
/// not reported for longest. If each of these reports did, no customer would stay long enough to have a mean.
pub(super) const REPLACE_EVERY: u32 = 64;

/// The median of at most [`MAX_CUSTOMERS`] values. Of two middle values it is the lower one, so that neither of two
/// customers can raise the amount that the other holds.
pub(super) fn median(values: impl Iterator<Item = u64>) -> Option<u64> {
    let mut values: ArrayVec<u64, MAX_CUSTOMERS> = values.take(MAX_CUSTOMERS).collect();
    values.sort_unstable();
    values.get(values.len().saturating_sub(1) / 2).copied()
}

/// The median over some of the customers that report.
#[derive(Debug, Default)]
pub(super) struct CustomerMedian<V> {
    /// In order of their latest report.
    pub(super) customers: ArrayVec<(GroupId, V), MAX_CUSTOMERS>,
    /// Reports from other customers since one of them was last added.
    skipped: u32,
    pub(super) median: u64,
}

impl<V: Average> CustomerMedian<V> {
    fn learn(&mut self, customer: GroupId, figure: u64) {
        let known = self.customers.iter().position(|(group, _)| *group == customer);
        if known.is_none() && self.customers.is_full() {
            self.skipped += 1;
            if self.skipped < REPLACE_EVERY {
                return;
            }
            self.skipped = 0;
            self.customers.remove(0);
        }
        let mut average = known.map(|at| self.customers.remove(at).1).unwrap_or_default();
        average.learn(figure);
        self.customers.push((customer, average));
        self.median = median(self.customers.iter().map(|(_, average)| average.mean())).unwrap_or_default();
    }
}

/// A bounded map of estimates. When `young` is full it becomes `old`, and the previous `old` is dropped.
#[derive(Debug)]
pub(super) struct EstimateMap<K, V> {
    pub(super) young: IdMap<K, CustomerMedian<V>>,
    pub(super) old: IdMap<K, CustomerMedian<V>>,
}

impl<K, V> Default for EstimateMap<K, V> {
    fn default() -> Self {
        Self { young: IdMap::default(), old: IdMap::default() }
    }
}

impl<K: Copy + Eq + Hash, V: Average> EstimateMap<K, V> {
    pub(super) const GENERATION: usize = 2048;

    pub(super) fn get(&self, key: &K) -> Option<&CustomerMedian<V>> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    pub(super) fn learn(&mut self, key: K, customer: GroupId, figure: u64) {
        if let Some(estimate) = self.young.get_mut(&key) {
            return estimate.learn(customer, figure);
        }
        let mut estimate = self.old.remove(&key).unwrap_or_default();
        estimate.learn(customer, figure);
        if self.young.len() >= Self::GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, estimate);
    }
}
