//! The rules of trees of groups, and the order of changes that keeps them.
//!
//! In a CASCADING tree no group may declare more than an ancestor, at any moment. So a group with children changes in up
//! to two steps. First, parents before children, it gets the larger of the old and the new threshold of each limit.
//! Then, children before parents, it gets the new ones. In the first step, an ancestor has at least what its
//! descendants had and will have; in the second, a descendant already has its final thresholds. A limit that is only in
//! the new declaration comes in the second step. One that is only in the old declaration goes in the second step too,
//! unless a descendant will have more. A model that is only in one of them is left out in between.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::{
    file::{Declared, DeclaredGroup, Place},
    live::Live,
    resource::Group,
};
use crate::{
    commands::document::Wrong,
    domain::{
        group::{Enforcement, MAX_LEVELS, exceeds},
        money::Amount,
    },
    http::admin::normal::enforcement_word,
};

/// A group of the final state.
struct Member<'a> {
    group: &'a Group,
    mode: Enforcement,
    level: usize,
    /// `None` if it is not in the file.
    place: Option<&'a Place>,
}

/// The groups of the final state, by external id.
pub(super) struct Members<'a>(HashMap<&'a str, Member<'a>>);

impl<'a> Members<'a> {
    /// Checks the final state: parents, modes, levels and thresholds, and that no existing group would have to move.
    pub(super) fn check(declared: &'a Declared, live: &'a Live, prune: bool) -> Result<Self, Wrong> {
        let mut members = Self(HashMap::new());
        if !prune {
            live.groups.keys().for_each(|key| members.add_live(live, key));
        }
        for declared in &declared.groups {
            let (group, place) = (&declared.group, &declared.place);
            let parent = group.parent.as_deref().map(|parent| {
                let known = members.0.get(parent);
                known.ok_or_else(|| {
                    let why = match live.groups.contains_key(parent) {
                        true => "is not in the file, so --prune would delete it",
                        false => "is neither in the file nor in the gateway",
                    };
                    place.wrong(&format!("parent: the group {parent:?} {why}"))
                })
            });
            let parent = parent.transpose()?;
            let mode = match (group.mode, parent.map(|parent| parent.mode)) {
                (Some(mode), Some(of_parent)) if mode != of_parent => {
                    let of_parent = enforcement_word(of_parent);
                    return Err(place.wrong(&format!(
                        "hierarchy.limit_enforcement: must be {of_parent} as in the parent; leave it out to use that"
                    )));
                }
                (mode, of_parent) => mode.or(of_parent).unwrap_or(Enforcement::Independent),
            };
            let level = parent.map_or(1, |parent| parent.level + 1);
            if level > MAX_LEVELS {
                return Err(place.wrong(&format!("parent: a tree has at most {MAX_LEVELS} levels")));
            }
            if let Some(live) = live.groups.get(&declared.key) {
                stays(group, mode, &live.group, place)?;
            }
            members.0.insert(&declared.key, Member { group, mode, level, place: Some(place) });
        }
        members.check_thresholds()?;
        Ok(members)
    }

    fn add_live(&mut self, live: &'a Live, key: &'a str) {
        if self.0.contains_key(key) {
            return;
        }
        let Some(found) = live.groups.get(key) else { return };
        let parent = found.group.parent.as_deref();
        if let Some(parent) = parent {
            self.add_live(live, parent);
        }
        let level = parent.and_then(|parent| self.0.get(parent)).map_or(1, |parent| parent.level + 1);
        let mode = found.group.mode.unwrap_or(Enforcement::Independent);
        self.0.insert(key, Member { group: &found.group, mode, level, place: None });
    }

