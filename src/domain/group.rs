//! Groups: a tree of customers, with the models that each may call and the limits on each model.
//!
//! A group's ancestors and mode never change after its creation. A child has its parent's mode, so a whole tree is
//! either INDEPENDENT or CASCADING.

use serde::{Deserialize, Serialize};

use super::{
    id::{GroupId, SlugId},
    limit::{EffectiveLimit, Limit, LimitKind},
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

/// The most limits that can apply to one request: four on each level.
pub const MAX_EFFECTIVE: usize = 4 * MAX_LEVELS;

/// The limits on one slug as they apply to a group.
pub type EffectiveLimits = arrayvec::ArrayVec<EffectiveLimit, MAX_EFFECTIVE>;

/// The limits that apply to a request for `slug`. `path` is the group itself, then its ancestors up to the root.
///
/// INDEPENDENT: for each (type, unit) the nearest declaration, counted for the group itself. CASCADING: every
/// declaration, each counted where it was declared.
pub fn effective_limits<'a>(
    mode: Enforcement,
    slug: SlugId,
    path: impl IntoIterator<Item = &'a Group>,
) -> EffectiveLimits {
    let mut limits = EffectiveLimits::new();
    for (level, group) in path.into_iter().enumerate() {
        for limit in group.model(slug).into_iter().flat_map(|model| &model.limits) {
            let nearer =
                |known: &EffectiveLimit| known.limit.limit_type == limit.limit_type && known.limit.unit == limit.unit;
            let counted_at = match mode {
                Enforcement::Independent if limits.iter().any(nearer) => continue,
                Enforcement::Independent => 0,
                Enforcement::Cascading => level as u8,
            };
            // A tree has at most five levels of four limits. If there were ever more, the excess would be dropped.
            let _ = limits.try_push(EffectiveLimit { limit: *limit, source: group.id, counted_at });
        }
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::limit::{LimitType, Threshold, Unit};

    fn group(id: u128, limits: &[(LimitType, Unit, u64)]) -> Group {
        let limits = limits.iter().map(|&(limit_type, unit, threshold)| Limit {
            limit_type,
            unit,
            threshold: Threshold::new(threshold).unwrap(),
        });
        Group {
            id: GroupId(id),
            external_entity_id: id.to_string(),
            name: None,
            models: vec![GroupModel { slug: SlugId(1), limits: limits.collect() }],
            enforcement: Enforcement::Independent,
            parent: None,
            created_at_ms: 0,
            disabled: false,
        }
    }

    #[test]
    fn independent_takes_the_nearest_of_each_type_and_unit_and_counts_it_for_the_group_itself() {
        use {LimitType::*, Unit::*};
        let team = group(1, &[(Token, Minute, 10)]);
        let plan = group(2, &[(Token, Minute, 99), (Token, Second, 5), (Request, Day, 7)]);
        let limits = effective_limits(Enforcement::Independent, SlugId(1), [&team, &plan]);
        let seen: Vec<_> = limits.iter().map(|l| (l.limit.threshold.get(), l.source.0, l.counted_at)).collect();
        assert_eq!(seen, [(10, 1, 0), (5, 2, 0), (7, 2, 0)]);
    }

    #[test]
    fn cascading_takes_every_declaration_and_counts_it_where_it_was_declared() {
        use {LimitType::*, Unit::*};
        let team = group(1, &[(Token, Minute, 10)]);
        let plan = group(2, &[(Token, Minute, 99)]);
        let limits = effective_limits(Enforcement::Cascading, SlugId(1), [&team, &plan]);
        let seen: Vec<_> = limits.iter().map(|l| (l.limit.threshold.get(), l.source.0, l.counted_at)).collect();
        assert_eq!(seen, [(10, 1, 0), (99, 2, 1)]);
        assert!(effective_limits(Enforcement::Cascading, SlugId(2), [&team, &plan]).is_empty());
    }
}
