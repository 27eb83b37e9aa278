mod budgets;
mod concurrent;
mod model;
mod rates;
mod simulation;
mod windows;

use proptest::prelude::*;

use super::{cells::Scope, *};
use crate::domain::{
    calendar::Calendar,
    day::{Day, Now},
    estimate::{Estimates, MAX_HOLD, Ratio, SlugEstimate},
    limit::{Limit, Threshold, Unit},
    route::Route,
    sums::Counted,
};
use LimitType::{Request, Token};
use Unit::{Concurrent, Day as Daily, Minute, Month, Second, Week};

const SLUG: SlugId = SlugId(7);
const OWN: GroupId = GroupId(1);
const PARENT: GroupId = GroupId(2);
const ROOT: GroupId = GroupId(3);
const PATH: [GroupId; 3] = [OWN, PARENT, ROOT];
/// Ten in the morning.
const MORNING_MS: u64 = 20_780 * 86_400_000 + 36_000_000;
const TODAY: Day = Day(20_780);

fn limit(counted_at: u8, limit_type: LimitType, unit: Unit, threshold: u64) -> Effective {
    let source = PATH.get(usize::from(counted_at)).copied().unwrap_or(ROOT);
    let threshold = Threshold::new(threshold).unwrap();
    Effective { rule: Rule::Limit(Limit { limit_type, unit, threshold }), source, counted_at }
}

fn account(path: &[GroupId], rules: &[Effective]) -> Account {
    Account { slug: SLUG, counted_for: path.iter().copied().collect(), rules: rules.to_vec() }
}

/// A moment with the windows of UTC.
fn utc(now: Now) -> Moment {
    Moment { now, windows: Calendar::default().windows(now.unix_ms) }
}

/// `ms` after the first moment of the test, on both clocks.
fn after_ms(ms: u64) -> Moment {
    after_ns(ms * 1_000_000)
}

fn after_ns(ns: u64) -> Moment {
    utc(Now { monotonic_ns: ns, unix_ms: MORNING_MS + ns / 1_000_000, ..Now::default() })
}

/// A chat request of `prompt_tokens` tokens with an expected output of 100 tokens.
fn chat(prompt_tokens: u64) -> Ask<'static> {
    Ask {
        route: Route::ChatCompletions,
        prompt_bytes: prompt_tokens * 4,
        prompt_ids: 0,
        declared_output: None,
        n: 1,
        best_of: None,
        slug: SlugEstimate { ratio: Ratio::START, mean_output: 100 },
        admission: TokenAdmission::Adaptive,
        pricing: None,
        units: None,
    }
}

fn strict(prompt_tokens: u64, declared_output: Option<u64>) -> Ask<'static> {
    Ask { declared_output, admission: TokenAdmission::Strict { strict_output: 4096 }, ..chat(prompt_tokens) }
}

fn billed(input: u64, output: u64) -> Usage {
    Usage { input, output, cached: 0, cache_write: 0 }
}

fn charge(ledger: &mut Ledger, hold: Hold, moment: Moment, usage: Usage) {
    ledger.charge(hold, moment, usage, UsageSource::Counted, None);
}

/// (used, held) of one group alone.
fn figures(ledger: &mut Ledger, moment: Moment, group: GroupId, what: LimitType, unit: Unit) -> (u64, u64) {
    let standing = ledger.standing(moment, &account(&[group], &[limit(0, what, unit, 1)]))[0];
    (count(standing.used), count(standing.held))
}

