//! The cells of one tree. They are looked up by group and scope, then addressed by place.
//!
//! A cell with a running request keeps its place, so a hold stores places and settling needs no lookup. Each admission
//! sweeps a few of the other cells. A group without recent calls uses no memory for rings, and one that has been idle
//! for long keeps only the money that it has spent.

use super::{cell::Cell, moment::At, money_cell::MoneyCell};
use crate::domain::{
    hash::IdMap,
    id::{GroupId, SlugId},
    money::Currency,
};

/// The part of a group's consumption that a cell counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// The requests and tokens of one slug, in a [`Cell`].
    Slug(SlugId),
    /// The money of one currency, in a [`MoneyCell`].
    Money(Currency),
}

/// The index of a cell among those of its kind.
pub(super) type Place = u32;

#[derive(Debug, Default)]
pub(super) struct Cells {
    /// The places of a group's cells. They are few: one for each slug that the group or a descendant has called, and
    /// one for each currency.
    by_group: IdMap<GroupId, Vec<(Scope, Place)>>,
    pub(super) slugs: Slab<Cell>,
    pub(super) money: Slab<MoneyCell>,
}

impl Cells {
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.by_group.is_empty()
    }

    /// The number of places, including free ones.
    pub(super) fn len(&self) -> usize {
        self.slugs.slots.len().max(self.money.slots.len())
    }

    pub(super) fn find(&self, group: GroupId, scope: Scope) -> Option<Place> {
        self.by_group.get(&group)?.iter().find(|(known, _)| *known == scope).map(|(_, place)| *place)
    }

    /// The places of a group's cells of a slug and of a currency, in one lookup.
    pub(super) fn find_both(
        &self,
        group: GroupId,
        slug: SlugId,
        currency: Option<Currency>,
    ) -> (Option<Place>, Option<Place>) {
        let Some(places) = self.by_group.get(&group) else { return (None, None) };
        let find = |scope: Scope| places.iter().find(|(known, _)| *known == scope).map(|(_, place)| *place);
        (find(Scope::Slug(slug)), currency.and_then(|currency| find(Scope::Money(currency))))
    }

    /// The place of a cell in which a group counts a slug.
    pub(super) fn find_or_insert(&mut self, group: GroupId, slug: SlugId, at: &At) -> Place {
        let scope = Scope::Slug(slug);
        self.find(group, scope).unwrap_or_else(|| {
            let place = self.slugs.insert(Cell::new((group, slug), at));
            self.insert(group, scope, place)
        })
    }

    /// The place of a cell in which a group counts a currency.
    pub(super) fn find_or_insert_money(&mut self, group: GroupId, currency: Currency, at: &At) -> Place {
        let scope = Scope::Money(currency);
        self.find(group, scope).unwrap_or_else(|| {
            let place = self.money.insert(MoneyCell::new((group, currency), at));
            self.insert(group, scope, place)
        })
    }

    pub(super) fn get(&self, place: Place) -> Option<&Cell> {
        self.slugs.slots.get(place as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, place: Place) -> Option<&mut Cell> {
        self.slugs.get_mut(place)
    }

    pub(super) fn money_mut(&mut self, place: Place) -> Option<&mut MoneyCell> {
        self.money.get_mut(place)
    }

    /// Visits the next `budget` cells of each kind, and frees memory that is no longer needed.
    pub(super) fn sweep(&mut self, at: &At, budget: usize) {
        for _ in 0..budget.min(self.slugs.slots.len()) {
            let place = self.slugs.next();
            if let Some(cell) = self.get_mut(place) {
                cell.shrink(at);
            }
            self.drop_if_expired(place, at);
        }
        for _ in 0..budget.min(self.money.slots.len()) {
            let place = self.money.next();
            if let Some(cell) = self.money_mut(place) {
                cell.shrink(at);
            }
            self.drop_money_if_expired(place);
        }
    }

    /// Removes a deleted group's cells: now, or when their last running request ends.
    pub(super) fn remove_group(&mut self, group: GroupId, at: &At) {
        for (scope, place) in self.by_group.get(&group).cloned().unwrap_or_default() {
            match scope {
                Scope::Slug(_) => {
                    if let Some(cell) = self.get_mut(place) {
                        cell.removed = true;
                    }
                    self.drop_if_expired(place, at);
                }
                Scope::Money(_) => {
                    if let Some(cell) = self.money_mut(place) {
                        cell.removed = true;
                    }
                    self.drop_money_if_expired(place);
                }
            }
        }
    }

    pub(super) fn drop_if_expired(&mut self, place: Place, at: &At) {
        if let Some(cell) = self.slugs.take_if(place, |cell| cell.is_expired(at)) {
            self.forget(cell.key.0, Scope::Slug(cell.key.1));
        }
    }

    pub(super) fn drop_money_if_expired(&mut self, place: Place) {
        if let Some(cell) = self.money.take_if(place, |cell| cell.is_expired()) {
            self.forget(cell.key.0, Scope::Money(cell.key.1));
        }
    }

    fn insert(&mut self, group: GroupId, scope: Scope, place: Place) -> Place {
        let places = self.by_group.entry(group).or_default();
        push(places, (scope, place));
        place
    }

    fn forget(&mut self, group: GroupId, scope: Scope) {
        if let Some(places) = self.by_group.get_mut(&group) {
            places.retain(|(known, _)| *known != scope);
            if places.is_empty() {
                self.by_group.remove(&group);
            }
        }
    }
}

/// Cells of one kind, addressed by place.
#[derive(Debug)]
pub(super) struct Slab<C> {
    slots: Vec<Option<C>>,
    free: Vec<Place>,
    /// The place of the last swept cell.
    cursor: Place,
}

impl<C> Default for Slab<C> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), cursor: 0 }
    }
}

impl<C> Slab<C> {
    pub(super) fn get_mut(&mut self, place: Place) -> Option<&mut C> {
        self.slots.get_mut(place as usize)?.as_mut()
    }

    fn insert(&mut self, cell: C) -> Place {
        if let Some(place) = self.free.pop() {
            self.slots[place as usize] = Some(cell);
            return place;
        }
        push(&mut self.slots, Some(cell));
        (self.slots.len() - 1) as Place
    }

    fn take_if(&mut self, place: Place, is_expired: impl FnOnce(&C) -> bool) -> Option<C> {
        let cell = self.slots.get_mut(place as usize)?.take_if(|cell| is_expired(cell))?;
        self.free.push(place);
        Some(cell)
    }

    /// The next place to sweep.
    fn next(&mut self) -> Place {
        self.cursor = if (self.cursor as usize) + 1 < self.slots.len() { self.cursor + 1 } else { 0 };
        self.cursor
    }
}

/// Appends an item. Most trees are one group with one or two cells, and growth by doubling would begin with room for
/// four.
fn push<T>(items: &mut Vec<T>, item: T) {
    if items.len() < 4 {
        items.reserve_exact(1);
    }
    items.push(item);
}
