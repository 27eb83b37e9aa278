//! The state of a group's limits, for operators and customers. All of this is read-only.

use std::cmp::Ordering;

use crate::{
    domain::{
        day::Now,
        id::SlugId,
        ledger::{EffectiveLimit, LimitRefusal, Standing, Standings},
        limit::{LimitType, Unit},
    },
    service::{
        catalog::{Catalog, GroupNode},
        error::Error,
    },
};

/// Whether a request would be admitted now, with the state of each limit that applies to it.
pub struct WouldPass {
    /// The state of each limit that applies.
    pub standings: Vec<Standing>,
    /// The refusal; `None` if the request would be admitted.
    pub refusal: Option<Box<LimitRefusal>>,
}

/// The state at `now` of each limit on a group's model.
pub fn standings(now: Now, node: &GroupNode, slug: SlugId) -> Vec<Standing> {
    node.tree.ledger.lock().standing(now, &node.account(slug))
}

/// The DAY limit of a group's models with the smallest share left; the first one of equals.
pub fn tightest_of_day(now: Now, node: &GroupNode) -> Option<(SlugId, Standing)> {
    let is_of_day = |limit: &EffectiveLimit| limit.limit.unit == Unit::Day;
    let group = node.group();
    let accounts = group.models.iter().map(|model| (model.slug, node.account(model.slug)));
    let accounts: Vec<_> = accounts.filter(|(_, account)| account.limits().iter().any(is_of_day)).collect();
    if accounts.is_empty() {
        return None;
    }
    let mut ledger = node.tree.ledger.lock();
    let standings = accounts.iter().flat_map(|(slug, account)| {
        let of_day = ledger.standing(now, account).into_iter().filter(|standing| is_of_day(&standing.limit));
        of_day.map(|standing| (*slug, standing))
    });
    standings.min_by(|(_, one), (_, other)| by_part_left(one, other))
}

/// The limit of each type with the least left; the nearest one of equals.
pub(in crate::service) fn tightest(now: Now, node: &GroupNode, slug: SlugId) -> Standings {
    let standings = standings(now, node, slug);
    let of = |limit_type| {
        let of_type = standings.iter().filter(|standing| standing.limit.limit.limit_type == limit_type);
        of_type.min_by_key(|standing| standing.left()).copied()
    };
    Standings { requests: of(LimitType::Request), tokens: of(LimitType::Token) }
}

/// Reports whether a request of `tokens` tokens for `slug` would be admitted at `now`. Takes nothing.
pub fn would_pass(catalog: &Catalog, now: Now, node: &GroupNode, slug: &str, tokens: u64) -> Result<WouldPass, Error> {
    let carried = catalog.slug_id(slug).filter(|id| node.group().model(*id).is_some());
    let Some(id) = carried else {
        return Err(Error::invalid("unknown_slug", format!("slug: the group does not carry {slug:?}.")));
    };
    let account = node.account(id);
    let mut ledger = node.tree.ledger.lock();
    let standings = ledger.standing(now, &account);
    let refusal = ledger.would_admit(now, &account, tokens).err();
    Ok(WouldPass { standings, refusal })
}

/// Compares the shares of the thresholds that are left, in exact integers. A threshold of 0 has nothing left.
fn by_part_left(one: &Standing, other: &Standing) -> Ordering {
    let part =
        |standing: &Standing| (u128::from(standing.left()), u128::from(standing.limit.limit.threshold.get().max(1)));
    let ((one_left, of_one), (other_left, of_other)) = (part(one), part(other));
    (one_left * of_other).cmp(&(other_left * of_one))
}
