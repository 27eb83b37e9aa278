//! Compares the ledger with a model that stores every request, over random trees, limits and steps.

use std::collections::BTreeMap;

use super::{cells::Scope, *};
use crate::domain::{
    budget::Budgets,
    group::{Enforcement, Group, GroupModel, GroupModels},
    limit::LimitKind,
    testing::Random,
    window::Span,
};

const KINDS: [(LimitType, Unit); 6] =
    [(Request, Second), (Request, Minute), (Request, Daily), (Token, Second), (Token, Minute), (Token, Daily)];

fn window(unit: Unit) -> Option<Span> {
    match unit {
        Second => Some(Span::Second),
        Minute => Some(Span::Minute),
        _ => None,
    }
}

fn declared(effective: &Effective) -> Limit {
    *effective.rule.limit().unwrap()
}

const SLUGS: [SlugId; 2] = [SlugId(0), SlugId(1)];

type Key = (GroupId, SlugId);

/// A running request.
#[derive(Clone)]
struct Running {
    keys: Vec<Key>,
    prompt: u64,
    tokens: u64,
    most: u64,
    admitted_ns: u64,
}

/// A reference model that stores every arrival.
#[derive(Clone, Default)]
struct Model {
    /// (time, amount) per cell and type, in order. An arrival that was taken back is 0.
    arrivals: BTreeMap<(Key, LimitType), Vec<(u64, u64)>>,
    days: BTreeMap<(Key, Day), (u64, u64)>,
    running: BTreeMap<usize, Running>,
}

impl Model {
    /// The amounts that count against a limit on this cell. Windows count by buckets, or with `exactly` to the
    /// nanosecond.
    fn figures(&self, now: Now, key: Key, (what, unit): (LimitType, Unit), exactly: bool) -> (u64, u64) {
        let ns = now.monotonic_ns;
        let used = match window(unit) {
            Some(span) => {
                let all = self.arrivals.get(&(key, what)).map_or(&[][..], Vec::as_slice);
                let bucket = |at: u64| span.bucket_at(at + ORIGIN_NS);
                // The latest arrival of the same bucket; the arrival itself if there is no later one.
                let latest = |at: u64| all.iter().rev().map(|(at, _)| *at).find(|other| bucket(*other) == bucket(at));
                let ends = |at: u64| if exactly { at } else { latest(at).unwrap_or(at) } + span.length_ns();
                all.iter().filter(|(at, _)| ends(*at) > ns).map(|(_, amount)| amount).sum()
            }
            None => {
                let (requests, tokens) = self.days.get(&(key, now.day())).copied().unwrap_or_default();
                if what == Request { requests } else { tokens }
            }
        };
        let running = self.running.values().filter(|running| running.keys.contains(&key));
        let held = match (what, unit) {
            (Token, _) => running.map(|running| running.tokens).sum(),
            (Request, Daily) => running.count() as u64,
            (Request, _) => 0,
        };
        (used, held)
    }

    fn stops(&self, now: Now, keys: &[Key], limit: &Effective, tokens: u64, exactly: bool) -> bool {
        let Limit { limit_type, unit, threshold } = declared(limit);
        let (used, held) = self.figures(now, keys[usize::from(limit.counted_at)], (limit_type, unit), exactly);
        used + held + if limit_type == Request { 1 } else { tokens } > threshold.get()
    }

    fn arrive(&mut self, key: Key, what: LimitType, ns: u64, amount: u64) {
        if amount == 0 {
            return;
        }
        let all = self.arrivals.entry((key, what)).or_default();
        all.retain(|(at, _)| at + 2 * Span::Minute.length_ns() > ns);
        all.push((ns, amount));
    }

    fn begin(&mut self, id: usize, now: Now, keys: &[Key], hold: &Hold, most: u64) {
        for key in keys {
            self.arrive(*key, Request, now.monotonic_ns, 1);
        }
        let (prompt, tokens) = (hold.prompt_tokens(), hold.tokens);
        self.running.insert(id, Running { keys: keys.to_vec(), prompt, tokens, most, admitted_ns: now.monotonic_ns });
    }

    fn charge(&mut self, id: usize, now: Now, tokens: u64) {
        let Some(running) = self.running.remove(&id) else { return };
        for key in running.keys {
            self.arrive(key, Token, now.monotonic_ns, tokens);
            let day = self.days.entry((key, now.day())).or_default();
            *day = (day.0 + 1, day.1 + tokens);
        }
    }

