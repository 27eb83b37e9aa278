//! Tests of refusals and of the standings that headers show.

use super::*;

#[test]
fn a_refused_request_takes_nothing_from_its_ancestors() {
    let mut ledger = Ledger::default();
    let limits = [limit(0, Request, Minute, 10), limit(1, Token, Minute, 1000), limit(2, Request, Daily, 0)];
    let refusal = ledger.admit(after_ms(0), &account(&PATH, &limits), &chat(50)).unwrap_err();
    assert_eq!((refusal.index, refusal.asked), (2, 1));
    assert!(ledger.cells.is_empty());
}

#[test]
fn a_threshold_of_zero_always_refuses() {
    for (what, unit) in [(Request, Second), (Request, Daily), (Token, Minute), (Token, Daily)] {
        let mut ledger = Ledger::default();
        let refusal = ledger.admit(after_ms(0), &account(&PATH, &[limit(0, what, unit, 0)]), &chat(0)).unwrap_err();
        assert_eq!(refusal.retry_after, None);
        assert!(ledger.would_admit(after_ms(0), &account(&PATH, &[limit(0, what, unit, 0)]), 0, None).is_err());
    }
}

#[test]
fn a_rate_has_room_again_exactly_at_retry_after() {
    let mut ledger = Ledger::default();
    let limits = [limit(0, Request, Second, 2), limit(1, Request, Minute, 3)];
    for ms in [0, 400, 1400] {
        let hold = ledger.admit(after_ms(ms), &account(&PATH, &limits), &chat(1)).unwrap().hold;
        charge(&mut ledger, hold, after_ms(ms), billed(1, 1));
    }
    let now = 2_000_000_000;
    let refusal = ledger.admit(after_ns(now), &account(&PATH, &limits), &chat(1)).unwrap_err();
    assert_eq!((refusal.index, refusal.used, refusal.held), (1, 3, 0));
    let wait = refusal.retry_after.unwrap();
    // The request at 0 ms is alone in its bucket.
    assert_eq!(wait, Duration::from_secs(58));
    let wait = wait.as_nanos() as u64;
    assert!(ledger.would_admit(after_ns(now + wait - 1), &account(&PATH, &limits), 0, None).is_err());
    assert!(ledger.would_admit(after_ns(now + wait), &account(&PATH, &limits), 0, None).is_ok());
}

#[test]
fn retry_after_assumes_that_running_requests_end_now() {
    let mut ledger = Ledger::default();
    let limits = [limit(0, Token, Minute, 200)];
    let hold = ledger.admit(after_ms(0), &account(&[OWN], &limits), &chat(100)).unwrap().hold;
    let refusal = ledger.admit(after_ms(1000), &account(&[OWN], &limits), &chat(100)).unwrap_err();
    assert_eq!((refusal.used, refusal.held, refusal.asked), (0, 200, 100));
    assert_eq!(refusal.retry_after, Some(Duration::from_secs(60)));
    let wait = refusal.retry_after.unwrap().as_nanos() as u64;
    charge(&mut ledger, hold, after_ms(1000), billed(100, 100));
    let now = after_ms(1000).now.monotonic_ns;
    assert!(ledger.would_admit(after_ns(now + wait - 1), &account(&[OWN], &limits), 100, None).is_err());
    assert!(ledger.would_admit(after_ns(now + wait), &account(&[OWN], &limits), 100, None).is_ok());
}

#[test]
fn of_several_refusing_limits_the_one_with_the_longest_wait_is_reported() {
    let mut ledger = Ledger::default();
    let hold = ledger.admit(after_ms(0), &account(&PATH, &[]), &chat(1)).unwrap().hold;
    charge(&mut ledger, hold, after_ms(0), billed(1, 1));
    let mut limits = vec![limit(0, Request, Second, 1), limit(1, Request, Daily, 1), limit(2, Request, Minute, 1)];
    assert_eq!(ledger.admit(after_ms(1), &account(&PATH, &limits), &chat(5)).unwrap_err().index, 1);
    limits.push(limit(2, Token, Daily, 4));
    let refusal = ledger.admit(after_ms(1), &account(&PATH, &limits), &chat(5)).unwrap_err();
    assert_eq!((refusal.index, refusal.retry_after), (3, None));
}

#[test]
fn headers_show_the_limit_of_each_type_with_least_left() {
    let mut ledger = Ledger::default();
    let limits = [
        limit(0, Request, Minute, 10),
        limit(1, Request, Daily, 5),
        limit(1, Token, Minute, 1000),
        limit(0, Token, Daily, 5000),
    ];
    let Standings { requests, tokens } =
        ledger.admit(after_ms(0), &account(&PATH, &limits), &chat(50)).unwrap().standings;
    let (requests, tokens) = (requests.unwrap(), tokens.unwrap());
    assert_eq!((requests.effective, requests.left(), requests.effective.is_shared()), (limits[1], 4, true));
    assert_eq!(requests.reset, Some(Duration::from_secs(14 * 3600)));
    assert_eq!((tokens.effective, tokens.left(), tokens.held), (limits[2], 850, 150));
    let minute = Duration::from_secs(60);
    assert_eq!(tokens.reset, Some(minute));
    assert!(
        ledger.admit(after_ms(0), &account(&PATH, &limits), &chat(900)).unwrap_err().standings.tokens == Some(tokens)
    );
    let unlimited = ledger.admit(after_ms(0), &account(&PATH, &[]), &chat(50)).unwrap();
    assert_eq!(unlimited.standings, Standings::default());
}

#[test]
fn an_empty_window_has_no_reset_and_a_day_resets_at_midnight() {
    let mut ledger = Ledger::default();
    let limits = [limit(0, Token, Minute, 10), limit(0, Request, Daily, 10)];
    let standings = |ledger: &mut Ledger, now| {
        let all = ledger.standing(now, &account(&PATH, &limits));
        [(all[0].reset, all[0].begun), (all[1].reset, all[1].begun)]
    };
    let to_midnight = |ms: u64| Some(Duration::from_millis(14 * 3_600_000 - ms));
    assert_eq!(standings(&mut ledger, after_ms(0)), [(None, false), (to_midnight(0), false)]);
    let hold = ledger.admit(after_ms(0), &account(&PATH, &limits), &chat(1)).unwrap().hold;
    charge(&mut ledger, hold, after_ms(1), billed(1, 1));
    let [(reset, true), (_, true)] = standings(&mut ledger, after_ms(1)) else { panic!("both limits have begun") };
    assert_eq!(reset, Some(Duration::from_secs(60)));
    assert_eq!(standings(&mut ledger, after_ms(60_000))[0], (Some(Duration::from_millis(1)), true));
    assert_eq!(standings(&mut ledger, after_ms(60_001)), [(None, false), (to_midnight(60_001), true)]);
}

#[test]
fn would_admit_takes_nothing_and_names_the_limit() {
    let mut ledger = Ledger::default();
    let limits = [limit(0, Request, Minute, 1), limit(1, Token, Daily, 100)];
    for _ in 0..3 {
        assert_eq!(ledger.would_admit(after_ms(0), &account(&PATH, &limits), 100, None), Ok(()));
    }
    let refusal = ledger.would_admit(after_ms(0), &account(&PATH, &limits), 101, None).unwrap_err();
    assert_eq!((refusal.index, refusal.retry_after), (1, None));
    assert!(ledger.cells.is_empty());
}
