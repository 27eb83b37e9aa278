//! Groups: a tree of customers, with the models that each may call and the limits on each model.
//!
//! A group's ancestors and mode never change after its creation. A child has its parent's mode, so a whole tree is
//! either INDEPENDENT or CASCADING.

use std::ops::Deref;

use serde::{Deserialize, Serialize};

use super::{
    budget::{Budget, Budgets},
    id::{GroupId, SlugId},
    limit::{Limit, LimitKind, Unit},
    slug::Slug,
};

/// The most levels of a tree.
pub const MAX_LEVELS: usize = 5;

/// The most models of a group.
pub const MAX_MODELS: usize = 1000;

/// How the limits of a tree combine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Enforcement {
    /// The nearest declaration applies, and each group counts for itself.
    Independent,
    /// Every declaration on the path applies, and a subtree shares its ancestors' limits.
    Cascading,
}

/// A model that a group may call. Its slug is an id, or a [`Slug`] that has no id yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupModel<S = SlugId> {
    /// The model's slug.
    pub slug: S,
    /// In the order in which they were written.
    pub limits: Vec<Limit>,
}

impl<S> GroupModel<S> {
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
    /// The models that it may call.
    pub models: GroupModels,
    /// The mode of its tree.
    pub enforcement: Enforcement,
    /// The parent; `None` for a root.
    pub parent: Option<GroupId>,
    /// Unix ms.
    pub created_at_ms: u64,
    /// Whether calls of this group and all its descendants are refused.
    pub disabled: bool,
    /// Its budgets.
    pub budgets: Budgets,
}

impl Group {
    /// The group's entry for one model.
    pub fn model(&self, slug: SlugId) -> Option<&GroupModel> {
        self.models.iter().find(|model| model.slug == slug)
    }

    /// Whether it declares more than `ancestor` does; see [`exceeds`].
    pub fn exceeds(&self, ancestor: &Self) -> bool {
        exceeds((&self.models, &self.budgets), (&ancestor.models, &ancestor.budgets))
    }
}

/// Whether a group declares a threshold above one that its ancestor declares for the same slug, type and unit, or an
/// amount above one for the same unit and currency. In CASCADING no group may. Takes the models and budgets of both.
pub fn exceeds<S: PartialEq>(own: (&[GroupModel<S>], &[Budget]), ancestor: (&[GroupModel<S>], &[Budget])) -> bool {
    let exceeds_budget = |own: &Budget| ancestor.1.iter().any(|of| of.is_like(own) && own.amount > of.amount);
    let exceeds_limit = |own: &GroupModel<S>| {
        let upper = ancestor.0.iter().find(|of| of.slug == own.slug).map_or(&[][..], |model| &model.limits);
        let above = |limit: &Limit| upper.iter().any(|of| of.is_like(limit) && limit.threshold > of.threshold);
        own.limits.iter().any(above)
    };
    own.1.iter().any(exceeds_budget) || own.0.iter().any(exceeds_limit)
}

/// The first rule that a list of models breaks. Indexes count from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvalidModels<S> {
    /// A new group has no models.
    Empty,
    /// There are more than [`MAX_MODELS`].
    TooMany,
    /// An earlier model has the same slug.
    DuplicateSlug {
        /// The model's index.
        model: usize,
        /// Its slug.
        slug: S,
    },
    /// The model has an earlier limit that excludes this one.
    DuplicateLimit {
        /// The model's index.
        model: usize,
        /// The limit's index among the model's limits of its kind.
        index: usize,
        /// The limit.
        limit: Limit,
    },
}

/// Whether a model can have only one of two limits: a model has one rolling window for each type, one limit on running
/// requests, and one calendar window for each type and unit.
fn excludes(one: &Limit, other: &Limit) -> bool {
    let is_rolling = |limit: &Limit| matches!(limit.unit, Unit::Second | Unit::Minute);
    let both_roll = is_rolling(one) && is_rolling(other);
    one.limit_type == other.limit_type && (one.unit == other.unit || both_roll)
}

/// The models of a group, in the order in which they were written: at most [`MAX_MODELS`], with distinct slugs, each
/// with at most one rolling window of each type, one limit on running requests, and one usage limit of each type and
/// unit.
///
/// Stored records are decoded without these checks, which the models passed before they were written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupModels<S = SlugId>(Vec<GroupModel<S>>);