    fn release(&mut self, id: usize, give_back_rate: bool) {
        let Some(running) = self.running.remove(&id) else { return };
        for key in running.keys {
            let all = self.arrivals.entry((key, Request)).or_default();
            let of_it = |(at, amount): &&mut (u64, u64)| *at == running.admitted_ns && *amount > 0;
            if give_back_rate && let Some((_, amount)) = all.iter_mut().find(of_it) {
                *amount = 0;
            }
        }
    }

    /// The model at a later time if all running requests had ended now with their held amounts.
    fn all_ended(&self, now: Now) -> Self {
        let mut ended = self.clone();
        for (id, running) in &self.running {
            ended.charge(*id, now, running.tokens);
        }
        ended
    }
}

/// The groups of one tree as operators wrote them, by id.
struct Tree {
    mode: Enforcement,
    groups: BTreeMap<GroupId, Group>,
    made: u128,
}

impl Tree {
    const ROOT: GroupId = GroupId(1000);

    fn grow(random: &mut Random) -> Self {
        let mode = random.pick(&[Enforcement::Independent, Enforcement::Cascading]);
        let mut tree = Self { mode, groups: BTreeMap::new(), made: 0 };
        for _ in 0..2 + random.below(8) {
            tree.create(random);
        }
        tree
    }

    /// Creates the root first, then groups below any group that may have children.
    fn create(&mut self, random: &mut Random) {
        let parents: Vec<GroupId> = self.ids().into_iter().filter(|id| self.path(*id).len() < MAX_LEVELS).collect();
        let parent = (!parents.is_empty()).then(|| random.pick(&parents));
        let id = GroupId(Self::ROOT.0 + self.made);
        self.made += 1;
        let group = Group {
            id,
            external_entity_id: id.0.to_string(),
            name: None,
            models: GroupModels::new(Vec::new()).unwrap(),
            enforcement: self.mode,
            parent,
            created_at_ms: 0,
            disabled: false,
            budgets: Budgets::default(),
        };
        self.groups.insert(id, group);
        self.patch(random, id);
    }

    /// Replaces a group's models: all of them, some or none, each with its own limits.
    fn patch(&mut self, random: &mut Random, id: GroupId) {
        let slugs = SLUGS.into_iter().filter(|_| !random.one_in(6)).collect::<Vec<_>>();
        let models = slugs.into_iter().map(|slug| GroupModel { slug, limits: random_limits(random) }).collect();
        if let Some(group) = self.groups.get_mut(&id) {
            group.models = GroupModels::new(models).unwrap();
        }
    }

    /// Deletes a group and its descendants; never the root.
    fn delete(&mut self, random: &mut Random) -> Vec<GroupId> {
        let id = random.pick(&self.ids());
        let deleted = match id {
            Self::ROOT => Vec::new(),
            id => self.ids().into_iter().filter(|other| self.path(*other).contains(&id)).collect(),
        };
        deleted.iter().for_each(|id| drop(self.groups.remove(id)));
        deleted
    }

    fn ids(&self) -> Vec<GroupId> {
        self.groups.keys().copied().collect()
    }

    /// From a group up to the root.
    fn path(&self, id: GroupId) -> Vec<GroupId> {
        let parent = |id: &GroupId| self.groups.get(id)?.parent;
        std::iter::successors(Some(id), parent).collect()
    }

    /// The groups in whose cells a request of this group counts, and the limits that it must pass, as the contract
    /// defines them.
    fn effective(&self, id: GroupId, slug: SlugId) -> Account {
        let path = self.path(id);
        let mut all: Vec<Effective> = Vec::new();
        for (place, source) in path.iter().enumerate() {
            for limit in self.groups[source].models.iter().filter(|model| model.slug == slug).flat_map(|it| &it.limits)
            {
                let kind = |limit: &Limit| (limit.limit_type, limit.unit);
                match self.mode {
                    Enforcement::Cascading => {
                        all.push(Effective { rule: Rule::Limit(*limit), source: *source, counted_at: place as u8 });
                    }
                    Enforcement::Independent if all.iter().any(|nearer| kind(&declared(nearer)) == kind(limit)) => {}
                    Enforcement::Independent => {
                        all.push(Effective { rule: Rule::Limit(*limit), source: *source, counted_at: 0 });
                    }
                }
            }
        }
        let account = Account::new(slug, path.iter().map(|id| &self.groups[id]));
        let counted_for = match self.mode {
            Enforcement::Cascading => path,
            Enforcement::Independent => vec![id],
        };
        assert_eq!((account.counted_for().as_slice(), account.rules()), (&counted_for[..], &all[..]));
        account
    }
}

