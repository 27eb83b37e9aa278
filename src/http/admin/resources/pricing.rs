//! The prices of endpoints, in requests and responses.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        money::Price,
        pricing::{self as domain, LongPrices, TokenPrices},
    },
    http::admin::api::{
        body::Object,
        field::{CurrencyCode, PriceText},
        number::LongAbove,
    },
};

/// The prices of an endpoint. Optional prices that were not set are absent, except `cached`.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct Pricing {
    currency: String,
    input: String,
    output: String,
    /// If it was not set, the `input` price.
    cached: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_write: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    second: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    characters: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    long: Option<Long>,
}

/// The prices of all tokens of a request with more than `above` input tokens, per million.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "LongPrices")]
struct Long {
    above: LongAbove,
    input: String,
    output: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cached: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_write: Option<String>,
}

fn text(price: Option<Price>) -> Option<String> {
    price.map(|price| price.to_string())
}

impl Pricing {
    pub(in crate::http) fn new(pricing: &domain::Pricing) -> Self {
        let domain::Pricing { currency, tokens, request, image, second, characters, long } = *pricing;
        Self {
            currency: currency.to_string(),
            input: tokens.input.to_string(),
            output: tokens.output.to_string(),
            cached: tokens.cached.unwrap_or(tokens.input).to_string(),
            cache_write: text(tokens.cache_write),
            request: text(request),
            image: text(image),
            second: text(second),
            characters: text(characters),
            long: long.map(|LongPrices { above, tokens }| Long {
                above: LongAbove(above),
                input: tokens.input.to_string(),
                output: tokens.output.to_string(),
                cached: text(tokens.cached),
                cache_write: text(tokens.cache_write),
            }),
        }
    }
}

/// The prices of an endpoint, to be set.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct NewPricing {
    currency: CurrencyCode,
    /// The price of a million prompt tokens.
    input: PriceText,
    /// The price of a million generated tokens.
    output: PriceText,
    /// The price of a million prompt tokens from the cache. Default: the `input` price.
    cached: Option<PriceText>,
    /// The price of a million prompt tokens that are written to the cache. Default: the `input` price.
    cache_write: Option<PriceText>,
    /// The price of a request. Default: 0.
    request: Option<PriceText>,
    /// The price of a generated image. Default: 0.
    image: Option<PriceText>,
    /// The price of a second of audio. Default: 0.
    second: Option<PriceText>,
    /// The price of a million spoken characters. Default: 0.
    characters: Option<PriceText>,
    /// Other prices of tokens for requests with a long prompt.
    long: Option<Object<NewLong>>,
}

/// The prices of all tokens of a request with more than `above` input tokens, per million, to be set.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewLongPrices")]
struct NewLong {
    above: LongAbove,
    input: PriceText,
    output: PriceText,
    /// Default: this object's `input` price.
    cached: Option<PriceText>,
    /// Default: this object's `input` price.
    cache_write: Option<PriceText>,
}

fn price(text: Option<PriceText>) -> Option<Price> {
    text.map(|text| text.0)
}

impl NewPricing {
    pub(in crate::http) fn into_pricing(self) -> domain::Pricing {
        domain::Pricing {
            currency: self.currency.0,
            tokens: TokenPrices {
                input: self.input.0,
                output: self.output.0,
                cached: price(self.cached),
                cache_write: price(self.cache_write),
            },
            request: price(self.request),
            image: price(self.image),
            second: price(self.second),
            characters: price(self.characters),
            long: self.long.map(|Object(long)| LongPrices {
                above: long.above.0,
                tokens: TokenPrices {
                    input: long.input.0,
                    output: long.output.0,
                    cached: price(long.cached),
                    cache_write: price(long.cache_write),
                },
            }),
        }
    }
}