impl<S: Clone + PartialEq> GroupModels<S> {
    /// The models of an existing group, which may have none.
    pub fn new(models: Vec<GroupModel<S>>) -> Result<Self, InvalidModels<S>> {
        if models.len() > MAX_MODELS {
            return Err(InvalidModels::TooMany);
        }
        for (model, GroupModel { slug, limits }) in models.iter().enumerate() {
            if models[..model].iter().any(|earlier| earlier.slug == *slug) {
                return Err(InvalidModels::DuplicateSlug { model, slug: slug.clone() });
            }
            for (place, limit) in limits.iter().enumerate() {
                let earlier = limits[..place].iter().filter(|earlier| earlier.kind() == limit.kind());
                if earlier.clone().any(|earlier| excludes(earlier, limit)) {
                    return Err(InvalidModels::DuplicateLimit { model, index: earlier.count(), limit: *limit });
                }
            }
        }
        Ok(Self(models))
    }

    /// The models of a new group, which must have at least one.
    pub fn of_new_group(models: Vec<GroupModel<S>>) -> Result<Self, InvalidModels<S>> {
        if models.is_empty() { Err(InvalidModels::Empty) } else { Self::new(models) }
    }
}

impl GroupModels<Slug> {
    /// The same models by the ids of their slugs. `id_of` gets a model's index and slug. Its ids must be distinct if
    /// the slugs are. Returns its first error.
    pub fn resolve<E>(self, id_of: impl Fn(usize, &Slug) -> Result<SlugId, E>) -> Result<GroupModels, E> {
        let resolve = |(index, GroupModel { slug, limits })| Ok(GroupModel { slug: id_of(index, &slug)?, limits });
        self.0.into_iter().enumerate().map(resolve).collect::<Result<_, _>>().map(GroupModels)
    }
}

impl<S> Deref for GroupModels<S> {
    type Target = [GroupModel<S>];

    fn deref(&self) -> &[GroupModel<S>] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::limit::{LimitType, Threshold, Unit};
    use {LimitType::*, Unit::*};

    fn limit(limit_type: LimitType, unit: Unit, threshold: u64) -> Limit {
        Limit { limit_type, unit, threshold: Threshold::new(threshold).unwrap() }
    }

    fn model(slug: u64, limits: &[Limit]) -> GroupModel {
        GroupModel { slug: SlugId(slug), limits: limits.to_vec() }
    }

    #[test]
    fn slugs_are_distinct_and_no_limit_excludes_another() {
        let rates = [limit(Token, Second, 1), limit(Request, Minute, 1), limit(Request, Concurrent, 1)];
        let usage = [Day, Week, Month].map(|unit| [limit(Token, unit, 1), limit(Request, unit, 1)]);
        let all = [&rates[..], usage.as_flattened()].concat();
        assert!(GroupModels::new(vec![model(1, &all), model(2, &all)]).is_ok());
        let twice = GroupModels::new(vec![model(1, &[]), model(2, &[]), model(1, &[])]);
        assert_eq!(twice, Err(InvalidModels::DuplicateSlug { model: 2, slug: SlugId(1) }));
        let more = [
            (limit(Token, Minute, 2), 3),
            (limit(Request, Concurrent, 2), 3),
            (limit(Request, Day, 2), 6),
            (limit(Token, Month, 2), 6),
        ];
        for (more, index) in more {
            let limits = [&all[..], &[more]].concat();
            let expected = InvalidModels::DuplicateLimit { model: 1, index, limit: more };
            assert_eq!(GroupModels::new(vec![model(1, &all), model(2, &limits)]), Err(expected));
        }
    }

    #[test]
    fn a_group_has_at_most_1000_models_and_a_new_one_at_least_one() {
        let models = |count| (0..count).map(|slug| model(slug, &[])).collect::<Vec<_>>();
        assert!(GroupModels::new(models(1000)).is_ok());
        assert_eq!(GroupModels::new(models(1001)), Err(InvalidModels::TooMany));
        assert!(GroupModels::new(models(0)).is_ok());
        assert_eq!(GroupModels::of_new_group(models(0)), Err(InvalidModels::Empty));
    }
}