fn random_limits(random: &mut Random) -> Vec<Limit> {
    let mut limits = Vec::new();
    for (limit_type, unit) in KINDS {
        let scale = match (limit_type, unit) {
            (Request, Second) => 4,
            (Request, Minute) => 15,
            (Request, _) => 300,
            (Token, Second) => 1500,
            (Token, Minute) => 5000,
            (Token, _) => 100_000,
        };
        // A model has at most one rate limit of each type.
        let is_taken =
            |other: &Limit| other.limit_type == limit_type && other.kind() == LimitKind::Rate && unit != Daily;
        if random.one_in(3) && !limits.iter().any(is_taken) {
            let threshold = Threshold::new(random.below(scale)).unwrap();
            limits.push(Limit { limit_type, unit, threshold });
        }
    }
    limits
}

fn random_ask(random: &mut Random, strict: bool) -> Ask<'static> {
    let size = if random.one_in(10) { 8000 } else { 400 };
    Ask {
        prompt_bytes: random.below(size),
        prompt_ids: 0,
        declared_output: random.one_in(2).then(|| random.below(300)),
        n: 1 + random.below(2),
        best_of: random.one_in(5).then_some(3),
        route: random.pick(&[Route::ChatCompletions, Route::ChatCompletions, Route::Embeddings]),
        slug: SlugEstimate { ratio: Ratio::START, mean_output: 60 },
        admission: if strict { TokenAdmission::Strict { strict_output: 200 } } else { TokenAdmission::Adaptive },
        pricing: None,
        units: None,
    }
}

/// The contract's rule for a request's tokens: (must fit, hold if `left` are left).
fn contract(ask: &Ask<'_>, left: u64) -> (u64, u64) {
    let prompt = ask.prompt_bytes.div_ceil(4).max(1);
    let choices = ask.n.max(ask.best_of.unwrap_or(1));
    let most = ask.declared_output.map(|each| each * choices);
    match (ask.route.generates(), ask.admission) {
        (false, _) => (prompt, prompt),
        (true, TokenAdmission::Adaptive) => (prompt, prompt + most.unwrap_or(u64::MAX).min(60 * ask.n)),
        (true, TokenAdmission::Strict { strict_output }) => {
            let wanted = most.unwrap_or(strict_output).min(left.saturating_sub(prompt));
            let least = if most == Some(0) { 0 } else { choices };
            (prompt + least, prompt + wanted / choices * choices)
        }
    }
}

