//! The state of a group's limits, for operators and customers. All of this is read-only.

use std::cmp::Ordering;

use crate::{
    domain::{
        id::SlugId,
        ledger::{Effective, Moment, Refusal, Standing, Standings},
        limit::{LimitType, Unit},
    },
    service::{
        catalog::{Catalog, GroupNode},
        error::Error,
    },
};

/// Whether a request would be admitted now, with the state of each limit that applies to it.
pub struct WouldPass {
    /// The state of each limit and budget that applies.
    pub standings: Vec<Standing>,
    /// The refusal; `None` if the request would be admitted.
    pub refusal: Option<Box<Refusal>>,
}

/// The state at `moment` of each limit on a group's model and of each budget.
pub fn standings(moment: Moment, node: &GroupNode, slug: SlugId) -> Vec<Standing> {
    node.tree.ledger.lock().standing(moment, &node.account(slug))
}

/// The DAY limit of a group's models with the smallest share left; the first one of equals.
pub fn tightest_of_day(moment: Moment, node: &GroupNode) -> Option<(SlugId, Standing)> {
    let is_of_day = |of: &Effective| of.rule.limit().is_some_and(|limit| limit.unit == Unit::Day);
    let group = node.group();
    let accounts = group.models.iter().map(|model| (model.slug, node.account(model.slug)));
    let accounts: Vec<_> = accounts.filter(|(_, account)| account.rules().iter().any(is_of_day)).collect();
    if accounts.is_empty() {
        return None;
    }
    let mut ledger = node.tree.ledger.lock();
    let standings = accounts.iter().flat_map(|(slug, account)| {
        let of_day = ledger.standing(moment, account).into_iter().filter(|standing| is_of_day(&standing.effective));
        of_day.map(|standing| (*slug, standing))
    });
    standings.min_by(|(_, one), (_, other)| by_part_left(one, other))
}

/// The limit of each type with the least left, CONCURRENT left out; the nearest one of equals.
pub(in crate::service) fn tightest(moment: Moment, node: &GroupNode, slug: SlugId) -> Standings {
    let standings = standings(moment, node, slug);
    let of = |limit_type| {
        let of_type = standings.iter().filter(|standing| {
            let limit = standing.effective.rule.limit();
            limit.is_some_and(|limit| limit.limit_type == limit_type && limit.unit != Unit::Concurrent)
        });
        of_type.min_by_key(|standing| standing.left()).copied()
    };
    Standings { requests: of(LimitType::Request), tokens: of(LimitType::Token) }
}

/// Reports whether a request of `tokens` tokens for `slug` would be admitted at `moment`. Takes nothing.
pub fn would_pass(
    catalog: &Catalog,
    moment: Moment,
    node: &GroupNode,
    slug: &str,
    tokens: u64,
) -> Result<WouldPass, Error> {
    let carried = catalog.slug_id(slug).filter(|id| node.group().model(*id).is_some());
    let Some(id) = carried else {
        return Err(Error::invalid("unknown_slug", format!("slug: the group does not carry {slug:?}.")));
    };
    let account = node.account(id);
    let pricing = catalog.model_of(id).and_then(|model| model.pricing.as_ref());
    let mut ledger = node.tree.ledger.lock();
    let standings = ledger.standing(moment, &account);
    let refusal = ledger.would_admit(moment, &account, tokens, pricing).err();
    Ok(WouldPass { standings, refusal })
}

/// Compares the shares of the thresholds that are left, in exact integers. A threshold of 0 has nothing left.
fn by_part_left(one: &Standing, other: &Standing) -> Ordering {
    let part = |standing: &Standing| (standing.left(), standing.effective.rule.threshold().max(1));
    let ((one_left, of_one), (other_left, of_other)) = (part(one), part(other));
    (one_left * of_other).cmp(&(other_left * of_one))
}
