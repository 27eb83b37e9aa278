//! The cells of one tree. They are looked up by (group, slug), then addressed by place.
//!
//! A cell with a running request keeps its place, so a hold stores places and settling needs no lookup. Each admission
//! sweeps a few of the other cells. A group without recent calls uses no memory for rings, and one that has been idle
//! for long uses none at all.

use super::cell::{Cell, Moment};
use crate::domain::{
    hash::IdMap,
    id::{GroupId, SlugId},
};

#[derive(Debug, Default)]
pub(super) struct Cells {
    /// The places of a group's cells. They are few: one for each slug that the group or a descendant has called.
    by_group: IdMap<GroupId, Vec<(SlugId, usize)>>,
    slots: Vec<Option<Cell>>,
    free: Vec<usize>,
    /// The place of the last swept cell.
    cursor: usize,
}

impl Cells {
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.by_group.is_empty()
    }

    /// The number of places, including free ones.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn find(&self, group: GroupId, slug: SlugId) -> Option<usize> {
        self.by_group.get(&group)?.iter().find(|(known, _)| *known == slug).map(|(_, place)| *place)
    }

    pub(super) fn find_or_insert(&mut self, group: GroupId, slug: SlugId, at: &Moment) -> usize {
        let key = (group, slug);
        if let Some(place) = self.find(group, slug) {
            return place;
        }
        let cell = Some(Cell::new(key, at));
        let place = match self.free.pop() {
            Some(place) => {
                self.slots[place] = cell;
                place
            }
            None => {
                self.slots.push(cell);
                self.slots.len() - 1
            }
        };
        self.by_group.entry(group).or_default().push((slug, place));
        place
    }

    pub(super) fn get(&self, place: usize) -> Option<&Cell> {
        self.slots.get(place)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, place: usize) -> Option<&mut Cell> {
        self.slots.get_mut(place)?.as_mut()
    }

    /// Visits the next `budget` cells, and frees rings and cells that are no longer needed.
    pub(super) fn sweep(&mut self, now_ns: u64, budget: usize) {
        for _ in 0..budget.min(self.slots.len()) {
            self.cursor = if self.cursor + 1 < self.slots.len() { self.cursor + 1 } else { 0 };
            if let Some(cell) = self.get_mut(self.cursor) {
                cell.free_empty_windows(now_ns);
            }
            self.drop_if_expired(self.cursor, now_ns);
        }
    }

    /// Removes a deleted group's cells: now, or when their last running request ends.
    pub(super) fn remove_group(&mut self, group: GroupId, now_ns: u64) {
        for (_, place) in self.by_group.get(&group).cloned().unwrap_or_default() {
            if let Some(cell) = self.get_mut(place) {
                cell.removed = true;
            }
            self.drop_if_expired(place, now_ns);
        }
    }

    pub(super) fn drop_if_expired(&mut self, place: usize, now_ns: u64) {
        let Some(slot) = self.slots.get_mut(place) else { return };
        if let Some(cell) = slot.take_if(|cell| cell.is_expired(now_ns)) {
            let (group, _) = cell.key;
            if let Some(places) = self.by_group.get_mut(&group) {
                places.retain(|(_, known)| *known != place);
                if places.is_empty() {
                    self.by_group.remove(&group);
                }
            }
            self.free.push(place);
        }
    }
}
