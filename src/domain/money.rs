//! Prices and costs as exact integers. Money is never a float.
//!
//! A price has up to six decimals, so it is a whole number of 10^-6 currency units. Quantities are whole numbers of the
//! priced unit or of its millionths. A cost is therefore a whole number of 10^-12 currency units, and nothing is
//! rounded.

use std::fmt;

use serde::{Deserialize, Serialize};

const PRICE_DECIMALS: usize = 6;
const AMOUNT_DECIMALS: usize = 12;
const MILLION: u128 = 1_000_000;

/// The price of one unit: a million tokens or characters, a second of audio, an image or a request. Stored in 10^-6
/// currency units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Price(u64);

/// The text is not a valid price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidPrice;

impl fmt::Display for InvalidPrice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be a decimal string such as \"2.50\" (up to 9 digits and 6 decimals)")
    }
}

/// Reads a decimal number of up to `digits` digits, a point, and up to six decimals, as a whole number of 10^-6. At most
/// 12 digits fit.
fn parse_millionths(text: &str, digits: usize) -> Option<u64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let number = |part: &str, max: usize| {
        (!part.is_empty() && part.len() <= max && part.bytes().all(|b| b.is_ascii_digit()))
            .then(|| part.bytes().fold(0u64, |sum, b| sum * 10 + u64::from(b - b'0')))
    };
    let scale = |decimals: &str| 10u64.pow((PRICE_DECIMALS - decimals.len()) as u32);
    let fraction = number(decimals, PRICE_DECIMALS)? * scale(decimals);
    Some(number(whole, digits)? * 10u64.pow(PRICE_DECIMALS as u32) + fraction)
}

impl Price {
    /// Reads `"2.50"`: up to 9 digits, a point, up to 6 decimals.
    pub fn parse(text: &str) -> Result<Self, InvalidPrice> {
        parse_millionths(text, 9).map(Self).ok_or(InvalidPrice)
    }

    /// The cost of `count` units, in 10^-12 currency units.
    pub(super) fn of_whole(self, count: u64) -> u128 {
        self.of_millionths(count).saturating_mul(MILLION)
    }

    /// The cost of `count` millionths of a unit, in 10^-12 currency units.
    pub(super) fn of_millionths(self, count: u64) -> u128 {
        u128::from(self.0) * u128::from(count)
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&decimal(u128::from(self.0), PRICE_DECIMALS))
    }
}

/// The amount of a budget, in 10^-6 currency units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Amount(u64);

/// The text is not a valid amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidAmount;

impl fmt::Display for InvalidAmount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be a decimal string such as \"500.00\" (up to 12 digits and 6 decimals)")
    }
}

impl Amount {
    /// Reads `"500.00"`: up to 12 digits, a point, up to 6 decimals.
    pub fn parse(text: &str) -> Result<Self, InvalidAmount> {
        parse_millionths(text, 12).map(Self).ok_or(InvalidAmount)
    }

    /// The amount in the units of a cost, 10^-12 of the currency.
    pub fn as_cost(self) -> u128 {
        u128::from(self.0) * MILLION
    }
}

impl fmt::Display for Amount {
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
        amount_text(self.amount)
    }
}

/// The exact decimal text of an amount in 10^-12 currency units, without trailing zeros.
pub fn amount_text(amount: u128) -> String {
    decimal(amount, AMOUNT_DECIMALS)
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
    fn amounts_are_exact_decimals_of_up_to_12_digits() {
        for (text, shown, cost) in [
            ("500.00", "500", 500_000_000_000_000),
            ("0", "0", 0),
            ("0.000001", "0.000001", 1_000_000),
            ("999999999999.999999", "999999999999.999999", 999_999_999_999_999_999_000_000),
        ] {
            let amount = Amount::parse(text).unwrap();
            assert_eq!((amount.to_string().as_str(), amount.as_cost()), (shown, cost));
        }
        for bad in ["", "-1", "+1", "1e3", "0.0000001", "1.", "1000000000000", "NaN", "١"] {
            assert_eq!(Amount::parse(bad), Err(InvalidAmount), "{bad}");
        }
    }
}
