//! Tests of the tokens that running requests hold, and of requests that end without an answer.

use super::*;

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
