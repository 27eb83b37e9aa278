//! Takes what a request needs in all cells of its account, and gives it back at its end.

use super::{
    cell::Cell,
    cells::Cells,
    check::Located,
    hold::{Hold, Places},
    moment::At,
};
use crate::domain::money::{Cost, Currency};

impl Cells {
    /// Begins a request in the cells of its slug, and enters the places of new cells into `located`.
    pub(super) fn begin(&mut self, at: &At, located: &mut Located<'_>, tokens: u64) -> Places {
        let mut places = Places::new();
        for (group, known) in located.account.counted_for.iter().zip(&mut located.places) {
            let place = *known.get_or_insert_with(|| self.find_or_insert(*group, located.account.slug, at));
            if let Some(cell) = self.get_mut(place) {
                cell.begin(at, tokens);
            }
            places.push(place);
        }
        places
    }

    /// Begins a request in the cells of its currency, and enters the places of new cells into `located`.
    pub(super) fn begin_money(
        &mut self,
        at: &At,
        located: &mut Located<'_>,
        currency: Currency,
        amount: u128,
    ) -> Places {
        let mut places = Places::new();
        for (group, known) in located.account.counted_for.iter().zip(&mut located.money) {
            let place = *known.get_or_insert_with(|| self.find_or_insert_money(*group, currency, at));
            if let Some(cell) = self.money_mut(place) {
                cell.begin(amount);
            }
            places.push(place);
        }
        places
    }

    pub(super) fn end(&mut self, at: &At, hold: &Hold, mut last: impl FnMut(&mut Cell)) {
        for place in &hold.places {
            if let Some(cell) = self.get_mut(*place) {
                cell.end(at, hold.tokens);
                last(cell);
                if cell.removed {
                    self.drop_if_expired(*place, at);
                }
            }
        }
    }

    /// Frees the held money and counts a cost in the same currency.
    pub(super) fn end_money(&mut self, at: &At, hold: &Hold, cost: u128) {
        let Some(money) = &hold.money else { return };
        for place in &money.places {
            if let Some(cell) = self.money_mut(*place) {
                cell.end(money.amount);
                if cost > 0 {
                    cell.spend(at, cost);
                }
                if cell.removed {
                    self.drop_money_if_expired(*place);
                }
            }
        }
    }

    /// Counts a cost in another currency than the request holds. The endpoint's prices have changed since its admission.
    #[cold]
    pub(super) fn spend_another(&mut self, at: &At, hold: &Hold, cost: Cost) {
        for place in &hold.places {
            let Some(cell) = self.get(*place).filter(|cell| !cell.removed) else { continue };
            let money = self.find_or_insert_money(cell.key.0, cost.currency, at);
            if let Some(cell) = self.money_mut(money) {
                cell.spend(at, cost.amount);
            }
        }
    }
}
