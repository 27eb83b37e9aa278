//! The steps of a run, each taken by the ledger and by the model, and the comparison of both.

use std::collections::BTreeMap;

use super::{
    book::{Book, Running},
    check::is_tight,
    clock::Clock,
    demand::{Demand, EXPECTED},
    prices::{Prices, currencies, units_of_answer},
    tree::{SLUGS, Tree},
    *,
};
use crate::domain::{testing::Random, units::Units};

const ROUTES: [Route; 8] = [
    Route::ChatCompletions,
    Route::ChatCompletions,
    Route::ChatCompletions,
    Route::Embeddings,
    Route::Images,
    Route::Speech,
    Route::Transcriptions,
    Route::CountTokens,
];

/// Counts of the cases that a run has tested.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counts {
    pub(super) admitted: usize,
    pub(super) refused: usize,
    pub(super) refused_by_budgets: usize,
    pub(super) refused_by_concurrent: usize,
    pub(super) deleted: usize,
    pub(super) days: usize,
    pub(super) months: usize,
    pub(super) set_back: usize,
}

impl Counts {
    pub(super) fn add(&mut self, of_run: &Self) {
        self.admitted += of_run.admitted;
        self.refused += of_run.refused;
        self.refused_by_budgets += of_run.refused_by_budgets;
        self.refused_by_concurrent += of_run.refused_by_concurrent;
        self.deleted += of_run.deleted;
        self.days += of_run.days;
        self.months += of_run.months;
        self.set_back += of_run.set_back;
    }
}

pub(super) struct Run {
    pub(super) random: Random,
    pub(super) clock: Clock,
    pub(super) counts: Counts,
    pub(super) tree: Tree,
    pub(super) prices: BTreeMap<SlugId, Prices>,
    pub(super) ledger: Ledger,
    pub(super) book: Book,
    pub(super) holds: BTreeMap<usize, Hold>,
}

