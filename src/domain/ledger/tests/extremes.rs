//! Tests with numbers of any size: nothing overflows, and estimates stay within their bounds.

use proptest::prelude::*;

use super::*;

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
