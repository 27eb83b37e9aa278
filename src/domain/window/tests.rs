use proptest::prelude::*;

use super::*;
use crate::domain::testing::{Arrivals, Random};

const SECOND_NS: u64 = Span::Second.length_ns();
const MINUTE_NS: u64 = Span::Minute.length_ns();

#[test]
fn over_a_million_steps_no_window_exceeds_its_threshold_and_room_is_free_again_within_a_sixtieth() {
    let admitted =
        admit_up_to_thresholds::<SECOND_NS>(11, Span::Second) + admit_up_to_thresholds::<MINUTE_NS>(12, Span::Minute);
    assert!(admitted > 50_000, "too few steps were tested: {admitted}");
}

/// Records whenever there is room, and returns how often there was.
fn admit_up_to_thresholds<const LENGTH_NS: u64>(seed: u64, span: Span) -> u64 {
    let (mut random, mut admitted) = (Random::new(seed), 0);
    for threshold in [1, 2, 7, 20, 60] {
        let (mut window, mut arrivals) = (Window::<LENGTH_NS>::default(), Arrivals::default());
        let mut now = random.below(1 << 40);
        for _ in 0..110_000 {
            now += random.step(span);
            window.advance(now);
            if window.sum() < threshold {
                window.record(now, 1);
                arrivals.record(now, 1);
                admitted += 1;
                let inside = arrivals.within(now, LENGTH_NS);
                assert!(inside <= threshold, "{inside} of {threshold} in one window");
            } else {
                let recent = arrivals.within(now, LENGTH_NS + LENGTH_NS / 60);
                assert!(recent >= threshold, "refused, although there has been room for a sixtieth of the window");
                let wait = window.until_freed(window.sum() + 1 - threshold, 0).unwrap();
                assert!(!wait.is_zero() && wait <= span.length(), "a wait of {wait:?}");
            }
        }
    }
    admitted
}

#[test]
fn a_sum_is_between_the_exact_sums_of_the_window_and_of_a_sixtieth_more() {
    fn check<const LENGTH_NS: u64>(seed: u64, span: Span) {
        let mut random = Random::new(seed);
        let (mut window, mut arrivals) = (Window::<LENGTH_NS>::default(), Arrivals::default());
        let mut now = 0;
        for _ in 0..30_000 {
            now += random.step(span);
            window.advance(now);
            let (sum, longer_ns) = (window.sum(), LENGTH_NS + LENGTH_NS / 60);
            assert!(arrivals.within(now, LENGTH_NS) <= sum && sum <= arrivals.within(now, longer_ns));
            if random.below(3) == 0 {
                let amount = random.below(5000);
                window.record(now, amount);
                arrivals.record(now, amount);
            }
        }
    }
    check::<SECOND_NS>(21, Span::Second);
    check::<MINUTE_NS>(22, Span::Minute);
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
    let (bucket, second) = (SecondWindow::BUCKET_NS, SECOND_NS);
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
        let (mut window, mut naive, mut now) = (SecondWindow::default(), Naive::default(), begin);
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
        until_freed_is_exact::<SECOND_NS>(&records, asked, held)?;
        until_freed_is_exact::<MINUTE_NS>(&records, asked, held)?;
    }
}

fn until_freed_is_exact<const LENGTH_NS: u64>(
    records: &[(u64, u64)],
    asked: u64,
    held: u64,
) -> Result<(), TestCaseError> {
    let (mut window, mut now) = (Window::<LENGTH_NS>::default(), 0);
    for (pause, amount) in records {
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
            let wait = wait.as_nanos() as u64;
            prop_assert!(wait <= LENGTH_NS);
            let mut then = window.clone();
            then.advance(now + wait - 1);
            prop_assert!(sum - then.sum() < asked);
            then.advance(now + wait);
            prop_assert!(sum - then.sum() >= asked);
        }
    }
    Ok(())
}

#[test]
fn a_record_alone_in_its_bucket_expires_exactly_a_window_later() {
    fn check<const LENGTH_NS: u64>(span: Span) {
        for at in [
            0,
            1,
            12_345_678_901,
            Window::<LENGTH_NS>::BUCKET_NS,
            Window::<LENGTH_NS>::BUCKET_NS - 1,
            7 * Window::<LENGTH_NS>::BUCKET_NS,
        ] {
            let mut window = Window::<LENGTH_NS>::default();
            window.advance(at);
            window.record(at, 1);
            assert_eq!(window.until_empty(), Some(span.length()));
            window.advance(at + LENGTH_NS - 1);
            assert_eq!((window.sum(), window.until_empty()), (1, Some(Duration::from_nanos(1))));
            window.advance(at + LENGTH_NS);
            assert_eq!((window.sum(), window.until_empty()), (0, None));
        }
    }
    check::<SECOND_NS>(Span::Second);
    check::<MINUTE_NS>(Span::Minute);
}

#[test]
fn a_bucket_expires_with_its_latest_record_less_than_a_sixtieth_late() {
    fn check<const LENGTH_NS: u64>() {
        let (bucket, length) = (Window::<LENGTH_NS>::BUCKET_NS, LENGTH_NS);
        assert!(bucket <= length / 60 && u32::try_from(bucket).is_ok());
        let mut window = Window::<LENGTH_NS>::default();
        window.advance(6 * bucket);
        for at in [5 * bucket, 6 * bucket - 1, 5 * bucket + 1] {
            window.record(at, 1);
        }
        window.advance(6 * bucket + length - 2);
        assert_eq!(window.sum(), 3);
        window.advance(6 * bucket + length - 1);
        assert_eq!(window.sum(), 0);
    }
    check::<SECOND_NS>();
    check::<MINUTE_NS>();
}

#[test]
fn a_ring_holds_every_bucket_of_a_full_window() {
    fn check<const LENGTH_NS: u64>(span: Span) {
        let (mut window, mut naive) = (Window::<LENGTH_NS>::default(), Naive::default());
        for now in (0..300).map(|n| n * Window::<LENGTH_NS>::BUCKET_NS / 3) {
            window.advance(now);
            window.record(now, 1);
            naive.0.push((now, 1));
            naive.advance(span, now);
            assert_eq!(window.sum(), naive.sum());
        }
    }
    check::<SECOND_NS>(Span::Second);
    check::<MINUTE_NS>(Span::Minute);
}

#[test]
fn time_that_steps_back_changes_nothing() {
    let mut window = SecondWindow::default();
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
    let (mut window, length) = (MinuteWindow::default(), Span::Minute.length_ns());
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
    let (mut window, bucket) = (SecondWindow::default(), SecondWindow::BUCKET_NS);
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
    fn check<const LENGTH_NS: u64>() {
        let mut window = Window::<LENGTH_NS>::default();
        for now in [0, 1, LENGTH_NS - 1, LENGTH_NS, u64::MAX - 1, u64::MAX] {
            window.advance(now);
            window.record(now, u64::MAX);
            window.record(now, 7);
            assert_eq!(window.sum(), u64::MAX);
            window.until_freed(u64::MAX, u64::MAX);
            window.until_empty();
        }
        window.take_back(u64::MAX, u64::MAX);
    }
    check::<SECOND_NS>();
    check::<MINUTE_NS>();
}
