use proptest::prelude::*;

use super::*;
use crate::domain::testing::{Arrivals, Random};

const SPANS: [Span; 2] = [Span::Second, Span::Minute];

#[test]
fn over_a_million_steps_no_window_exceeds_its_threshold_and_room_is_free_again_within_a_sixtieth() {
    let mut admitted = 0_u64;
    for (seed, span) in [(11, Span::Second), (12, Span::Minute)] {
        let length = span.length_ns();
        let mut random = Random::new(seed);
        for threshold in [1, 2, 7, 20, 60] {
            let (mut window, mut arrivals) = (Window::new(span), Arrivals::default());
            let mut now = random.below(1 << 40);
            for _ in 0..110_000 {
                now += random.step(span);
                window.advance(now);
                if window.sum() < threshold {
                    window.record(now, 1);
                    arrivals.record(now, 1);
                    admitted += 1;
                    let inside = arrivals.within(now, length);
                    assert!(inside <= threshold, "{inside} of {threshold} in one window");
                } else {
                    let recent = arrivals.within(now, length + length / 60);
                    assert!(recent >= threshold, "refused, although there has been room for a sixtieth of the window");
                    let wait = window.until_freed(window.sum() + 1 - threshold, 0).unwrap();
                    assert!(!wait.is_zero() && wait <= span.length(), "a wait of {wait:?}");
                }
            }
        }
    }
    assert!(admitted > 50_000, "too few steps were tested: {admitted}");
}

#[test]
fn a_sum_is_between_the_exact_sums_of_the_window_and_of_a_sixtieth_more() {
    for (seed, span) in [(21, Span::Second), (22, Span::Minute)] {
        let length = span.length_ns();
        let mut random = Random::new(seed);
        let (mut window, mut arrivals) = (Window::new(span), Arrivals::default());
        let mut now = 0;
        for _ in 0..30_000 {
            now += random.step(span);
            window.advance(now);
            let sum = window.sum();
            assert!(arrivals.within(now, length) <= sum && sum <= arrivals.within(now, length + length / 60));
            if random.below(3) == 0 {
                let amount = random.below(5000);
                window.record(now, amount);
                arrivals.record(now, amount);
            }
        }
    }
}

/// A reference model that stores every record.
#[derive(Debug, Clone, Default)]
struct Naive(Vec<(u64, u64)>);

impl Naive {
    /// Drops expired records. Each record counts until the latest one of its bucket expires.
    fn advance(&mut self, span: Span, now_ns: u64) {
        let all = self.0.clone();
        let latest = |at: u64| {
            let of_bucket = all.iter().map(|(other, _)| *other).filter(|o| span.bucket_at(*o) == span.bucket_at(at));
            of_bucket.max().unwrap_or(at)
        };
        self.0.retain(|(at, _)| now_ns < latest(*at) + span.length_ns());
    }

    fn sum(&self) -> u64 {
        self.0.iter().map(|(_, amount)| amount).sum()
    }
}

/// Pauses in nanoseconds for a window of a second, often at the edges of its buckets or of the window.
fn pause() -> impl Strategy<Value = u64> {
    let (bucket, second) = (Span::Second.bucket_ns(), Span::Second.length_ns());
    let edges = prop::sample::select(vec![0, 1, bucket - 1, bucket, bucket + 1, second - 1, second, second + 1]);
    prop_oneof![edges, 0..second / 20, 0..2 * second]
}

proptest! {
    #[test]
    fn every_sum_matches_the_reference_model_to_the_nanosecond(
        begin in 0_u64..1 << 40,
        steps in prop::collection::vec((pause(), 0_u64..100, 0_u64..1_500_000_000), 1..60),
    ) {
        let span = Span::Second;
        let (mut window, mut naive, mut now) = (Window::new(span), Naive::default(), begin);
        for (pause, amount, ago) in steps {
            now += pause;
            window.advance(now);
            naive.advance(span, now);
            prop_assert_eq!(window.sum(), naive.sum());
            // Some are in the past, as after a restart.
            let at = if amount % 4 == 0 { now.saturating_sub(ago) } else { now };
            window.record(at, amount);
            if amount > 0 && now - at < span.length_ns() {
                naive.0.push((at, amount));
            }
            prop_assert_eq!(window.sum(), naive.sum());
            // Just before, and at, the time at which `until_empty` says it is empty.
            if let Some(wait) = window.until_empty() {
                let (empty, mut then) = (now + wait.as_nanos() as u64, naive.clone());
                then.advance(span, empty - 1);
                prop_assert!(wait <= span.length() && then.sum() > 0);
                then.advance(span, empty);
                prop_assert_eq!(then.sum(), 0);
            }
        }
    }

    #[test]
    fn until_freed_is_exactly_the_time_needed(
        records in prop::collection::vec((0_u64..20_000_000_000, 1_u64..100), 1..40),
        asked in 1_u64..2000,
        held in prop_oneof![Just(0), 1_u64..100],
    ) {
        for span in SPANS {
            let (mut window, mut now) = (Window::new(span), 0);
            for (pause, amount) in &records {
                now += pause / 60;
                window.advance(now);
                window.record(now, *amount);
            }
            let wait = window.until_freed(asked, held);
            window.record(now, held);
            let sum = window.sum();
            match wait {
                None => prop_assert!(sum < asked),
                Some(wait) => {
                    prop_assert!(wait <= span.length());
                    let wait = wait.as_nanos() as u64;
                    let mut then = window.clone();
                    then.advance(now + wait - 1);
                    prop_assert!(sum - then.sum() < asked);
                    then.advance(now + wait);
                    prop_assert!(sum - then.sum() >= asked);
                }
            }
        }
    }
}