#[test]
fn a_request_counts_in_every_group_of_its_path() {
    let mut ledger = Ledger::default();
    let hold = ledger.admit(after_ms(0), &account(&PATH, &[]), &chat(50)).unwrap().hold;
    for group in PATH {
        assert_eq!(figures(&mut ledger, after_ms(0), group, Token, Minute), (0, 150));
        assert_eq!(figures(&mut ledger, after_ms(0), group, Token, Daily), (0, 150));
        assert_eq!(figures(&mut ledger, after_ms(0), group, Request, Minute), (1, 0));
        assert_eq!(figures(&mut ledger, after_ms(0), group, Request, Daily), (0, 1));
    }
    charge(&mut ledger, hold, after_ms(10), billed(60, 40));
    for group in PATH {
        assert_eq!(figures(&mut ledger, after_ms(10), group, Token, Second), (100, 0));
        assert_eq!(figures(&mut ledger, after_ms(10), group, Token, Daily), (100, 0));
        assert_eq!(figures(&mut ledger, after_ms(10), group, Request, Second), (1, 0));
        assert_eq!(figures(&mut ledger, after_ms(10), group, Request, Daily), (1, 0));
    }
}

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
fn a_small_limit_lets_small_requests_through_one_after_the_other() {
    let mut ledger = Ledger::default();
    let limits = [limit(0, Token, Minute, 60)];
    // The prompt of 10 fits. The expected output of 100 does not have to.
    let first = ledger.admit(after_ms(0), &account(&[OWN], &limits), &chat(10)).unwrap();
    assert_eq!(first.standings.tokens.unwrap().left(), 0);
    assert!(ledger.admit(after_ms(1), &account(&[OWN], &limits), &chat(10)).is_err());
    charge(&mut ledger, first.hold, after_ms(2), billed(10, 5));
    let second = ledger.admit(after_ms(3), &account(&[OWN], &limits), &chat(10)).unwrap();
    charge(&mut ledger, second.hold, after_ms(4), billed(10, 5));
    assert_eq!(figures(&mut ledger, after_ms(4), OWN, Token, Minute), (30, 0));
}

#[test]
fn concurrent_requests_do_not_exceed_a_token_limit() {
    let mut ledger = Ledger::default();
    let limits = [limit(0, Token, Minute, 1000)];
    let admitted =
        (0..100).filter_map(|_| ledger.admit(after_ms(0), &account(&[OWN], &limits), &chat(50)).ok()).count();
    assert_eq!(admitted, 7, "each needs room for 50 and holds 150, so 900 are held before the seventh");
}

#[test]
fn expected_output_is_held_for_each_choice_and_never_above_the_declared_maximum() {
    let held = |ask: Ask| Ledger::default().admit(after_ms(0), &account(&[OWN], &[]), &ask).unwrap().hold.tokens;
    assert_eq!(held(chat(10)), 110);
    assert_eq!(held(Ask { n: 3, ..chat(10) }), 310);
    assert_eq!(held(Ask { n: 3, declared_output: Some(20), ..chat(10) }), 70);
    assert_eq!(held(Ask { n: 1, best_of: Some(4), declared_output: Some(20), ..chat(10) }), 90);
    assert_eq!(held(Ask { declared_output: Some(0), ..chat(10) }), 10);
    assert_eq!(held(Ask { route: Route::Embeddings, ..chat(10) }), 10);
}

#[test]
fn prompt_tokens_given_as_ids_count_one_each() {
    let mut ledger = Ledger::default();
    let mut held = |ask: Ask| ledger.admit(after_ms(0), &account(&[OWN], &[]), &ask).unwrap().hold.prompt_tokens();
    assert_eq!(held(Ask { prompt_ids: 1000, ..chat(0) }), 1000);
    assert_eq!(held(Ask { prompt_ids: 1000, ..chat(10) }), 1010);
    assert_eq!(held(Ask { prompt_ids: u64::MAX, ..chat(10) }), MAX_HOLD);
    assert_eq!(Ask { prompt_ids: 1, ..chat(10) }.learnable_bytes(), 0);
}

#[test]
fn a_stream_never_holds_less_than_it_has_streamed() {
    let mut ledger = Ledger::default();
    let mut hold = ledger.admit(after_ms(0), &account(&PATH, &[]), &chat(50)).unwrap().hold;
    assert!(!hold.is_due(100) && hold.is_due(101));
    ledger.review(&mut hold, 101, None);
    assert!(!hold.is_due(357) && hold.is_due(358), "holds a step ahead, so that few chunks take the lock");
    ledger.review(&mut hold, 200, Some(10));
    for group in PATH {
        assert_eq!(figures(&mut ledger, after_ms(0), group, Token, Daily), (0, 50 + 357));
    }
    ledger.release(hold, after_ms(1), true);
    assert_eq!(figures(&mut ledger, after_ms(1), ROOT, Token, Daily), (0, 0));
}

