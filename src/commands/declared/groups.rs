//! The rules of trees of groups, and the order of changes that keeps them.
//!
//! In a CASCADING tree no group may declare more than an ancestor, at any moment. So a group with relatives changes in
//! up to two steps. First, parents before children, it gets the larger of the old and the new threshold of each limit.
//! Then, children before parents, it gets the new ones. In the first step, an ancestor has at least what its
//! descendants had and will have; in the second, a descendant already has its final thresholds. A limit that is only in
//! the old or only in the new declaration is left out in between.

use std::collections::{HashMap, HashSet};

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

    /// The external ids of all groups that have a parent or a child in a CASCADING tree, before or after the changes. A
    /// child that is deleted counts, since it exists until then.
    pub(super) fn cascading_relatives(&self, live: &'a Live) -> HashSet<&'a str> {
        let after = self.0.iter().map(|(key, member)| (*key, member.group, Some(member.mode)));
        let before = live.groups.iter().map(|(key, live)| (key.as_str(), &live.group, live.group.mode));
        let children = after.chain(before).filter(|(.., mode)| *mode == Some(Enforcement::Cascading));
        children.filter_map(|(key, group, _)| Some([key, group.parent.as_deref()?])).flatten().collect()
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

/// The models and budgets between the old and the new ones, as fields of a PATCH.
pub(super) fn between(old: &Value, new: &Value) -> Value {
    let models = matching(&old["models"], &new["models"], &["slug"], |old, new| {
        let mut model = new.clone();
        for limits in ["rate_limits", "usage_limits"] {
            model[limits] = matching(&old[limits], &new[limits], &["type", "unit"], |old, new| {
                let is_larger = old["threshold"].as_u64() > new["threshold"].as_u64();
                if is_larger { old.clone() } else { new.clone() }
            });
        }
        model
    });
    let budgets = matching(&old["budgets"], &new["budgets"], &["unit", "currency"], |old, new| {
        let amount = |budget: &Value| budget["amount"].as_str().and_then(|amount| Amount::parse(amount).ok());
        if amount(old) > amount(new) { old.clone() } else { new.clone() }
    });
    json!({ "models": models, "budgets": budgets })
}

/// The items that are in both lists, judged by some fields, merged.
fn matching(old: &Value, new: &Value, fields: &[&str], merge: impl Fn(&Value, &Value) -> Value) -> Value {
    let is_same = |one: &Value, other: &Value| fields.iter().all(|field| one[*field] == other[*field]);
    let old = old.as_array().map(Vec::as_slice).unwrap_or_default();
    let new = new.as_array().map(Vec::as_slice).unwrap_or_default();
    new.iter().filter_map(|new| Some(merge(old.iter().find(|old| is_same(old, new))?, new))).collect()
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
        assert_eq!(between(&old, &new), group(vec![limit("DAY", 5)], "10"));
        assert_eq!(between(&new, &old), group(vec![limit("DAY", 5)], "10"));
        let other = json!({ "models": [{ "slug": "a/c" }], "budgets": [] });
        assert_eq!(between(&old, &other), json!({ "models": [], "budgets": [] }));
    }
}
