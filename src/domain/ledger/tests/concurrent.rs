//! Tests of limits on running requests.

use super::*;

fn concurrent(counted_at: u8, threshold: u64) -> Effective {
    limit(counted_at, Request, Concurrent, threshold)
}

#[test]
fn a_limit_on_running_requests_is_never_exceeded_and_each_end_makes_room() {
    let mut ledger = Ledger::default();
    let limits = account(&[OWN], &[concurrent(0, 2)]);
    let admit = |ledger: &mut Ledger, ms| ledger.admit(after_ms(ms), &limits, &chat(1)).map(|it| it.hold);
    let (first, second) = (admit(&mut ledger, 0).unwrap(), admit(&mut ledger, 0).unwrap());
    let refusal = admit(&mut ledger, 1).unwrap_err();
    assert_eq!((refusal.used, refusal.held, refusal.asked), (2, 0, 1));
    assert_eq!((refusal.retry_after, refusal.retry_after_s()), (Some(Duration::from_secs(1)), Some(1)));
    // Time alone makes no room.
    assert!(admit(&mut ledger, 90 * 86_400_000).is_err());
    charge(&mut ledger, first, after_ms(90 * 86_400_000), billed(1, 1));
    let third = admit(&mut ledger, 90 * 86_400_000).unwrap();
    for (hold, give_back_rate) in [(second, true), (third, false)] {
        ledger.release(hold, after_ms(90 * 86_400_000), give_back_rate);
    }
    let standing = ledger.standing(after_ms(90 * 86_400_000), &limits)[0];
    assert_eq!((standing.used, standing.held, standing.left(), standing.begun), (0, 0, 2, false));
}

#[test]
fn a_limit_of_no_running_requests_refuses_for_good() {
    let refusal = Ledger::default().admit(after_ms(0), &account(&[OWN], &[concurrent(0, 0)]), &chat(1)).unwrap_err();
    assert_eq!((refusal.used, refusal.asked, refusal.retry_after), (0, 1, None));
}

#[test]
fn running_requests_of_a_subtree_are_pooled_and_counted_before_the_limit_is_set() {
    let mut ledger = Ledger::default();
    let _sibling = ledger.admit(after_ms(0), &account(&[GroupId(9), ROOT], &[]), &chat(1)).unwrap();
    let limits = account(&[OWN, ROOT], &[concurrent(1, 1), concurrent(0, 1)]);
    let refusal = ledger.admit(after_ms(0), &limits, &chat(1)).unwrap_err();
    assert_eq!((refusal.index, refusal.effective.is_shared(), refusal.used), (0, true, 1));
    let standings = ledger.standing(after_ms(0), &limits);
    assert_eq!([standings[0].used, standings[1].used], [1, 0]);
    assert_eq!([standings[0].reset, standings[1].reset], [None, None]);
    assert_eq!(standings[0].reset_at_unix_ms(after_ms(0)), None);
}

#[test]
fn headers_never_speak_of_running_requests() {
    let mut ledger = Ledger::default();
    let limits = account(&[OWN], &[concurrent(0, 1), limit(0, Request, Minute, 50)]);
    let standings = ledger.admit(after_ms(0), &limits, &chat(1)).unwrap().standings;
    assert_eq!((standings.requests.unwrap().left(), standings.tokens), (49, None));
    let refusal = ledger.admit(after_ms(0), &limits, &chat(1)).unwrap_err();
    assert_eq!((refusal.index, refusal.standings.requests.unwrap().left()), (0, 49));
}

#[test]
fn a_limit_with_a_longer_wait_is_named_before_the_limit_on_running_requests() {
    let mut ledger = Ledger::default();
    let limits = account(&[OWN], &[concurrent(0, 1), limit(0, Request, Daily, 1)]);
    let _running = ledger.admit(after_ms(0), &limits, &chat(1)).unwrap();
    assert_eq!(ledger.admit(after_ms(0), &limits, &chat(1)).unwrap_err().index, 1);
}
