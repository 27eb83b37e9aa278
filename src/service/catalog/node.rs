//! An existing group in memory.
//!
//! A group's place in the hierarchy never changes, so a node points directly to its parent and to its tree's ledger.
//! The parts that an operator can change (`Group`'s models, name, `disabled`) are swapped in place. So a change to a
//! group with a hundred thousand descendants swaps one pointer, and a request walks up its path without lookups.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use arrayvec::ArrayVec;
use parking_lot::Mutex;

use crate::domain::{
    group::{Group, MAX_LEVELS},
    id::{GroupId, SlugId},
    ledger::{Account, Ledger},
};

/// A root group with all its descendants. An admission locks one tree.
pub struct Tree {
    /// The consumption and the holds of running requests.
    pub ledger: Mutex<Ledger>,
}

/// An existing group.
pub struct GroupNode {
    /// Its id.
    pub id: GroupId,
    /// `None` for a root.
    pub parent: Option<Arc<GroupNode>>,
    /// The tree that it belongs to.
    pub tree: Arc<Tree>,
    group: ArcSwap<Group>,
}

impl GroupNode {
    pub(super) fn new(group: Group, parent: Option<Arc<Self>>) -> Self {
        let tree = match &parent {
            Some(parent) => parent.tree.clone(),
            None => Arc::new(Tree { ledger: Mutex::new(Ledger::default()) }),
        };
        Self { id: group.id, parent, tree, group: ArcSwap::from_pointee(group) }
    }

    pub(super) fn replace(&self, group: Group) {
        self.group.store(Arc::new(group));
    }

    /// The current version of the group.
    pub fn group(&self) -> Guard<Arc<Group>> {
        self.group.load()
    }

    /// The node, its parent, and so on up to the root.
    pub fn lineage(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |node| node.parent.as_deref())
    }

    /// The root of its tree.
    pub fn root(&self) -> GroupId {
        self.lineage().last().map_or(self.id, |root| root.id)
    }

    /// The groups from the root down to this one.
    pub fn path(&self) -> ArrayVec<GroupId, MAX_LEVELS> {
        let mut path: ArrayVec<_, MAX_LEVELS> = self.lineage().take(MAX_LEVELS).map(|node| node.id).collect();
        path.reverse();
        path
    }

    /// The depth in the tree; a root is 1.
    pub fn level(&self) -> usize {
        self.lineage().count()
    }

    /// Whether it or an ancestor is disabled.
    pub fn is_disabled(&self) -> bool {
        self.lineage().any(|node| node.group().disabled)
    }

    /// Where its requests count, and its budgets, without the limits of any model.
    pub fn account_of_budgets(&self) -> Account {
        // No slug has this id.
        self.account(SlugId(0))
    }

    /// Where its requests for `slug` count, and the limits that they must pass.
    pub fn account(&self, slug: SlugId) -> Account {
        let groups: ArrayVec<_, MAX_LEVELS> = self.lineage().take(MAX_LEVELS).map(Self::group).collect();
        Account::new(slug, groups.iter().map(|group| &***group))
    }
}
