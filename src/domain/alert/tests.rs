use super::*;
use crate::domain::{
    limit::Threshold,
    money::{Amount, Currency},
    testing::{self, Random},
};

const GROUP: GroupId = GroupId(7);

fn limit(threshold: u64) -> Declaration {
    let threshold = Threshold::new(threshold).unwrap();
    Declaration::Limit(SlugId(1), Limit { limit_type: LimitType::Token, unit: Unit::Day, threshold })
}

fn budget(currency: &str, amount: &str) -> Declaration {
    let (currency, amount) = (Currency::parse(currency).unwrap(), Amount::parse(amount).unwrap());
    Declaration::Budget(Budget { unit: BudgetUnit::Total, currency, amount })
}

fn use_of(declaration: Declaration, window_start_ms: u64, used: u128) -> WindowUse {
    WindowUse { group: GROUP, declaration, window_start_ms, used }
}

fn shares(percents: &[u64]) -> Shares {
    Shares::new(percents.iter().copied()).unwrap()
}

fn alert(of: WindowUse, percent: u8) -> Alert {
    let WindowUse { group, declaration, window_start_ms, used } = of;
    Alert { group, declaration, window_start_ms, used, percent, ..testing::alert() }
}

/// The alerts that are made for these uses, one after the other.
fn made(last: &mut LastAlerts, shares: &Shares, uses: &[WindowUse]) -> Vec<Option<u8>> {
    let mut made = Vec::new();
    for of in uses {
        let due = last.due(shares, of);
        if let Some(percent) = due {
            last.note(&alert(*of, percent));
            assert_eq!(last.due(shares, of), None, "an alert was made twice");
        }
        made.push(due);
    }
    made
}

#[test]
fn shares_are_at_most_ten_different_numbers_from_1_to_100_in_any_order() {
    assert_eq!(*Shares::new([100, 1, 50]).unwrap(), [1, 50, 100]);
    assert_eq!(Shares::parse(" 75,90 , 100 "), Ok(Shares::default()));
    assert_eq!((Shares::parse(" ").unwrap().len(), Shares::new([]).unwrap().len()), (0, 0));
    assert_eq!(Shares::new(1..=10).unwrap().len(), 10);
    for wrong in [&[0][..], &[101], &[256 + 75], &[u64::MAX], &[90, 75, 90], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]] {
        assert_eq!(Shares::new(wrong.iter().copied()), Err(InvalidShares), "{wrong:?}");
    }
    for wrong in ["75,", ",", "75 90", "7.5", "-1", "90%", "75,75", "99999999999999999999999"] {
        assert_eq!(Shares::parse(wrong), Err(InvalidShares), "{wrong}");
    }
}

#[test]
fn usage_limits_and_budgets_have_alerts_and_rate_limits_have_none() {
    let of = |unit| {
        let limit = Limit { limit_type: LimitType::Request, unit, threshold: Threshold::new(1).unwrap() };
        Declaration::of(&Rule::Limit(limit), SlugId(1)).is_some()
    };
    use Unit::*;
    assert_eq!([Day, Week, Month, Second, Minute, Concurrent].map(of), [true, true, true, false, false, false]);
    let Declaration::Budget(total) = budget("EUR", "5") else { panic!("a budget") };
    assert_eq!(Declaration::of(&Rule::Budget(total), SlugId(1)), Some(budget("EUR", "5")));
}

#[test]
fn a_share_is_reached_at_exactly_its_part_of_the_threshold() {
    let mut random = Random::new(1);
    for _ in 0..100_000 {
        let threshold = u128::from(random.below(1000));
        let used = u128::from(random.below(1200));
        let percent = 1 + random.below(100);
        let is_reached = used > 0 && used * 100 >= threshold * u128::from(percent);
        assert_eq!(shares(&[percent]).reached(threshold, used), is_reached.then_some(percent as u8));
    }
}

#[test]
fn the_largest_threshold_is_compared_without_overflow() {
    let all = shares(&[1, 99, 100]);
    assert_eq!(all.reached(u128::MAX, u128::MAX), Some(100));
    assert_eq!(all.reached(u128::MAX, u128::MAX - 1), Some(99));
    assert_eq!(all.reached(u128::MAX, u128::MAX / 100), None);
    assert_eq!(all.reached(u128::MAX, u128::MAX / 100 + 1), Some(1));
}

#[test]
fn each_share_is_alerted_once_in_a_window_and_a_jump_makes_one_alert() {
    let uses = [0, 74, 75, 76, 89, 90, 99, 100, 500].map(|used| use_of(limit(100), 1, used));
    let expected = [None, None, Some(75), None, None, Some(90), None, Some(100), None];
    assert_eq!(made(&mut LastAlerts::default(), &Shares::default(), &uses), expected);
    let uses = [10, 95, 96, 130].map(|used| use_of(limit(100), 1, used));
    assert_eq!(made(&mut LastAlerts::default(), &Shares::default(), &uses), [None, Some(90), None, Some(100)]);
    let none = shares(&[]);
    assert_eq!(made(&mut LastAlerts::default(), &none, &uses), [None; 4]);
}

