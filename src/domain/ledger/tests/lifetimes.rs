//! Tests of how long figures and cells last: across midnight, restarts, deletions and sweeps.

use super::*;

#[test]
fn a_limit_set_at_noon_includes_the_morning_and_running_requests() {
    let mut ledger = Ledger::default();
    let done = ledger.admit(after_ms(0), &account(&PATH, &[]), &chat(50)).unwrap().hold;
    charge(&mut ledger, done, after_ms(10), billed(50, 50));
    let _running = ledger.admit(after_ms(7_200_000), &account(&PATH, &[]), &chat(50)).unwrap().hold;
    let noon = [limit(2, Token, Daily, 300), limit(2, Request, Daily, 2)];
    let refusal = ledger.admit(after_ms(7_200_001), &account(&PATH, &noon), &chat(50)).unwrap_err();
    assert_eq!((refusal.index, refusal.used, refusal.held, refusal.asked), (1, 1, 1, 1));
    let refusal = ledger.admit(after_ms(7_200_001), &account(&PATH, &noon[..1]), &chat(51)).unwrap_err();
    assert_eq!((refusal.used, refusal.held, refusal.asked), (100, 150, 51));
    let until_midnight = Duration::from_secs(12 * 3600) - Duration::from_millis(1);
    assert_eq!(refusal.retry_after, Some(until_midnight));
}

#[test]
fn a_request_belongs_to_the_day_of_its_settlement() {
    let mut ledger = Ledger::default();
    let before = utc(Now { monotonic_ns: 0, unix_ms: TODAY.end_unix_ms() - 1, ..Now::default() });
    let midnight = utc(Now { monotonic_ns: 1_000_000, unix_ms: TODAY.end_unix_ms(), ..Now::default() });
    let hold = ledger.admit(before, &account(&PATH, &[]), &chat(50)).unwrap().hold;
    assert_eq!(figures(&mut ledger, midnight, ROOT, Request, Daily), (0, 1), "a running request is held on every day");
    charge(&mut ledger, hold, midnight, billed(50, 50));
    assert_eq!(figures(&mut ledger, before, ROOT, Token, Daily), (0, 0));
    assert_eq!(figures(&mut ledger, midnight, ROOT, Token, Daily), (100, 0));
    assert_eq!(figures(&mut ledger, midnight, ROOT, Request, Daily), (1, 0));
}

#[test]
fn a_wall_clock_that_is_set_back_keeps_the_day_sums_and_does_not_affect_windows() {
    let mut ledger = Ledger::default();
    let spend = |ledger: &mut Ledger, now| {
        let hold = ledger.admit(now, &account(&[OWN], &[]), &chat(1)).unwrap().hold;
        charge(ledger, hold, now, billed(7, 3));
    };
    let today = utc(Now { monotonic_ns: 0, unix_ms: MORNING_MS, ..Now::default() });
    let next_year = utc(Now { monotonic_ns: 1_000_000, unix_ms: MORNING_MS + 365 * 86_400_000, ..Now::default() });
    let today_again = utc(Now { monotonic_ns: 2_000_000, unix_ms: MORNING_MS, ..Now::default() });
    spend(&mut ledger, today);
    spend(&mut ledger, next_year);
    ledger.sweep(next_year, 10);
    spend(&mut ledger, today_again);
    assert_eq!(figures(&mut ledger, today_again, OWN, Token, Daily), (20, 0));
    assert_eq!(figures(&mut ledger, today_again, OWN, Token, Second), (30, 0));
    // An earlier monotonic time is replaced by the latest one seen.
    spend(&mut ledger, today);
    assert_eq!(figures(&mut ledger, today, OWN, Token, Second), (40, 0));
}

