//! Compares the ledger with a reference model over random trees, rules, prices and steps.
//!
//! The model is an implementation of the contract that is simple and slow: it stores every arrival, and it looks through
//! all running requests for each figure. It shares no code with the ledger except the calendar and the buckets of rolling
//! windows, which have tests of their own.

mod book;
mod check;
mod clock;
mod demand;
mod prices;
mod run;
mod tree;

use super::*;
use run::{Counts, Run};

/// Steps of each run of the comparison.
const STEPS: usize = 400;

#[test]
fn every_figure_matches_a_model_that_stores_all_requests() {
    let mut counts = Counts::default();
    for seed in 1..=60 {
        let mut run = Run::new(seed);
        for step in 0..STEPS {
            run.clock.pass(&mut run.random, true);
            match run.random.below(20) {
                0..=9 => run.admit(step, seed % 3 == 0),
                10 => run.configure(),
                11 => run.sweep(),
                12 => run.ask_whether_it_would_pass(),
                _ => run.end_one(),
            }
            run.compare();
        }
        run.end_all();
        assert_eq!(run.cells_of_deleted_groups(), 0, "nothing is left once their running requests have ended");
        counts.add(&run.counts);
    }
    eprintln!("{counts:?}");
    let Counts { admitted, refused, refused_by_budgets, refused_by_concurrent, deleted, days, months, set_back } =
        counts;
    assert!(admitted > 2000 && refused > 2000 && deleted > 100, "too few steps were tested: {counts:?}");
    assert!(refused_by_budgets > 500 && refused_by_concurrent > 100, "too few rules were tested: {counts:?}");
    assert!(days > 200 && months > 60 && set_back > 20, "too few windows ended: {counts:?}");
}

#[test]
fn strict_admission_never_exceeds_a_token_limit_or_a_budget() {
    let mut admitted = 0;
    for seed in 100..=130 {
        let mut run = Run::new(seed);
        for step in 0..1000 {
            // A window that the clock returns to has its earlier use, in addition to what has been held since.
            run.clock.pass(&mut run.random, false);
            if run.random.one_in(2) {
                run.admit(step, true);
            } else {
                run.end_one_as_estimated();
            }
            run.assert_that_nothing_is_exceeded();
        }
        admitted += run.counts.admitted;
    }
    assert!(admitted > 1000, "too few steps were tested: {admitted} admitted");
}
