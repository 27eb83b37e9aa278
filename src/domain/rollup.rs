//! Rollups: the sums of billed requests per hour, group, key and model. Rollups are kept after events are deleted.

use serde::{Deserialize, Serialize};

use super::{
    day::Hour,
    id::{GroupId, SlugId},
    money::Cost,
    settled::Settled,
    usage::Usage,
};

/// Sums of tokens. Rollups are stored with this struct, which is therefore independent of [`Usage`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenSums {
    /// Prompt tokens, including the cached ones.
    pub input: u64,
    /// Generated tokens.
    pub output: u64,
    /// Prompt tokens that were served from cache.
    pub cached: u64,
}

impl TokenSums {
    /// The tokens that TOKEN limits count.
    pub fn total(&self) -> u64 {
        self.input.saturating_add(self.output)
    }

    fn add(&mut self, other: &Self) {
        self.input = self.input.saturating_add(other.input);
        self.output = self.output.saturating_add(other.output);
        self.cached = self.cached.saturating_add(other.cached);
    }
}

impl From<Usage> for TokenSums {
    fn from(Usage { input, output, cached, .. }: Usage) -> Self {
        Self { input, output, cached }
    }
}

/// Sums over events. They are integers, and so exact.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// The number of events.
    pub requests: u64,
    /// Their tokens.
    pub tokens: TokenSums,
    /// Their cost: one sum for each currency, in order of currency code. Empty if none of them had a price.
    pub costs: Vec<Cost>,
}

impl Sums {
    /// The sums of one event.
    pub fn of(usage: Usage, cost: Option<Cost>) -> Self {
        Self { requests: 1, tokens: usage.into(), costs: Vec::from_iter(cost) }
    }

    /// Adds the sums of other events.
    pub fn add(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.tokens.add(&other.tokens);
        for cost in &other.costs {
            match self.costs.binary_search_by_key(&cost.currency, |known| known.currency) {
                Ok(at) => self.costs[at].amount = self.costs[at].amount.saturating_add(cost.amount),
                Err(at) => self.costs.insert(at, *cost),
            }
        }
    }
}

/// One row: the events of one key with one model in one hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollup {
    /// The hour of the events' settlement.
    pub hour: Hour,
    /// The key's own group.
    pub group: GroupId,
    /// That group's external id.
    pub external_entity_id: String,
    /// The slug that was called, by its name at that time.
    pub model_slug: String,
    /// The key's public part.
    pub api_key_prefix: String,
    /// The sums over the events.
    pub sums: Sums,
    /// The slug's stable id. `None` in rows of earlier versions.
    pub slug: Option<SlugId>,
}

impl Rollup {
    /// The row that one event makes.
    pub fn of(at_ms: u64, settled: &Settled<'_>) -> Self {
        Self {
            hour: Hour::from_unix_ms(at_ms),
            group: settled.group(),
            external_entity_id: settled.external_entity_id.to_owned(),
            model_slug: settled.model_slug.to_owned(),
            api_key_prefix: settled.api_key_prefix.to_owned(),
            sums: Sums::of(settled.usage, settled.cost),
            slug: Some(settled.slug),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::money::Currency;

    #[test]
    fn amounts_are_summed_by_currency_and_never_across() {
        let cost = |currency, amount| Cost { currency: Currency::parse(currency).unwrap(), amount };
        let usage = |input| Usage { input, output: 1, cached: 1, cache_write: 0 };
        let mut sums = Sums::of(usage(1), Some(cost("USD", 5)));
        for (input, cost) in
            [(2, Some(cost("EUR", 7))), (3, None), (4, Some(cost("EUR", 1))), (0, Some(cost("USD", 1)))]
        {
            sums.add(&Sums::of(usage(input), cost));
        }
        assert_eq!((sums.requests, sums.tokens), (5, TokenSums { input: 10, output: 5, cached: 5 }));
        assert_eq!(sums.costs, [cost("EUR", 8), cost("USD", 6)]);
    }
}
