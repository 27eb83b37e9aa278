//! Tests of budgets: what must fit, what is held, and what is counted.

use std::{sync::Mutex, thread};

use super::*;
use crate::domain::{
    budget::{Budget, BudgetUnit},
    money::{Amount, Price},
    pricing::{LongPrices, TokenPrices},
    units::Units,
};

/// 10^-12 units of an input token and of an output token at [`prices`].
const IN: u128 = 2_000_000;
const OUT: u128 = 10_000_000;

fn eur() -> Currency {
    Currency::parse("EUR").unwrap()
}

fn price(text: &str) -> Price {
    Price::parse(text).unwrap()
}

fn of_tokens(input: &str, output: &str) -> TokenPrices {
    TokenPrices { input: price(input), output: price(output), cached: None, cache_write: None }
}

fn prices() -> Pricing {
    Pricing::of_tokens(eur(), of_tokens("2", "10"))
}

/// A budget of `amount` 10^-6 EUR.
fn budget(counted_at: u8, unit: BudgetUnit, amount: u64) -> Effective {
    let amount = Amount::parse(&format!("{}.{:06}", amount / 1_000_000, amount % 1_000_000)).unwrap();
    let source = PATH[usize::from(counted_at)];
    Effective { rule: Rule::Budget(Budget { unit, currency: eur(), amount }), source, counted_at }
}

fn cost(amount: u128) -> Option<Cost> {
    Some(Cost { currency: eur(), amount })
}

/// (spent, held) of one group.
fn money(ledger: &mut Ledger, moment: Moment, group: GroupId, unit: BudgetUnit) -> (u128, u128) {
    let standing = ledger.standing(moment, &account(&[group], &[budget(0, unit, 1)]))[0];
    (standing.used, standing.held)
}

fn spend(ledger: &mut Ledger, path: &[GroupId], amount: u128) {
    let ask = Ask { pricing: Some(&prices()), ..chat(1) };
    let hold = ledger.admit(after_ms(0), &account(path, &[]), &ask).unwrap().hold;
    ledger.charge(hold, after_ms(0), billed(1, 1), UsageSource::Counted, cost(amount));
}

#[test]
fn a_request_holds_its_expected_cost_until_the_exact_cost_replaces_it() {
    let (mut ledger, pricing) = (Ledger::default(), prices());
    let ask = Ask { pricing: Some(&pricing), ..chat(50) };
    let mut hold = ledger.admit(after_ms(0), &account(&PATH, &[]), &ask).unwrap().hold;
    for group in PATH {
        assert_eq!(money(&mut ledger, after_ms(0), group, BudgetUnit::Total), (0, 50 * IN + 100 * OUT));
    }
    ledger.review(&mut hold, 101, None);
    let held = 50 * IN + (101 + 256) * OUT;
    assert_eq!(money(&mut ledger, after_ms(0), ROOT, BudgetUnit::Day), (0, held));
    ledger.charge(hold, after_ms(1), billed(60, 40), UsageSource::Counted, cost(77));
    for unit in [BudgetUnit::Day, BudgetUnit::Week, BudgetUnit::Month, BudgetUnit::Total] {
        for group in PATH {
            assert_eq!(money(&mut ledger, after_ms(1), group, unit), (77, 0));
        }
    }
    let released = ledger.admit(after_ms(2), &account(&PATH, &[]), &ask).unwrap().hold;
    ledger.release(released, after_ms(3), true);
    assert_eq!(money(&mut ledger, after_ms(3), OWN, BudgetUnit::Total), (77, 0));
}

#[test]
fn what_is_certain_is_held_besides_tokens() {
    let pricing =
        Pricing { request: Some(price("1")), image: Some(price("0.5")), characters: Some(price("3")), ..prices() };
    for (route, units, expected) in [
        (Route::Images, Some(Units::Images(4)), 10 * IN + 3_000_000_000_000),
        (Route::Speech, Some(Units::Characters(1000)), 10 * IN + 1_003_000_000_000_000 / 1000),
        (Route::Embeddings, None, 10 * IN + 1_000_000_000_000),
    ] {
        let mut ledger = Ledger::default();
        let ask = Ask { route, units, pricing: Some(&pricing), ..chat(10) };
        let _running = ledger.admit(after_ms(0), &account(&[OWN], &[]), &ask).unwrap();
        assert_eq!(money(&mut ledger, after_ms(0), OWN, BudgetUnit::Total), (0, expected), "{route:?}");
    }
}

