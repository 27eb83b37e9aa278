use super::*;
use crate::domain::{
    budget::{Budget, BudgetUnit, Budgets},
    calendar::Period,
    group::{Enforcement, Group, GroupModel, GroupModels},
    limit::{Limit, LimitType, Threshold, Unit},
    money::{Amount, Price},
    pricing::TokenPrices,
    sums::Counted,
    testing::Random,
};

const SLUG: SlugId = SlugId(1);
const START_MS: u64 = 1_795_428_000_000;

fn currency() -> Currency {
    Currency::parse("EUR").unwrap()
}

fn group(limits: &[(LimitType, Unit, u64)], budget: Option<&str>) -> Group {
    let limit = |&(limit_type, unit, threshold): &(LimitType, Unit, u64)| Limit {
        limit_type,
        unit,
        threshold: Threshold::new(threshold).unwrap(),
    };
    let budget = budget.map(|amount| Budget {
        unit: BudgetUnit::Month,
        currency: currency(),
        amount: Amount::parse(amount).unwrap(),
    });
    let limits = limits.iter().map(limit).collect();
    Group {
        id: GroupId(1),
        external_entity_id: "cust".to_owned(),
        name: None,
        models: GroupModels::new(vec![GroupModel { slug: SLUG, limits }]).unwrap(),
        enforcement: Enforcement::Cascading,
        parent: None,
        created_at_ms: 0,
        disabled: false,
        budgets: Budgets::new(Vec::from_iter(budget)).unwrap(),
    }
}

fn payer(account: Account, is_reported: bool) -> PayerAccount {
    let price = |text| Price::parse(text).unwrap();
    let tokens = TokenPrices { input: price("10000"), output: price("0"), cached: None, cache_write: None };
    let pricing = Some(Pricing::of_tokens(currency(), tokens));
    PayerAccount { account, pricing, customer: GroupId(1), is_reported }
}

/// A request that arrives and ends so many ms after the start. It has 110 tokens and costs 1 EUR.
fn request(payer: Payer, arrives: u64, ends: u64) -> PastRequest {
    PastRequest {
        payer,
        arrived_ms: START_MS + arrives,
        settled_ms: START_MS + ends,
        route: Route::ChatCompletions,
        prompt_bytes: 400,
        choices: 1,
        usage: Usage { input: 100, output: 10, cached: 0, cache_write: 0 },
        source: UsageSource::Upstream,
        units: None,
        cost: Some(Cost { currency: currency(), amount: 1_000_000_000_000 }),
    }
}

/// Replays requests of one group, given as arrival and end.
fn replay(group: &Group, requests: &[(u64, u64)]) -> Outcome {
    let calendar = Calendar::default();
    let mut simulation = Simulation::new(&calendar, START_MS);
    let payer = simulation.add_payer(payer(Account::new(SLUG, [group]), true));
    requests.iter().for_each(|&(arrives, ends)| simulation.push(request(payer, arrives, ends)));
    simulation.finish()
}

#[test]
fn requests_that_ran_at_once_are_admitted_at_once_and_in_the_order_of_arrival() {
    use {LimitType::Request, Unit::Concurrent};
    // The second arrives while the first runs, and the third when both have ended.
    let requests = [(10, 20), (0, 50), (50, 60)];
    let one = replay(&group(&[(Request, Concurrent, 1)], None), &requests);
    assert_eq!((one.requests, one.refused, one.first_refused_ms), (3, 1, Some(START_MS + 10)));
    let two = replay(&group(&[(Request, Concurrent, 2)], None), &requests);
    assert_eq!((two.requests, two.refused, two.first_refused_ms), (3, 0, None));
}

#[test]
fn a_refused_request_uses_nothing() {
    use {LimitType::*, Unit::*};
    let one_by_one = [(0, 1), (2, 3), (4, 5), (6, 7)];
    let tokens = replay(&group(&[(Token, Week, 300)], None), &one_by_one);
    assert_eq!((tokens.requests, tokens.refused), (4, 2));
    let [stop] = tokens.stopped_by[..] else { panic!("one limit") };
    assert_eq!((stop.slug, stop.refused, stop.effective.source), (Some(SLUG), 2, GroupId(1)));
    let money = replay(&group(&[], Some("3")), &one_by_one);
    assert_eq!((money.requests, money.refused), (4, 1));
    let [stop] = money.stopped_by[..] else { panic!("one budget") };
    assert_eq!((stop.slug, stop.refused), (None, 1));
}

