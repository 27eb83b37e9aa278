use proptest::{collection::vec, option, prelude::*};

use super::*;
use crate::domain::units::Seconds;

/// A decimal number of any size, computed digit by digit as on paper.
#[derive(Debug, Clone)]
struct Decimal {
    /// The least significant digit first.
    digits: Vec<u8>,
    decimals: usize,
}

impl Decimal {
    fn parse(text: &str) -> Self {
        let decimals = text.split_once('.').map_or(0, |(_, decimals)| decimals.len());
        let digits = text.bytes().rev().filter(u8::is_ascii_digit).map(|digit| digit - b'0').collect();
        Self { digits, decimals }
    }

    fn of(count: u64) -> Self {
        Self::parse(&count.to_string())
    }

    fn times(&self, other: &Self) -> Self {
        let mut digits = vec![0; self.digits.len() + other.digits.len()];
        for (at, digit) in self.digits.iter().enumerate() {
            let mut carry = 0;
            for (place, by) in digits[at..].iter_mut().zip(other.digits.iter().chain(&[0])) {
                let value = *place + digit * by + carry;
                (*place, carry) = (value % 10, value / 10);
            }
        }
        Self { digits, decimals: self.decimals + other.decimals }
    }

    fn plus(&self, other: &Self) -> Self {
        let decimals = self.decimals.max(other.decimals);
        let aligned = |one: &Self| [vec![0; decimals - one.decimals], one.digits.clone()].concat();
        let (one, other) = (aligned(self), aligned(other));
        let mut carry = 0;
        let digits = (0..=one.len().max(other.len()))
            .map(|at| {
                let sum = one.get(at).unwrap_or(&0) + other.get(at).unwrap_or(&0) + carry;
                carry = sum / 10;
                sum % 10
            })
            .collect();
        Self { digits, decimals }
    }

    /// Divides by a million.
    fn millionth(&self) -> Self {
        Self { decimals: self.decimals + 6, ..self.clone() }
    }

