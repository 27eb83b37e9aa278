//! Checks of a request against all limits and budgets of its account.
//!
//! The survey of every admission reads each cell once, into a table of everything that a rule could count. The figures
//! of a refusal or a standing are looked up again.

use std::time::Duration;

use arrayvec::ArrayVec;

use super::{
    account::{Account, Effective, Rule},
    cell::{Consumption, CountedSums, State},
    cells::{Cells, Place, Scope},
    moment::At,
    money_cell::CountedMoney,
    standing::{Refusal, Standing, Standings},
};
use crate::domain::{
    budget::Budget,
    group::MAX_LEVELS,
    limit::{Limit, LimitType, Unit},
    money::Currency,
};

/// The amounts that a request must find free.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) tokens: u64,
    /// In 10^-12 units of the currency. Budgets in other currencies are not asked for anything.
    pub(super) money: Option<(Currency, u128)>,
}

impl Asked {
    fn of(&self, rule: &Rule) -> u128 {
        match rule {
            Rule::Limit(limit) => self.of_limit(limit).into(),
            Rule::Budget(budget) => {
                self.money.filter(|(currency, _)| *currency == budget.currency).map_or(0, |(_, amount)| amount)
            }
        }
    }

    fn of_limit(&self, limit: &Limit) -> u64 {
        let is_token = limit.limit_type == LimitType::Token && limit.unit != Unit::Concurrent;
        if is_token { self.tokens } else { 1 }
    }
}

/// Places of cells in the order of an account's groups. `None`: the cell does not exist and has consumed nothing.
type MaybePlaces = ArrayVec<Option<Place>, MAX_LEVELS>;

/// An account with the places of its cells.
pub(super) struct Located<'a> {
    pub(super) account: &'a Account,
    pub(super) places: MaybePlaces,
    /// The currency of `money`.
    pub(super) currency: Option<Currency>,
    pub(super) money: MaybePlaces,
}

/// The result of checking a request against every limit and budget.
pub(super) struct Survey<'a> {
    pub(super) stopped: bool,
    /// The limit of each [`LimitType`] with the least left, CONCURRENT left out.
    least: [Least<'a>; 2],
    /// The money that every budget of the asked currency has left; `u128::MAX` if there is none, or no money is asked.
    pub(super) money_left: u128,
}

/// The limit with the least left.
#[derive(Clone, Copy)]
struct Least<'a> {
    /// `None` if there is no limit. More is left than of any limit then.
    effective: Option<&'a Effective>,
    left: u64,
}

impl<'a> Survey<'a> {
    /// Checks the limits of one group.
    #[inline]
    fn limits(&mut self, limits: &'a [Effective], counted: &CountedSums, asked: &Asked) {
        for effective in limits {
            let Rule::Limit(limit) = &effective.rule else { continue };
            let counted = counted[limit.limit_type as usize][limit.unit as usize];
            let left = limit.threshold.get().saturating_sub(counted);
            self.stopped |= left < asked.of_limit(limit);
            let least = &mut self.least[limit.limit_type as usize];
            if left < least.left && limit.unit != Unit::Concurrent {
                *least = Least { left, effective: Some(effective) };
            }
        }
    }

    /// Checks the budgets of one group in the currency of `asked`. The others do not concern the request.
    #[inline]
    fn budgets(&mut self, budgets: &[Effective], counted: &CountedMoney, (currency, asked): (Currency, u128)) {
        for effective in budgets {
            let Rule::Budget(budget) = &effective.rule else { continue };
            if budget.currency == currency {
                let left = budget.amount.as_cost().saturating_sub(counted[budget.unit as usize]);
                self.stopped |= left < asked;
                self.money_left = self.money_left.min(left);
            }
        }
    }

    /// The tokens that every limit has left.
    pub(super) fn tokens_left(&self) -> u64 {
        self.least[LimitType::Token as usize].left
    }
}