#[test]
fn a_long_stream_holds_the_length_expected_of_long_streams() {
    let mut ledger = Ledger::default();
    let hold = |ledger: &mut Ledger, ask: &Ask| ledger.admit(after_ms(0), &account(&[OWN], &[]), ask).unwrap().hold;
    for output in [60, 60, 60, 4000].repeat(10) {
        let hold = hold(&mut ledger, &chat(50));
        ledger.charge(hold, after_ms(0), billed(50, output), UsageSource::Upstream, None);
    }
    let mut undeclared = hold(&mut ledger, &chat(50));
    assert_eq!(undeclared.tokens, 50 + 1045, "the group's own mean, not the slug's 100");
    assert!(!undeclared.is_due(256) && undeclared.is_due(257));
    ledger.review(&mut undeclared, 257, Some(5));
    assert_eq!(undeclared.tokens, 50 + 4000);
    ledger.review(&mut undeclared, 4001, Some(5000));
    assert_eq!(undeclared.tokens, 50 + 5000, "only the slug has had answers this long");
    ledger.review(&mut undeclared, 5001, None);
    assert_eq!(undeclared.tokens, 50 + 5257);

    let mut declared = hold(&mut ledger, &Ask { declared_output: Some(900), n: 2, ..chat(50) });
    ledger.review(&mut declared, 2 * 300, None);
    assert_eq!(declared.tokens, 50 + 1800, "no more than the declared maximum");
    assert!(!declared.is_due(856) && declared.is_due(857));
    ledger.review(&mut declared, 1801, None);
    assert_eq!(declared.tokens, 50 + 1801 + 256, "more if the upstream ignores the maximum");

    let mut strict = hold(&mut ledger, &strict(50, Some(300)));
    ledger.review(&mut strict, 299, None);
    assert_eq!(strict.tokens, 350);
}

#[test]
fn a_request_without_an_answer_returns_its_rate_count_and_its_day_count() {
    let mut ledger = Ledger::default();
    let limits = [limit(0, Request, Minute, 1), limit(1, Request, Daily, 1)];
    for _ in 0..5 {
        let hold = ledger.admit(after_ms(0), &account(&PATH, &limits), &chat(1)).unwrap().hold;
        assert!(ledger.admit(after_ms(1), &account(&PATH, &limits), &chat(1)).is_err());
        ledger.release(hold, after_ms(500), true);
    }
    let hold = ledger.admit(after_ms(600), &account(&PATH, &limits), &chat(1)).unwrap().hold;
    ledger.release(hold, after_ms(700), false);
    let refusal = ledger.admit(after_ms(800), &account(&PATH, &limits), &chat(1)).unwrap_err();
    assert_eq!((refusal.index, refusal.used), (0, 1), "an upstream's 4xx counts against the rate, not the day");
}

#[test]
fn a_request_that_has_rolled_out_of_the_rate_is_not_taken_back() {
    let mut ledger = Ledger::default();
    let early = ledger.admit(after_ms(0), &account(&[OWN], &[]), &chat(1)).unwrap().hold;
    let late = ledger.admit(after_ms(90_000), &account(&[OWN], &[]), &chat(1)).unwrap().hold;
    ledger.release(early, after_ms(90_001), true);
    assert_eq!(figures(&mut ledger, after_ms(90_001), OWN, Request, Minute), (1, 0));
    ledger.release(late, after_ms(90_002), true);
    assert_eq!(figures(&mut ledger, after_ms(90_002), OWN, Request, Minute), (0, 0));
}

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
fn strict_admission_limits_the_output_to_the_room_that_is_left() {
    let mut ledger = Ledger::default();
    let limits = [limit(0, Token, Minute, 1000), limit(1, Token, Daily, 700)];
    let first = ledger.admit(after_ms(0), &account(&PATH, &limits), &strict(100, Some(200))).unwrap();
    assert_eq!((first.output_max, first.hold.tokens), (Some(200), 300));
    let second = ledger.admit(after_ms(0), &account(&PATH, &limits), &strict(100, None)).unwrap();
    assert_eq!((second.output_max, second.hold.tokens), (Some(300), 400));
    let refusal = ledger.admit(after_ms(0), &account(&PATH, &limits), &strict(1, None)).unwrap_err();
    assert_eq!((refusal.index, refusal.held, refusal.asked), (1, 700, 2));
    charge(&mut ledger, first.hold, after_ms(1), billed(100, 98));
    // 102 are left: room for a prompt of 101 and one output token, or 102 for embeddings, which have no output.
    assert!(ledger.admit(after_ms(1), &account(&PATH, &limits), &strict(102, Some(50))).is_err());
    let embeddings = Ask { route: Route::Embeddings, ..strict(102, None) };
    let embedded = ledger.admit(after_ms(1), &account(&PATH, &limits), &embeddings).unwrap();
    assert_eq!((embedded.output_max, embedded.hold.tokens), (None, 102));
    ledger.release(embedded.hold, after_ms(1), false);
    let last = ledger.admit(after_ms(1), &account(&PATH, &limits), &strict(101, Some(50))).unwrap();
    assert_eq!((last.output_max, last.hold.tokens), (Some(1), 102));
}

