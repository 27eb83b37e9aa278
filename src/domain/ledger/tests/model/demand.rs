//! The amounts that a request must find free and those that it holds, by the contract.

use super::{prices::Prices, *};
use crate::domain::money::Currency;

/// The output expected of each choice.
pub(super) const EXPECTED: u64 = 60;

/// The price of a request before its answer is known, in 10^-12 currency units.
#[derive(Clone, Copy)]
pub(super) struct Priced {
    pub(super) currency: Currency,
    /// The cost without output.
    pub(super) fixed: u128,
    /// The price of an output token.
    pub(super) output: u128,
    may_cost: bool,
}

pub(super) struct Demand {
    pub(super) prompt: u64,
    choices: u64,
    /// The declared maximum of all choices.
    declared: Option<u64>,
    /// Output that must fit.
    least: u64,
    pub(super) priced: Option<Priced>,
}

impl Demand {
    pub(super) fn of(ask: &Ask<'_>, prices: Option<&Prices>) -> Self {
        let is_billed = ask.route != Route::CountTokens;
        let prompt = if is_billed { ask.prompt_bytes.div_ceil(4).max(1) } else { 0 };
        let choices = ask.n.max(ask.best_of.unwrap_or(1));
        let declared = ask.declared_output.map(|each| each * choices);
        let is_strict = ask.admission != TokenAdmission::Adaptive;
        let least = if is_strict && ask.route.generates() && declared != Some(0) { choices } else { 0 };
        let priced = prices.filter(|_| is_billed).map(|prices| {
            let of_tokens = prices.of_tokens(prompt);
            let cached = [of_tokens.cached, of_tokens.cache_write].into_iter().flatten().max().unwrap_or(0);
            let input = if is_strict { of_tokens.input.max(cached) } else { of_tokens.input };
            let fixed = u128::from(input) * u128::from(prompt) + prices.besides_tokens(ask.units);
            let has_output = ask.route != Route::Embeddings && declared != Some(0) && of_tokens.output > 0;
            let has_audio = ask.route == Route::Transcriptions && prices.second.unwrap_or(0) > 0;
            let may_cost = fixed > 0 || has_output || has_audio;
            Priced { currency: prices.currency, fixed, output: of_tokens.output.into(), may_cost }
        });
        Self { prompt, choices, declared, least, priced }
    }

    /// The amount that must fit below a rule's threshold. `None`: the rule does not concern the request.
    pub(super) fn asked(&self, rule: &Rule) -> Option<u128> {
        match rule {
            Rule::Limit(limit) => match (limit.limit_type, limit.unit) {
                (Token, Second | Minute | Daily | Week | Month) => Some((self.prompt + self.least).into()),
                _ => Some(1),
            },
            Rule::Budget(budget) => {
                let priced = self.priced.filter(|priced| priced.currency == budget.currency)?;
                let certain = priced.fixed + priced.output * u128::from(self.least);
                Some(if priced.may_cost { certain.max(1) } else { 0 })
            }
        }
    }

    /// (held output, most output, maximum for each choice), if this much is left of every limit on tokens and of every
    /// budget.
    pub(super) fn output(&self, ask: &Ask<'_>, tokens_left: u64, money_left: u128) -> (u64, u64, Option<u64>) {
        if !ask.route.generates() {
            return (0, 0, None);
        }
        match ask.admission {
            TokenAdmission::Adaptive => {
                let most = self.declared.unwrap_or(u64::MAX);
                (most.min(EXPECTED * ask.n), most, None)
            }
            TokenAdmission::Strict { strict_output } => {
                let mut all = self.declared.unwrap_or(strict_output).min(tokens_left - self.prompt);
                if let Some(priced) = self.priced.filter(|priced| priced.output > 0) {
                    all = all.min(u64::try_from((money_left - priced.fixed) / priced.output).unwrap_or(u64::MAX));
                }
                let each = all / self.choices;
                (each * self.choices, each * self.choices, Some(each))
            }
        }
    }
}
