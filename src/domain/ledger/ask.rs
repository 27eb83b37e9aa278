//! A request to admit: what it must find free, and what it holds when it is admitted.
//!
//! The money that must fit is what is certain: the prompt at its price, the price of the request and of the units that
//! are known, and in strict admission the least output. It is at least 1 (10^-12 of the currency) if the request may
//! cost anything at all, so that a budget that is used up refuses it.

use crate::domain::{
    estimate::{Learned, MAX_HOLD, SlugEstimate},
    pricing::{Pricing, Quote},
    route::{self, Route},
    units::Units,
};

/// How many tokens must fit for a request to be admitted, and how many it holds: the setting `token_admission`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenAdmission {
    /// The prompt must fit. The expected output is held too, even if it does not fit.
    Adaptive,
    /// Everything that the request may consume must fit. The output is limited to the room that is left.
    Strict {
        /// Output tokens held by a request that declares no maximum.
        strict_output: u64,
    },
}

/// A request to admit.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The route that was called.
    pub route: Route,
    /// UTF-8 bytes of the prompt's text, inline data not counted.
    pub prompt_bytes: u64,
    /// Tokens that the prompt gives as numeric ids.
    pub prompt_ids: u64,
    /// The declared maximum of output tokens for one choice. `None` if the request declares none.
    pub declared_output: Option<u64>,
    /// Choices to return; 1 if the request does not say.
    pub n: u64,
    /// Choices to generate, of which the upstream returns `n`. `None` if the request does not say.
    pub best_of: Option<u64>,
    /// The slug's estimates.
    pub slug: SlugEstimate,
    /// The current setting.
    pub admission: TokenAdmission,
    /// The current prices of the slug's endpoint. `None` if it has none.
    pub pricing: Option<&'a Pricing>,
    /// The quantities besides tokens that the request will be billed for, if they are known beforehand.
    pub units: Option<Units>,
}

impl Ask<'_> {
    fn choices(&self) -> u64 {
        self.n.max(self.best_of.unwrap_or(0)).max(1)
    }

    pub(super) fn prompt_tokens(&self, own: Option<&Learned>) -> u64 {
        if !self.route.is_billed() {
            return 0;
        }
        let ratio = own.and_then(|own| own.ratio(self.prompt_bytes)).unwrap_or(self.slug.ratio);
        let text = if self.prompt_bytes == 0 && self.prompt_ids > 0 { 0 } else { ratio.tokens(self.prompt_bytes) };
        text.saturating_add(self.prompt_ids).min(MAX_HOLD)
    }

    /// The prompt's bytes, for learning the ratio. 0 if the prompt has numeric ids, because its tokens then do not all
    /// come from its text.
    pub fn learnable_bytes(&self) -> u64 {
        if self.prompt_ids == 0 { self.prompt_bytes } else { 0 }
    }

    /// The output tokens expected of one choice.
    pub(super) fn expected_output(&self, own: Option<&Learned>) -> u64 {
        own.and_then(|own| own.mean_output(self.route)).unwrap_or(self.slug.mean_output)
    }

    /// The declared maximum of output tokens, for all choices together.
    fn declared_output(&self) -> Option<u64> {
        Some(self.declared_output?.saturating_mul(self.choices()).min(MAX_HOLD))
    }

    /// The most output tokens that the request may generate in strict admission, for all choices together.
    fn strict_output(&self, strict_output: u64) -> u64 {
        // A request without a declared maximum gets at least one token for each choice.
        self.declared_output().unwrap_or(strict_output.max(self.choices()).min(MAX_HOLD))
    }

    /// Output tokens that must fit in addition to the prompt.
    pub(super) fn least_output(&self) -> u64 {
        match self.admission {
            TokenAdmission::Strict { strict_output } if self.route.generates() => {
                self.strict_output(strict_output).min(self.choices())
            }
            TokenAdmission::Strict { .. } | TokenAdmission::Adaptive => 0,
        }
    }

    /// The prices of this request. `None` if it cannot have a cost.
    pub(super) fn quote(&self, prompt_tokens: u64) -> Option<Quote> {
        let pricing = self.pricing.filter(|_| self.route.is_billed())?;
        let is_strict = matches!(self.admission, TokenAdmission::Strict { .. });
        Some(pricing.quote(prompt_tokens, self.units, is_strict))
    }

    /// The money that must fit, in 10^-12 units of the currency.
    pub(super) fn least_cost(&self, quote: &Quote) -> u128 {
        let certain = quote.cost(self.least_output());
        let output = self.route.output() != route::Output::None && self.declared_output != Some(0) && quote.output > 0;
        let audio = self.route.takes_form() && self.pricing.is_some_and(Pricing::charges_for_seconds);
        certain.max(u128::from(output || audio))
    }

    /// The output to hold if each choice is expected to have `expected` tokens and there is room for `left` tokens after
    /// the prompt. `left` is at least [`Self::least_output`], and is only needed in strict admission.
    pub(super) fn output(&self, expected: u64, left: impl FnOnce() -> u64) -> Output {
        if !self.route.generates() {
            return Output { held: 0, most: 0, max_each: None };
        }
        match self.admission {
            TokenAdmission::Adaptive => {
                let most = self.declared_output().unwrap_or(MAX_HOLD);
                Output { held: expected.saturating_mul(self.n.max(1)).min(most), most, max_each: None }
            }
            TokenAdmission::Strict { strict_output } => {
                let each = self.strict_output(strict_output).min(left()) / self.choices();
                let held = each.saturating_mul(self.choices());
                Output { held, most: held, max_each: Some(each) }
            }
        }
    }
}

/// The tokens that a request holds for its output.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    pub(super) held: u64,
    /// The most output, for all choices together, if the upstream respects the maximum that it is sent.
    pub(super) most: u64,
    /// In strict admission: the maximum for one choice to send upstream.
    pub(super) max_each: Option<u64>,
}