#[test]
fn the_shares_start_anew_in_another_window() {
    let uses = [(1, 80), (2, 10), (2, 75), (3, 100), (2, 80)].map(|(start, used)| use_of(limit(100), start, used));
    // The last one is made again: the clock was set back.
    let expected = [Some(75), None, Some(75), Some(100), Some(75)];
    assert_eq!(made(&mut LastAlerts::default(), &Shares::default(), &uses), expected);
}

#[test]
fn the_shares_start_anew_with_another_threshold() {
    let uses = [(100, 80), (90, 80), (50, 80), (50, 90), (1000, 90), (100, 90), (0, 90), (0, 91)];
    let expected = [Some(75), Some(75), Some(100), None, None, Some(90), Some(100), None];
    let uses = uses.map(|(threshold, used)| use_of(limit(threshold), 1, used));
    assert_eq!(made(&mut LastAlerts::default(), &Shares::default(), &uses), expected);
}

#[test]
fn a_threshold_that_was_changed_and_changed_back_between_two_alerts_repeats_none() {
    let uses = [(100, 80), (1000, 80), (100, 80)].map(|(threshold, used)| use_of(limit(threshold), 1, used));
    assert_eq!(made(&mut LastAlerts::default(), &Shares::default(), &uses), [Some(75), None, None]);
}

#[test]
fn the_shares_of_a_budget_start_anew_with_another_amount_or_currency() {
    let cents = |cents: u128| cents * 10_u128.pow(10);
    let uses = [
        use_of(budget("EUR", "5"), 0, cents(374)),
        use_of(budget("EUR", "5"), 0, cents(375)),
        use_of(budget("EUR", "5"), 0, cents(375) + 1),
        use_of(budget("EUR", "10"), 0, cents(400)),
        use_of(budget("EUR", "10"), 0, cents(900)),
        use_of(budget("USD", "10"), 0, cents(900)),
    ];
    let expected = [None, Some(75), None, None, Some(90), Some(90)];
    assert_eq!(made(&mut LastAlerts::default(), &Shares::default(), &uses), expected);
}

#[test]
fn anything_used_of_a_threshold_of_zero_reaches_every_share() {
    let uses = [0, 1, 2].map(|used| use_of(limit(0), 1, used));
    assert_eq!(made(&mut LastAlerts::default(), &Shares::default(), &uses), [None, Some(100), None]);
    assert_eq!(made(&mut LastAlerts::default(), &shares(&[50]), &uses), [None, Some(50), None]);
}

#[test]
fn groups_limits_and_budgets_have_their_own_shares_until_their_group_is_deleted() {
    let threshold = Threshold::new(100).unwrap();
    let other = |slug, limit_type, unit| Declaration::Limit(SlugId(slug), Limit { limit_type, unit, threshold });
    let uses = [
        use_of(limit(100), 1, 80),
        WindowUse { group: GroupId(8), ..use_of(limit(100), 1, 80) },
        use_of(other(2, LimitType::Token, Unit::Day), 1, 80),
        use_of(other(1, LimitType::Request, Unit::Day), 1, 80),
        use_of(other(1, LimitType::Token, Unit::Week), 1, 80),
        use_of(budget("EUR", "0.0001"), 1, 80_000_000),
    ];
    let (mut last, shares) = (LastAlerts::default(), Shares::default());
    assert_eq!(made(&mut last, &shares, &uses), [Some(75); 6]);
    assert_eq!(made(&mut last, &shares, &uses), [None; 6]);
    last.keep(|group| group != GroupId(8));
    assert_eq!(made(&mut last, &shares, &uses), [None, Some(75), None, None, None, None]);
}

#[test]
fn shares_that_a_later_configuration_adds_are_alerted_only_above_the_last_one() {
    let mut last = LastAlerts::default();
    assert_eq!(made(&mut last, &shares(&[80]), &[use_of(limit(100), 1, 85)]), [Some(80)]);
    assert_eq!(
        made(&mut last, &shares(&[50, 95]), &[85, 95].map(|used| use_of(limit(100), 1, used))),
        [None, Some(95)]
    );
}

#[test]
fn alerts_that_are_read_again_after_a_restart_are_not_repeated() {
    let of = use_of(limit(100), 1, 95);
    let last: LastAlerts = [(GROUP, LastAlert::from(&alert(of, 90)))].into_iter().collect();
    assert_eq!(last.due(&Shares::default(), &of), None);
    assert_eq!(last.due(&Shares::default(), &WindowUse { used: 100, ..of }), Some(100));
}

#[test]
fn an_alert_about_a_later_window_is_beyond_an_earlier_one() {
    let mut last = LastAlerts::default();
    let of = |start_ms, used| use_of(limit(100), start_ms, used);
    assert!(!last.is_beyond(&of(1, 75)));
    made(&mut last, &Shares::default(), &[of(2, 75)]);
    assert_eq!([1, 2, 3].map(|start_ms| last.is_beyond(&of(start_ms, 100))), [true, false, false]);
    assert!(!last.is_beyond(&WindowUse { group: GroupId(8), ..of(1, 100) }));
}
