//! Prices as the model knows them: whole numbers of 10^-6 currency units.

use super::*;
use crate::domain::{
    money::{Currency, Price},
    pricing::{LongPrices, TokenPrices},
    testing::Random,
    units::{Seconds, Units},
};

pub(super) fn currencies() -> [Currency; 3] {
    ["EUR", "USD", "CHF"].map(|code| Currency::parse(code).unwrap())
}

/// The prices of a million tokens.
#[derive(Clone, Copy)]
pub(super) struct OfTokens {
    pub(super) input: u64,
    pub(super) output: u64,
    pub(super) cached: Option<u64>,
    pub(super) cache_write: Option<u64>,
}

#[derive(Clone, Copy)]
pub(super) struct Prices {
    pub(super) currency: Currency,
    tokens: OfTokens,
    request: Option<u64>,
    image: Option<u64>,
    pub(super) second: Option<u64>,
    /// Of a million.
    characters: Option<u64>,
    long: Option<(u64, OfTokens)>,
}

impl OfTokens {
    fn random(random: &mut Random) -> Self {
        let mut price = |bound| if random.one_in(5) { 0 } else { random.below(bound) };
        let (input, output) = (price(5_000_000), price(20_000_000));
        let mut maybe = || random.one_in(2).then(|| random.below(6_000_000));
        Self { input, output, cached: maybe(), cache_write: maybe() }
    }

    fn pricing(self) -> TokenPrices {
        let Self { input, output, cached, cache_write } = self;
        let (cached, cache_write) = (cached.map(price), cache_write.map(price));
        TokenPrices { input: price(input), output: price(output), cached, cache_write }
    }
}

impl Prices {
    pub(super) fn random(random: &mut Random) -> Self {
        let currency = random.pick(&currencies());
        let tokens = OfTokens::random(random);
        let mut maybe = |bound| random.one_in(3).then(|| random.below(bound));
        let (request, image, second, characters) = (maybe(500), maybe(2000), maybe(100), maybe(20_000_000));
        let long = random.one_in(3).then(|| (random.below(150), OfTokens::random(random)));
        Self { currency, tokens, request, image, second, characters, long }
    }

    pub(super) fn pricing(&self) -> Pricing {
        Pricing {
            currency: self.currency,
            tokens: self.tokens.pricing(),
            request: self.request.map(price),
            image: self.image.map(price),
            second: self.second.map(price),
            characters: self.characters.map(price),
            long: self.long.map(|(above, tokens)| LongPrices { above, tokens: tokens.pricing() }),
        }
    }

    /// The prices of tokens of a request with this many prompt tokens.
    pub(super) fn of_tokens(&self, prompt: u64) -> OfTokens {
        self.long.filter(|(above, _)| prompt > *above).map_or(self.tokens, |(_, tokens)| tokens)
    }

    /// The cost of the request and its units, in 10^-12 currency units.
    pub(super) fn besides_tokens(&self, units: Option<Units>) -> u128 {
        let of = |price: Option<u64>, count: u64| u128::from(price.unwrap_or(0)) * u128::from(count);
        let units = match units {
            None => 0,
            Some(Units::Images(images)) => of(self.image, images) * 1_000_000,
            Some(Units::Seconds(seconds)) => of(self.second, seconds.micros()),
            Some(Units::Characters(characters)) => of(self.characters, characters),
        };
        units + of(self.request, 1) * 1_000_000
    }

    pub(super) fn cost(&self, usage: &Usage, units: Option<Units>) -> u128 {
        let prices = self.of_tokens(usage.input);
        let parts = [
            (prices.input, usage.input - usage.cached - usage.cache_write),
            (prices.cached.unwrap_or(prices.input), usage.cached),
            (prices.cache_write.unwrap_or(prices.input), usage.cache_write),
            (prices.output, usage.output),
        ];
        let tokens: u128 = parts.into_iter().map(|(price, count)| u128::from(price) * u128::from(count)).sum();
        tokens + self.besides_tokens(units)
    }
}

/// The units that an answer is billed for.
pub(super) fn units_of_answer(random: &mut Random, route: Route, known: Option<Units>) -> Option<Units> {
    match route {
        Route::Transcriptions => Some(Units::Seconds(Seconds::from_micros(random.below(30_000_000)))),
        // Fewer images than were asked for.
        Route::Images if random.one_in(3) => Some(Units::Images(0)),
        _ => known,
    }
}

fn price(millionths: u64) -> Price {
    Price::parse(&format!("{}.{:06}", millionths / 1_000_000, millionths % 1_000_000)).unwrap()
}
