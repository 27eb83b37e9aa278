//! Tests of calendar windows in Berlin, where days have 23 to 25 hours.

use super::*;

const HOUR_MS: u64 = 3_600_000;
/// 2026-03-28T23:00Z: Sunday, 29 March, begins in Berlin. It has 23 hours.
const SUNDAY_MS: u64 = 1_774_738_800_000;
/// 2026-03-29T22:00Z
const MONDAY_MS: u64 = SUNDAY_MS + 23 * HOUR_MS;
/// 2026-03-31T22:00Z
const APRIL_MS: u64 = MONDAY_MS + 48 * HOUR_MS;

fn berlin(unix_ms: u64) -> Moment {
    let now = Now { monotonic_ns: (unix_ms + 30 * 24 * HOUR_MS - SUNDAY_MS) * 1_000_000, unix_ms, ..Now::default() };
    Moment { now, windows: Calendar::new("Europe/Berlin").unwrap().windows(unix_ms) }
}

fn spend(ledger: &mut Ledger, unix_ms: u64, tokens: u64) {
    let hold = ledger.admit(berlin(unix_ms), &account(&PATH, &[]), &chat(1)).unwrap().hold;
    charge(ledger, hold, berlin(unix_ms), billed(tokens, 0));
}

/// The tokens of the day, the week and the month.
fn tokens(ledger: &mut Ledger, unix_ms: u64) -> [u64; 3] {
    [Daily, Week, Month].map(|unit| figures(ledger, berlin(unix_ms), ROOT, Token, unit).0)
}

#[test]
fn each_window_begins_at_its_own_midnight() {
    let mut ledger = Ledger::default();
    spend(&mut ledger, SUNDAY_MS - 1, 1);
    spend(&mut ledger, SUNDAY_MS, 10);
    spend(&mut ledger, MONDAY_MS - 1, 100);
    assert_eq!(tokens(&mut ledger, SUNDAY_MS - 1), [1, 111, 111]);
    assert_eq!(tokens(&mut ledger, MONDAY_MS - 1), [110, 111, 111]);
    assert_eq!(tokens(&mut ledger, MONDAY_MS), [0, 0, 111]);
    spend(&mut ledger, APRIL_MS - 1, 1000);
    spend(&mut ledger, APRIL_MS, 10_000);
    assert_eq!(tokens(&mut ledger, APRIL_MS - 1), [1000, 11_000, 1111]);
    assert_eq!(tokens(&mut ledger, APRIL_MS), [10_000, 11_000, 10_000]);
}

#[test]
fn a_refusal_waits_for_the_end_of_its_window_and_not_a_moment_longer() {
    for (unit, end_ms) in [(Daily, MONDAY_MS), (Week, MONDAY_MS), (Month, APRIL_MS)] {
        for what in [Token, Request] {
            let mut ledger = Ledger::default();
            spend(&mut ledger, SUNDAY_MS + HOUR_MS, 5);
            let threshold = if what == Token { 5 } else { 1 };
            let limits = account(&PATH, &[limit(1, what, unit, threshold)]);
            let refusal = ledger.admit(berlin(SUNDAY_MS + HOUR_MS), &limits, &chat(1)).unwrap_err();
            assert_eq!(refusal.retry_after, Some(Duration::from_millis(end_ms - SUNDAY_MS - HOUR_MS)));
            let standing = ledger.standing(berlin(SUNDAY_MS + HOUR_MS), &limits)[0];
            assert_eq!(standing.reset, refusal.retry_after);
            assert_eq!(standing.reset_at_unix_ms(berlin(SUNDAY_MS + HOUR_MS)), Some(end_ms));
            assert!(ledger.would_admit(berlin(end_ms - 1), &limits, 1, None).is_err());
            assert!(ledger.would_admit(berlin(end_ms), &limits, 1, None).is_ok());
        }
    }
}

#[test]
fn a_wait_is_longer_by_what_the_clock_was_set_back() {
    let mut ledger = Ledger::default();
    let moment = berlin(MONDAY_MS - 1000);
    let behind = Moment { now: Now { behind_ms: 5000, ..moment.now }, ..moment };
    let refusal = ledger.admit(behind, &account(&[OWN], &[limit(0, Token, Week, 0)]), &chat(1)).unwrap_err();
    assert_eq!((refusal.retry_after, refusal.standings.tokens.unwrap().reset), (None, Some(Duration::from_secs(6))));
}

#[test]
fn the_sums_of_a_month_outlast_weeks_without_calls() {
    let mut ledger = Ledger::default();
    spend(&mut ledger, APRIL_MS, 7);
    let end_ms = APRIL_MS + 30 * 24 * HOUR_MS;
    for hour in 1..30 * 24 {
        ledger.sweep(berlin(APRIL_MS + hour * HOUR_MS), 10);
    }
    assert_eq!(tokens(&mut ledger, end_ms - 1), [0, 0, 7]);
    assert_eq!(tokens(&mut ledger, end_ms), [0, 0, 0]);
    ledger.sweep(berlin(end_ms + 6 * 24 * HOUR_MS), 10);
    assert!(ledger.cells.is_empty());
}

#[test]
fn a_clock_that_is_ahead_for_a_while_frees_no_sum_of_the_current_month() {
    let mut ledger = Ledger::default();
    spend(&mut ledger, APRIL_MS, 7);
    let ten_days_later = berlin(APRIL_MS + 10 * 24 * HOUR_MS);
    let a_year_ahead = berlin(APRIL_MS + 375 * 24 * HOUR_MS);
    ledger.sweep(Moment { now: Now { unix_ms: a_year_ahead.now.unix_ms, ..ten_days_later.now }, ..a_year_ahead }, 10);
    assert_eq!(tokens(&mut ledger, APRIL_MS + 10 * 24 * HOUR_MS), [0, 0, 7]);
}

#[test]
fn sums_of_every_period_are_restored_after_a_restart() {
    let (mut ledger, mut used) = (Ledger::default(), Used::default());
    for (unix_ms, tokens) in [(SUNDAY_MS - 1, 1), (SUNDAY_MS, 10), (MONDAY_MS, 100), (APRIL_MS, 1000)] {
        used.add(&berlin(unix_ms).windows, &Counted { requests: 1, tokens });
    }
    ledger.load_used(berlin(APRIL_MS), ROOT, SLUG, &used);
    assert_eq!(tokens(&mut ledger, APRIL_MS), [1000, 1100, 1000]);
    assert_eq!(tokens(&mut ledger, APRIL_MS - 1), [0, 1100, 111], "also if the clock is set back into March");
    spend(&mut ledger, APRIL_MS + 1, 5);
    assert_eq!(tokens(&mut ledger, APRIL_MS + 1), [1005, 1105, 1005]);
}