struct Run {
    random: Random,
    tree: Tree,
    ledger: Ledger,
    model: Model,
    holds: BTreeMap<usize, Hold>,
    now: Now,
    admitted: usize,
    refused: usize,
    deleted: usize,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let tree = Tree::grow(&mut random);
        let now = after_ms(0).now;
        let (ledger, model, holds) = (Ledger::default(), Model::default(), BTreeMap::new());
        Self { random, tree, ledger, model, holds, now, admitted: 0, refused: 0, deleted: 0 }
    }

    fn pass_time(&mut self, clock_is_set: bool) {
        let ns = match self.random.below(1000) {
            0 => 70_000_000_000,
            1..=100 => self.random.below(4_000_000_000),
            101..=500 => self.random.below(200_000_000),
            _ => 0,
        };
        self.now.monotonic_ns += ns;
        self.now.unix_ms += ns / 1_000_000;
        match self.random.below(4000) {
            0 => self.now.unix_ms = self.now.day().end_unix_ms(),
            // An administrator sets the clock back across midnight.
            1 if clock_is_set => self.now.unix_ms = self.now.day().start_unix_ms().max(TODAY.start_unix_ms()) - 1,
            _ => {}
        }
    }

    fn admit(&mut self, id: usize, ask: &Ask<'_>) {
        let (group, slug) = (self.random.pick(&self.tree.ids()), self.random.pick(&SLUGS));
        let account = self.tree.effective(group, slug);
        let limits = account.rules();
        let keys: Vec<Key> = account.counted_for().iter().map(|group| (*group, slug)).collect();
        let now = self.now;
        let left = limits
            .iter()
            .filter(|limit| declared(limit).limit_type == Token)
            .map(|limit| {
                let key = keys[usize::from(limit.counted_at)];
                let (used, held) = self.model.figures(now, key, (Token, declared(limit).unit), false);
                declared(limit).threshold.get().saturating_sub(used + held)
            })
            .min();
        let (asked, tokens) = contract(ask, left.unwrap_or(u64::MAX));
        let stopped = limits.iter().any(|limit| self.model.stops(now, &keys, limit, asked, false));
        match self.ledger.admit(utc(now), &account, ask) {
            Ok(admitted) => {
                assert!(!stopped, "admitted above a limit");
                assert_eq!(admitted.hold.tokens, tokens);
                let choices = ask.n.max(ask.best_of.unwrap_or(1));
                let most = match ask.admission {
                    _ if !ask.route.generates() => 0,
                    TokenAdmission::Adaptive => ask.declared_output.map_or(u64::MAX, |each| each * choices),
                    TokenAdmission::Strict { .. } => tokens - admitted.hold.prompt_tokens(),
                };
                self.model.begin(id, now, &keys, &admitted.hold, most);
                self.check_standings(&admitted.standings, &keys, limits);
                self.holds.insert(id, admitted.hold);
                self.admitted += 1;
            }
            Err(refusal) => {
                assert!(stopped, "refused although it fits: {refusal:?}");
                self.check_standings(&refusal.standings, &keys, limits);
                self.check_wait(&refusal, &keys, limits, asked);
                self.refused += 1;
            }
        }
    }

    fn check_standings(&self, standings: &Standings, keys: &[Key], limits: &[Effective]) {
        for (what, standing) in [(Request, standings.requests), (Token, standings.tokens)] {
            let left = |limit: &Effective| {
                let key = keys[usize::from(limit.counted_at)];
                let (used, held) = self.model.figures(self.now, key, (what, declared(limit).unit), false);
                declared(limit).threshold.get().saturating_sub(used + held)
            };
            let least = limits.iter().filter(|limit| declared(limit).limit_type == what).map(left).min();
            assert_eq!(standing.map(|standing| count(standing.left())), least);
        }
    }

    /// Checks that the wait is enough, that a moment less is not, and that it is at most a sixtieth of the window
    /// longer than the exact wait.
    fn check_wait(&self, refusal: &Refusal, keys: &[Key], limits: &[Effective], asked: u64) {
        let limit = &limits[refusal.index];
        assert_eq!(*limit, refusal.effective);
        let kind = (declared(limit).limit_type, declared(limit).unit);
        let figures = self.model.figures(self.now, keys[usize::from(limit.counted_at)], kind, false);
        assert_eq!((count(refusal.used), count(refusal.held)), figures);
        let Some(wait) = refusal.retry_after else {
            assert!(
                count(refusal.asked) > declared(limit).threshold.get(),
                "there will be room, but the refusal has no wait"
            );
            return;
        };
        let wait = wait.as_nanos() as u64;
        let ended = self.model.all_ended(self.now);
        let later = |ns: u64| Now {
            monotonic_ns: self.now.monotonic_ns + ns,
            // Whole milliseconds, like the readings of the wall clock.
            unix_ms: self.now.unix_ms + ns / 1_000_000,
            ..self.now
        };
        let stopped = |ns| limits.iter().any(|limit| ended.stops(later(ns), keys, limit, asked, false));
        assert!(!stopped(wait), "the wait is too short");
        assert!(stopped(wait - 1), "a shorter wait would be enough");
        if let Some(span) = window(declared(limit).unit) {
            let sooner = wait.saturating_sub(span.length_ns() / 60 + 1);
            let stops = |limit| ended.stops(later(sooner), keys, limit, asked, true);
            assert!(sooner == 0 || stops(limit), "the wait is more than a sixtieth too long");
        }
    }

    fn end_one(&mut self, within_hold: bool) {
        let ids: Vec<usize> = self.holds.keys().copied().collect();
        if ids.is_empty() {
            return;
        }
        let id = self.random.pick(&ids);
        let Some(mut hold) = self.holds.remove(&id) else { return };
        match self.random.below(10) {
            0 | 1 => {
                let give_back = self.random.one_in(2);
                self.ledger.release(hold, utc(self.now), give_back);
                self.model.release(id, give_back);
            }
            2 | 3 if !within_hold => {
                let streamed = self.random.below(1000);
                if hold.is_due(streamed) {
                    self.ledger.review(&mut hold, streamed, None);
                }
                if let Some(running) = self.model.running.get_mut(&id).filter(|it| it.prompt + streamed > it.tokens) {
                    let ahead = streamed + 256;
                    let output = if streamed > running.most { ahead } else { ahead.min(running.most) };
                    running.tokens = running.prompt + output;
                }
                self.holds.insert(id, hold);
            }
            _ => {
                let most = if within_hold { hold.tokens + 1 } else { 600 };
                let usage = billed(self.random.below(most), 0);
                charge(&mut self.ledger, hold, utc(self.now), usage);
                self.model.charge(id, self.now, usage.total());
            }
        }
    }

    /// An operator changes something.
    fn configure(&mut self) {
        let id = self.random.pick(&self.tree.ids());
        match self.random.below(4) {
            0 => self.tree.create(&mut self.random),
            1 => {
                for gone in self.tree.delete(&mut self.random) {
                    self.ledger.remove_group(utc(self.now), gone);
                    self.deleted += 1;
                }
            }
            _ => self.tree.patch(&mut self.random, id),
        }
    }

    /// Checks that every figure of every group equals the model's.
    fn compare(&mut self) {
        for id in self.tree.ids() {
            for slug in SLUGS {
                let limits = KINDS.map(|(what, unit)| limit(0, what, unit, 1));
                let standings = self.ledger.standing(utc(self.now), &Account { slug, ..account(&[id], &limits) });
                for (kind, standing) in KINDS.into_iter().zip(standings) {
                    let expected = self.model.figures(self.now, (id, slug), kind, false);
                    assert_eq!((count(standing.used), count(standing.held)), expected, "{id:?} {slug:?} {kind:?}");
                }
            }
        }
    }
}

