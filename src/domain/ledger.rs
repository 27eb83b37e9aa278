//! The tokens, requests, running requests and money of one group tree. A request is checked against its limits and
//! budgets and counted in one step.
//!
//! A ledger holds a cell for each (group, slug) of its tree, and a money cell for each (group, currency). A request has
//! an [`Account`]: the groups that it counts for, its own group first, and the rules that it must pass, which are limits
//! and budgets. The request counts in the cells of every group of its account, whether or not a rule is declared there.
//! Each rule is checked against one of these cells. The life of a request:
//!
//! ```text
//! admit ──► Hold ──► review* ──► charge   the billed amount replaces the held amount
//!   │                      └───► release  nothing is billed
//!   └─────► Refusal                       nothing was taken
//! ```
//!
//! | | at admission | while it runs | charged | released |
//! | --- | --- | --- | --- | --- |
//! | requests in a rolling window | recorded | | stays | stays, or is taken back |
//! | requests in a calendar window | held | held | recorded | given back |
//! | running requests | counted | counted | given back | given back |
//! | tokens, every window | held | held, may grow | recorded as billed | given back |
//! | money, every window and TOTAL | held | held, may grow | recorded as billed | given back |
//!
//! Invariants: when a request is admitted, recorded + held + asked ≤ threshold for each of its rules; a refusal changes
//! no figure of any cell. The caller keeps the ledger behind one lock, so checking and taking are one step.
//!
//! The caller passes the time in. The monotonic clock never steps back here: an earlier `now` is replaced by the latest
//! one seen. The wall clock may step back, so the sums of calendar windows are kept by window.

mod account;
mod ask;
mod calendar_sums;
mod cell;
mod cells;
mod check;
mod hold;
mod moment;
mod money_cell;
mod rings;
mod standing;
mod take;

use std::time::Duration;

pub use self::account::{Account, Effective, GroupPath, Rule};
pub use self::ask::{Ask, TokenAdmission};
pub use self::hold::{Admitted, Hold};
pub use self::moment::Moment;
pub use self::standing::{Refusal, Standing, Standings, count};
use self::{cells::Cells, check::Asked, hold::HeldMoney, moment::At};
use super::{
    estimate::Sample,
    group::MAX_LEVELS,
    id::{GroupId, SlugId},
    limit::LimitType,
    money::{Cost, Currency},
    pricing::Pricing,
    sums::{Spent, Used},
    usage::{Usage, UsageSource},
};

/// Added to every monotonic time, so that events before the process started have a valid time too.
const ORIGIN_NS: u64 = 3_600_000_000_000;

/// Cells of each kind that each admission sweeps.
const SWEEP_STEP: usize = 1;

/// A past request, used to refill rolling windows after a restart.
#[derive(Debug, Clone, Copy)]
pub struct Past {
    /// How long ago it was admitted.
    pub admitted_ago: Duration,
    /// How long ago it was settled.
    pub settled_ago: Duration,
    /// Its billed tokens.
    pub usage: Usage,
}

/// The consumption of one group tree.
#[derive(Debug, Default)]
pub struct Ledger {
    cells: Cells,
    latest_ns: u64,
}

