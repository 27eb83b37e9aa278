//! The model's figures.

use std::collections::BTreeMap;

use super::{clock::Clock, demand::Priced, *};
use crate::domain::{budget::BudgetUnit, calendar::Period, money::Currency, window::Span};

/// A running request.
#[derive(Clone)]
pub(super) struct Running {
    pub(super) groups: Vec<GroupId>,
    pub(super) slug: SlugId,
    pub(super) prompt: u64,
    /// The held output.
    pub(super) output: u64,
    /// The most output that the upstream may generate.
    pub(super) most: u64,
    pub(super) priced: Option<Priced>,
    pub(super) admitted_ns: u64,
    pub(super) route: Route,
}

impl Running {
    pub(super) fn tokens(&self) -> u64 {
        self.prompt + self.output
    }

    fn money(&self, currency: Currency) -> Option<u128> {
        let priced = self.priced.filter(|priced| priced.currency == currency)?;
        Some(priced.fixed + priced.output * u128::from(self.output))
    }
}

/// The state of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) used: u128,
    pub(super) held: u128,
    pub(super) reset: Option<Duration>,
    pub(super) begun: bool,
}

/// A calendar window: its period and its first moment.
type Window = (Period, u64);

#[derive(Default)]
pub(super) struct Book {
    /// (time, amount) of each group, slug and type, in order. An arrival that was taken back is 0.
    arrivals: BTreeMap<(GroupId, SlugId, LimitType), Vec<(u64, u64)>>,
    /// (requests, tokens) of each calendar window, by its first moment.
    counted: BTreeMap<(GroupId, SlugId, Period, u64), (u64, u64)>,
    /// The money spent in each calendar window, and in all.
    spent: BTreeMap<(GroupId, Currency, Option<Window>), u128>,
    pub(super) running: BTreeMap<usize, Running>,
}

impl Book {
    pub(super) fn figures(&self, clock: &Clock, group: GroupId, slug: SlugId, rule: &Rule) -> Figures {
        let moment = clock.moment();
        let window = rule.period().map(|period| (period, moment.windows.of(period).start_ms));
        let to_end = rule.period().map(|period| moment.windows.of(period).until_end(moment.now.unix_ms));
        let running = || self.running.values().filter(|it| it.groups.contains(&group));
        let of_slug = || running().filter(|it| it.slug == slug);
        match rule {
            Rule::Limit(limit) => match (span(limit), window) {
                (Some(span), _) => {
                    let now_ns = moment.now.monotonic_ns;
                    let all = self.arrivals_of(group, slug, limit.limit_type);
                    let used: u64 = all.iter().filter(|it| expiry(all, it.0, span) > now_ns).map(|it| it.1).sum();
                    let held: u64 = if limit.limit_type == Token { of_slug().map(Running::tokens).sum() } else { 0 };
                    let last = all.iter().rev().find(|it| it.1 > 0).map(|it| expiry(all, it.0, span));
                    let until_empty = last.filter(|at| *at > now_ns).map(|at| Duration::from_nanos(at - now_ns));
                    let reset = if held > 0 { Some(span.length()) } else { until_empty };
                    Figures { used: used.into(), held: held.into(), reset, begun: used + held > 0 }
                }
                (None, Some((period, start_ms))) => {
                    let counted = self.counted.get(&(group, slug, period, start_ms)).copied().unwrap_or_default();
                    let (used, held) = match limit.limit_type {
                        Request => (counted.0, of_slug().count() as u64),
                        Token => (counted.1, of_slug().map(Running::tokens).sum()),
                    };
                    let begun = counted.0 > 0 || of_slug().count() > 0;
                    Figures { used: used.into(), held: held.into(), reset: to_end, begun }
                }
                (None, None) => {
                    let used = of_slug().count() as u128;
                    Figures { used, held: 0, reset: None, begun: used > 0 }
                }
            },
            Rule::Budget(budget) => {
                let used = self.spent.get(&(group, budget.currency, window)).copied().unwrap_or(0);
                let held: Vec<u128> = running().filter_map(|it| it.money(budget.currency)).collect();
                let begun = used > 0 || !held.is_empty();
                Figures { used, held: held.iter().sum(), reset: to_end, begun }
            }
        }
    }