impl Cells {
    pub(super) fn locate<'a>(&self, account: &'a Account, currency: Option<Currency>) -> Located<'a> {
        let mut located = Located { account, places: MaybePlaces::new(), currency, money: MaybePlaces::new() };
        for group in &account.counted_for {
            let (place, money) = self.find_both(*group, account.slug, currency);
            located.places.push(place);
            located.money.push(money);
        }
        located
    }

    pub(super) fn survey<'a>(&mut self, at: &At, located: &Located<'a>, asked: &Asked) -> Survey<'a> {
        let none = Least { effective: None, left: u64::MAX };
        let mut survey = Survey { stopped: false, least: [none; 2], money_left: u128::MAX };
        let (limits, budgets) = located.account.limits_and_budgets();
        let of_one_group = |one: &Effective, other: &Effective| one.counted_at == other.counted_at;
        for limits in limits.chunk_by(of_one_group) {
            let place = limits.first().and_then(|first| located.place(first.counted_at));
            match place.and_then(|place| self.get_mut(place)) {
                Some(cell) => survey.limits(limits, &cell.counted_sums(at), asked),
                None => survey.limits(limits, &CountedSums::default(), asked),
            }
        }
        let Some(asked) = asked.money else { return survey };
        for budgets in budgets.chunk_by(of_one_group) {
            let place = budgets.first().and_then(|first| located.money_place(first.counted_at));
            match place.and_then(|place| self.money_mut(place)) {
                Some(cell) => survey.budgets(budgets, &cell.counted_money(at), asked),
                None => survey.budgets(budgets, &CountedMoney::default(), asked),
            }
        }
        survey
    }

    /// The refusal by the limit or budget with the longest wait. `None` if none refuses.
    #[cold]
    pub(super) fn refusal(
        &mut self,
        at: &At,
        located: &Located<'_>,
        asked: &Asked,
        survey: &Survey<'_>,
    ) -> Option<Box<Refusal>> {
        let standings = self.standings(at, located, survey);
        let mut longest: Option<Refusal> = None;
        for (index, effective) in located.account.rules.iter().enumerate() {
            let asked = asked.of(&effective.rule);
            let Consumption { used, held } = self.consumption(at, located, effective);
            // As in the survey: a rule that is exceeded does not refuse a request that asks for nothing of it.
            if effective.rule.threshold().saturating_sub(used.saturating_add(held)) >= asked {
                continue;
            }
            let retry_after = self.wait(at, located, effective, asked);
            let wait = |retry_after: Option<Duration>| retry_after.unwrap_or(Duration::MAX);
            if longest.is_none_or(|other| wait(retry_after) > wait(other.retry_after)) {
                let effective = *effective;
                longest = Some(Refusal { index, effective, used, held, asked, retry_after, standings });
            }
        }
        longest.map(Box::new)
    }

    pub(super) fn stand(&mut self, at: &At, located: &Located<'_>, effective: &Effective) -> Standing {
        let State { consumption: Consumption { used, held }, reset, begun } = self.state(at, located, effective);
        Standing { effective: *effective, used, held, reset, begun }
    }

    pub(super) fn standings(&mut self, at: &At, located: &Located<'_>, survey: &Survey<'_>) -> Standings {
        let [tokens, requests] = survey.least;
        Standings {
            requests: requests.effective.map(|effective| self.stand(at, located, effective)),
            tokens: tokens.effective.map(|effective| self.stand(at, located, effective)),
        }
    }

    #[inline]
    fn state(&mut self, at: &At, located: &Located<'_>, effective: &Effective) -> State {
        let state = match &effective.rule {
            Rule::Limit(limit) => located
                .place(effective.counted_at)
                .and_then(|place| self.get_mut(place))
                .map(|cell| cell.state(limit, at)),
            Rule::Budget(budget) => {
                let place = self.money_place(located, effective, budget);
                place.and_then(|place| self.money_mut(place)).map(|cell| cell.state(budget.unit, at))
            }
        };
        state.unwrap_or_else(|| State::untouched(effective.rule.period(), &at.moment))
    }

    #[inline]
    fn consumption(&mut self, at: &At, located: &Located<'_>, effective: &Effective) -> Consumption {
        let consumption = match &effective.rule {
            Rule::Limit(limit) => located
                .place(effective.counted_at)
                .and_then(|place| self.get_mut(place))
                .map(|cell| cell.consumption(limit, at)),
            Rule::Budget(budget) => self
                .money_place(located, effective, budget)
                .and_then(|place| self.money_mut(place))
                .map(|cell| cell.consumption(budget.unit, at)),
        };
        consumption.unwrap_or_default()
    }

    /// Time until a rule that refuses `asked` could admit it. `None` if it never can.
    fn wait(&mut self, at: &At, located: &Located<'_>, effective: &Effective, asked: u128) -> Option<Duration> {
        if asked > effective.rule.threshold() {
            return None;
        }
        match &effective.rule {
            Rule::Limit(limit) => {
                let cell = located.place(effective.counted_at).and_then(|place| self.get_mut(place))?;
                Some(cell.wait(limit, asked, at))
            }
            Rule::Budget(budget) => budget.unit.period().map(|period| at.moment.until_end(period)),
        }
    }

    /// The place of the cell that a budget counts in.
    fn money_place(&self, located: &Located<'_>, effective: &Effective, budget: &Budget) -> Option<Place> {
        if located.currency == Some(budget.currency) {
            return located.money_place(effective.counted_at);
        }
        let group = located.account.counted_for.get(usize::from(effective.counted_at))?;
        self.find(*group, Scope::Money(budget.currency))
    }
}

impl Located<'_> {
    /// The place of the cell that a limit counts in.
    fn place(&self, counted_at: u8) -> Option<Place> {
        self.places.get(usize::from(counted_at)).copied().flatten()
    }

    /// The place of the cell that a budget in the located currency counts in.
    fn money_place(&self, counted_at: u8) -> Option<Place> {
        self.money.get(usize::from(counted_at)).copied().flatten()
    }
}
