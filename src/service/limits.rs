//! What stands against a group's limits: views for operators and customers. None of them takes anything.

use std::cmp::Ordering;

use super::{Gateway, catalog::GroupNode, error::Error};
use crate::domain::{
    day::Now,
    id::SlugId,
    ledger::{Refusal, Standing, Standings},
    limit::{LimitType, Unit},
};

/// Whether a request would pass now, and how every limit that it meets stands.
pub struct WouldPass {
    /// Each limit that it meets.
    pub standings: Vec<Standing>,
    /// What would stop it.
    pub refusal: Option<Box<Refusal>>,
}

impl Gateway {
    /// How each limit of a group's model stands at `now`.
    pub fn standings(&self, now: Now, node: &GroupNode, slug: SlugId) -> Vec<Standing> {
        node.tree.ledger.lock().standing(now, &node.counted_for(), slug, &node.limits(slug))
    }

    /// Of all the limits on a day that a group's models have, the one with the smallest part left, the first of equals.
    pub fn tightest_of_day(&self, now: Now, node: &GroupNode) -> Option<(SlugId, Standing)> {
        let group = node.group();
        let of_day = group.models.iter().map(|model| {
            let mut limits = node.limits(model.slug);
            limits.retain(|effective| effective.limit.unit == Unit::Day);
            (model.slug, limits)
        });
        let of_day: Vec<_> = of_day.filter(|(_, limits)| !limits.is_empty()).collect();
        if of_day.is_empty() {
            return None;
        }
        let path = node.counted_for();
        let mut ledger = node.tree.ledger.lock();
        let standings = of_day.iter().flat_map(|(slug, limits)| {
            let standings = ledger.standing(now, &path, *slug, limits);
            standings.into_iter().map(|standing| (*slug, standing))
        });
        standings.min_by(|(_, one), (_, other)| by_part_left(one, other))
    }

    /// The limit of each type with the least left, the nearest of equals.
    pub(super) fn tightest(&self, node: &GroupNode, slug: SlugId) -> Standings {
        let standings = self.standings(self.now(), node, slug);
        let of = |limit_type| {
            let of_type = standings.iter().filter(|standing| standing.limit.limit.limit_type == limit_type);
            of_type.min_by_key(|standing| standing.left()).copied()
        };
        Standings { requests: of(LimitType::Request), tokens: of(LimitType::Token) }
    }

    /// Whether a request of `tokens` tokens for `slug` would pass at `now`.
    pub fn would_pass(&self, now: Now, node: &GroupNode, slug: &str, tokens: u64) -> Result<WouldPass, Error> {
        let carried = self.catalog.load().slug_id(slug).filter(|id| node.group().model(*id).is_some());
        let Some(id) = carried else {
            return Err(Error::invalid("unknown_slug", format!("slug: the group does not carry {slug:?}.")));
        };
        let (path, limits) = (node.counted_for(), node.limits(id));
        let mut ledger = node.tree.ledger.lock();
        let standings = ledger.standing(now, &path, id, &limits);
        let refusal = ledger.would_admit(now, &path, id, &limits, tokens).err();
        Ok(WouldPass { standings, refusal })
    }
}

/// By the part of its threshold that is left, in whole numbers. A threshold of 0 leaves nothing.
fn by_part_left(one: &Standing, other: &Standing) -> Ordering {
    let part =
        |standing: &Standing| (u128::from(standing.left()), u128::from(standing.limit.limit.threshold.get().max(1)));
    let ((one_left, of_one), (other_left, of_other)) = (part(one), part(other));
    (one_left * of_other).cmp(&(other_left * of_one))
}