    /// The wait that a refusal names: until the rule could admit `asked` if all running requests ended now with what
    /// they hold. With `exactly`, rolling windows count to the nanosecond.
    pub(super) fn wait(
        &self,
        clock: &Clock,
        (group, slug): (GroupId, SlugId),
        rule: &Rule,
        asked: u128,
        exactly: bool,
    ) -> Option<Duration> {
        let Figures { held, reset, .. } = self.figures(clock, group, slug, rule);
        let room = rule.threshold().checked_sub(asked)?;
        match rule {
            Rule::Budget(budget) if budget.unit == BudgetUnit::Total => None,
            Rule::Limit(limit) if limit.unit == Concurrent => Some(Duration::from_secs(1)),
            Rule::Limit(limit) if rule.period().is_none() => {
                let (span, now_ns) = (span(limit)?, clock.now.monotonic_ns);
                let mut all = self.arrivals_of(group, slug, limit.limit_type).to_vec();
                if held > 0 {
                    all.push((now_ns, held as u64));
                }
                let expiry = |at: u64| if exactly { at + span.length_ns() } else { expiry(&all, at, span) };
                let fits = |ns: u64| {
                    let left = all.iter().filter(|it| expiry(it.0) > ns);
                    left.map(|it| u128::from(it.1)).sum::<u128>() <= room
                };
                let mut candidates: Vec<u64> = all.iter().map(|it| expiry(it.0)).filter(|ns| *ns > now_ns).collect();
                candidates.sort_unstable();
                candidates.into_iter().find(|ns| fits(*ns)).map(|ns| Duration::from_nanos(ns - now_ns))
            }
            Rule::Limit(_) | Rule::Budget(_) => reset,
        }
    }

    pub(super) fn begin(&mut self, id: usize, clock: &Clock, running: Running) {
        for group in &running.groups {
            self.arrive((*group, running.slug, Request), clock.now.monotonic_ns, 1);
        }
        self.running.insert(id, running);
    }

    pub(super) fn charge(&mut self, id: usize, clock: &Clock, tokens: u64, cost: Option<Cost>) {
        let Some(Running { groups, slug, .. }) = self.running.remove(&id) else { return };
        let windows = clock.moment().windows;
        let windows = Period::ALL.map(|period| (period, windows.of(period).start_ms));
        for group in groups {
            self.arrive((group, slug, Token), clock.now.monotonic_ns, tokens);
            for (period, start_ms) in windows {
                let counted = self.counted.entry((group, slug, period, start_ms)).or_default();
                *counted = (counted.0 + 1, counted.1 + tokens);
            }
            for window in windows.into_iter().map(Some).chain([None]) {
                if let Some(cost) = cost {
                    *self.spent.entry((group, cost.currency, window)).or_default() += cost.amount;
                }
            }
        }
    }

    pub(super) fn release(&mut self, id: usize, give_back_rate: bool) {
        let Some(Running { groups, slug, admitted_ns, .. }) = self.running.remove(&id) else { return };
        for group in groups {
            let all = self.arrivals.entry((group, slug, Request)).or_default();
            let of_it = |(at, amount): &&mut (u64, u64)| *at == admitted_ns && *amount > 0;
            if give_back_rate && let Some((_, amount)) = all.iter_mut().find(of_it) {
                *amount = 0;
            }
        }
    }

    fn arrivals_of(&self, group: GroupId, slug: SlugId, what: LimitType) -> &[(u64, u64)] {
        self.arrivals.get(&(group, slug, what)).map_or(&[], Vec::as_slice)
    }

    fn arrive(&mut self, key: (GroupId, SlugId, LimitType), ns: u64, amount: u64) {
        let all = self.arrivals.entry(key).or_default();
        all.retain(|(at, _)| at + 2 * Span::Minute.length_ns() > ns);
        if amount > 0 {
            all.push((ns, amount));
        }
    }
}

fn span(limit: &Limit) -> Option<Span> {
    match limit.unit {
        Second => Some(Span::Second),
        Minute => Some(Span::Minute),
        Daily | Week | Month | Concurrent => None,
    }
}

/// When an arrival stops counting: one window after the latest arrival of the same bucket.
fn expiry(all: &[(u64, u64)], at: u64, span: Span) -> u64 {
    let bucket = |at: u64| span.bucket_at(at + ORIGIN_NS);
    let latest = all.iter().rev().map(|(at, _)| *at).find(|other| bucket(*other) == bucket(at));
    latest.unwrap_or(at) + span.length_ns()
}
