//! What stands against a group's limits: views for operators and customers. None of them takes anything.

use super::{Gateway, catalog::GroupNode, error::Error};
use crate::domain::{
    day::Now,
    id::SlugId,
    ledger::{Refusal, Standing, Standings},
    limit::LimitType,
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
