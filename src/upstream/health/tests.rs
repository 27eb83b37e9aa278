use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use super::*;

/// The moment `ms` milliseconds after the start of the monotonic clock, which is 1,000,000 in Unix milliseconds.
fn at(ms: u64) -> Now {
    Now { monotonic_ns: ms * 1_000_000, unix_ms: 1_000_000 + ms, behind_ms: 0 }
}

impl Health {
    fn fail(&self, reason: &str, ms: u64) -> Option<u64> {
        let pause = self.failed(self.begin(ms), reason.to_owned(), at(ms));
        self.end();
        pause.map(|pause| pause.as_secs())
    }

    fn succeed(&self, ms: u64) -> bool {
        let ended = self.succeeded(self.begin(ms), at(ms));
        self.end();
        ended
    }
}

#[test]
fn failures_are_counted_until_the_target_answers() {
    let health = Health::default();
    let last = || (health.standing(at(9)).last_failure, health.standing(at(9)).last_success_ms);
    let failure = |reason: &str, at_ms, count| Some(TargetFailure { reason: reason.to_owned(), at_ms, count });
    assert_eq!(last(), (None, None));
    health.fail("no connection", 1);
    health.fail("status 500", 2);
    assert_eq!(last(), (failure("status 500", 1_000_002, 2), None));
    health.succeed(3_999);
    assert_eq!(last(), (failure("status 500", 1_000_002, 0), Some(1_003_999)), "the failure itself is kept");
    health.fail("no connection", 5_000);
    assert_eq!(last(), (failure("no connection", 1_005_000, 1), Some(1_003_999)));
}

#[test]
fn a_standing_tells_since_when_until_when_and_why_a_target_is_out() {
    let health = Health::default();
    let state = |ms| (health.standing(at(ms)).state, health.standing(at(ms)).outage);
    let outage = |since_ms, until_ms, reason: &str| Some(Outage { since_ms, until_ms, reason: reason.to_owned() });
    assert_eq!(state(0), (State::Unused, None));
    health.succeed(0);
    assert_eq!(state(0), (State::Ok, None));
    assert_eq!([(); 4].map(|()| health.fail("no connection", 500)), [None; 4]);
    assert_eq!(state(500), (State::Failing, None));
    assert_eq!(health.fail("status 500", 600), Some(1));
    assert_eq!(state(1599), (State::Out, outage(1_000_600, 1_001_600, "status 500")));
    assert_eq!(state(1600), (State::Probing, outage(1_000_600, 1_001_600, "status 500")));
    assert_eq!(health.fail("status 503", 2_000), Some(2));
    assert_eq!(state(2_000), (State::Out, outage(1_000_600, 1_004_000, "status 503")), "out since the first failure");
    assert_eq!(health.fail("status 504", 2_100), None);
    assert_eq!(state(2_100), (State::Out, outage(1_000_600, 1_004_000, "status 503")), "not what left it out");
    assert!(health.succeed(4_000));
    assert_eq!(state(4_000), (State::Ok, None));
    let expected = AttemptCounts { answered: 2, refused: 0, failed: 7, limited: 0 };
    assert_eq!(health.standing(at(4_000)).attempts, expected);
}

#[test]
fn only_a_429_with_retry_after_is_no_failure_of_the_circuit() {
    let health = Health::default();
    let limit = |retry_after, ms| health.limited(health.begin(ms), "status 429".to_owned(), retry_after, at(ms));
    let ten = Some(Duration::from_secs(10));
    assert_eq!(limit(ten, 0), ten);
    assert_eq!(health.availability(9_999), Availability::Out { until_ms: 10_000 });
    assert_eq!((health.standing(at(10_000)).state, health.standing(at(10_000)).outage), (State::Failing, None));
    assert_eq!([(); 4].map(|()| limit(None, 10_000)), [None; 4]);
    assert_eq!(limit(None, 10_000), Some(Duration::from_secs(1)));
    assert_eq!(health.standing(at(10_000)).attempts.limited, 6);
    // A new outage, because the target was in again between the two.
    assert_eq!(health.standing(at(10_000)).outage.map(|outage| outage.since_ms), Some(1_010_000));
    assert!(health.refused(health.begin(10_500), at(10_500)), "the target works");
    assert_eq!(health.standing(at(10_500)).attempts.refused, 1);
}

#[test]
fn a_customer_who_hangs_up_during_the_probe_leaves_the_next_one_to_try() {
    let health = Health::default();
    assert_eq!([(); 5].map(|()| health.fail("no connection", 0)).last(), Some(&Some(1)));
    let probe = health.begin(1000);
    assert_eq!(health.availability(1000), Availability::Out { until_ms: 1000 });
    health.abandoned(probe);
    assert_eq!(health.availability(1000), Availability::In);
    assert!(health.begin(1000).is_probe());
    assert_eq!(health.running(), 2);
}

#[test]
fn threads_agree_on_one_probe_and_on_the_number_that_run() {
    let health = Health::default();
    let [clock, probing, probes, hung_up] = [0; 4].map(AtomicUsize::new);
    // Only a probe succeeds, so that nothing else can end the probe's turn.
    let work = || {
        for _ in 0..20_000 {
            let now = at(clock.fetch_add(200, Ordering::SeqCst) as u64);
            let ticket = health.begin(now.monotonic_ms());
            assert!((1..=4).contains(&health.running()));
            let is_probe = ticket.is_probe();
            let mut turn = 0;
            if is_probe {
                assert_eq!(probing.fetch_add(1, Ordering::SeqCst), 0, "two probes at once");
                turn = probes.fetch_add(1, Ordering::SeqCst) % 4;
                thread::yield_now();
                probing.fetch_sub(1, Ordering::SeqCst);
            }
            match (is_probe, turn) {
                (true, 0) => {
                    hung_up.fetch_add(1, Ordering::SeqCst);
                    health.abandoned(ticket);
                }
                (true, 1) => assert!(health.succeeded(ticket, now)),
                _ => _ = health.failed(ticket, "no connection".to_owned(), now),
            }
            health.end();
        }
    };
    thread::scope(|scope| [(); 4].map(|()| scope.spawn(work)).map(|_| ()));
    assert_eq!(health.running(), 0);
    assert!(probes.into_inner() > 100);
    let AttemptCounts { answered, failed, .. } = health.standing(at(0)).attempts;
    assert!(answered > 10 && answered + failed + hung_up.into_inner() as u64 == 80_000);
}
