//! An endpoint's prices, and the exact cost of a request.
//!
//! A cost is an integer of 10^-12 currency units. A price is an integer of 10^-6 units, so the cost of each part is an
//! integer product:
//!
//! * Tokens and characters are priced by the million. 10^-6 units for 10^6 of them are 10^-12 units for each.
//! * Audio is priced by the second and measured in 10^-6 s. 10^-6 units for a second are 10^-12 units for each 10^-6 s.
//! * Requests and images are priced one by one. 10^-6 units for one are 10^6 × 10^-12 units.
//!
//! Nothing is divided, so nothing is rounded. A cost above `u128::MAX` (3.4 × 10^26 units) is that maximum.

use serde::{Deserialize, Serialize};

use super::{
    money::{Cost, Currency, Price},
    units::Units,
    usage::Usage,
};

#[cfg(test)]
mod tests;

/// The prices of tokens, per million.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenPrices {
    /// The price of prompt tokens that neither came from the cache nor were written to it.
    pub input: Price,
    /// The price of generated tokens.
    pub output: Price,
    /// The price of prompt tokens from the cache. If absent, `input`.
    pub cached: Option<Price>,
    /// The price of prompt tokens that were written to the cache. If absent, `input`.
    pub cache_write: Option<Price>,
}

impl TokenPrices {
    /// The cost of all tokens of a request, in 10^-12 currency units.
    fn cost(&self, usage: &Usage) -> u128 {
        let Usage { input, output, cached, cache_write } = *usage;
        let uncached = input.saturating_sub(cached).saturating_sub(cache_write);
        [
            self.input.of_millionths(uncached),
            self.output.of_millionths(output),
            self.cached.unwrap_or(self.input).of_millionths(cached),
            self.cache_write.unwrap_or(self.input).of_millionths(cache_write),
        ]
        .into_iter()
        .fold(0, u128::saturating_add)
    }

    /// The highest price that a prompt token can have.
    fn dearest_input(&self) -> Price {
        let cached = [self.cached, self.cache_write].into_iter().flatten();
        cached.fold(self.input, std::cmp::Ord::max)
    }
}

/// The prices of tokens of requests with a long prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LongPrices {
    /// The most input tokens to which these prices do not apply.
    pub above: u64,
    /// The prices of all tokens of a request with more input tokens.
    pub tokens: TokenPrices,
}

/// The prices of an endpoint. Those that are absent are 0, unless they say otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pricing {
    /// The currency.
    pub currency: Currency,
    /// The prices of tokens.
    pub tokens: TokenPrices,
    /// The price of each request.
    pub request: Option<Price>,
    /// The price of each generated image.
    pub image: Option<Price>,
    /// The price of each second of audio.
    pub second: Option<Price>,
    /// The price of a million spoken characters.
    pub characters: Option<Price>,
    /// The prices of tokens that apply instead of `tokens` if the prompt is long.
    pub long: Option<LongPrices>,
}

impl Pricing {
    /// Prices of tokens alone.
    pub fn of_tokens(currency: Currency, tokens: TokenPrices) -> Self {
        Self { currency, tokens, request: None, image: None, second: None, characters: None, long: None }
    }

    /// The cost of a request with these tokens and units, billed or estimated.
    pub fn cost(&self, usage: &Usage, units: Option<Units>) -> Cost {
        let amount = self.tokens_at(usage.input).cost(usage).saturating_add(self.besides_tokens(units));
        Cost { currency: self.currency, amount }
    }

    /// The prices of a request with a prompt of `prompt_tokens` tokens that are not cached, or with `dearest` in the
    /// cache, out of it or written to it, whichever costs most.
    pub fn quote(&self, prompt_tokens: u64, units: Option<Units>, dearest: bool) -> Quote {
        let tokens = self.tokens_at(prompt_tokens);
        let input = if dearest { tokens.dearest_input() } else { tokens.input };
        let fixed = input.of_millionths(prompt_tokens).saturating_add(self.besides_tokens(units));
        Quote { fixed, output: tokens.output.of_millionths(1) }
    }

    /// Whether seconds of audio cost anything.
    pub fn charges_for_seconds(&self) -> bool {
        self.second.is_some_and(|price| price.of_millionths(1) > 0)
    }

    /// The prices of tokens of a request with this many input tokens.
    fn tokens_at(&self, input: u64) -> &TokenPrices {
        let long = self.long.as_ref().filter(|long| input > long.above);
        long.map_or(&self.tokens, |long| &long.tokens)
    }

    /// The cost of the request itself and of its units, in 10^-12 currency units.
    fn besides_tokens(&self, units: Option<Units>) -> u128 {
        let request = self.request.map_or(0, |price| price.of_whole(1));
        let units = match units {
            None => None,
            Some(Units::Images(images)) => self.image.map(|price| price.of_whole(images)),
            Some(Units::Seconds(seconds)) => self.second.map(|price| price.of_millionths(seconds.micros())),
            Some(Units::Characters(characters)) => self.characters.map(|price| price.of_millionths(characters)),
        };
        request.saturating_add(units.unwrap_or(0))
    }
}

/// The prices of one request before its answer is known, in 10^-12 currency units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quote {
    /// The cost of everything except output.
    pub fixed: u128,
    /// The price of one output token.
    pub output: u128,
}

impl Quote {
    /// The cost with `output` output tokens.
    pub fn cost(&self, output: u64) -> u128 {
        self.fixed.saturating_add(self.output_cost(output))
    }

    /// The cost of `output` output tokens.
    pub fn output_cost(&self, output: u64) -> u128 {
        self.output.saturating_mul(u128::from(output))
    }

    /// The most output tokens with which the request costs at most `amount`, which is at least `fixed`.
    pub fn affordable_output(&self, amount: u128) -> u64 {
        let tokens = amount.saturating_sub(self.fixed).checked_div(self.output);
        tokens.map_or(u64::MAX, |tokens| u64::try_from(tokens).unwrap_or(u64::MAX))
    }
}
