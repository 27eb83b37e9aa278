use super::*;
use crate::domain::testing::Random;

const SECOND: u64 = 1000;

impl Circuit {
    fn availability(&self, now_ms: u64) -> Availability {
        self.snapshot().availability(now_ms)
    }

    /// An attempt that succeeds at once.
    fn succeed(&mut self, now_ms: u64) -> bool {
        let ticket = self.begin(now_ms);
        self.succeeded(ticket, now_ms)
    }

    /// An attempt that fails at once: the length of the pause in seconds if it began one.
    fn fail(&mut self, now_ms: u64) -> Option<u64> {
        let ticket = self.begin(now_ms);
        self.failed(ticket, now_ms).map(|pause| pause.as_secs())
    }

    /// An attempt that gets 429 at once: the length of the pause in seconds if it began one.
    fn limit(&mut self, retry_after_s: u64, now_ms: u64) -> Option<u64> {
        let ticket = self.begin(now_ms);
        self.limited(ticket, Duration::from_secs(retry_after_s), now_ms).map(|pause| pause.as_secs())
    }

    /// A circuit that the fifth failure opened at `now_ms`.
    fn opened(now_ms: u64) -> Self {
        let mut circuit = Self::default();
        let pauses: Vec<_> = (0..5).map(|_| circuit.fail(now_ms)).collect();
        assert_eq!(pauses, [None, None, None, None, Some(1)]);
        circuit
    }
}

#[test]
fn five_failures_in_a_row_open_a_circuit_for_a_second() {
    let circuit = Circuit::opened(7_000);
    assert_eq!(circuit.availability(7_999), Availability::Out { until_ms: 8_000 });
    assert_eq!(circuit.availability(8_000), Availability::In);
}

#[test]
fn a_success_ends_a_row_of_failures() {
    let mut circuit = Circuit::default();
    for round in 0..100 {
        // Far enough apart that the share of failures never counts.
        let now = round * 40 * SECOND;
        assert_eq!([(); 4].map(|()| circuit.fail(now)), [None; 4]);
        assert!(!circuit.succeed(now));
    }
    assert_eq!(circuit.availability(0), Availability::In);
}

#[test]
fn half_of_twenty_failures_within_thirty_seconds_open_a_circuit() {
    let mut circuit = Circuit::default();
    for second in 0..9 {
        circuit.succeed(second * SECOND);
        assert_eq!(circuit.fail(second * SECOND), None);
    }
    circuit.succeed(9 * SECOND);
    assert_eq!(circuit.clone().fail(9 * SECOND), Some(1), "the twentieth");
    assert_eq!(circuit.clone().fail(29 * SECOND), Some(1), "the first is still within the window");
    assert_eq!(circuit.clone().fail(30 * SECOND), None, "the first two are not");
    circuit.succeed(9 * SECOND);
    assert_eq!(circuit.fail(9 * SECOND), None, "ten of twenty-one");
}

#[test]
fn pauses_double_up_to_a_minute_and_begin_anew_after_a_success() {
    let mut circuit = Circuit::opened(0);
    let mut now = SECOND;
    for pause in [2, 4, 8, 16, 32, 60, 60, 60] {
        assert_eq!(circuit.fail(now), Some(pause));
        let until_ms = now + pause * SECOND;
        assert_eq!(circuit.availability(until_ms - 1), Availability::Out { until_ms });
        now = until_ms;
    }
    assert!(circuit.succeed(now));
    let failures: Vec<_> = (0..5).map(|_| circuit.fail(now)).collect();
    assert_eq!(failures, [None, None, None, None, Some(1)]);
}

