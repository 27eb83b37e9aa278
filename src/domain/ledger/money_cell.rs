//! The money that one group has spent in one currency, on all models. Every budget of the group in the currency is
//! checked against it.
//!
//! A cell is kept for as long as its group exists, because TOTAL never resets. It is freed only if nothing was spent.

use super::{
    calendar_sums::CalendarSums,
    cell::{CLOCK_SETTLED_NS, Consumption, State},
    moment::At,
};
use crate::domain::{budget::BudgetUnit, calendar::Period, id::GroupId, money::Currency, sums::Spent};

/// The sum of the money spent and held, by [`BudgetUnit`].
pub(super) type CountedMoney = [u128; 4];

/// All amounts are in 10^-12 units of the currency.
#[derive(Debug)]
pub(super) struct MoneyCell {
    /// Held by running requests.
    held: u128,
    /// Spent since the group's beginning.
    total: u128,
    sums: CalendarSums<u128>,
    touched_ns: u64,
    pub(super) key: (GroupId, Currency),
    /// The admitted requests that hold money here and have not ended. While there is one, the cell keeps its place.
    running: u32,
    /// The group was deleted. The cell is freed when its last running request ends.
    pub(super) removed: bool,
}

impl MoneyCell {
    pub(super) fn new(key: (GroupId, Currency), at: &At) -> Self {
        let sums = CalendarSums::default();
        Self { held: 0, total: 0, sums, touched_ns: at.ns, key, running: 0, removed: false }
    }

    pub(super) fn begin(&mut self, amount: u128) {
        self.running = self.running.saturating_add(1);
        self.hold(amount);
    }

    /// Holds more for a running request.
    pub(super) fn hold(&mut self, amount: u128) {
        self.held = self.held.saturating_add(amount);
    }

    /// Ends a running request and frees the amount that it held.
    pub(super) fn end(&mut self, amount: u128) {
        self.running = self.running.saturating_sub(1);
        self.held = self.held.saturating_sub(amount);
    }

    /// Counts a cost.
    pub(super) fn spend(&mut self, at: &At, amount: u128) {
        self.touched_ns = at.ns;
        self.total = self.total.saturating_add(amount);
        self.sums.add(&at.moment.windows, amount);
    }

    /// Sets the sums.
    pub(super) fn load(&mut self, at: &At, spent: &Spent) {
        self.touched_ns = at.ns;
        self.total = spent.total;
        Period::ALL.iter().for_each(|period| self.sums.set(*period, *spent.of(*period)));
    }

    #[inline]
    pub(super) fn consumption(&self, unit: BudgetUnit, at: &At) -> Consumption {
        let used = match unit.period() {
            Some(period) => self.sums.of(period, at.moment.window(period).start_ms),
            None => self.total,
        };
        Consumption { used, held: self.held }
    }

    #[inline]
    pub(super) fn counted_money(&self, at: &At) -> CountedMoney {
        let sum = |unit| self.consumption(unit, at).sum();
        [sum(BudgetUnit::Day), sum(BudgetUnit::Week), sum(BudgetUnit::Month), sum(BudgetUnit::Total)]
    }

    pub(super) fn state(&self, unit: BudgetUnit, at: &At) -> State {
        let consumption = self.consumption(unit, at);
        let reset = unit.period().map(|period| at.moment.until_end(period));
        State { consumption, reset, begun: self.running > 0 || consumption.used > 0 }
    }

    /// Frees sums of ended windows that are no longer needed.
    pub(super) fn shrink(&mut self, at: &At) {
        if at.ns.saturating_sub(self.touched_ns) >= CLOCK_SETTLED_NS {
            self.sums.free_previous(&at.moment.windows);
        }
    }

    /// Whether the cell can be freed: nothing in it is needed any more.
    pub(super) fn is_expired(&self) -> bool {
        self.running == 0 && (self.removed || self.total == 0)
    }
}