#[test]
fn a_record_alone_in_its_bucket_expires_exactly_a_window_later() {
    for span in SPANS {
        for at in [0, 1, 12_345_678_901, span.bucket_ns(), span.bucket_ns() - 1, 7 * span.bucket_ns()] {
            let mut window = Window::new(span);
            window.advance(at);
            window.record(at, 1);
            assert_eq!(window.until_empty(), Some(span.length()));
            window.advance(at + span.length_ns() - 1);
            assert_eq!((window.sum(), window.until_empty()), (1, Some(Duration::from_nanos(1))));
            window.advance(at + span.length_ns());
            assert_eq!((window.sum(), window.until_empty()), (0, None));
        }
    }
}

#[test]
fn a_bucket_expires_with_its_latest_record_less_than_a_sixtieth_late() {
    for span in SPANS {
        let (bucket, length) = (span.bucket_ns(), span.length_ns());
        assert!(bucket <= length / 60 && u32::try_from(bucket).is_ok());
        let mut window = Window::new(span);
        window.advance(6 * bucket);
        for at in [5 * bucket, 6 * bucket - 1, 5 * bucket + 1] {
            window.record(at, 1);
        }
        window.advance(6 * bucket + length - 2);
        assert_eq!(window.sum(), 3);
        window.advance(6 * bucket + length - 1);
        assert_eq!(window.sum(), 0);
    }
}

#[test]
fn a_ring_holds_every_bucket_of_a_full_window() {
    for span in SPANS {
        let (mut window, mut naive) = (Window::new(span), Naive::default());
        for now in (0..300).map(|n| n * span.bucket_ns() / 3) {
            window.advance(now);
            window.record(now, 1);
            naive.0.push((now, 1));
            naive.advance(span, now);
            assert_eq!(window.sum(), naive.sum());
        }
    }
}

#[test]
fn time_that_steps_back_changes_nothing() {
    let mut window = Window::new(Span::Second);
    window.advance(1000);
    window.record(1000, 5);
    window.advance(500);
    assert_eq!(window.sum(), 5);
    window.advance(1_000_000_999);
    assert_eq!(window.sum(), 5);
    window.advance(1_000_001_000);
    assert_eq!(window.sum(), 0);
}

#[test]
fn past_amounts_are_recorded_at_their_time() {
    let (mut window, length) = (Window::new(Span::Minute), Span::Minute.length_ns());
    window.advance(2 * length);
    window.record(length + 1, 1);
    window.record(length, 1);
    window.record(2 * length + 1, 1);
    assert_eq!(window.sum(), 1, "one record counts, one has rolled out, one is in the future");
    window.advance(2 * length + 1);
    assert_eq!(window.sum(), 0);
}

#[test]
fn an_amount_that_is_taken_back_no_longer_counts() {
    let (mut window, bucket) = (Window::new(Span::Second), Span::Second.bucket_ns());
    window.advance(10 * bucket);
    window.record(10 * bucket, 2);
    window.advance(12 * bucket);
    window.record(12 * bucket, 1);
    window.take_back(10 * bucket, 1);
    assert_eq!(window.sum(), 2);
    window.take_back(12 * bucket, 5);
    window.take_back(11 * bucket, 5);
    window.take_back(74 * bucket, 5);
    window.take_back(0, 5);
    let left = Span::Second.length() - Duration::from_nanos(2 * bucket);
    assert_eq!((window.sum(), window.until_empty()), (1, Some(left)));
    window.advance(10 * bucket + Span::Second.length_ns());
    window.take_back(10 * bucket, 1);
    assert_eq!((window.sum(), window.until_empty()), (0, None));
}

#[test]
fn extreme_amounts_and_times_do_not_overflow() {
    for span in SPANS {
        let mut window = Window::new(span);
        for now in [0, 1, span.length_ns() - 1, span.length_ns(), u64::MAX - 1, u64::MAX] {
            window.advance(now);
            window.record(now, u64::MAX);
            window.record(now, 7);
            assert_eq!(window.sum(), u64::MAX);
            window.until_freed(u64::MAX, u64::MAX);
            window.until_empty();
        }
        window.take_back(u64::MAX, u64::MAX);
    }
}