    fn check_thresholds(&self) -> Result<(), Wrong> {
        // In the order of the file, so that the same file always has the same error.
        let mut wrong: Vec<Wrong> = Vec::new();
        for (key, member) in self.0.iter().filter(|(_, member)| member.mode == Enforcement::Cascading) {
            let mut above = member.group.parent.as_deref();
            while let Some((parent, ancestor)) = above.and_then(|parent| self.0.get_key_value(parent)) {
                let (own, of) = (member.group, ancestor.group);
                if exceeds((&own.models, &own.budgets), (&of.models, &of.budgets)) {
                    let why = "a limit or budget of";
                    let of = "exceeds that of its ancestor";
                    wrong.extend(match (member.place, ancestor.place) {
                        (Some(place), _) => Some(place.wrong(&format!("{why} {key:?} {of} {parent:?}"))),
                        (None, Some(place)) => {
                            Some(place.wrong(&format!("{why} {key:?}, which is not in the file, {of} {parent:?}")))
                        }
                        // The gateway has checked these.
                        (None, None) => None,
                    });
                }
                above = ancestor.group.parent.as_deref();
            }
        }
        wrong.sort_by_key(|wrong| wrong.line);
        wrong.into_iter().next().map_or(Ok(()), Err)
    }

    /// The declared groups in order of their level, so each comes after all its ancestors, those between that are only
    /// in the gateway included.
    pub(super) fn by_level<'b>(&self, declared: &'b Declared) -> Vec<&'b DeclaredGroup> {
        let mut groups: Vec<_> = declared.groups.iter().collect();
        groups.sort_by_key(|group| self.0.get(group.key.as_str()).map_or(0, |member| member.level));
        groups
    }

    /// All groups that have a child in a CASCADING tree, before or after the changes, each with its descendants of the
    /// final state. A child that is deleted counts, since it exists until then.
    pub(super) fn cascading_parents(&self, live: &'a Live) -> HashMap<&'a str, Vec<&'a Value>> {
        let is_cascading = |mode: Option<Enforcement>| mode == Some(Enforcement::Cascading);
        let before = live.groups.values().filter(|live| is_cascading(live.group.mode));
        let before = before.filter_map(|live| live.group.parent.as_deref());
        let mut parents: HashMap<&str, Vec<&Value>> = before.map(|parent| (parent, Vec::new())).collect();
        for member in self.0.values().filter(|member| is_cascading(Some(member.mode))) {
            let above = |key: &&'a str| self.0.get(key).and_then(|member| member.group.parent.as_deref());
            for ancestor in std::iter::successors(member.group.parent.as_deref(), above) {
                parents.entry(ancestor).or_default().push(&member.group.normal);
            }
        }
        parents
    }
}

/// Refuses a change of a group's place or mode, which no request can make.
fn stays(group: &Group, mode: Enforcement, live: &Group, place: &Place) -> Result<(), Wrong> {
    let shown = |parent: &Option<String>| parent.as_ref().map_or("none".to_owned(), |parent| format!("{parent:?}"));
    if group.parent != live.parent {
        let (is, wanted) = (shown(&live.parent), shown(&group.parent));
        return Err(place.wrong(&format!(
            "parent: is {is} in the gateway and {wanted} in the file; the parent of a group cannot be changed"
        )));
    }
    if live.mode.is_some_and(|is| is != mode) {
        let (is, wanted) = (live.mode.map_or("", enforcement_word), enforcement_word(mode));
        return Err(place.wrong(&format!(
            "hierarchy.limit_enforcement: is {is} in the gateway and {wanted} in the file; it cannot be changed"
        )));
    }
    Ok(())
}

/// The models and budgets between the old and the new ones, as fields of a PATCH. `below` has the descendants' new ones.
pub(super) fn between(old: &Value, new: &Value, below: &[&Value]) -> Value {
    let models = items(&old["models"]).iter().filter_map(|old| {
        let mut model = like(&new["models"], old, &["slug"])?.clone();
        let below: Vec<_> = below.iter().filter_map(|group| like(&group["models"], old, &["slug"])).collect();
        for limits in ["rate_limits", "usage_limits"] {
            let below: Vec<_> = below.iter().map(|model| &model[limits]).collect();
            let threshold = |limit: &Value| limit["threshold"].as_u64();
            model[limits] = larger(&old[limits], &model[limits], &below, &["type", "unit"], threshold);
        }
        Some(model)
    });
    let models: Value = models.collect();
    let below: Vec<_> = below.iter().map(|group| &group["budgets"]).collect();
    let amount = |budget: &Value| budget["amount"].as_str().and_then(|amount| Amount::parse(amount).ok());
    let budgets = larger(&old["budgets"], &new["budgets"], &below, &["unit", "currency"], amount);
    json!({ "models": models, "budgets": budgets })
}

