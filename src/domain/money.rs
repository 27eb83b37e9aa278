//! Prices and costs as exact integers. Money is never a float.
//!
//! A price with up to six decimals per million tokens is a whole number of 10^-12 currency units per token. A cost is
//! therefore a sum of integer products, and nothing is rounded.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::usage::Usage;

const PRICE_DECIMALS: usize = 6;
const AMOUNT_DECIMALS: usize = 12;

/// A price per million tokens, stored as 10^-12 currency units per token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price(u64);

/// The text is not a valid price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidPrice;

impl fmt::Display for InvalidPrice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be a decimal string such as \"2.50\" (per million tokens, up to 9 digits and 6 decimals)")
    }
}

impl Price {
    /// Reads `"2.50"`: up to 9 digits, a point, up to 6 decimals.
    pub fn parse(text: &str) -> Result<Self, InvalidPrice> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str, max: usize| {
            (!part.is_empty() && part.len() <= max && part.bytes().all(|b| b.is_ascii_digit()))
                .then(|| part.bytes().fold(0u64, |sum, b| sum * 10 + u64::from(b - b'0')))
                .ok_or(InvalidPrice)
        };
        let scale = |decimals: &str| 10u64.pow((PRICE_DECIMALS - decimals.len()) as u32);
        let fraction = digits(decimals, PRICE_DECIMALS)? * scale(decimals);
        Ok(Self(digits(whole, 9)? * 10u64.pow(PRICE_DECIMALS as u32) + fraction))
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&decimal(u128::from(self.0), PRICE_DECIMALS))
    }
}

/// An ISO 4217 code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Currency([u8; 3]);

impl Currency {
    /// Reads a code of three capital letters.
    pub fn parse(text: &str) -> Option<Self> {
        let code: [u8; 3] = text.as_bytes().try_into().ok()?;
        code.iter().all(u8::is_ascii_uppercase).then_some(Self(code))
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|letter| write!(f, "{}", char::from(*letter)))
    }
}

/// The prices of an endpoint's tokens, per million.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pricing {
    /// The currency.
    pub currency: Currency,
    /// The price of prompt tokens that did not come from cache.
    pub input: Price,
    /// The price of generated tokens.
    pub output: Price,
    /// The price of prompt tokens from cache.
    pub cached: Price,
}

impl Pricing {
    /// The cost of one request.
    pub fn cost(&self, usage: &Usage) -> Cost {
        let part = |tokens: u64, price: Price| u128::from(tokens) * u128::from(price.0);
        let uncached = usage.input.saturating_sub(usage.cached);
        let amount = part(uncached, self.input)
            .saturating_add(part(usage.cached, self.cached))
            .saturating_add(part(usage.output, self.output));
        Cost { currency: self.currency, amount }
    }
}

/// An amount of money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// The currency.
    pub currency: Currency,
    /// In 10^-12 units of the currency.
    pub amount: u128,
}

impl Cost {
    /// The exact amount as a decimal string without trailing zeros.
    pub fn amount_text(&self) -> String {
        decimal(self.amount, AMOUNT_DECIMALS)
    }
}

/// The exact decimal text of `value` / 10^`decimals`, without trailing zeros.
pub(super) fn decimal(value: u128, decimals: usize) -> String {
    let unit = 10u128.pow(decimals as u32);
    let (whole, fraction) = (value / unit, value % unit);
    let text = format!("{whole}.{fraction:0decimals$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_exact_decimals() {
        for (text, shown) in
            [("2.50", "2.5"), ("0", "0"), ("0.000001", "0.000001"), ("999999999.999999", "999999999.999999")]
        {
            assert_eq!(Price::parse(text).unwrap().to_string(), shown);
        }
        for bad in ["", ".", "1.", ".5", "-1", "1e3", "0.0000001", "1,5", " 1", "1234567890"] {
            assert_eq!(Price::parse(bad), Err(InvalidPrice), "{bad}");
        }
    }

    #[test]
    fn a_cost_adds_uncached_cached_and_output_tokens_without_rounding() {
        let price = |text| Price::parse(text).unwrap();
        let pricing = Pricing {
            currency: Currency::parse("EUR").unwrap(),
            input: price("2.5"),
            output: price("10"),
            cached: price("0.000001"),
        };
        let cost = pricing.cost(&Usage { input: 101, output: 7, cached: 1, cache_write: 0 });
        // 100 × 2.5e-6 + 1 × 1e-12 + 7 × 10e-6
        assert_eq!(cost.amount_text(), "0.000320000001");
        let most = pricing.cost(&Usage { input: u64::MAX, output: u64::MAX, cached: 0, cache_write: 0 });
        assert!(most.amount_text().parse::<f64>().unwrap() > 1e14);
    }
}
