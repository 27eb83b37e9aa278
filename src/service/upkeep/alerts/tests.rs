use std::collections::BTreeMap;

use super::{touched::MAX_AMOUNTS, *};
use crate::domain::{
    budget::{Budget, BudgetUnit},
    calendar::{Calendar, Period},
    ledger::Rule,
    limit::{Limit, LimitType, Threshold, Unit},
    money::{Amount, Cost},
    record::{Actor, Changed, Row},
    settled::Settled,
    testing::{group_of_v1, settled},
};

/// Noon of Wednesday, 2 December 2026, UTC.
const NOON_MS: u64 = 1_796_212_800_000;
const DAY_MS: u64 = 86_400_000;

fn limit(limit_type: LimitType, unit: Unit) -> Rule {
    Rule::Limit(Limit { limit_type, unit, threshold: Threshold::new(100).unwrap() })
}

fn budget(unit: BudgetUnit) -> Rule {
    Rule::Budget(Budget { unit, currency: euro(), amount: Amount::parse("1").unwrap() })
}

fn euro() -> Currency {
    Currency::parse("EUR").unwrap()
}

/// The use of a day ago and of now.
fn used(calendar: &Calendar) -> (Used, Spent) {
    let (mut used, mut spent) = (Used::default(), Spent::default());
    for (at_ms, amount) in [(NOON_MS - DAY_MS, 10), (NOON_MS, 3)] {
        used.add(&calendar.windows(at_ms), &Counted { requests: 1, tokens: amount });
        spent.add(&calendar.windows(at_ms), amount.into());
    }
    (used, spent)
}

/// The amounts of the compared windows, and whether each has ended.
fn found(uses: [Option<UseOfWindow>; 2]) -> Vec<(u128, bool)> {
    uses.into_iter().flatten().map(|one| (one.used, one.has_ended)).collect()
}

#[test]
fn a_window_that_has_ended_is_compared_only_if_an_event_may_be_in_it() {
    let calendar = Calendar::default();
    let (used, spent) = used(&calendar);
    let midnight = calendar.window(Period::Day, NOON_MS).start_ms;
    let now_ms = NOON_MS + 1;
    for (since_ms, expected) in [
        (now_ms, &[(3, false)][..]),
        (midnight, &[(3, false)]),
        (midnight - 1, &[(10, true), (3, false)]),
        (NOON_MS - DAY_MS, &[(10, true), (3, false)]),
    ] {
        let times = Times { since_ms, now_ms };
        assert_eq!(found(uses_of_limit(&limit(LimitType::Token, Unit::Day), &used, &calendar, times)), expected);
        let of_budget = uses_of_budget(&budget(BudgetUnit::Day), euro(), &spent, 5, &calendar, times);
        assert_eq!(found(of_budget), expected);
    }
    // The day of the last event has ended without another event.
    let tomorrow = Times { since_ms: NOON_MS + DAY_MS, now_ms: NOON_MS + DAY_MS };
    assert_eq!(found(uses_of_limit(&limit(LimitType::Token, Unit::Day), &used, &calendar, tomorrow)), []);
    let week = uses_of_limit(&limit(LimitType::Request, Unit::Week), &used, &calendar, tomorrow);
    assert_eq!(found(week), [(2, false)]);
}

#[test]
fn rates_other_currencies_and_the_other_kind_of_rule_have_no_use_to_compare() {
    let calendar = Calendar::default();
    let (used, spent) = used(&calendar);
    let times = Times { since_ms: NOON_MS, now_ms: NOON_MS };
    for unit in [Unit::Second, Unit::Minute, Unit::Concurrent] {
        assert_eq!(uses_of_limit(&limit(LimitType::Request, unit), &used, &calendar, times), [None; 2]);
    }
    assert_eq!(uses_of_limit(&budget(BudgetUnit::Day), &used, &calendar, times), [None; 2]);
    let of = |rule: Rule, currency| uses_of_budget(&rule, currency, &spent, 5, &calendar, times);
    assert_eq!(of(limit(LimitType::Token, Unit::Day), euro()), [None; 2]);
    assert_eq!(of(budget(BudgetUnit::Total), Currency::parse("USD").unwrap()), [None; 2]);
    let total = UseOfWindow { start_ms: 5, end_ms: None, used: 13, has_ended: false };
    assert_eq!(of(budget(BudgetUnit::Total), euro()), [None, Some(total)]);
}

#[test]
fn the_groups_slugs_and_currencies_of_events_and_written_groups_are_noted() {
    let mut touched = Touched::default();
    let cost = Some(Cost { currency: euro(), amount: 1 });
    let groups = vec![GroupId(3), GroupId(4)];
    touched.note(7, &Record::Settled(Settled { counted_for: groups, cost, ..settled() }));
    touched.note(9, &Record::Settled(settled()));
    assert_eq!(touched.since_ms, Some(7));
    let counted = Counted { requests: 1, tokens: 2 };
    let of = |group, at_ms| ((GroupId(group), SlugId(1)), vec![(at_ms, counted)]);
    assert_eq!(touched.used, BTreeMap::from([of(3, 7), of(4, 7), of(7, 9)]));
    assert_eq!(touched.spent.len(), 2);
    assert!(touched.groups.is_empty() && !touched.has_deletions);

    let rows = vec![Row::Group(group_of_v1()), Row::GroupGone(GroupId(9))];
    let changed = Changed { actor: Actor::system(), action: "a.b".to_owned(), before: None, rows };
    let mut touched = Touched::default();
    assert!(touched.is_empty());
    touched.note(1, &Record::Changed(changed));
    assert_eq!((touched.since_ms, touched.groups.len(), touched.has_deletions), (None, 1, true));
}

#[test]
fn the_use_after_each_event_of_a_window_is_compared() {
    let of = UseOfWindow { start_ms: 100, end_ms: Some(200), used: 50, has_ended: false };
    let events = [(99, 7_u128), (100, 5), (150, 6), (150, 0), (199, 9), (200, 8)];
    assert_eq!(of.steps(&events, |amount| amount), [30, 35, 41, 41, 50]);
    assert_eq!(of.steps(&events[..1], |amount| amount), [50]);
    let total = UseOfWindow { start_ms: 0, end_ms: None, ..of };
    // A sum that lacks some of the events.
    assert_eq!(total.steps(&[(1, 30_u128), (2, 40)], |amount| amount), [0, 10, 50]);
}

#[test]
fn of_too_many_events_only_the_sum_is_compared() {
    let mut touched = Touched::default();
    for _ in 0..=MAX_AMOUNTS {
        touched.note(7, &Record::Settled(settled()));
    }
    assert!(touched.is_partial && touched.amounts < MAX_AMOUNTS && touched.used.len() == 1);
    assert!(touched.used.values().all(|amounts| touched.each(amounts).is_empty()));
}
