//! Tests the ledger's rolling windows over half a million steps against a log of all arrivals. Limits change in the
//! middle of a window, the wall clock jumps by hours, and the monotonic clock seems to step back.

use super::*;
use crate::domain::{
    testing::{Arrivals, Random},
    window::Span,
};

const HOUR_NS: u64 = 3_600_000_000_000;

struct Clocks {
    random: Random,
    span: Span,
    ns: u64,
    unix_ms: u64,
}

impl Clocks {
    fn new(seed: u64, span: Span) -> Self {
        Self { random: Random::new(seed), span, ns: HOUR_NS, unix_ms: MORNING_MS }
    }

    fn tick(&mut self) -> Moment {
        let step = self.random.step(self.span);
        self.ns += step;
        self.unix_ms += step / 1_000_000;
        let mut monotonic_ns = self.ns;
        match self.random.below(300) {
            0 => self.unix_ms += self.random.below(30) * 3_600_000,
            1 => self.unix_ms -= self.random.below(30) * 3_600_000,
            // The ledger uses the latest time that it has seen.
            2 => monotonic_ns -= self.random.below(HOUR_NS),
            _ => {}
        }
        utc(Now { monotonic_ns, unix_ms: self.unix_ms, ..Now::default() })
    }
}

/// The exact sums of a window and of a window longer by a sixtieth. A limit may count any amount between them.
fn bounds(arrivals: &Arrivals, now_ns: u64, span: Span) -> (u64, u64) {
    let length = span.length_ns();
    (arrivals.within(now_ns, length), arrivals.within(now_ns, length + length / 60))
}

#[test]
fn request_rates_hold_while_thresholds_change_and_clocks_jump() {
    let (mut admitted, mut refused) = (0, 0);
    for (seed, span, unit) in [(1, Span::Second, Second), (2, Span::Minute, Minute)] {
        let mut clocks = Clocks::new(seed, span);
        let (mut ledger, mut arrivals, mut latest) = (Ledger::default(), Arrivals::default(), 0);
        let mut threshold = 20;
        for _ in 0..200_000 {
            let now = clocks.tick();
            latest = latest.max(now.now.monotonic_ns);
            if clocks.random.one_in(150) {
                threshold = clocks.random.pick(&[0, 1, 3, 10, 30, Threshold::MAX]);
            }
            let (least, most) = bounds(&arrivals, latest, span);
            match ledger.admit(now, &account(&[OWN], &[limit(0, Request, unit, threshold)]), &chat(1)) {
                Ok(taken) => {
                    assert!(least < threshold, "one more admitted at {least} of {threshold} in one window");
                    // Only a request without an answer is given back.
                    if clocks.random.one_in(5) {
                        ledger.release(taken.hold, now, true);
                    } else {
                        charge(&mut ledger, taken.hold, now, billed(1, 1));
                        arrivals.record(latest, 1);
                    }
                    admitted += 1;
                }
                Err(refusal) => {
                    assert!(most >= threshold, "refused, although there has been room for a sixtieth of the window");
                    assert!((least..=most).contains(&count(refusal.used)) && refusal.held == 0);
                    refused += 1;
                }
            }
        }
    }
    assert!(admitted > 50_000 && refused > 50_000, "too few steps were tested: {admitted} admitted, {refused} refused");
}

#[test]
fn token_rates_admit_exactly_what_fits_while_thresholds_change_and_clocks_jump() {
    let (mut admitted, mut refused) = (0, 0);
    for (seed, span, unit) in [(3, Span::Second, Second), (4, Span::Minute, Minute)] {
        let mut clocks = Clocks::new(seed, span);
        let (mut ledger, mut arrivals, mut latest) = (Ledger::default(), Arrivals::default(), 0);
        let (mut threshold, mut running, mut held) = (1000, Vec::new(), 0);
        for _ in 0..100_000 {
            let now = clocks.tick();
            latest = latest.max(now.now.monotonic_ns);
            if clocks.random.one_in(150) {
                threshold = clocks.random.pick(&[0, 1, 50, 1000, 20_000, Threshold::MAX]);
            }
            let (least, most) = bounds(&arrivals, latest, span);
            let prompt = 1 + clocks.random.below(40);
            match ledger.admit(now, &account(&[OWN], &[limit(0, Token, unit, threshold)]), &chat(prompt)) {
                Ok(taken) => {
                    assert!(least + held + prompt <= threshold, "{least} + {held} + {prompt} of {threshold}");
                    held += taken.hold.tokens;
                    running.push(taken.hold);
                    admitted += 1;
                }
                Err(refusal) => {
                    assert!(most + held + prompt > threshold, "refused at {most} + {held} + {prompt} of {threshold}");
                    assert!((least..=most).contains(&count(refusal.used)) && count(refusal.held) == held);
                    refused += 1;
                }
            }
            if running.len() > 3 || clocks.random.one_in(3) {
                let at = clocks.random.below(running.len().max(1) as u64) as usize;
                if at < running.len() {
                    let hold = running.swap_remove(at);
                    held -= hold.tokens;
                    let usage = billed(clocks.random.below(40), clocks.random.below(200));
                    charge(&mut ledger, hold, now, usage);
                    arrivals.record(latest, usage.total());
                }
            }
        }
    }
    assert!(admitted > 20_000 && refused > 20_000, "too few steps were tested: {admitted} admitted, {refused} refused");
}
