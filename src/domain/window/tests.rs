use proptest::prelude::*;

use super::*;
use crate::domain::testing::{Arrivals, Random};

const SPANS: [Span; 2] = [Span::Second, Span::Minute];

#[test]
fn no_window_admits_more_than_its_threshold_and_room_is_back_within_a_sixtieth_over_a_million_steps() {
    let mut admitted = 0_u64;
    for (seed, span) in [(11, Span::Second), (12, Span::Minute)] {
        let length = span.length_ns();
        let mut random = Random::new(seed);
        for threshold in [1, 2, 7, 20, 60] {
            let (mut window, mut arrivals) = (Window::default(), Arrivals::default());
            let mut now = random.below(1 << 40);
            for _ in 0..110_000 {
                now += random.step(span);
                let bucket = span.bucket_at(now);
                window.advance(bucket);
                if window.sum() < threshold {
                    window.record(bucket, 1);
                    arrivals.record(now, 1);
                    admitted += 1;
                    let inside = arrivals.within(now, length);
                    assert!(inside <= threshold, "{inside} of {threshold} in one window");
                } else {
                    let recent = arrivals.within(now, length + length / 60);
                    assert!(recent >= threshold, "room that rolled out a sixtieth ago is still refused");
                }
            }
        }
    }
    assert!(admitted > 50_000, "the steps test too little: {admitted}");
}

#[test]
fn a_sum_lies_between_the_true_ones_of_the_window_and_of_a_sixtieth_more() {
    for (seed, span) in [(21, Span::Second), (22, Span::Minute)] {
        let length = span.length_ns();
        let mut random = Random::new(seed);
        let (mut window, mut arrivals) = (Window::default(), Arrivals::default());
        let mut now = 0;
        for _ in 0..30_000 {
            now += random.step(span);
            let bucket = span.bucket_at(now);
            window.advance(bucket);
            let sum = window.sum();
            assert!(arrivals.within(now, length) <= sum && sum <= arrivals.within(now, length + length / 60));
            if random.below(3) == 0 {
                let amount = random.below(5000);
                window.record(bucket, amount);
                arrivals.record(now, amount);
            }
        }
    }
}

proptest! {
    #[test]
    fn waiting_as_long_as_told_frees_as_much_as_asked_and_a_moment_less_does_not(
        records in prop::collection::vec((0_u64..20_000_000_000, 1_u64..100), 1..40),
        asked in 1_u64..2000,
    ) {
        for span in SPANS {
            let mut window = Window::default();
            let mut now = 0;
            for (pause, amount) in &records {
                now += pause / 60;
                window.advance(span.bucket_at(now));
                window.record(span.bucket_at(now), *amount);
            }
            let sum = window.sum();
            match window.rolled_out_with(asked) {
                None => prop_assert!(sum < asked),
                Some(bucket) => {
                    let wait = span.until_gone(bucket, now).as_nanos() as u64;
                    let mut then = window.clone();
                    then.advance(span.bucket_at(now + wait - 1));
                    prop_assert!(sum - then.sum() < asked);
                    then.advance(span.bucket_at(now + wait));
                    prop_assert!(sum - then.sum() >= asked);
                }
            }
        }
    }

    #[test]
    fn it_is_empty_when_its_latest_bucket_has_gone(records in prop::collection::vec((0_u64..100, 0_u64..3), 1..40)) {
        let (mut window, mut bucket) = (Window::default(), 0);
        for (pause, amount) in records {
            bucket += pause;
            window.advance(bucket);
            window.record(bucket, amount);
        }
        match window.latest() {
            None => prop_assert_eq!(window.sum(), 0),
            Some(latest) => {
                window.advance(latest + SLOTS - 1);
                prop_assert!(window.sum() > 0);
                window.advance(latest + SLOTS);
                prop_assert_eq!((window.sum(), window.latest()), (0, None));
            }
        }
    }
}

#[test]
fn a_bucket_outlives_the_window_by_less_than_a_sixtieth() {
    for span in SPANS {
        for now in [0, 1, 12_345_678_901, span.bucket_ns(), span.bucket_ns() - 1, 7 * span.bucket_ns()] {
            let gone = span.gone_at_ns(span.bucket_at(now));
            assert!(gone > now + span.length_ns());
            assert!(gone <= now + span.length_ns() + span.length_ns() / 60);
        }
    }
}

#[test]
fn time_that_steps_back_changes_nothing() {
    let mut window = Window::default();
    window.advance(100);
    window.record(100, 5);
    window.advance(50);
    assert_eq!(window.sum(), 5);
    window.advance(163);
    assert_eq!(window.sum(), 5);
    window.advance(164);
    assert_eq!(window.sum(), 0);
}

#[test]
fn what_happened_before_is_recorded_where_it_belongs() {
    let mut window = Window::default();
    window.advance(100);
    window.record(37, 1);
    window.record(36, 1);
    window.record(101, 1);
    assert_eq!(window.sum(), 1, "one bucket counts, one has rolled out, one has not begun");
    window.advance(101);
    assert_eq!(window.sum(), 0);
}

#[test]
fn what_is_taken_back_no_longer_counts() {
    let mut window = Window::default();
    window.advance(10);
    window.record(10, 2);
    window.advance(12);
    window.record(12, 1);
    window.take_back(10, 1);
    assert_eq!(window.sum(), 2);
    window.take_back(12, 5);
    window.take_back(11, 5);
    assert_eq!((window.sum(), window.latest()), (1, Some(10)));
    window.advance(74);
    window.take_back(10, 1);
    assert_eq!((window.sum(), window.latest()), (0, None));
}

#[test]
fn extremes_do_not_overflow() {
    let mut window = Window::default();
    for bucket in [0, 1, 63, 64, u64::MAX - 1, u64::MAX] {
        window.advance(bucket);
        window.record(bucket, u64::MAX);
        window.record(bucket, 7);
        assert_eq!(window.sum(), u64::MAX);
        window.rolled_out_with(u64::MAX);
    }
    window.take_back(u64::MAX, u64::MAX);
    for span in SPANS {
        assert_eq!(span.gone_at_ns(u64::MAX), u64::MAX);
        assert_eq!(span.until_gone(0, u64::MAX), Duration::ZERO);
    }
}