#[test]
fn the_prompt_must_fit_beside_what_is_spent_and_held() {
    let (mut ledger, pricing) = (Ledger::default(), prices());
    // 1000 millionths are room for 500 tokens of a prompt.
    let rules = account(&PATH, &[budget(1, BudgetUnit::Month, 1000)]);
    spend(&mut ledger, &[GroupId(9), PARENT], 100 * IN);
    let ask = |prompt: u64| Ask { pricing: Some(&pricing), declared_output: Some(20), ..chat(prompt) };
    let refusal = ledger.admit(after_ms(0), &rules, &ask(401)).unwrap_err();
    assert_eq!((refusal.used, refusal.held, refusal.asked), (100 * IN, 0, 401 * IN));
    let admitted = ledger.admit(after_ms(0), &rules, &ask(200)).unwrap();
    assert_eq!(admitted.hold.tokens, 220);
    let refusal = ledger.admit(after_ms(0), &rules, &ask(101)).unwrap_err();
    assert_eq!((refusal.used, refusal.held, refusal.asked), (100 * IN, 200 * IN + 20 * OUT, 101 * IN));
    assert!(ledger.admit(after_ms(0), &rules, &ask(100)).is_ok());
}

#[test]
fn a_refusal_by_a_budget_takes_nothing_from_limits() {
    let mut ledger = Ledger::default();
    let rules = [limit(0, Request, Minute, 5), limit(0, Request, Concurrent, 5), budget(2, BudgetUnit::Day, 0)];
    let pricing = prices();
    let refusal = ledger.admit(after_ms(0), &account(&PATH, &rules), &Ask { pricing: Some(&pricing), ..chat(1) });
    assert_eq!(refusal.unwrap_err().index, 2);
    assert!(ledger.cells.is_empty());
}

#[test]
fn a_budget_that_is_used_up_refuses_whatever_may_cost_anything() {
    let free_prompt = Pricing::of_tokens(eur(), of_tokens("0", "10"));
    let audio = Pricing { second: Some(price("0.0001")), ..Pricing::of_tokens(eur(), of_tokens("0", "0")) };
    let free = Pricing::of_tokens(eur(), of_tokens("0", "0"));
    let in_dollars = Pricing { currency: Currency::parse("USD").unwrap(), ..prices() };
    let refused = Some((OUT, 0, 1));
    for (route, pricing, declared_output, expected) in [
        (Route::ChatCompletions, Some(free_prompt), None, refused),
        (Route::Images, Some(free_prompt), None, refused),
        (Route::Transcriptions, Some(audio), None, refused),
        (Route::ChatCompletions, Some(free_prompt), Some(0), None),
        (Route::Embeddings, Some(free_prompt), None, None),
        (Route::ChatCompletions, Some(audio), None, None),
        (Route::ChatCompletions, Some(free), None, None),
        (Route::ChatCompletions, Some(in_dollars), None, None),
        (Route::ChatCompletions, None, None, None),
        (Route::CountTokens, Some(prices()), None, None),
    ] {
        let mut ledger = Ledger::default();
        spend(&mut ledger, &[OWN], OUT);
        let rules = account(&[OWN], &[budget(0, BudgetUnit::Total, 10)]);
        let ask = Ask { route, declared_output, pricing: pricing.as_ref(), ..chat(1) };
        let refusal = ledger.admit(after_ms(0), &rules, &ask).err();
        assert_eq!(refusal.map(|it| (it.used, it.held, it.asked)), expected, "{route:?} {pricing:?}");
    }
}