#[test]
fn one_probe_runs_at_a_time() {
    let mut circuit = Circuit::opened(0);
    let early = circuit.begin(SECOND - 1);
    let probe = circuit.begin(SECOND);
    let second = circuit.begin(SECOND);
    assert_eq!([&early, &probe, &second].map(Ticket::is_probe), [false, true, false]);
    assert_eq!(circuit.availability(5 * SECOND), Availability::Out { until_ms: SECOND });
    assert_eq!(circuit.failed(second, 5 * SECOND), None, "only the probe's failure counts");
    circuit.abandoned(early);
    assert_eq!(circuit.availability(5 * SECOND), Availability::Out { until_ms: SECOND }, "the probe still runs");
    circuit.abandoned(probe);
    assert_eq!(circuit.availability(5 * SECOND), Availability::In);
    assert!(circuit.begin(5 * SECOND).is_probe(), "its place is free again");
}

#[test]
fn a_success_while_all_targets_are_out_closes_the_circuit_and_a_failure_changes_nothing() {
    let mut circuit = Circuit::opened(0);
    let before = circuit.clone();
    assert_eq!(circuit.fail(500), None);
    assert_eq!(circuit, before);
    assert!(circuit.succeed(500));
    assert_eq!(circuit.availability(500), Availability::In);

    // The probe that ran meanwhile no longer matters.
    let mut circuit = Circuit::opened(0);
    let (forced, probe) = (circuit.begin(500), circuit.begin(SECOND));
    assert!(circuit.succeeded(forced, SECOND));
    let closed = circuit.clone();
    assert_eq!(circuit.failed(probe, SECOND), None);
    assert_eq!(circuit, closed);
}

#[test]
fn attempts_that_began_before_the_circuit_opened_do_not_change_it() {
    let mut circuit = Circuit::default();
    let mut early: Vec<_> = (0..64).map(|_| circuit.begin(0)).collect();
    let pauses: Vec<_> = early.drain(..61).map(|ticket| circuit.failed(ticket, 0)).collect();
    assert_eq!(pauses.iter().flatten().collect::<Vec<_>>(), [&Duration::from_secs(1)]);
    let open = circuit.clone();
    assert!(!circuit.succeeded(early.remove(0), 1));
    assert_eq!(circuit.limited(early.remove(0), Duration::from_secs(60), 1), None);
    circuit.abandoned(early.remove(0));
    assert_eq!(circuit, open);
}

#[test]
fn a_429_with_retry_after_leaves_a_target_out_for_that_long() {
    let mut circuit = Circuit::default();
    let early: [Ticket; 5] = std::array::from_fn(|_| circuit.begin(0));
    assert_eq!(circuit.limit(10, 0), Some(10));
    let [short, long, success, failure, abandoned] = early;
    assert_eq!(circuit.limited(short, Duration::from_secs(3), 1000), None);
    assert_eq!(circuit.availability(0), Availability::Out { until_ms: 10_000 }, "not shortened");
    assert_eq!(circuit.limited(long, Duration::from_secs(3600), 1000), None);
    assert_eq!(circuit.availability(60_999), Availability::Out { until_ms: 61_000 }, "extended, to at most a minute");
    assert!(!circuit.succeeded(success, 2000));
    assert_eq!(circuit.failed(failure, 2000), None);
    circuit.abandoned(abandoned);
    assert_eq!(circuit.availability(60_999), Availability::Out { until_ms: 61_000 });
    // Then every attempt may go.
    assert_eq!([(); 3].map(|()| circuit.begin(61_000).is_probe()), [false; 3]);
    assert_eq!(circuit.availability(61_000), Availability::In);
}

#[test]
fn a_429_is_no_failure_and_no_success() {
    let mut circuit = Circuit::default();
    assert_eq!([(); 4].map(|()| circuit.fail(0)), [None; 4]);
    assert_eq!((circuit.limit(0, 0), circuit.limit(1, 0)), (None, Some(1)));
    assert_eq!(circuit.availability(999), Availability::Out { until_ms: 1000 });
    assert_eq!(circuit.fail(500), None, "nothing counts while the target is left out");
    assert_eq!(circuit.fail(1000), Some(1), "the fifth in a row");
}