impl Ledger {
    /// Admits a request if it passes every limit and budget, and counts it in all cells of its account at once.
    /// Otherwise takes nothing.
    pub fn admit(&mut self, moment: Moment, account: &Account, ask: &Ask<'_>) -> Result<Admitted, Box<Refusal>> {
        let at = self.at(moment);
        self.cells.sweep(&at, SWEEP_STEP);
        let mut located = self.cells.locate(account, ask.pricing.map(|pricing| pricing.currency));
        let own =
            located.places.first().copied().flatten().and_then(|place| self.cells.get(place)).map(|cell| &cell.learned);
        let prompt = ask.prompt_tokens(own);
        let expected = ask.expected_output(own);
        let quote = ask.quote(prompt);
        let asked = Asked {
            tokens: prompt.saturating_add(ask.least_output()),
            money: located.currency.zip(quote.map(|quote| ask.least_cost(&quote))),
        };
        let survey = self.cells.survey(&at, &located, &asked);
        if survey.stopped
            && let Some(refusal) = self.cells.refusal(&at, &located, &asked, &survey)
        {
            return Err(refusal);
        }
        let output = ask.output(expected, || {
            let affordable = quote.map_or(u64::MAX, |quote| quote.affordable_output(survey.money_left));
            survey.tokens_left().saturating_sub(prompt).min(affordable)
        });
        let tokens = prompt.saturating_add(output.held);
        let places = self.cells.begin(&at, &mut located, tokens);
        let money = located.currency.zip(quote).map(|(currency, quote)| {
            let amount = quote.cost(output.held);
            let places = self.cells.begin_money(&at, &mut located, currency, amount);
            HeldMoney { currency, places, amount, output_price: quote.output }
        });
        let standings = self.cells.standings(&at, &located, &survey);
        let hold = Hold::new(account.slug, ask, prompt, output, at.ns, (places, money));
        Ok(Admitted { hold, output_max: output.max_each, standings })
    }

    /// Updates the tokens and the money held by a running request, once it has streamed `streamed` output tokens: from
    /// now on it holds the length expected of answers that get this far. `of_slug` is the result of
    /// [`super::estimate::Estimates::output_beyond`], used if the group has too few samples of its own.
    pub fn review(&mut self, hold: &mut Hold, streamed: u64, of_slug: Option<u64>) {
        let own = hold.places.first().and_then(|place| self.cells.get(*place)).map(|cell| &cell.learned);
        let expected = own.and_then(|own| own.output_beyond(hold.route, hold.each(streamed))).or(of_slug);
        let (tokens, amount) = hold.review(streamed, expected);
        for place in &hold.places {
            if let Some(cell) = self.cells.get_mut(*place) {
                cell.hold(tokens);
            }
        }
        for place in hold.money.iter().flat_map(|money| &money.places) {
            if let Some(cell) = self.cells.money_mut(*place) {
                cell.hold(amount);
            }
        }
    }

    /// Charges a request that has ended: `usage` and `cost` replace the held amounts. They enter the rolling windows at
    /// `moment` and the calendar windows of `moment`, whose wall clock is the event's timestamp. The group's estimates
    /// learn from the usage. Returns the sample that the caller passes to [`super::estimate::Estimates`].
    pub fn charge(
        &mut self,
        hold: Hold,
        moment: Moment,
        usage: Usage,
        source: UsageSource,
        cost: Option<Cost>,
    ) -> Option<Sample> {
        let at = self.at(moment);
        let sample = hold.sample(usage, source);
        if let (Some(sample), Some(own)) = (&sample, hold.places.first().and_then(|own| self.cells.get_mut(*own))) {
            own.learned.learn(sample);
        }
        let is_held = |cost: &Cost| hold.money.as_ref().is_some_and(|money| money.currency == cost.currency);
        let (held, other) = (cost.filter(is_held), cost.filter(|cost| !is_held(cost) && cost.amount > 0));
        if let Some(cost) = other {
            self.cells.spend_another(&at, &hold, cost);
        }
        self.cells.end_money(&at, &hold, held.map_or(0, |cost| cost.amount));
        self.cells.end(&at, &hold, |cell| cell.bill(&at, usage.total()));
        sample
    }

    /// Releases a request that ended without an event: frees its held amounts and, if `give_back_rate`, removes it from
    /// the request rates.
    pub fn release(&mut self, hold: Hold, moment: Moment, give_back_rate: bool) {
        let at = self.at(moment);
        self.cells.end_money(&at, &hold, 0);
        self.cells.end(&at, &hold, |cell| {
            if give_back_rate {
                cell.take_back_request(&at, hold.admitted_ns);
            }
        });
    }

