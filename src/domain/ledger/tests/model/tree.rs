//! Random trees of groups with limits and budgets, as operators write them.

use std::collections::BTreeMap;

use super::{prices::currencies, *};
use crate::domain::{
    budget::{Budget, BudgetUnit, Budgets},
    group::{Enforcement, Group, GroupModel, GroupModels},
    limit::LimitKind,
    money::Amount,
    testing::Random,
};

pub(super) const SLUGS: [SlugId; 2] = [SlugId(0), SlugId(1)];

/// Every kind of limit, with the bound of random thresholds.
const KINDS: [(LimitType, Unit, u64); 11] = [
    (Request, Second, 4),
    (Request, Minute, 15),
    (Request, Daily, 100),
    (Request, Week, 200),
    (Request, Month, 300),
    (Request, Concurrent, 6),
    (Token, Second, 1500),
    (Token, Minute, 5000),
    (Token, Daily, 40_000),
    (Token, Week, 80_000),
    (Token, Month, 100_000),
];

/// Every unit of budgets, with the bound of random amounts in 10^-6 units.
const BUDGET_UNITS: [(BudgetUnit, u64); 4] =
    [(BudgetUnit::Day, 20_000), (BudgetUnit::Week, 40_000), (BudgetUnit::Month, 60_000), (BudgetUnit::Total, 100_000)];

/// A limit of each kind and a budget of each unit and currency.
pub(super) fn all_rules() -> Vec<Rule> {
    let threshold = Threshold::new(1).unwrap();
    let limits = KINDS.map(|(limit_type, unit, _)| Rule::Limit(Limit { limit_type, unit, threshold }));
    let amount = Amount::parse("1").unwrap();
    let of_unit = |unit: BudgetUnit| currencies().map(|currency| Rule::Budget(Budget { unit, currency, amount }));
    limits.into_iter().chain(BUDGET_UNITS.into_iter().flat_map(|(unit, _)| of_unit(unit))).collect()
}

/// The groups of one tree, by id.
pub(super) struct Tree {
    mode: Enforcement,
    pub(super) groups: BTreeMap<GroupId, Group>,
    made: u128,
}

impl Tree {
    const ROOT: GroupId = GroupId(1000);

    pub(super) fn grow(random: &mut Random) -> Self {
        let mode = random.pick(&[Enforcement::Independent, Enforcement::Cascading]);
        let mut tree = Self { mode, groups: BTreeMap::new(), made: 0 };
        for _ in 0..2 + random.below(8) {
            tree.create(random);
        }
        tree
    }

    /// Creates the root first, then groups below any group that may have children.
    pub(super) fn create(&mut self, random: &mut Random) {
        let parents: Vec<GroupId> = self.ids().into_iter().filter(|id| self.path(*id).len() < MAX_LEVELS).collect();
        let parent = (!parents.is_empty()).then(|| random.pick(&parents));
        let id = GroupId(Self::ROOT.0 + self.made);
        self.made += 1;
        let group = Group {
            id,
            external_entity_id: id.0.to_string(),
            name: None,
            models: GroupModels::new(Vec::new()).unwrap(),
            enforcement: self.mode,
            parent,
            created_at_ms: 0,
            disabled: false,
            budgets: Budgets::default(),
        };
        self.groups.insert(id, group);
        self.patch(random, id);
    }

    /// Replaces a group's models, all of them, some or none, each with its own limits, and its budgets.
    pub(super) fn patch(&mut self, random: &mut Random, id: GroupId) {
        let slugs = SLUGS.into_iter().filter(|_| !random.one_in(6)).collect::<Vec<_>>();
        let models = slugs.into_iter().map(|slug| GroupModel { slug, limits: random_limits(random) }).collect();
        if let Some(group) = self.groups.get_mut(&id) {
            group.models = GroupModels::new(models).unwrap();
            group.budgets = random_budgets(random);
        }
    }