#[test]
fn requests_of_others_use_what_is_shared_and_are_not_reported() {
    use {LimitType::Request, Unit::Day};
    let (calendar, group) = (Calendar::default(), group(&[(Request, Day, 3)], None));
    let mut simulation = Simulation::new(&calendar, START_MS);
    let own = simulation.add_payer(payer(Account::new(SLUG, [&group]), true));
    let shared = [group.id].into_iter().collect();
    let others = simulation.add_payer(payer(Account::without_rules(SLUG, shared), false));
    for at in 0..5 {
        simulation.push(request(others, 2 * at, 2 * at + 1));
    }
    simulation.push(request(own, 20, 21));
    let outcome = simulation.finish();
    assert_eq!((outcome.requests, outcome.refused), (1, 1));
}

#[test]
fn use_before_the_window_counts_in_its_calendar_and_rolling_windows() {
    use {LimitType::Request, Unit::*};
    let calendar = Calendar::default();
    for (unit, refused) in [(Day, 1), (Minute, 1), (Second, 0)] {
        let mut simulation = Simulation::new(&calendar, START_MS);
        let group = group(&[(Request, unit, 3)], None);
        let payer = simulation.add_payer(payer(Account::new(SLUG, [&group]), true));
        if unit == Day {
            let mut used = Used::default();
            used.add(&calendar.windows(START_MS), &Counted { requests: 2, tokens: 0 });
            simulation.load_used(group.id, SLUG, &used);
        }
        for _ in 0..2 {
            let times = PastRequest { arrived_ms: START_MS - 5000, ..request(payer, 0, 0) };
            simulation.push(PastRequest { settled_ms: START_MS - 4000, ..times });
        }
        (0..2).for_each(|_| simulation.push(request(payer, 0, 1)));
        let outcome = simulation.finish();
        assert_eq!((outcome.requests, outcome.refused), (2, refused), "{unit:?}");
    }
}

#[test]
fn days_are_those_of_the_time_zone_and_in_order() {
    let calendar = Calendar::new("Europe/Berlin").unwrap();
    let mut simulation = Simulation::new(&calendar, START_MS);
    let group = group(&[(LimitType::Request, Unit::Day, 1)], None);
    let payer = simulation.add_payer(payer(Account::new(SLUG, [&group]), true));
    let day = calendar.window(Period::Day, START_MS);
    let midnight = day.end_ms - START_MS;
    for at in [0, 10, midnight - 1, midnight, midnight + 5] {
        simulation.push(request(payer, at, at));
    }
    let outcome = simulation.finish();
    let days: Vec<_> = outcome.by_day.into_iter().collect();
    let counts = |requests, refused| DayCounts { requests, refused };
    assert_eq!(days, [(day.start_ms, counts(3, 2)), (day.end_ms, counts(2, 1))]);
}

#[test]
fn refusals_are_those_of_the_requests_in_the_order_of_arrival() {
    for seed in 1..=20 {
        let mut random = Random::new(seed);
        let (mut at, mut requests) = (0, Vec::new());
        for _ in 0..300 {
            at += 1 + random.below(400);
            requests.push((at, at + 1 + random.below(3000)));
        }
        let most = 1 + random.below(8);
        let (mut running, mut refused): (Vec<u64>, u64) = (Vec::new(), 0);
        for (arrives, ends) in &requests {
            running.retain(|ends| ends > arrives);
            if (running.len() as u64) < most { running.push(*ends) } else { refused += 1 }
        }
        requests.sort_by_key(|(_, ends)| *ends);
        let outcome = replay(&group(&[(LimitType::Request, Unit::Concurrent, most)], None), &requests);
        assert_eq!(outcome.refused, refused, "seed {seed}");
    }
}