/// The items of the old list, each as the larger one of both lists. One that is not in the new list is left out if it is
/// larger in a list of `below`. Items are found by some fields.
fn larger<T: PartialOrd>(
    old: &Value,
    new: &Value,
    below: &[&Value],
    fields: &[&str],
    size: impl Fn(&Value) -> T,
) -> Value {
    let is_larger = |one: &Value, other: &Value| size(one) > size(other);
    let kept = items(old).iter().filter_map(|old| match like(new, old, fields) {
        Some(new) => Some(if is_larger(old, new) { old } else { new }),
        None => {
            let mut below = below.iter().filter_map(|list| like(list, old, fields));
            (!below.any(|below| is_larger(below, old))).then_some(old)
        }
    });
    kept.cloned().collect()
}

/// The item of a list that has the same values in some fields.
fn like<'a>(list: &'a Value, item: &Value, fields: &[&str]) -> Option<&'a Value> {
    items(list).iter().find(|one| fields.iter().all(|field| one[*field] == item[*field]))
}

fn items(list: &Value) -> &[Value] {
    list.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_two_declarations_each_threshold_is_the_larger_one() {
        let limit = |unit: &str, threshold: u64| json!({ "type": "TOKEN", "unit": unit, "threshold": threshold });
        let group = |limits: Vec<Value>, amount: &str| {
            json!({ "models": [{ "slug": "a/b", "rate_limits": [], "usage_limits": limits }],
                "budgets": [{ "unit": "DAY", "currency": "EUR", "amount": amount }] })
        };
        let old = group(vec![limit("DAY", 5), limit("WEEK", 7)], "10");
        let new = group(vec![limit("DAY", 4), limit("MONTH", 9)], "9.5");
        assert_eq!(between(&old, &new, &[]), group(vec![limit("DAY", 5), limit("WEEK", 7)], "10"));
        assert_eq!(between(&new, &old, &[]), group(vec![limit("DAY", 5), limit("MONTH", 9)], "10"));
    }

    #[test]
    fn between_two_declarations_a_limit_stays_until_the_last_step_unless_a_descendant_will_have_more() {
        let group = |thresholds: &[(&str, u64)], budgets: &[&str]| {
            let limit =
                |(unit, threshold): &(&str, u64)| json!({ "type": "TOKEN", "unit": unit, "threshold": threshold });
            let budget = |amount: &&str| json!({ "unit": "DAY", "currency": "EUR", "amount": amount });
            let limits: Value = thresholds.iter().map(limit).collect();
            json!({ "models": [{ "slug": "a/b", "rate_limits": [], "usage_limits": limits }],
                "budgets": budgets.iter().map(budget).collect::<Value>() })
        };
        let (old, new) = (group(&[("DAY", 5), ("WEEK", 7)], &["10"]), group(&[("MONTH", 9)], &[]));
        let below = group(&[("DAY", 5), ("WEEK", 8)], &["10"]);
        assert_eq!(between(&old, &new, &[&below]), group(&[("DAY", 5)], &["10"]));
        assert_eq!(between(&old, &new, &[&group(&[], &["10.01"])]), group(&[("DAY", 5), ("WEEK", 7)], &[]));
        let other = json!({ "models": [{ "slug": "a/c" }], "budgets": [] });
        assert_eq!(between(&old, &other, &[])["models"], json!([]));
    }
}