#[test]
fn a_429_to_the_probe_closes_the_circuit_when_its_time_is_over() {
    let mut circuit = Circuit::opened(0);
    assert_eq!(circuit.limit(3, SECOND), Some(3));
    assert_eq!(circuit.availability(3_999), Availability::Out { until_ms: 4_000 });
    assert_eq!(circuit.fail(4_000), None, "counting begins anew");
    assert_eq!(circuit.availability(4_000), Availability::In);
    let mut circuit = Circuit::opened(0);
    assert_eq!(circuit.limit(0, SECOND), None);
    assert_eq!(circuit.availability(SECOND), Availability::In);
}

#[test]
fn a_snapshot_survives_its_word() {
    let far = (1 << 62) - 1;
    for number in [0, 1, 60_000, far] {
        for snapshot in [
            Snapshot::Closed { generation: number },
            Snapshot::Limited { until_ms: number },
            Snapshot::Open { until_ms: number },
            Snapshot::Probing { until_ms: number },
        ] {
            assert_eq!(Snapshot::from_word(snapshot.to_word()), snapshot);
        }
    }
    assert_eq!(Snapshot::from_word(0), Circuit::default().snapshot());
}

/// A reference model that keeps every outcome.
#[derive(Default)]
struct Model {
    /// (time, whether it failed) of the outcomes that count, oldest first.
    outcomes: Vec<(u64, bool)>,
    /// Changes so far, so that it is known which attempts began before the last one.
    changes: usize,
    out: Option<Out>,
    /// Times that the circuit opened since it was last closed.
    openings: u32,
    opened_by_share: usize,
}

struct Out {
    until_ms: u64,
    after_failures: bool,
    probe: Option<usize>,
}

/// An attempt of the test.
struct Running {
    id: usize,
    changes: usize,
    ticket: Ticket,
}

impl Model {
    fn availability(&self, now: u64) -> Availability {
        match &self.out {
            Some(out) if now < out.until_ms || out.probe.is_some() => Availability::Out { until_ms: out.until_ms },
            _ => Availability::In,
        }
    }

    /// Returns whether the attempt is the probe.
    fn begin(&mut self, now: u64, id: usize) -> bool {
        match &mut self.out {
            Some(out) if now >= out.until_ms && out.after_failures && out.probe.is_none() => {
                out.probe = Some(id);
                true
            }
            Some(out) if now >= out.until_ms && !out.after_failures => {
                self.out = None;
                self.changes += 1;
                false
            }
            _ => false,
        }
    }

    fn succeeded(&mut self, now: u64) -> bool {
        if self.out.take().is_none() {
            self.outcomes.push((now, false));
            return false;
        }
        self.outcomes.clear();
        self.openings = 0;
        self.changes += 1;
        true
    }

    fn failed(&mut self, now: u64, id: usize) -> Option<u64> {
        let opens = match &self.out {
            None => {
                self.outcomes.push((now, true));
                let row = self.outcomes.iter().rev().take_while(|(_, failed)| *failed).count();
                let recent = || self.outcomes.iter().rev().take_while(|(at, _)| now / 1000 - at / 1000 < 30);
                let (attempts, failures) = (recent().count(), recent().filter(|(_, failed)| *failed).count());
                let by_share = attempts >= 20 && failures * 2 >= attempts;
                self.opened_by_share += usize::from(by_share && row < 5);
                row >= 5 || by_share
            }
            Some(out) => out.probe == Some(id),
        };
        opens.then(|| {
            let pause = (1_u64 << self.openings.min(10)).min(60) * SECOND;
            self.out = Some(Out { until_ms: now + pause, after_failures: true, probe: None });
            self.outcomes.clear();
            self.openings += 1;
            self.changes += 1;
            pause
        })
    }

    fn limited(&mut self, now: u64, retry_after: u64, is_late: bool) -> Option<u64> {
        let pause = retry_after.min(60 * SECOND);
        match &mut self.out {
            None if pause == 0 => return None,
            Some(out) if out.after_failures && is_late => return None,
            Some(out) if !out.after_failures && now < out.until_ms => {
                out.until_ms = out.until_ms.max(now + pause);
                return None;
            }
            _ => {}
        }
        self.out = Some(Out { until_ms: now + pause, after_failures: false, probe: None });
        self.openings = 0;
        self.changes += 1;
        (pause > 0).then_some(pause)
    }
}