#[test]
fn windows_and_days_are_restored_after_a_restart() {
    let mut ledger = Ledger::default();
    // The process has just started, so past requests are from before its first moment.
    let now = after_ms(0);
    let past = |admitted_ms, settled_ms| Past {
        admitted_ago: Duration::from_millis(admitted_ms),
        settled_ago: Duration::from_millis(settled_ms),
        usage: billed(10, 5),
    };
    for (admitted, settled) in [(70_000, 30_000), (30_000, 500), (500, 0), (u64::MAX / 1_000_000, 120_000)] {
        ledger.refill(now, &PATH, SLUG, &past(admitted, settled));
    }
    let mut used = Used::default();
    for (day, requests, tokens) in [(Day(TODAY.0 - 1), 30, 3000), (TODAY, 40, 4000)] {
        used.add(&Calendar::default().windows(day.start_unix_ms()), &Counted { requests, tokens });
    }
    ledger.load_used(now, ROOT, SLUG, &used);
    assert_eq!(figures(&mut ledger, now, OWN, Request, Minute), (2, 0));
    assert_eq!(figures(&mut ledger, now, OWN, Request, Second), (1, 0));
    assert_eq!(figures(&mut ledger, now, ROOT, Token, Minute), (45, 0));
    assert_eq!(figures(&mut ledger, now, ROOT, Token, Second), (30, 0));
    assert_eq!(figures(&mut ledger, now, ROOT, Token, Daily), (4000, 0));
    assert_eq!(figures(&mut ledger, now, ROOT, Request, Daily), (40, 0));
    assert_eq!(figures(&mut ledger, now, OWN, Token, Daily), (0, 0));
    assert_eq!(figures(&mut ledger, after_ms(30_000), ROOT, Token, Minute), (30, 0));
}

#[test]
fn a_removed_group_lasts_until_its_last_request_ends_and_its_ancestors_keep_its_use() {
    let mut ledger = Ledger::default();
    let done = ledger.admit(after_ms(0), &account(&PATH, &[]), &chat(1)).unwrap().hold;
    charge(&mut ledger, done, after_ms(0), billed(10, 10));
    let running = ledger.admit(after_ms(0), &account(&PATH, &[]), &chat(1)).unwrap().hold;
    ledger.remove_group(after_ms(1), OWN);
    assert_eq!(figures(&mut ledger, after_ms(1), OWN, Request, Daily), (1, 1));
    charge(&mut ledger, running, after_ms(2), billed(10, 10));
    assert_eq!(figures(&mut ledger, after_ms(2), OWN, Request, Daily), (0, 0));
    assert_eq!(figures(&mut ledger, after_ms(2), PARENT, Token, Daily), (40, 0));
    ledger.remove_group(after_ms(3), PARENT);
    assert_eq!(figures(&mut ledger, after_ms(3), PARENT, Token, Daily), (0, 0));
    assert_eq!(figures(&mut ledger, after_ms(3), ROOT, Token, Daily), (40, 0));
}

#[test]
fn expired_cells_are_swept_and_cells_with_running_requests_are_not() {
    let mut ledger = Ledger::default();
    let hours = |hours: u64| after_ms(hours * 3_600_000);
    for n in 0..100 {
        let hold = ledger.admit(hours(0), &account(&[GroupId(100 + n), ROOT], &[]), &chat(1)).unwrap().hold;
        charge(&mut ledger, hold, hours(0), billed(1, 1));
    }
    let running = ledger.admit(hours(0), &account(&[OWN, ROOT], &[]), &chat(1)).unwrap().hold;
    // The month ends after 19 days.
    ledger.sweep(hours(34 * 24), 1000);
    assert_eq!(figures(&mut ledger, hours(0), GroupId(100), Token, Daily), (2, 0));
    ledger.sweep(hours(36 * 24), 1000);
    assert!(ledger.cells.find(GroupId(100), Scope::Slug(SLUG)).is_none());
    assert_eq!(figures(&mut ledger, hours(36 * 24), ROOT, Request, Daily), (0, 1));
    charge(&mut ledger, running, hours(36 * 24), billed(1, 1));
    ledger.sweep(hours(72 * 24), 1000);
    assert!(ledger.cells.is_empty());
}

#[test]
fn admissions_sweep_the_expired_cells_of_other_groups() {
    let mut ledger = Ledger::default();
    for n in 0..50 {
        let hold = ledger.admit(after_ms(0), &account(&[GroupId(100 + n)], &[]), &chat(1)).unwrap().hold;
        charge(&mut ledger, hold, after_ms(0), billed(1, 1));
    }
    for n in 0..60 {
        let now = after_ms(36 * 86_400_000 + n);
        let hold = ledger.admit(now, &account(&[OWN], &[]), &chat(1)).unwrap().hold;
        charge(&mut ledger, hold, now, billed(1, 1));
    }
    assert!((100..150).all(|n| ledger.cells.find(GroupId(n), Scope::Slug(SLUG)).is_none()));
    assert!(ledger.cells.find(OWN, Scope::Slug(SLUG)).is_some());
}