impl Run {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let tree = Tree::grow(&mut random);
        let prices = SLUGS.into_iter().map(|slug| (slug, Prices::random(&mut random))).collect();
        let (ledger, book, holds) = (Ledger::default(), Book::default(), BTreeMap::new());
        Self { random, clock: Clock::new(seed), counts: Counts::default(), tree, prices, ledger, book, holds }
    }

    pub(super) fn admit(&mut self, id: usize, is_strict: bool) {
        let (group, slug) = (self.random.pick(&self.tree.ids()), self.random.pick(&SLUGS));
        let account = self.tree.account(group, slug);
        let prices = self.prices.get(&slug).copied();
        let pricing = prices.map(|prices| prices.pricing());
        let ask = Ask { pricing: pricing.as_ref(), ..random_ask(&mut self.random, is_strict) };
        let demand = Demand::of(&ask, prices.as_ref());
        let expected = self.expected_refusal(&account, |rule| demand.asked(rule));
        match self.ledger.admit(self.clock.moment(), &account, &ask) {
            Ok(admitted) => {
                assert_eq!(expected, None, "admitted above a threshold");
                let least_left = |is_wanted: &dyn Fn(&Rule) -> bool| {
                    let rules = account.rules().iter().filter(|effective| is_wanted(&effective.rule));
                    rules.map(|effective| self.left(&account, effective)).min()
                };
                let tokens = least_left(&|rule| is_tight(rule, Token));
                let in_currency = |rule: &Rule| {
                    let budget = rule.budget().filter(|_| demand.priced.is_some());
                    budget.is_some_and(|budget| prices.is_some_and(|prices| prices.currency == budget.currency))
                };
                let money = least_left(&in_currency);
                let (output, most, max_each) =
                    demand.output(&ask, tokens.map_or(u64::MAX, count), money.unwrap_or(u128::MAX));
                assert_eq!((admitted.hold.prompt_tokens(), admitted.output_max), (demand.prompt, max_each));
                let running = Running {
                    groups: account.counted_for().to_vec(),
                    slug,
                    prompt: demand.prompt,
                    output,
                    most,
                    priced: demand.priced,
                    admitted_ns: self.clock.now.monotonic_ns,
                    route: ask.route,
                };
                self.book.begin(id, &self.clock, running);
                self.check_standings(&admitted.standings, &account);
                self.holds.insert(id, admitted.hold);
                self.counts.admitted += 1;
            }
            Err(refusal) => {
                self.check_refusal(&refusal, expected, &account);
                self.counts.refused += 1;
                match refusal.effective.rule {
                    Rule::Budget(_) => self.counts.refused_by_budgets += 1,
                    Rule::Limit(limit) if limit.unit == Concurrent => self.counts.refused_by_concurrent += 1,
                    Rule::Limit(_) => {}
                }
            }
        }
    }

    /// A hypothetical request of some tokens.
    pub(super) fn ask_whether_it_would_pass(&mut self) {
        let (group, slug) = (self.random.pick(&self.tree.ids()), self.random.pick(&SLUGS));
        let account = self.tree.account(group, slug);
        let tokens = self.random.below(3) * self.random.below(2000);
        let prices = self.prices.get(&slug).copied();
        let pricing = prices.map(|prices| prices.pricing());
        let as_input = tokens.max(1);
        let expected = self.expected_refusal(&account, |rule| match rule {
            Rule::Limit(limit) if limit.limit_type == Token => Some(as_input.into()),
            Rule::Limit(_) => Some(1),
            Rule::Budget(budget) => {
                let prices = prices.filter(|prices| prices.currency == budget.currency)?;
                let of_tokens = prices.of_tokens(as_input);
                let cost = u128::from(of_tokens.input) * u128::from(as_input) + prices.besides_tokens(None);
                Some(cost.max(u128::from(of_tokens.output > 0)))
            }
        });
        match self.ledger.would_admit(self.clock.moment(), &account, tokens, pricing.as_ref()) {
            Ok(()) => assert_eq!(expected, None),
            Err(refusal) => self.check_refusal(&refusal, expected, &account),
        }
    }

    /// Ends or reviews one running request in some way.
    pub(super) fn end_one(&mut self) {
        let Some((id, mut hold)) = self.pick_hold() else { return };
        match self.random.below(10) {
            0 | 1 => {
                let give_back = self.random.one_in(2);
                self.ledger.release(hold, self.clock.moment(), give_back);
                self.book.release(id, give_back);
            }
            2 | 3 => {
                let streamed = self.random.below(1000);
                if hold.is_due(streamed) {
                    self.ledger.review(&mut hold, streamed, None);
                }
                if let Some(running) = self.book.running.get_mut(&id).filter(|it| streamed > it.output) {
                    let ahead = streamed + 256;
                    running.output = if streamed > running.most { ahead } else { ahead.min(running.most) };
                }
                self.holds.insert(id, hold);
            }
            _ => {
                let (input, cached, cache_write) =
                    (self.random.below(400), self.random.below(100), self.random.below(100));
                let usage =
                    Usage { input: input + cached + cache_write, output: self.random.below(300), cached, cache_write };
                self.charge(id, hold, usage);
            }
        }
    }

    /// Ends one running request with the prompt that was estimated and at most the output that was sent upstream.
    pub(super) fn end_one_as_estimated(&mut self) {
        let Some((id, hold)) = self.pick_hold() else { return };
        let Some(Running { prompt, output, route, .. }) = self.book.running.get(&id) else { return };
        if *route == Route::CountTokens || *route == Route::Transcriptions {
            // The first makes no event. The length of the second's audio is not known beforehand.
            self.ledger.release(hold, self.clock.moment(), false);
            self.book.release(id, false);
            return;
        }
        let cached = self.random.below(prompt + 1);
        let cache_write = self.random.below(prompt - cached + 1);
        let usage = Usage { input: *prompt, output: self.random.below(output + 1), cached, cache_write };
        self.charge(id, hold, usage);
    }

    /// Ends all running requests.
    pub(super) fn end_all(&mut self) {
        for (id, hold) in std::mem::take(&mut self.holds) {
            self.charge(id, hold, billed(1, 1));
        }
        let Clock { days, months, set_back, .. } = self.clock;
        self.counts = Counts { days, months, set_back, ..self.counts };
    }

    /// An operator changes something.
    pub(super) fn configure(&mut self) {
        let id = self.random.pick(&self.tree.ids());
        match self.random.below(6) {
            0 => self.tree.create(&mut self.random),
            1 => {
                for gone in self.tree.delete(&mut self.random) {
                    self.ledger.remove_group(self.clock.moment(), gone);
                    self.counts.deleted += 1;
                }
            }
            2 => {
                let slug = self.random.pick(&SLUGS);
                self.prices.remove(&slug);
                if !self.random.one_in(4) {
                    self.prices.insert(slug, Prices::random(&mut self.random));
                }
            }
            _ => self.tree.patch(&mut self.random, id),
        }
    }

    pub(super) fn sweep(&mut self) {
        self.ledger.sweep(self.clock.moment(), 3);
    }

    /// The cells of deleted groups.
    pub(super) fn cells_of_deleted_groups(&self) -> usize {
        let scopes = SLUGS.map(Scope::Slug).into_iter().chain(currencies().map(Scope::Money));
        let all = self.tree.gone().into_iter().flat_map(|id| scopes.clone().map(move |scope| (id, scope)));
        all.filter(|(id, scope)| self.ledger.cells.find(*id, *scope).is_some()).count()
    }

    fn pick_hold(&mut self) -> Option<(usize, Hold)> {
        let ids: Vec<usize> = self.holds.keys().copied().collect();
        let id = (!ids.is_empty()).then(|| self.random.pick(&ids))?;
        Some((id, self.holds.remove(&id)?))
    }

    /// Charges a request at the prices of now, which may not be those of its admission.
    fn charge(&mut self, id: usize, hold: Hold, usage: Usage) {
        let Some(Running { slug, route, groups, .. }) = self.book.running.get(&id) else { return };
        // The ids of deleted groups are not used again, so their figures do not matter.
        assert!(!groups.is_empty());
        let known = match route {
            Route::Images => Some(Units::Images(1)),
            Route::Speech => Some(Units::Characters(100)),
            _ => None,
        };
        let units = units_of_answer(&mut self.random, *route, known);
        let prices = self.prices.get(slug);
        let cost = prices.map(|prices| Cost { currency: prices.currency, amount: prices.cost(&usage, units) });
        self.ledger.charge(hold, self.clock.moment(), usage, UsageSource::Counted, cost);
        self.book.charge(id, &self.clock, usage.total(), cost);
    }
}

fn random_ask(random: &mut Random, is_strict: bool) -> Ask<'static> {
    let size = if random.one_in(10) { 8000 } else { 400 };
    let route = random.pick(&ROUTES);
    let n = if route == Route::Images { 1 } else { 1 + random.below(2) };
    Ask {
        prompt_bytes: random.below(size),
        prompt_ids: 0,
        declared_output: random.one_in(2).then(|| random.below(300)),
        n,
        best_of: random.one_in(5).then_some(3),
        route,
        slug: SlugEstimate { ratio: Ratio::START, mean_output: EXPECTED },
        admission: if is_strict { TokenAdmission::Strict { strict_output: 200 } } else { TokenAdmission::Adaptive },
        pricing: None,
        units: match route {
            Route::Images => Some(Units::Images(1)),
            Route::Speech => Some(Units::Characters(100)),
            _ => None,
        },
    }
}
