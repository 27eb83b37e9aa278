//! Compares the ledger's figures, refusals and headers with the model's.

use super::{
    book::Figures,
    run::Run,
    tree::{SLUGS, all_rules},
    *,
};

impl Run {
    /// Checks that every figure of every group equals the model's.
    pub(super) fn compare(&mut self) {
        for id in self.tree.ids() {
            for slug in SLUGS {
                let rules = all_rules().into_iter().map(|rule| Effective { rule, source: id, counted_at: 0 });
                let account = Account { slug, counted_for: [id].into_iter().collect(), rules: rules.collect() };
                for standing in self.ledger.standing(self.clock.moment(), &account) {
                    let expected = self.book.figures(&self.clock, id, slug, &standing.effective.rule);
                    assert_eq!(figures_of(&standing), expected, "{id:?} {slug:?} {:?}", standing.effective.rule);
                }
            }
        }
    }

    /// Checks that no limit on tokens and no budget is exceeded, not even by what running requests hold.
    pub(super) fn assert_that_nothing_is_exceeded(&self) {
        for (id, group) in &self.tree.groups {
            let limits = group.models.iter().flat_map(|model| model.limits.iter().map(|limit| (model.slug, *limit)));
            let tokens = limits.filter(|(_, limit)| limit.limit_type == Token);
            let tokens = tokens.map(|(slug, limit)| (slug, Rule::Limit(limit)));
            let budgets = group.budgets.iter().map(|budget| (SLUGS[0], Rule::Budget(*budget)));
            for (slug, rule) in tokens.chain(budgets) {
                let Figures { used, held, .. } = self.book.figures(&self.clock, *id, slug, &rule);
                // Rolling windows count a little longer than they must; the model's figures are the ledger's.
                assert!(used + held <= rule.threshold(), "{used} used and {held} held of {rule:?}");
            }
        }
    }

    pub(super) fn left(&self, account: &Account, effective: &Effective) -> u128 {
        let group = account.counted_for()[usize::from(effective.counted_at)];
        let Figures { used, held, .. } = self.book.figures(&self.clock, group, account.slug, &effective.rule);
        effective.rule.threshold().saturating_sub(used + held)
    }

    /// The index, the amount asked and the wait of the rule that a refusal must name; `None` if no rule refuses.
    pub(super) fn expected_refusal(
        &self,
        account: &Account,
        asked: impl Fn(&Rule) -> Option<u128>,
    ) -> Option<(usize, u128, Option<Duration>)> {
        let mut longest: Option<(usize, u128, Option<Duration>)> = None;
        for (index, effective) in account.rules().iter().enumerate() {
            let Some(asked) = asked(&effective.rule) else { continue };
            if self.left(account, effective) >= asked {
                continue;
            }
            let cell = (account.counted_for()[usize::from(effective.counted_at)], account.slug);
            let wait = self.book.wait(&self.clock, cell, &effective.rule, asked, false);
            if let (Rule::Limit(Limit { unit: unit @ (Second | Minute), .. }), Some(wait)) = (effective.rule, wait) {
                let exactly = self.book.wait(&self.clock, cell, &effective.rule, asked, true).unwrap_or_default();
                let sixtieth = Duration::from_millis(if unit == Second { 17 } else { 1000 });
                assert!(exactly <= wait && wait <= exactly + sixtieth, "{wait:?}, exactly {exactly:?}");
            }
            let as_long = |wait: Option<Duration>| wait.unwrap_or(Duration::MAX);
            if longest.is_none_or(|(_, _, other)| as_long(wait) > as_long(other)) {
                longest = Some((index, asked, wait));
            }
        }
        longest
    }

    pub(super) fn check_refusal(
        &self,
        refusal: &Refusal,
        expected: Option<(usize, u128, Option<Duration>)>,
        account: &Account,
    ) {
        let found = (refusal.index, refusal.asked, refusal.retry_after);
        assert_eq!(Some(found), expected, "{refusal:?}");
        let effective = account.rules()[refusal.index];
        let group = account.counted_for()[usize::from(effective.counted_at)];
        let Figures { used, held, .. } = self.book.figures(&self.clock, group, account.slug, &effective.rule);
        assert_eq!((refusal.effective, refusal.used, refusal.held), (effective, used, held));
        self.check_standings(&refusal.standings, account);
    }

    /// Checks the limits that headers show: of each type the first one with the least left.
    pub(super) fn check_standings(&self, standings: &Standings, account: &Account) {
        for (what, standing) in [(Request, standings.requests), (Token, standings.tokens)] {
            let of_type = account.rules().iter().filter(|effective| is_tight(&effective.rule, what));
            let tightest = of_type.min_by_key(|effective| self.left(account, effective));
            let expected = tightest.map(|effective| {
                let group = account.counted_for()[usize::from(effective.counted_at)];
                (*effective, self.book.figures(&self.clock, group, account.slug, &effective.rule))
            });
            assert_eq!(standing.map(|standing| (standing.effective, figures_of(&standing))), expected);
        }
    }
}

fn figures_of(standing: &Standing) -> Figures {
    let Standing { used, held, reset, begun, .. } = *standing;
    Figures { used, held, reset, begun }
}

/// Whether a rule is among those of a type that headers show.
pub(super) fn is_tight(rule: &Rule, what: LimitType) -> bool {
    rule.limit().is_some_and(|limit| limit.limit_type == what && limit.unit != Concurrent)
}
