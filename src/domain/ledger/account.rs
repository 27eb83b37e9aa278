//! Accounts. An account says where the requests of one group for one slug count, and which limits they must pass.
//!
//! Each limit counts in one group of the account, so a ledger can always find its cell. Accounts are built from groups
//! only, by [`Account::new`].

use arrayvec::ArrayVec;

use crate::domain::{
    group::{Enforcement, Group, MAX_LEVELS},
    id::{GroupId, SlugId},
    limit::Limit,
};

/// The most limits that can apply to one request: four on each level.
const MAX_EFFECTIVE: usize = 4 * MAX_LEVELS;

/// The ids of a group and of its ancestors, nearest first.
pub type GroupPath = ArrayVec<GroupId, MAX_LEVELS>;

/// A limit as it applies to one (group, slug).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EffectiveLimit {
    /// The declaration.
    pub limit: Limit,
    /// The group that declared it.
    pub source: GroupId,
    /// The group that it counts in, as an index into the account's `counted_for`.
    pub(super) counted_at: u8,
}

impl EffectiveLimit {
    /// Whether other groups share it, because it counts in an ancestor.
    pub fn is_shared(&self) -> bool {
        self.counted_at != 0
    }
}

/// Where the requests of one group for one slug count, and the limits that they must pass.
#[derive(Debug, Clone)]
pub struct Account {
    pub(super) slug: SlugId,
    pub(super) counted_for: GroupPath,
    pub(super) limits: ArrayVec<EffectiveLimit, MAX_EFFECTIVE>,
}

impl Account {
    /// The account of the first group of `lineage`, which is followed by its ancestors up to the root.
    ///
    /// INDEPENDENT: a request counts for the group alone. For each (type, unit) the nearest declaration applies.
    /// CASCADING: a request counts for every group. Every declaration applies, and counts for the group that made it.
    pub fn new<'a>(slug: SlugId, lineage: impl IntoIterator<Item = &'a Group>) -> Self {
        let mut account = Self { slug, counted_for: GroupPath::new(), limits: ArrayVec::new() };
        for (level, group) in lineage.into_iter().take(MAX_LEVELS).enumerate() {
            let counted_at = match group.enforcement {
                Enforcement::Independent => 0,
                Enforcement::Cascading => level,
            };
            if counted_at == level {
                account.counted_for.push(group.id);
            }
            for limit in group.model(slug).into_iter().flat_map(|model| &model.limits) {
                let nearer = |known: &EffectiveLimit| known.limit.is_like(limit);
                if group.enforcement == Enforcement::Independent && account.limits.iter().any(nearer) {
                    continue;
                }
                let effective = EffectiveLimit { limit: *limit, source: group.id, counted_at: counted_at as u8 };
                // A level has at most four limits. If there were ever more, the excess would be dropped.
                let _ = account.limits.try_push(effective);
            }
        }
        account
    }

    /// The groups that a request counts for: the group itself, and in CASCADING its ancestors.
    pub fn counted_for(&self) -> &GroupPath {
        &self.counted_for
    }

    /// The limits that apply, those of the nearest group first.
    pub fn limits(&self) -> &[EffectiveLimit] {
        &self.limits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        budget::Budgets,
        group::{GroupModel, GroupModels},
        limit::{LimitType, Threshold, Unit},
    };

    fn group(id: u128, enforcement: Enforcement, limits: &[(LimitType, Unit, u64)]) -> Group {
        let limits = limits.iter().map(|&(limit_type, unit, threshold)| Limit {
            limit_type,
            unit,
            threshold: Threshold::new(threshold).unwrap(),
        });
        Group {
            id: GroupId(id),
            external_entity_id: id.to_string(),
            name: None,
            models: GroupModels::new(vec![GroupModel { slug: SlugId(1), limits: limits.collect() }]).unwrap(),
            enforcement,
            parent: None,
            created_at_ms: 0,
            disabled: false,
            budgets: Budgets::default(),
        }
    }

    /// (threshold, source, group that it counts in) of each limit.
    fn limits(account: &Account) -> Vec<(u64, u128, u128)> {
        let counted_for = account.counted_for();
        let of = |l: &EffectiveLimit| (l.limit.threshold.get(), l.source.0, counted_for[usize::from(l.counted_at)].0);
        account.limits().iter().map(of).collect()
    }

    #[test]
    fn independent_takes_the_nearest_of_each_type_and_unit_and_counts_it_for_the_group_itself() {
        use {LimitType::*, Unit::*};
        let team = group(1, Enforcement::Independent, &[(Token, Minute, 10)]);
        let plan = group(2, Enforcement::Independent, &[(Token, Minute, 99), (Request, Second, 5), (Request, Day, 7)]);
        let account = Account::new(SlugId(1), [&team, &plan]);
        assert_eq!(limits(&account), [(10, 1, 1), (5, 2, 1), (7, 2, 1)]);
        assert_eq!(account.counted_for().as_slice(), [team.id]);
    }

    #[test]
    fn cascading_takes_every_declaration_and_counts_it_where_it_was_declared() {
        use {LimitType::*, Unit::*};
        let team = group(1, Enforcement::Cascading, &[(Token, Minute, 10)]);
        let plan = group(2, Enforcement::Cascading, &[(Token, Minute, 99)]);
        assert_eq!(limits(&Account::new(SlugId(1), [&team, &plan])), [(10, 1, 1), (99, 2, 2)]);
        let other = Account::new(SlugId(2), [&team, &plan]);
        assert!(other.limits().is_empty());
        assert_eq!(other.counted_for().as_slice(), [team.id, plan.id]);
    }
}