#[test]
fn a_total_never_has_a_wait_and_a_window_waits_for_its_end() {
    for (unit, amount, wait) in [
        (BudgetUnit::Total, 10, None),
        // It can never pass a smaller amount.
        (BudgetUnit::Day, 1, None),
        (BudgetUnit::Day, 10, Some(Duration::from_secs(14 * 3600))),
    ] {
        let (mut ledger, pricing) = (Ledger::default(), prices());
        spend(&mut ledger, &[OWN], 9 * IN);
        let rules = account(&[OWN], &[budget(0, unit, amount)]);
        let refusal = ledger.admit(after_ms(0), &rules, &Ask { pricing: Some(&pricing), ..chat(1) });
        let standing = ledger.standing(after_ms(0), &rules)[0];
        assert_eq!(refusal.unwrap_err().retry_after, wait);
        let reset = (unit != BudgetUnit::Total).then_some(after_ms(0).windows.day.end_ms);
        assert_eq!((standing.reset_at_unix_ms(after_ms(0)), standing.begun), (reset, true));
    }
}

#[test]
fn strict_admission_limits_the_output_to_what_every_budget_leaves() {
    let (mut ledger, pricing) = (Ledger::default(), prices());
    let rules = [limit(0, Token, Minute, 1000), budget(0, BudgetUnit::Day, 5000), budget(1, BudgetUnit::Total, 1200)];
    let strict = |prompt, declared| Ask { pricing: Some(&pricing), ..strict(prompt, declared) };
    // 1200 - 100 × 2 leave 100 tokens at 10.
    let admitted = ledger.admit(after_ms(0), &account(&PATH, &rules), &strict(100, None)).unwrap();
    assert_eq!((admitted.output_max, admitted.hold.tokens), (Some(100), 200));
    assert_eq!(money(&mut ledger, after_ms(0), PARENT, BudgetUnit::Total), (0, 1200 * 1_000_000));
    ledger.charge(admitted.hold, after_ms(0), billed(100, 90), UsageSource::Counted, cost(1_100_000_000));
    // 100 millionths are left: a prompt of 45 and one output token, but not a prompt of 46.
    let refusal = ledger.admit(after_ms(0), &account(&PATH, &rules), &strict(46, Some(5))).unwrap_err();
    assert_eq!((refusal.index, refusal.asked), (2, 46 * IN + OUT));
    let last = ledger.admit(after_ms(0), &account(&PATH, &rules), &strict(45, Some(5))).unwrap();
    assert_eq!((last.output_max, last.hold.tokens), (Some(1), 46));
}

#[test]
fn strict_admission_holds_the_dearest_price_of_a_prompt_and_adaptive_admission_its_input_price() {
    let tokens = TokenPrices { cached: Some(price("0.5")), cache_write: Some(price("3")), ..of_tokens("2", "0") };
    let long = Some(LongPrices { above: 100, tokens: of_tokens("7", "0") });
    let pricing = Pricing { long, ..Pricing::of_tokens(eur(), tokens) };
    for (prompt, adaptive, dearest) in [(100, 200, 300), (101, 707, 707)] {
        for (ask, millionths) in [(chat(prompt), adaptive), (strict(prompt, None), dearest)] {
            let mut ledger = Ledger::default();
            let ask = Ask { pricing: Some(&pricing), ..ask };
            let _running = ledger.admit(after_ms(0), &account(&[OWN], &[]), &ask).unwrap();
            assert_eq!(money(&mut ledger, after_ms(0), OWN, BudgetUnit::Week), (0, millionths * 1_000_000));
        }
    }
}

#[test]
fn a_currency_that_changes_before_the_end_counts_the_cost_in_the_new_one() {
    let (mut ledger, pricing) = (Ledger::default(), prices());
    let ask = Ask { pricing: Some(&pricing), ..chat(1) };
    let hold = ledger.admit(after_ms(0), &account(&PATH, &[]), &ask).unwrap().hold;
    let usd = Currency::parse("USD").unwrap();
    ledger.charge(hold, after_ms(0), billed(1, 1), UsageSource::Counted, Some(Cost { currency: usd, amount: 5 }));
    let unpriced = ledger.admit(after_ms(0), &account(&PATH, &[]), &chat(1)).unwrap().hold;
    ledger.charge(unpriced, after_ms(0), billed(1, 1), UsageSource::Counted, cost(3));
    let in_dollars = Budget { unit: BudgetUnit::Total, currency: usd, amount: Amount::parse("1").unwrap() };
    let in_dollars = Effective { rule: Rule::Budget(in_dollars), source: ROOT, counted_at: 0 };
    let standing = ledger.standing(after_ms(0), &account(&[ROOT], &[in_dollars]))[0];
    assert_eq!((standing.used, standing.held), (5, 0));
    assert_eq!(money(&mut ledger, after_ms(0), ROOT, BudgetUnit::Total), (3, 0));
}

