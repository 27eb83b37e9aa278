//! Accounts. An account says where the requests of one group for one slug count, and which rules they must pass.
//!
//! Each rule counts in one group of the account, so a ledger can always find its cell. Accounts are built from groups
//! only, by [`Account::new`].

use arrayvec::ArrayVec;

use crate::domain::{
    budget::Budget,
    calendar::Period,
    group::{Enforcement, Group, MAX_LEVELS},
    id::{GroupId, SlugId},
    limit::Limit,
};

/// The ids of a group and of its ancestors, nearest first.
pub type GroupPath = ArrayVec<GroupId, MAX_LEVELS>;

/// A declared bound on what requests may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// A bound on tokens or requests.
    Limit(Limit),
    /// A bound on money.
    Budget(Budget),
}

impl Rule {
    /// The largest amount that passes: tokens, requests, or 10^-12 units of the budget's currency.
    pub fn threshold(&self) -> u128 {
        match self {
            Self::Limit(limit) => u128::from(limit.threshold.get()),
            Self::Budget(budget) => budget.amount.as_cost(),
        }
    }

    /// The limit; `None` for a budget.
    pub fn limit(&self) -> Option<&Limit> {
        match self {
            Self::Limit(limit) => Some(limit),
            Self::Budget(_) => None,
        }
    }

    /// The budget; `None` for a limit.
    pub fn budget(&self) -> Option<&Budget> {
        match self {
            Self::Limit(_) => None,
            Self::Budget(budget) => Some(budget),
        }
    }

    /// The calendar period that it counts over. `None` for rolling windows, CONCURRENT and TOTAL.
    pub fn period(&self) -> Option<Period> {
        match self {
            Self::Limit(limit) => limit.unit.period(),
            Self::Budget(budget) => budget.unit.period(),
        }
    }
}

/// A limit or budget as it applies to one (group, slug).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effective {
    /// The declaration.
    pub rule: Rule,
    /// The group that declared it.
    pub source: GroupId,
    /// The group that it counts in, as an index into the account's `counted_for`.
    pub(super) counted_at: u8,
}

impl Effective {
    /// Whether other groups share it, because it counts in an ancestor.
    pub fn is_shared(&self) -> bool {
        self.counted_at != 0
    }
}

/// Where the requests of one group for one slug count, and the rules that they must pass.
#[derive(Debug, Clone)]
pub struct Account {
    pub(super) slug: SlugId,
    pub(super) counted_for: GroupPath,
    pub(super) rules: Vec<Effective>,
}

impl Account {
    /// The account of the first group of `lineage`, which is followed by its ancestors up to the root.
    ///
    /// INDEPENDENT: a request counts for the group alone. For each (type, unit) of limits and for each unit of budgets
    /// the nearest declaration applies.
    /// CASCADING: a request counts for every group. Every declaration applies, and counts for the group that made it.
    pub fn new<'a>(slug: SlugId, lineage: impl IntoIterator<Item = &'a Group, IntoIter: Clone>) -> Self {
        let lineage = lineage.into_iter().take(MAX_LEVELS);
        let declared = |group: &Group| group.model(slug).map_or(0, |model| model.limits.len()) + group.budgets.len();
        let most = lineage.clone().map(declared).sum();
        let mut account = Self { slug, counted_for: GroupPath::new(), rules: Vec::with_capacity(most) };
        for (level, group) in lineage.clone().enumerate() {
            if counted_at(group, level) == level {
                account.counted_for.push(group.id);
            }
            for limit in group.model(slug).into_iter().flat_map(|model| &model.limits) {
                account.add(group, level, Rule::Limit(*limit));
            }
        }
        for (level, group) in lineage.enumerate() {
            group.budgets.iter().for_each(|budget| account.add(group, level, Rule::Budget(*budget)));
        }
        account
    }

    /// The account of requests that count but cannot be refused.
    pub fn without_rules(slug: SlugId, counted_for: GroupPath) -> Self {
        Self { slug, counted_for, rules: Vec::new() }
    }

    /// The slug.
    pub fn slug(&self) -> SlugId {
        self.slug
    }

    /// The groups that a request counts for: the group itself, and in CASCADING its ancestors.
    pub fn counted_for(&self) -> &GroupPath {
        &self.counted_for
    }

    /// The limits that apply, those of the nearest group first, then the budgets, those of the nearest group first.
    pub fn rules(&self) -> &[Effective] {
        &self.rules
    }

    pub(super) fn limits_and_budgets(&self) -> (&[Effective], &[Effective]) {
        self.rules.split_at(self.rules.partition_point(|effective| effective.rule.limit().is_some()))
    }

    fn add(&mut self, group: &Group, level: usize, rule: Rule) {
        let is_replaced = |nearer: &Effective| match (&nearer.rule, &rule) {
            (Rule::Limit(nearer), Rule::Limit(limit)) => nearer.is_like(limit),
            (Rule::Budget(nearer), Rule::Budget(budget)) => nearer.unit == budget.unit,
            (Rule::Limit(_), Rule::Budget(_)) | (Rule::Budget(_), Rule::Limit(_)) => false,
        };
        if group.enforcement == Enforcement::Independent && self.rules.iter().any(is_replaced) {
            return;
        }
        let effective = Effective { rule, source: group.id, counted_at: counted_at(group, level) as u8 };
        self.rules.push(effective);
    }
}

/// The index of the group that a group's rules count in.
fn counted_at(group: &Group, level: usize) -> usize {
    match group.enforcement {
        Enforcement::Independent => 0,
        Enforcement::Cascading => level,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        budget::{BudgetUnit, Budgets},
        group::{GroupModel, GroupModels},
        limit::{LimitType, Threshold, Unit},
        money::{Amount, Currency},
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
    fn limits(account: &Account) -> Vec<(u128, u128, u128)> {
        let counted_for = account.counted_for();
        let of = |it: &Effective| (it.rule.threshold(), it.source.0, counted_for[usize::from(it.counted_at)].0);
        account.rules().iter().map(of).collect()
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
        assert!(other.rules().is_empty());
        assert_eq!(other.counted_for().as_slice(), [team.id, plan.id]);
    }

    #[test]
    fn independent_takes_the_nearest_budget_of_each_unit_whatever_its_currency() {
        let budget = |unit, currency| Budget {
            unit,
            currency: Currency::parse(currency).unwrap(),
            amount: Amount::parse("0.000001").unwrap(),
        };
        let plan = [budget(BudgetUnit::Total, "EUR"), budget(BudgetUnit::Month, "EUR")];
        for (enforcement, expected) in [
            (Enforcement::Independent, &[(10, 1, 1), (1_000_000, 1, 1), (1_000_000, 2, 1)][..]),
            (Enforcement::Cascading, &[(10, 1, 1), (1_000_000, 1, 1), (1_000_000, 2, 2), (1_000_000, 2, 2)]),
        ] {
            let mut team = group(1, enforcement, &[(LimitType::Token, Unit::Week, 10)]);
            team.budgets = Budgets::new(vec![budget(BudgetUnit::Month, "USD")]).unwrap();
            let mut root = group(2, enforcement, &[]);
            root.budgets = Budgets::new(plan.to_vec()).unwrap();
            let account = Account::new(SlugId(1), [&team, &root]);
            assert_eq!(limits(&account), expected);
            assert_eq!(account.rules()[1].rule.budget().map(|it| it.unit), Some(BudgetUnit::Month));
            // A budget covers all models.
            assert_eq!(Account::new(SlugId(2), [&team, &root]).rules().len(), expected.len() - 1);
        }
    }
}