#[test]
fn strict_admission_limits_each_of_several_choices() {
    let admit = |left: u64, ask: Ask| {
        let limits = [limit(0, Token, Minute, left)];
        Ledger::default().admit(after_ms(0), &account(&[OWN], &limits), &ask).map(|a| (a.output_max, a.hold.tokens))
    };
    assert_eq!(admit(1000, Ask { n: 3, ..strict(100, Some(50)) }), Ok((Some(50), 250)));
    assert_eq!(admit(200, Ask { n: 3, ..strict(100, Some(50)) }), Ok((Some(33), 199)));
    assert_eq!(admit(200, Ask { best_of: Some(4), ..strict(100, None) }), Ok((Some(25), 200)));
    assert_eq!(admit(102, Ask { n: 3, ..strict(100, Some(50)) }).unwrap_err().asked, 103);
    assert_eq!(admit(100, strict(100, Some(0))), Ok((Some(0), 100)), "it asks for no output, so none has to fit");
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
fn a_group_learns_its_own_prompt_ratio_from_reported_usage_only() {
    let mut ledger = Ledger::default();
    let mut spend = |source| {
        let hold = ledger.admit(after_ms(0), &account(&PATH, &[]), &chat(100)).unwrap().hold;
        let estimate = hold.prompt_tokens();
        (estimate, ledger.charge(hold, after_ms(0), billed(200, 9), source, None))
    };
    for _ in 0..30 {
        assert_eq!(spend(UsageSource::Counted), (100, None));
    }
    let mut estimates = Estimates::default();
    for _ in 0..20 {
        let (estimate, sample) = spend(UsageSource::Upstream);
        assert_eq!(estimate, 100);
        estimates.learn(ROOT, &sample.unwrap());
    }
    assert_eq!(spend(UsageSource::Upstream).0, 200);
    // Another group of the tree does not use these samples. It uses the slug's estimates.
    assert_eq!(ledger.admit(after_ms(0), &account(&[PARENT], &[]), &chat(100)).unwrap().hold.prompt_tokens(), 100);
    let slug = estimates.get(SLUG, Route::ChatCompletions, 400);
    assert_eq!(slug.mean_output, 9);
    let ask = Ask { slug, ..chat(100) };
    assert_eq!(ledger.admit(after_ms(0), &account(&[PARENT], &[]), &ask).unwrap().hold.prompt_tokens(), 200);
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

/// Ordinary numbers, and numbers that could overflow.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0_u64..2000, Just(u64::MAX), Just(u64::MAX - 1), Just(1 << 63), Just(1 << 53), any::<u64>()]
}

proptest! {
    #[test]
    fn figures_of_any_size_do_not_overflow(
        steps in prop::collection::vec((prop::array::uniform8(number()), any::<[bool; 3]>()), 1..20),
        thresholds in prop::collection::vec(number().prop_map(|n| n.min(Threshold::MAX)), 6),
    ) {
        let kinds = [(Token, Second), (Token, Minute), (Token, Daily), (Request, Second), (Request, Minute), (Request, Daily)];
        let limits: Vec<_> = kinds
            .iter()
            .zip(&thresholds)
            .enumerate()
            .map(|(n, ((what, unit), threshold))| limit(n as u8 % 3, *what, *unit, *threshold))
            .collect();
        let mut ledger = Ledger::default();
        let mut held = Vec::new();
        for ([monotonic_ns, unix_ms, prompt_bytes, declared, n, mean_output, input, output], [a, b, limited]) in steps {
            let now = utc(Now { monotonic_ns, unix_ms, ..Now::default() });
            let ask = Ask {
                prompt_bytes,
                declared_output: a.then_some(declared),
                n,
                best_of: b.then_some(output),
                slug: SlugEstimate { ratio: Ratio::START, mean_output },
                admission: if a == b { TokenAdmission::Adaptive } else { TokenAdmission::Strict { strict_output: declared } },
                ..chat(0)
            };
            let limits = if limited { &limits[..] } else { &[] };
            ledger.standing(now, &account(&PATH, limits));
            let _ = ledger.would_admit(now, &account(&PATH, limits), declared, None);
            if let Ok(admitted) = ledger.admit(now, &account(&PATH, limits), &ask) {
                let mut hold = admitted.hold;
                prop_assert!(hold.tokens <= 2 * MAX_HOLD);
                ledger.review(&mut hold, output, b.then_some(declared));
                ledger.review(&mut hold, input, a.then_some(declared));
                held.push(hold);
            }
            let mut used = Used::default();
            used.add(&now.windows, &Counted { requests: input, tokens: output });
            ledger.load_used(now, ROOT, SLUG, &used);
            let ago = Duration::from_millis(output);
            let usage = billed(input, output);
            ledger.refill(now, &PATH, SLUG, &Past { admitted_ago: ago, settled_ago: Duration::MAX, usage });
            ledger.sweep(now, 2);
            if a && let Some(hold) = held.pop() {
                ledger.charge(hold, now, usage, UsageSource::Upstream, None);
            }
        }
        for hold in held {
            ledger.release(hold, after_ms(0), true);
        }
        for group in PATH {
            prop_assert_eq!(figures(&mut ledger, after_ms(0), group, Token, Daily).1, 0);
            prop_assert_eq!(figures(&mut ledger, after_ms(0), group, Request, Daily).1, 0);
        }
    }

    #[test]
    fn estimates_stay_within_their_bounds_after_any_reports(
        reports in prop::collection::vec(
            (0_u128..12, any::<bool>(), prop_oneof![0_u64..600, Just(20_000), number()], number(), number(), number()),
            1..30,
        ),
        repeated in 1_usize..30,
        bytes in number(),
    ) {
        let (mut ledger, mut estimates) = (Ledger::default(), Estimates::default());
        let estimate = |ledger: &mut Ledger, estimates: &Estimates, group: GroupId, prompt_bytes: u64| {
            let slug = estimates.get(SLUG, Route::ChatCompletions, prompt_bytes);
            let hold = ledger.admit(after_ms(0), &account(&[group], &[]), &Ask { prompt_bytes, slug, ..chat(0) }).unwrap().hold;
            (hold.prompt_tokens(), hold)
        };
        for (group, other_route, prompt_bytes, n, input, output) in reports {
            let group = GroupId(group);
            let route = if other_route { Route::Embeddings } else { Route::ChatCompletions };
            for _ in 0..repeated {
                let slug = estimates.get(SLUG, route, prompt_bytes);
                let ask = Ask { route, prompt_bytes, n, slug, ..chat(0) };
                let hold = ledger.admit(after_ms(0), &account(&[group], &[]), &ask).unwrap().hold;
                if let Some(sample) = ledger.charge(hold, after_ms(0), billed(input, output), UsageSource::Upstream, None) {
                    estimates.learn(group, &sample);
                }
            }
            // A group that has reported, and one that has never called.
            for asking in [group, GroupId(1 << 64)] {
                for bytes in [bytes, prompt_bytes, 255, 256, 20_000] {
                    let (tokens, hold) = estimate(&mut ledger, &estimates, asking, bytes);
                    ledger.release(hold, after_ms(0), true);
                    let (least, most) = (bytes.div_ceil(16).clamp(1, MAX_HOLD), bytes.clamp(1, MAX_HOLD));
                    prop_assert!((least..=most).contains(&tokens), "{tokens} for {bytes} bytes");
                }
            }
        }
        prop_assert!(estimate(&mut ledger, &estimates, OWN, 20_000).0 >= 1250, "at least 1/16 of 20,000");
    }

    #[test]
    fn reports_without_prompt_tokens_do_not_change_the_ratio(outputs in prop::collection::vec(number(), 1..100)) {
        let (mut ledger, mut estimates) = (Ledger::default(), Estimates::default());
        for output in outputs {
            let hold = ledger.admit(after_ms(0), &account(&[OWN], &[]), &chat(5000)).unwrap().hold;
            prop_assert_eq!(hold.prompt_tokens(), 5000);
            if let Some(sample) = ledger.charge(hold, after_ms(0), billed(0, output), UsageSource::Upstream, None) {
                estimates.learn(OWN, &sample);
            }
            prop_assert_eq!(estimates.get(SLUG, Route::ChatCompletions, 20_000).ratio, Ratio::START);
        }
    }
}