#[test]
fn over_a_million_random_outcomes_a_circuit_keeps_its_rules() {
    let (mut steps, mut opened, mut by_share, mut longest, mut closed) = (0, 0, 0, 0, 0);
    let (mut left_out, mut late, mut forced, mut freed) = (0, 0, 0, 0);
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let (mut circuit, mut model, mut running) = (Circuit::default(), Model::default(), Vec::new());
        // Some servers answer fast and some slowly, some are busy and some are not.
        let (most, pace) = (1 + random.below(64) as usize, random.pick(&[1, 30, 400, 3000]));
        let (mut now, mut share) = (random.below(100 * SECOND), 50);
        for id in 0..5_000 {
            steps += 1;
            now += match random.below(100) {
                0 => random.below(70 * SECOND),
                1..=10 => pace,
                11..=50 => 0,
                _ => random.below(2 * pace),
            };
            if random.one_in(300) {
                share = random.pick(&[0, 1, 30, 50, 60, 90, 100]);
            }
            // At the exact end of a pause.
            if let Availability::Out { until_ms } = model.availability(now)
                && until_ms > now
                && random.one_in(20)
            {
                assert_eq!(circuit.availability(until_ms - 1), Availability::Out { until_ms });
                now = until_ms;
            }
            let availability = model.availability(now);
            assert_eq!(circuit.availability(now), availability, "at {now}");

            let is_probe = model.begin(now, id);
            // Like a caller that reads the state without the circuit's lock.
            let ticket = circuit.snapshot().ticket().unwrap_or_else(|| circuit.begin(now));
            assert_eq!(ticket.is_probe(), is_probe);
            assert!(!is_probe || availability == Availability::In, "a second probe, or one within a pause");
            forced += usize::from(availability != Availability::In);
            running.push(Running { id, changes: model.changes, ticket });
            while running.len() > random.below(most as u64) as usize {
                let Running { id, changes, ticket } = running.swap_remove(random.below(running.len() as u64) as usize);
                let (is_late, is_probe) = (changes != model.changes, ticket.is_probe());
                late += usize::from(is_late);
                let before = is_late.then(|| circuit.clone());
                match random.below(104) {
                    100..=102 => {
                        if let Some(out) = &mut model.out
                            && out.probe == Some(id)
                        {
                            out.probe = None;
                            freed += 1;
                        }
                        circuit.abandoned(ticket);
                        assert!(before.is_none_or(|before| circuit == before));
                    }
                    103 => {
                        let retry_after = random.pick(&[0, 1, 500, 3000, 59_999, 60_000, 60_001, 3_600_000]);
                        let pause = circuit.limited(ticket, Duration::from_millis(retry_after), now);
                        let expected = model.limited(now, retry_after, is_late);
                        assert_eq!(pause, expected.map(Duration::from_millis));
                        left_out += usize::from(pause.is_some());
                    }
                    percent if percent < share => {
                        let pause = circuit.failed(ticket, now);
                        let expected = if is_late { None } else { model.failed(now, id) };
                        assert_eq!(pause, expected.map(Duration::from_millis));
                        assert!(before.is_none_or(|before| circuit == before));
                        opened += usize::from(pause.is_some());
                        longest += usize::from(pause == Some(Duration::from_secs(60)));
                    }
                    _ => {
                        let ends = circuit.succeeded(ticket, now);
                        assert_eq!(ends, !is_late && model.succeeded(now));
                        assert!(before.is_none_or(|before| circuit == before));
                        assert!(!is_probe || is_late || ends, "a probe that succeeds closes the circuit");
                        closed += usize::from(ends);
                    }
                }
                assert_eq!(circuit.availability(now), model.availability(now));
            }
        }
        by_share += model.opened_by_share;
    }
    let seen = [opened, by_share, longest, closed, left_out, late, forced, freed];
    assert_eq!(steps, 1_000_000);
    assert!(seen.iter().all(|count| *count > 100), "too few of a kind: {seen:?}");
}