#[test]
fn every_figure_matches_a_model_that_stores_all_requests() {
    let (mut admitted, mut refused, mut deleted) = (0, 0, 0);
    for seed in 1..=60 {
        let mut run = Run::new(seed);
        for step in 0..400 {
            run.pass_time(true);
            match run.random.below(20) {
                0..=10 => {
                    let ask = random_ask(&mut run.random, seed % 3 == 0);
                    run.admit(step, &ask);
                }
                11 => run.configure(),
                12 => run.ledger.sweep(utc(run.now), 3),
                _ => run.end_one(false),
            }
            run.compare();
        }
        // Once their running requests have ended, nothing is left of deleted groups.
        for (_, hold) in std::mem::take(&mut run.holds) {
            charge(&mut run.ledger, hold, utc(run.now), billed(1, 1));
        }
        let has_cells =
            |id: u128| SLUGS.into_iter().any(|slug| run.ledger.cells.find(GroupId(id), Scope::Slug(slug)).is_some());
        let gone =
            (Tree::ROOT.0..Tree::ROOT.0 + run.tree.made).filter(|id| !run.tree.groups.contains_key(&GroupId(*id)));
        assert_eq!(gone.filter(|id| has_cells(*id)).count(), 0);
        admitted += run.admitted;
        refused += run.refused;
        deleted += run.deleted;
    }
    let enough = admitted > 2000 && refused > 2000 && deleted > 100;
    assert!(enough, "too few steps were tested: {admitted} admitted, {refused} refused, {deleted} deleted");
}

#[test]
fn strict_admission_never_exceeds_a_token_limit() {
    let mut admitted = 0;
    for seed in 100..=130 {
        let mut run = Run::new(seed);
        for step in 0..1000 {
            // A day that the clock returns to has its earlier use, in addition to what has been held since.
            run.pass_time(false);
            if run.random.one_in(2) {
                let ask = random_ask(&mut run.random, true);
                run.admit(step, &ask);
            } else {
                // The upstream generates at most the maximum that it was sent.
                run.end_one(true);
            }
            for group in run.tree.groups.values() {
                for model in group.models.iter() {
                    for limit in model.limits.iter().filter(|limit| limit.limit_type == Token) {
                        let key = (group.id, model.slug);
                        let (used, held) = run.model.figures(run.now, key, (Token, limit.unit), true);
                        let threshold = limit.threshold.get();
                        assert!(used + held <= threshold, "{used} used and {held} held of {threshold}");
                    }
                }
            }
        }
        admitted += run.admitted;
    }
    assert!(admitted > 1000, "too few steps were tested: {admitted} admitted");
}