    /// Deletes a group and its descendants; never the root.
    pub(super) fn delete(&mut self, random: &mut Random) -> Vec<GroupId> {
        let id = random.pick(&self.ids());
        let deleted = match id {
            Self::ROOT => Vec::new(),
            id => self.ids().into_iter().filter(|other| self.path(*other).contains(&id)).collect(),
        };
        deleted.iter().for_each(|id| drop(self.groups.remove(id)));
        deleted
    }

    pub(super) fn ids(&self) -> Vec<GroupId> {
        self.groups.keys().copied().collect()
    }

    /// The ids of all deleted groups.
    pub(super) fn gone(&self) -> Vec<GroupId> {
        let all = (Self::ROOT.0..Self::ROOT.0 + self.made).map(GroupId);
        all.filter(|id| !self.groups.contains_key(id)).collect()
    }

    /// From a group up to the root.
    pub(super) fn path(&self, id: GroupId) -> Vec<GroupId> {
        let parent = |id: &GroupId| self.groups.get(id)?.parent;
        std::iter::successors(Some(id), parent).collect()
    }

    /// The account of a request of this group, which is checked against the groups and rules that the contract names.
    pub(super) fn account(&self, id: GroupId, slug: SlugId) -> Account {
        let path = self.path(id);
        let declared = path.iter().enumerate().flat_map(|(place, id)| {
            let limits =
                self.groups[id].models.iter().filter(|model| model.slug == slug).flat_map(|model| &model.limits);
            limits.map(move |limit| (place, *id, Rule::Limit(*limit)))
        });
        let budgets = path.iter().enumerate().flat_map(|(place, id)| {
            self.groups[id].budgets.iter().map(move |budget| (place, *id, Rule::Budget(*budget)))
        });
        let mut rules: Vec<Effective> = Vec::new();
        for (place, source, rule) in declared.chain(budgets) {
            match self.mode {
                Enforcement::Cascading => rules.push(Effective { rule, source, counted_at: place as u8 }),
                Enforcement::Independent if rules.iter().any(|nearer| kind(&nearer.rule) == kind(&rule)) => {}
                Enforcement::Independent => rules.push(Effective { rule, source, counted_at: 0 }),
            }
        }
        let account = Account::new(slug, path.iter().map(|id| &self.groups[id]));
        let counted_for = match self.mode {
            Enforcement::Cascading => path,
            Enforcement::Independent => vec![id],
        };
        assert_eq!((account.counted_for().as_slice(), account.rules()), (&counted_for[..], &rules[..]));
        account
    }
}

/// Of rules of the same kind, the nearest one applies in INDEPENDENT mode.
fn kind(rule: &Rule) -> (Option<LimitType>, String) {
    match rule {
        Rule::Limit(limit) => (Some(limit.limit_type), format!("{:?}", limit.unit)),
        Rule::Budget(budget) => (None, format!("{:?}", budget.unit)),
    }
}

fn random_limits(random: &mut Random) -> Vec<Limit> {
    let mut limits = Vec::new();
    for (limit_type, unit, bound) in KINDS {
        let limit = Limit { limit_type, unit, threshold: Threshold::new(random.below(bound)).unwrap() };
        let rolls = |limit: &Limit| limit.kind() == LimitKind::Rate && limit.unit != Concurrent;
        // A model has at most one rolling window of each type.
        let is_taken = |other: &Limit| other.limit_type == limit_type && rolls(other) && rolls(&limit);
        if random.one_in(4) && !limits.iter().any(is_taken) {
            limits.push(limit);
        }
    }
    limits
}

fn random_budgets(random: &mut Random) -> Budgets {
    let mut budgets = Vec::new();
    for (unit, bound) in BUDGET_UNITS {
        let millionths = random.below(bound);
        let amount = Amount::parse(&format!("0.{millionths:06}")).unwrap();
        if random.one_in(4) {
            budgets.push(Budget { unit, currency: random.pick(&currencies()), amount });
        }
    }
    Budgets::new(budgets).unwrap()
}
