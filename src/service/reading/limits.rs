//! The state of a group's limits and budgets, for operators and customers. All of this is read-only.

use std::cmp::Ordering;

use crate::{
    domain::{
        alert::Shares,
        id::SlugId,
        ledger::{Account, Effective, Moment, Refusal, Rule, Standing, Standings},
        limit::{LimitKind, LimitType, Unit},
    },
    service::{
        catalog::{Catalog, GroupNode},
        error::Error,
    },
};

/// Whether a request would be admitted now, with the state of each limit and budget that applies to it.
pub struct WouldPass {
    /// The state of each limit and budget that applies: limits first.
    pub standings: Vec<Standing>,
    /// The refusal; `None` if the request would be admitted.
    pub refusal: Option<Box<Refusal>>,
}

/// The state of a group's limits and budgets at one moment.
pub struct GroupStandings {
    /// The state of each limit, by model, in the order of the group's models.
    pub models: Vec<(SlugId, Vec<Standing>)>,
    /// The state of each budget.
    pub budgets: Vec<Standing>,
}

/// The state of all limits and budgets that apply to a group.
pub fn of_group(moment: Moment, node: &GroupNode) -> GroupStandings {
    let group = node.group();
    let accounts: Vec<_> = group.models.iter().map(|model| (model.slug, node.account(model.slug))).collect();
    let of_budgets = node.account_of_budgets();
    let mut ledger = node.tree.ledger.lock();
    let mut limits = |account: &Account| {
        let mut standings = ledger.standing(moment, account);
        standings.retain(|standing| standing.effective.rule.limit().is_some());
        standings
    };
    let models = accounts.iter().map(|(slug, account)| (*slug, limits(account))).collect();
    GroupStandings { models, budgets: ledger.standing(moment, &of_budgets) }
}

/// The DAY limit of a group's models with the smallest share left; the first one of equals.
pub fn tightest_of_day(moment: Moment, node: &GroupNode) -> Option<(SlugId, Standing)> {
    let is_of_day = |effective: &Effective| effective.rule.limit().is_some_and(|limit| limit.unit == Unit::Day);
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

/// The budget of a group with the smallest share left; the first one of equals.
pub fn tightest_budget(moment: Moment, node: &GroupNode) -> Option<Standing> {
    let account = node.account_of_budgets();
    if account.rules().is_empty() {
        return None;
    }
    node.tree.ledger.lock().standing(moment, &account).into_iter().min_by(by_part_left)
}

/// The highest of `shares` that the use of one of the group's usage limits or budgets has reached in its current window.
pub fn highest_share(moment: Moment, node: &GroupNode, shares: &Shares) -> Option<u8> {
    let has_shares = |rule: &Rule| rule.limit().is_none_or(|limit| limit.kind() == LimitKind::Usage);
    let group = node.group();
    let of_models = group.models.iter().map(|model| node.account(model.slug));
    let mut accounts: Vec<_> = of_models.chain([node.account_of_budgets()]).collect();
    accounts.retain(|account| account.rules().iter().any(|effective| has_shares(&effective.rule)));
    if accounts.is_empty() || shares.is_empty() {
        return None;
    }
    let mut ledger = node.tree.ledger.lock();
    let standings = accounts.iter().flat_map(|account| ledger.standing(moment, account));
    let share_of = |standing: Standing| {
        let rule = &standing.effective.rule;
        has_shares(rule).then(|| shares.reached(rule.threshold(), standing.used)).flatten()
    };
    standings.filter_map(share_of).max()
}

/// The limit of each type with the least left, the nearest one of equals, as the headers of an answer show it.
pub(in crate::service) fn tightest(moment: Moment, node: &GroupNode, slug: SlugId) -> Standings {
    let standings = node.tree.ledger.lock().standing(moment, &node.account(slug));
    let of = |limit_type| {
        let is_shown = |standing: &&Standing| match &standing.effective.rule {
            Rule::Limit(limit) => limit.limit_type == limit_type && limit.unit != Unit::Concurrent,
            Rule::Budget(_) => false,
        };
        standings.iter().filter(is_shown).min_by_key(|standing| standing.left()).copied()
    };
    Standings { requests: of(LimitType::Request), tokens: of(LimitType::Token) }
}

/// Reports whether a request of `tokens` tokens for `slug` would be admitted now. For budgets, the tokens are a prompt at
/// the model's prices. Takes nothing.
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
    let pricing = catalog.model(slug).and_then(|model| model.pricing);
    let account = node.account(id);
    let mut ledger = node.tree.ledger.lock();
    let standings = ledger.standing(moment, &account);
    let refusal = ledger.would_admit(moment, &account, tokens, pricing.as_ref()).err();
    Ok(WouldPass { standings, refusal })
}

/// Compares the shares of the thresholds that are left, in exact integers: of budgets in 10^-6 currency units, so that
/// the products fit. A threshold of 0 has nothing left.
fn by_part_left(one: &Standing, other: &Standing) -> Ordering {
    let part = |standing: &Standing| {
        let (left, threshold) = (standing.left(), standing.effective.rule.threshold());
        let scale = if standing.effective.rule.budget().is_some() { 1_000_000 } else { 1 };
        (left / scale, (threshold / scale).max(1))
    };
    let ((one_left, of_one), (other_left, of_other)) = (part(one), part(other));
    (one_left * of_other).cmp(&(other_left * of_one))
}