    /// Without zeros at either end.
    fn text(&self) -> String {
        let digit = |at: usize| char::from(b'0' + self.digits.get(at).unwrap_or(&0));
        let whole: String = (self.decimals..self.digits.len().max(self.decimals + 1)).rev().map(digit).collect();
        let fraction: String = (0..self.decimals).rev().map(digit).collect();
        let whole = whole.trim_start_matches('0');
        let text = format!("{}.{fraction}", if whole.is_empty() { "0" } else { whole });
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

/// Prices as an operator writes them.
#[derive(Debug, Clone)]
struct Written {
    /// `input`, `output`
    tokens: [String; 2],
    /// `cached`, `cache_write`
    cache: [Option<String>; 2],
}

impl Written {
    fn prices(&self) -> TokenPrices {
        let [input, output] = self.tokens.clone().map(|text| Price::parse(&text).unwrap());
        let [cached, cache_write] = self.cache.clone().map(optional);
        TokenPrices { input, output, cached, cache_write }
    }

    /// The cost of uncached, cached, written and generated tokens.
    fn cost(&self, tokens: [u64; 4]) -> Decimal {
        let [input, output] = &self.tokens;
        let [cached, cache_write] = self.cache.each_ref().map(|price| price.as_ref().unwrap_or(input));
        tokens.into_iter().zip([input, cached, cache_write, output]).fold(Decimal::of(0), |sum, (tokens, price)| {
            sum.plus(&Decimal::parse(price).times(&Decimal::of(tokens)).millionth())
        })
    }
}

fn optional(text: Option<String>) -> Option<Price> {
    text.map(|text| Price::parse(&text).unwrap())
}

fn price_text() -> impl Strategy<Value = String> {
    prop_oneof![
        (0_u64..1_000_000_000, vec(0_u8..10, 0..=6)).prop_map(|(whole, decimals)| {
            let decimals: String = decimals.into_iter().map(|digit| char::from(b'0' + digit)).collect();
            if decimals.is_empty() { whole.to_string() } else { format!("{whole}.{decimals}") }
        }),
        "0",
        "0\\.00000[01]",
        "999999999\\.999999",
    ]
}

fn written() -> impl Strategy<Value = Written> {
    let cache = [option::of(price_text()), option::of(price_text())];
    ([price_text(), price_text()], cache).prop_map(|(tokens, cache)| Written { tokens, cache })
}

fn count() -> impl Strategy<Value = u64> {
    prop_oneof![0_u64..10, 0_u64..1_000_000, any::<u64>(), Just(u64::MAX)]
}

fn units() -> impl Strategy<Value = Option<Units>> {
    prop_oneof![
        Just(None),
        count().prop_map(|images| Some(Units::Images(images))),
        count().prop_map(|micros| Some(Units::Seconds(Seconds::from_micros(micros)))),
        count().prop_map(|characters| Some(Units::Characters(characters))),
    ]
}

proptest! {
    #[test]
    fn a_cost_is_the_exact_decimal_sum_of_its_parts(
        tokens in written(),
        of_units in vec(option::of(price_text()), 4),
        long in option::of((written(), count(), any::<bool>())),
        parts in [count(), count(), count()],
        output in count(),
        units in units(),
    ) {
        // Usage reports are clamped, so that the parts are no more than the whole prompt.
        let [uncached, cached, cache_write] = parts.map(|part| part / 3);
        let usage = Usage { input: uncached + cached + cache_write, output, cached, cache_write };
        // The threshold is often at the edge.
        let above = |above, edge| if edge { usage.input } else { above };
        let [request, image, second, characters] = [0, 1, 2, 3].map(|at: usize| of_units[at].clone());
        let pricing = Pricing {
            currency: Currency::parse("EUR").unwrap(),
            tokens: tokens.prices(),
            request: optional(request.clone()),
            image: optional(image.clone()),
            second: optional(second.clone()),
            characters: optional(characters.clone()),
            long: long.clone().map(|(long, at, edge)| LongPrices { above: above(at, edge), tokens: long.prices() }),
        };

        let applies = long.filter(|(_, at, edge)| usage.input > above(*at, *edge)).map_or(tokens, |(long, ..)| long);
        let each = |price: Option<String>, count: Decimal| {
            price.map_or(Decimal::of(0), |price| Decimal::parse(&price).times(&count))
        };
        let of_units = match units {
            None => Decimal::of(0),
            Some(Units::Images(images)) => each(image, Decimal::of(images)),
            Some(Units::Seconds(seconds)) => each(second, Decimal::parse(&seconds.to_string())),
            Some(Units::Characters(count)) => each(characters, Decimal::of(count).millionth()),
        };
        let exact = applies.cost([uncached, cached, cache_write, output])
            .plus(&each(request, Decimal::of(1)))
            .plus(&of_units)
            .text();
        let most = Cost { currency: pricing.currency, amount: u128::MAX }.amount_text();
        let whole = |text: &str| text.split('.').next().unwrap_or_default().len();
        let expected = if (whole(&exact), &exact) > (whole(&most), &most) { most } else { exact };
        let cost = pricing.cost(&usage, units);
        prop_assert_eq!((cost.currency, cost.amount_text()), (pricing.currency, expected));

        let uncached = Usage { input: usage.input, output, ..Usage::default() };
        let quote = pricing.quote(usage.input, units, false);
        prop_assert_eq!(quote.cost(output), pricing.cost(&uncached, units).amount);
        let dearest = pricing.quote(usage.input, units, true);
        prop_assert!(dearest.cost(output) >= cost.amount.max(quote.cost(output)), "whatever comes from the cache");
    }

    #[test]
    fn the_output_that_is_affordable_is_the_most_that_is(
        fixed in any::<u64>(), output in any::<u64>(), more in any::<u128>(),
    ) {
        let quote = Quote { fixed: fixed.into(), output: output.into() };
        let amount = quote.fixed.saturating_add(more);
        let most = quote.affordable_output(amount);
        prop_assert!(quote.cost(most) <= amount);
        prop_assert!(most == u64::MAX || quote.cost(most + 1) > amount);
    }
}

#[test]
fn each_part_of_a_request_has_its_own_price() {
    let price = |text| Price::parse(text).unwrap();
    let tokens =
        |input, output| TokenPrices { input: price(input), output: price(output), cached: None, cache_write: None };
    let pricing = Pricing {
        currency: Currency::parse("EUR").unwrap(),
        tokens: TokenPrices { cached: Some(price("0.25")), cache_write: Some(price("3.75")), ..tokens("2.5", "10") },
        request: Some(price("0.01")),
        image: Some(price("0.04")),
        second: Some(price("0.0001")),
        characters: Some(price("15")),
        long: Some(LongPrices { above: 1000, tokens: tokens("5", "15") }),
    };
    let usage = |input, output, cached, cache_write| Usage { input, output, cached, cache_write };
    for (usage, units, amount) in [
        (usage(0, 0, 0, 0), None, "0.01"),
        // 70 × 2.5 + 20 × 0.25 + 10 × 3.75 + 7 × 10 = 287.5 millionths
        (usage(100, 7, 20, 10), None, "0.0102875"),
        (usage(1000, 0, 0, 0), None, "0.0125"),
        // 1001 × 5 + 1 × 15: the cached tokens of a long request cost as much as its others.
        (usage(1001, 1, 500, 1), None, "0.01502"),
        (usage(0, 0, 0, 0), Some(Units::Images(3)), "0.13"),
        (usage(0, 0, 0, 0), Some(Units::Seconds(Seconds::from_micros(12_345_678))), "0.0112345678"),
        (usage(0, 0, 0, 0), Some(Units::Characters(401)), "0.016015"),
    ] {
        assert_eq!(pricing.cost(&usage, units).amount_text(), amount, "{usage:?} {units:?}");
    }
    let free = Pricing::of_tokens(pricing.currency, tokens("0", "0"));
    for units in
        [None, Some(Units::Images(3)), Some(Units::Seconds(Seconds::from_micros(1))), Some(Units::Characters(4))]
    {
        assert_eq!(free.cost(&usage(9, 9, 9, 9), units).amount_text(), "0");
    }
}