#[test]
fn a_hypothetical_request_costs_its_tokens_as_input() {
    let mut ledger = Ledger::default();
    spend(&mut ledger, &[OWN], 4 * IN);
    let rules = account(&[OWN], &[budget(0, BudgetUnit::Month, 20)]);
    let pricing = prices();
    let asked = |ledger: &mut Ledger, tokens| ledger.would_admit(after_ms(0), &rules, tokens, Some(&pricing));
    assert_eq!(asked(&mut ledger, 6), Ok(()));
    assert_eq!(asked(&mut ledger, 7).unwrap_err().asked, 7 * IN);
    assert!(ledger.would_admit(after_ms(0), &rules, 7, None).is_ok());
    spend(&mut ledger, &[OWN], 6 * IN);
    assert!(asked(&mut ledger, 0).is_err());
}

#[test]
fn money_is_kept_for_as_long_as_its_group_exists() {
    let years = |years: u64| after_ms(years * 366 * 86_400_000);
    let (mut ledger, mut spent) = (Ledger::default(), Spent::default());
    spent.add(&after_ms(0).windows, 70);
    ledger.load_spent(after_ms(0), PARENT, eur(), &spent);
    spend(&mut ledger, &PATH, 7);
    spend(&mut ledger, &[GroupId(9)], 0);
    ledger.sweep(years(3), 100);
    let totals =
        |ledger: &mut Ledger| [OWN, PARENT, ROOT].map(|group| money(ledger, years(3), group, BudgetUnit::Total).0);
    assert_eq!(totals(&mut ledger), [7, 77, 7]);
    assert_eq!(money(&mut ledger, years(3), PARENT, BudgetUnit::Month), (0, 0));
    assert!(ledger.cells.find(GroupId(9), Scope::Money(eur())).is_none(), "it has spent nothing");
    let pricing = prices();
    let running = ledger.admit(years(3), &account(&PATH, &[]), &Ask { pricing: Some(&pricing), ..chat(1) }).unwrap();
    ledger.remove_group(years(3), OWN);
    assert_eq!(totals(&mut ledger), [7, 77, 7]);
    ledger.charge(running.hold, years(3), billed(1, 1), UsageSource::Counted, cost(1));
    assert_eq!(totals(&mut ledger), [0, 78, 8]);
}

#[test]
fn sixty_four_concurrent_callers_never_exceed_a_strict_budget() {
    let ledger = Mutex::new(Ledger::default());
    let amount = 40_000;
    let rules = account(&PATH, &[budget(2, BudgetUnit::Total, amount)]);
    let pricing = prices();
    let check = |ledger: &mut Ledger| {
        let (spent, held) = money(ledger, after_ms(0), ROOT, BudgetUnit::Total);
        assert!(spent + held <= u128::from(amount) * 1_000_000, "{spent} spent and {held} held");
    };
    let call = |caller: u64, round: u64| {
        let prompt = 1 + (caller + round) % 40;
        let ask = Ask { pricing: Some(&pricing), ..strict(prompt, Some(60)) };
        let mut locked = ledger.lock().unwrap();
        let Ok(admitted) = locked.admit(after_ms(0), &rules, &ask) else { return };
        check(&mut locked);
        drop(locked);
        let usage = billed(prompt, admitted.output_max.unwrap() * (round % 3) / 2);
        let mut locked = ledger.lock().unwrap();
        let cost = pricing.cost(&Usage { output: usage.output.min(admitted.output_max.unwrap()), ..usage }, None);
        locked.charge(admitted.hold, after_ms(0), usage, UsageSource::Counted, Some(cost));
        check(&mut locked);
    };
    thread::scope(|scope| {
        for caller in 0..64 {
            scope.spawn(move || (0..50).for_each(|round| call(caller, round)));
        }
    });
    let (spent, held) = money(&mut ledger.lock().unwrap(), after_ms(0), ROOT, BudgetUnit::Total);
    assert_eq!(held, 0);
    assert!(spent > 39_000 * 1_000_000, "only {spent} could be spent");
}
