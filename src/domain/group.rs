//! Groups: a tree of customers, with the models that each may call and the limits on each model.
//!
//! A group's ancestors and mode never change after its creation. A child has its parent's mode, so a whole tree is
//! either INDEPENDENT or CASCADING.

use serde::{Deserialize, Serialize};

use super::{
    id::{GroupId, SlugId},
    limit::{Limit, LimitKind},
};

/// The most levels of a tree.
pub const MAX_LEVELS: usize = 5;

/// How the limits of a tree combine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Enforcement {
    /// The nearest declaration applies, and each group counts for itself.
    Independent,
    /// Every declaration on the path applies, and a subtree shares its ancestors' limits.
    Cascading,
}

/// A model that a group may call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupModel {
    /// The model's slug.
    pub slug: SlugId,
    /// In the order in which they were written. Each (type, unit) occurs once, and a type has at most one rate limit.
    pub limits: Vec<Limit>,
}

impl GroupModel {
    /// Its limits of one kind, in the order in which they were written.
    pub fn limits_of(&self, kind: LimitKind) -> impl Iterator<Item = &Limit> {
        self.limits.iter().filter(move |limit| limit.kind() == kind)
    }
}

/// A customer, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its id.
    pub id: GroupId,
    /// The operator's own name for the customer: unique among living groups.
    pub external_entity_id: String,
    /// A name for people.
    pub name: Option<String>,
    /// In the order in which they were written; slugs are distinct.
    pub models: Vec<GroupModel>,
    /// The mode of its tree.
    pub enforcement: Enforcement,
    /// The parent; `None` for a root.
    pub parent: Option<GroupId>,
    /// Unix ms.
    pub created_at_ms: u64,
    /// Whether calls of this group and all its descendants are refused.
    pub disabled: bool,
}

impl Group {
    /// The group's entry for one model.
    pub fn model(&self, slug: SlugId) -> Option<&GroupModel> {
        self.models.iter().find(|model| model.slug == slug)
    }
}