    /// The state of each limit and budget, in the order of the account's rules.
    pub fn standing(&mut self, moment: Moment, account: &Account) -> Vec<Standing> {
        let at = self.at(moment);
        let located = self.cells.locate(account, None);
        account.rules.iter().map(|effective| self.cells.stand(&at, &located, effective)).collect()
    }

    /// Checks whether a request of `tokens` tokens would be admitted now. Takes nothing. No request has fewer than one
    /// token, so 0 asks for one. With `pricing`, they must also fit into the budgets, as input at its price.
    pub fn would_admit(
        &mut self,
        moment: Moment,
        account: &Account,
        tokens: u64,
        pricing: Option<&Pricing>,
    ) -> Result<(), Box<Refusal>> {
        let at = self.at(moment);
        let tokens = tokens.max(1);
        let money = pricing.map(|pricing| {
            let quote = pricing.quote(tokens, None, false);
            (pricing.currency, quote.fixed.max(u128::from(quote.output > 0)))
        });
        let asked = Asked { tokens, money };
        let located = self.cells.locate(account, pricing.map(|pricing| pricing.currency));
        let survey = self.cells.survey(&at, &located, &asked);
        let refusal = if survey.stopped { self.cells.refusal(&at, &located, &asked, &survey) } else { None };
        refusal.map_or(Ok(()), Err)
    }

    /// Sets a group's use of a slug in calendar windows. Called at startup with the sums over the events.
    pub fn load_used(&mut self, moment: Moment, group: GroupId, slug: SlugId, used: &Used) {
        let at = self.at(moment);
        let place = self.cells.find_or_insert(group, slug, &at);
        if let Some(cell) = self.cells.get_mut(place) {
            cell.load(&at, used);
        }
    }

    /// Sets the money that a group has spent in a currency. Called at startup with the sums over the events.
    pub fn load_spent(&mut self, moment: Moment, group: GroupId, currency: Currency, spent: &Spent) {
        let at = self.at(moment);
        let place = self.cells.find_or_insert_money(group, currency, &at);
        if let Some(cell) = self.cells.money_mut(place) {
            cell.load(&at, spent);
        }
    }

    /// Enters a past request into the rolling windows, if it is recent enough. Calendar windows do not change.
    pub fn refill(&mut self, moment: Moment, path: &[GroupId], slug: SlugId, past: &Past) {
        let at = self.at(moment);
        for group in path.iter().take(MAX_LEVELS) {
            let place = self.cells.find_or_insert(*group, slug, &at);
            if let Some(cell) = self.cells.get_mut(place) {
                cell.record(LimitType::Request, &at, nanos(past.admitted_ago), 1);
                cell.record(LimitType::Token, &at, nanos(past.settled_ago), past.usage.total());
            }
        }
    }

    /// Updates a group's estimates from a past request. Called at startup.
    pub fn learn(&mut self, moment: Moment, group: GroupId, sample: &Sample) {
        let at = self.at(moment);
        let place = self.cells.find_or_insert(group, sample.slug, &at);
        if let Some(cell) = self.cells.get_mut(place) {
            cell.learned.learn(sample);
        }
    }

    /// Removes a deleted group's cells, each when its last running request ends. The cells of its ancestors keep what
    /// it used.
    pub fn remove_group(&mut self, moment: Moment, group: GroupId) {
        let at = self.at(moment);
        self.cells.remove_group(group, &at);
    }

    /// Frees unused memory among the next `cells` cells of each kind. Each admission does this too; this call is for a
    /// tree without traffic.
    pub fn sweep(&mut self, moment: Moment, cells: usize) {
        let at = self.at(moment);
        self.cells.sweep(&at, cells);
    }

    /// The number of cells that a complete sweep visits.
    pub fn cells(&self) -> usize {
        self.cells.len()
    }

    fn at(&mut self, moment: Moment) -> At {
        self.latest_ns = self.latest_ns.max(moment.now.monotonic_ns.saturating_add(ORIGIN_NS));
        At { ns: self.latest_ns, moment }
    }
}

/// Nanoseconds as a `u64`, which holds five centuries.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
