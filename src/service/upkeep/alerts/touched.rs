//! The use that has changed, and the groups whose rules may have changed, until they are compared.
//!
//! The amount of each event is kept. If there are too many, only the groups, slugs and currencies are.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::{
    id::{GroupId, SlugId},
    money::Currency,
    record::{Record, Row},
    sums::Counted,
};

/// The most amounts of events that are in memory.
pub(super) const MAX_AMOUNTS: usize = 200_000;

/// The use that has changed and has not been compared yet.
#[derive(Default)]
pub(super) struct Touched {
    /// The time of the first event, in Unix ms.
    pub(super) since_ms: Option<u64>,
    pub(super) used: BTreeMap<(GroupId, SlugId), Amounts<Counted>>,
    pub(super) spent: BTreeMap<(GroupId, Currency), Amounts<u128>>,
    /// The number of amounts in both.
    pub(super) amounts: usize,
    /// Whether there were too many amounts. They are dropped.
    pub(super) is_partial: bool,
    /// Groups that were written.
    pub(super) groups: BTreeSet<GroupId>,
    /// Whether a group was deleted.
    pub(super) has_deletions: bool,
}

/// The time of each event, in Unix ms, and the amount that it has used, in order.
pub(super) type Amounts<T> = Vec<(u64, T)>;

impl Touched {
    /// Notes the use or the written groups of a record that was appended at `at_ms`.
    pub(super) fn note(&mut self, at_ms: u64, record: &Record<'_>) {
        match record {
            Record::Settled(settled) => {
                self.since_ms.get_or_insert(at_ms);
                let counted = Counted { requests: 1, tokens: settled.usage.total() };
                for group in &settled.counted_for {
                    self.used.entry((*group, settled.slug)).or_default().push((at_ms, counted));
                    self.amounts += 1;
                    let Some(cost) = settled.cost else { continue };
                    self.spent.entry((*group, cost.currency)).or_default().push((at_ms, cost.amount));
                    self.amounts += 1;
                }
                if self.amounts > MAX_AMOUNTS {
                    self.used.values_mut().for_each(|amounts| *amounts = Vec::new());
                    self.spent.values_mut().for_each(|amounts| *amounts = Vec::new());
                    (self.amounts, self.is_partial) = (0, true);
                }
            }
            Record::Changed(changed) => {
                for row in &changed.rows {
                    match row {
                        Row::Group(group) => drop(self.groups.insert(group.id)),
                        Row::GroupGone(_) => self.has_deletions = true,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }

    /// The amounts of all events; none if there were too many.
    pub(super) fn each<'t, T>(&self, amounts: &'t Amounts<T>) -> &'t [(u64, T)] {
        if self.is_partial { &[] } else { amounts }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.used.is_empty() && self.spent.is_empty() && self.groups.is_empty() && !self.has_deletions
    }
}
