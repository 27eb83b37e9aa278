mod budgets;
mod concurrent;
mod extremes;
mod holds;
mod lifetimes;
mod model;
mod rates;
mod refusals;
mod simulation;
mod windows;

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
