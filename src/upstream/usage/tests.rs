use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

const CHAT: Route = Route::ChatCompletions;
const BOUNDLESS: TokenBounds = TokenBounds { input: u64::MAX, output: u64::MAX };

fn read(usage: &str) -> Option<Report> {
    Report::read(&mut Reader::new(usage.as_bytes()).unwrap()).unwrap()
}

/// The bill of a stream with these reports, `text_bytes` of text, and `unreported_bytes` of it after the last report.
fn billed(reports: &[&str], route: Route, text_bytes: u64, unreported_bytes: u64) -> (u64, u64, u64, UsageSource) {
    let mut all = Report::default();
    for report in reports.iter().filter_map(|report| read(report)) {
        all.add(&report);
    }
    let facts = BillingFacts { route, prompt_tokens: 77, most: BOUNDLESS, text_bytes, unreported_bytes };
    let Bill { usage, source, is_implausible } = all.bill(&facts);
    assert!(!is_implausible);
    (usage.input, usage.output, usage.cached, source)
}

#[test]
fn a_report_is_read_as_its_server_means_it() {
    use UsageSource::{Counted, Upstream};
    for (usage, expected) in [
        (r#"{"prompt_tokens":9,"completion_tokens":5,"total_tokens":14}"#, (9, 5, 0, Upstream)),
        (r#"{"input_tokens":9.0,"output_tokens":5e0,"input_tokens_details":{"cached_tokens":3}}"#, (9, 5, 3, Upstream)),
        (r#"{"prompt_tokens":9,"completion_tokens":5,"prompt_tokens_details":null}"#, (9, 5, 0, Upstream)),
        // Cached tokens.
        (r#"{"prompt_tokens":9,"completion_tokens":5,"prompt_cache_hit_tokens":4}"#, (9, 5, 4, Upstream)),
        (r#"{"prompt_tokens":9,"completion_tokens":5,"cached_tokens":4}"#, (9, 5, 4, Upstream)),
        (
            r#"{"prompt_tokens":9,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":99}}"#,
            (9, 5, 9, Upstream),
        ),
        (
            r#"{"prompt_tokens":9,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":-1}}"#,
            (9, 5, 0, Upstream),
        ),
        (
            r#"{"prompt_tokens":9,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":"3"}}"#,
            (9, 5, 0, Upstream),
        ),
        (
            r#"{"prompt_tokens":9,"completion_tokens":5,"prompt_tokens_details":[{"cached_tokens":3}]}"#,
            (9, 5, 0, Upstream),
        ),
        // Reasoning is reported separately.
        (r#"{"prompt_tokens":279,"completion_tokens":6,"total_tokens":374}"#, (279, 95, 0, Upstream)),
        (r#"{"prompt_tokens":279,"completion_tokens":0,"total_tokens":374}"#, (279, 95, 0, Upstream)),
        (r#"{"prompt_tokens":9,"completion_tokens":5,"total_tokens":2}"#, (9, 5, 0, Upstream)),
        (r#"{"prompt_tokens":9,"completion_tokens":5,"total_tokens":"99"}"#, (9, 5, 0, Upstream)),
        // Only one of prompt and output is valid.
        (r#"{"prompt_tokens":9}"#, (9, 10, 0, Counted)),
        (r#"{"completion_tokens":5}"#, (77, 5, 0, Counted)),
        (r#"{"prompt_tokens":9,"completion_tokens":null,"total_tokens":14}"#, (9, 10, 0, Counted)),
        (r#"{"prompt_tokens":-1,"completion_tokens":5}"#, (77, 5, 0, Counted)),
        (r#"{"prompt_tokens":9,"completion_tokens":1.5}"#, (9, 10, 0, Counted)),
        (r#"{"prompt_tokens":"9","completion_tokens":5}"#, (77, 5, 0, Counted)),
        (r#"{"prompt_tokens":9,"completion_tokens":1e30}"#, (9, 10, 0, Counted)),
        (r#"{"prompt_tokens":9007199254740993,"completion_tokens":5}"#, (77, 5, 0, Counted)),
        (r#"{"prompt_tokens":9007199254740992,"completion_tokens":5}"#, (1 << 53, 5, 0, Upstream)),
        (r#"{"prompt_tokens":true,"completion_tokens":[5]}"#, (77, 10, 0, Counted)),
        // Zeros although there is text.
        (r#"{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}"#, (77, 10, 0, Counted)),
        (r#"{"prompt_tokens":9,"completion_tokens":0,"total_tokens":9}"#, (9, 10, 0, Counted)),
        (r#"{"prompt_tokens":0,"completion_tokens":5}"#, (0, 5, 0, Upstream)),
        // A gateway that sets the names that it does not use to zero.
        (r#"{"prompt_tokens":9,"completion_tokens":5,"input_tokens":0,"output_tokens":0}"#, (9, 5, 0, Upstream)),
        // No report.
        ("{}", (77, 10, 0, Counted)),
        ("null", (77, 10, 0, Counted)),
        ("[]", (77, 10, 0, Counted)),
        (r#"{"total_tokens":5}"#, (77, 10, 0, Counted)),
        (r#"{"nested":{"prompt_tokens":9,"completion_tokens":5}}"#, (77, 10, 0, Counted)),
    ] {
        assert_eq!(billed(&[usage], CHAT, 38, 0), expected, "{usage}");
    }
}

#[test]
fn tokens_written_to_the_cache_have_several_names() {
    for (route, report, expected) in [
        (CHAT, r#"{"prompt_tokens":9,"completion_tokens":5,"prompt_tokens_details":{"cache_write_tokens":4}}"#, (9, 4)),
        (
            Route::Responses,
            r#"{"input_tokens":9,"output_tokens":5,"input_tokens_details":{"cache_write_tokens":4}}"#,
            (9, 4),
        ),
        (Route::Messages, r#"{"input_tokens":9,"output_tokens":5,"cache_creation_input_tokens":4}"#, (13, 4)),
    ] {
        let usage = read(report).unwrap().usage(route).unwrap();
        assert_eq!((usage.input, usage.cache_write), expected, "{report}");
    }
}

#[test]
fn an_output_of_zero_counts_if_there_is_no_text() {
    assert_eq!(billed(&[r#"{"prompt_tokens":9,"completion_tokens":0}"#], CHAT, 0, 0), (9, 0, 0, UsageSource::Upstream));
}

#[test]
fn on_routes_without_output_a_total_alone_is_the_input() {
    let of = |usage| billed(&[usage], Route::Embeddings, 0, 0);
    assert_eq!(of(r#"{"total_tokens":6}"#), (6, 0, 0, UsageSource::Upstream));
    assert_eq!(of(r#"{"prompt_tokens":0,"total_tokens":6}"#), (6, 0, 0, UsageSource::Upstream));
    assert_eq!(of(r#"{"prompt_tokens":5,"total_tokens":6,"completion_tokens":3}"#), (5, 0, 0, UsageSource::Upstream));
    assert_eq!(of(r#"{"completion_tokens":3}"#), (77, 0, 0, UsageSource::Counted));
}

#[test]
fn the_latest_value_of_each_figure_counts() {
    use UsageSource::{Counted, Upstream};
    let cached = r#"{"prompt_tokens":100,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":80}}"#;
    let last = r#"{"prompt_tokens":100,"completion_tokens":5}"#;
    assert_eq!(billed(&[cached, last], CHAT, 20, 0), (100, 5, 80, Upstream));
    assert_eq!(billed(&[cached, "null", "{}"], CHAT, 20, 0), (100, 1, 80, Upstream));
    assert_eq!(billed(&[r#"{"input_tokens":25}"#, r#"{"output_tokens":15}"#], CHAT, 20, 0), (25, 15, 0, Upstream));
    let zeros = r#"{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}"#;
    assert_eq!(billed(&[cached, zeros], CHAT, 20, 0), (100, 1, 80, Upstream));
    assert_eq!(billed(&[cached, r#"{"prompt_tokens":90,"completion_tokens":0}"#], CHAT, 20, 0), (90, 1, 80, Upstream));
    assert_eq!(billed(&[last, r#"{"completion_tokens":-7}"#], CHAT, 20, 0), (100, 5, 0, Upstream));
    assert_eq!(billed(&[last], CHAT, 60, 10), (100, 8, 0, Counted));
}

#[test]
fn an_implausible_figure_counts_as_not_reported() {
    let most = TokenBounds { input: 1000, output: 500 };
    let bill = |route, usage| {
        let facts = BillingFacts { route, prompt_tokens: 2, most, text_bytes: 12, unreported_bytes: 0 };
        let Bill { usage, source, is_implausible } = read(usage).unwrap().bill(&facts);
        assert_eq!(is_implausible, source == UsageSource::Counted);
        (usage.input, usage.output, usage.cached)
    };
    for (usage, billed) in [
        (r#"{"prompt_tokens":1000,"completion_tokens":500}"#, (1000, 500, 0)),
        (r#"{"prompt_tokens":1000,"completion_tokens":5,"total_tokens":1500}"#, (1000, 500, 0)),
        (r#"{"prompt_tokens":1001,"completion_tokens":5,"cached_tokens":1099511627776}"#, (2, 5, 0)),
        (r#"{"prompt_tokens":9,"completion_tokens":501}"#, (9, 3, 0)),
        (r#"{"prompt_tokens":9,"completion_tokens":5,"total_tokens":1099511627776}"#, (9, 5, 0)),
        (r#"{"prompt_tokens":9,"completion_tokens":5,"total_tokens":510}"#, (9, 5, 0)),
        (r#"{"prompt_tokens":1099511627776,"completion_tokens":1099511627776}"#, (2, 3, 0)),
    ] {
        assert_eq!(bill(CHAT, usage), billed, "{usage}");
    }
    assert_eq!(bill(Route::Embeddings, r#"{"total_tokens":1000}"#), (1000, 0, 0));
    assert_eq!(bill(Route::Embeddings, r#"{"prompt_tokens":0,"total_tokens":1001}"#), (2, 0, 0));
    let live = read(r#"{"prompt_tokens":9,"completion_tokens":1099511627776}"#).unwrap().within(most, CHAT);
    assert_eq!(live.output_so_far(), 0, "a stream does not hold it either");
}

/// A second, naive implementation of the contract's rules, for parsed values.
fn naive(reports: &[Value], generates: bool, text_bytes: u64) -> (Option<u64>, Option<u64>, u64) {
    let (mut input, mut output, mut total, mut cached) = (None, None, None, None);
    for report in reports {
        let count = |paths: &[&str]| {
            let numbers = paths.iter().filter_map(|path| report.pointer(path)?.as_number());
            let numbers = numbers
                .filter_map(|number| number.as_f64())
                .filter(|n| *n >= 0.0 && n.fract() == 0.0 && *n <= 2f64.powi(53));
            numbers.map(|n| n as u64).max()
        };
        let reported_input = count(&["/prompt_tokens", "/input_tokens"]);
        let reported_output = count(&["/completion_tokens", "/output_tokens"]);
        let reported_total = count(&["/total_tokens"]);
        if [reported_input, reported_output, reported_total].iter().all(|figure| figure.unwrap_or(0) == 0) {
            continue;
        }
        input = reported_input.or(input);
        total = reported_total.or(total);
        let paths = [
            "/prompt_tokens_details/cached_tokens",
            "/input_tokens_details/cached_tokens",
            "/prompt_cache_hit_tokens",
            "/cached_tokens",
        ];
        cached = count(&paths).or(cached);
        if reported_output.is_some_and(|figure| figure > 0 || output.is_none()) {
            output = reported_output;
        }
    }
    if let (Some(input), Some(without_reasoning), Some(total)) = (input, output, total)
        && total > input + without_reasoning
    {
        output = Some(total - input);
    }
    if output == Some(0) && text_bytes > 0 {
        output = None;
    }
    if !generates {
        input = input.filter(|figure| *figure > 0).or(total).or(input);
        output = Some(0);
    }
    (input, output, cached.unwrap_or(0))
}

fn any_member() -> impl Strategy<Value = (Vec<&'static str>, Value)> {
    let name = prop::sample::select(vec![
        vec!["prompt_tokens"],
        vec!["input_tokens"],
        vec!["completion_tokens"],
        vec!["output_tokens"],
        vec!["total_tokens"],
        vec!["prompt_tokens_details", "cached_tokens"],
        vec!["input_tokens_details", "cached_tokens"],
        vec!["completion_tokens_details", "reasoning_tokens"],
        vec!["prompt_cache_hit_tokens"],
        vec!["cached_tokens"],
        vec!["unknown"],
        vec!["unknown", "prompt_tokens"],
    ]);
    let value = prop_oneof![
        4 => (0u64..50).prop_map(Value::from),
        1 => any::<u64>().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => (0u64..100).prop_map(|n| json!(n as f64 / 2.0)),
        1 => prop::sample::select(vec![json!(null), json!("7"), json!(true), json!([7]), json!({"prompt_tokens": 7}), json!(1e300)]),
    ];
    (name, value)
}

proptest! {
    #[test]
    fn reports_are_read_as_by_the_naive_reader(
        reports in prop::collection::vec(prop::collection::vec(any_member(), 0..7), 0..5),
        embeds in any::<bool>(),
        text_bytes in prop::sample::select(vec![0u64, 9]),
    ) {
        let route = if embeds { Route::Embeddings } else { CHAT };
        let mut values = Vec::new();
        let mut all = Report::default();
        for members in reports {
            let mut usage = Map::new();
            for (path, value) in members {
                match path[..] {
                    [outer, inner] => {
                        let nested = usage.entry(outer).or_insert_with(|| json!({}));
                        if let Some(nested) = nested.as_object_mut() {
                            nested.insert(inner.into(), value);
                        }
                    }
                    _ => { usage.insert(path[0].into(), value); }
                }
            }
            let usage = Value::Object(usage);
            all.add(&read(&usage.to_string()).unwrap());
            values.push(usage);
        }
        let facts = BillingFacts { route, prompt_tokens: 77, most: BOUNDLESS, text_bytes, unreported_bytes: 0 };
        let bill = all.bill(&facts);
        let (input, output, cached) = naive(&values, !embeds, text_bytes);
        let billed_input = input.unwrap_or(77);
        prop_assert_eq!(bill.usage.input, billed_input);
        prop_assert_eq!(bill.usage.output, output.unwrap_or(text_bytes.div_ceil(4)));
        prop_assert_eq!(bill.usage.cached, cached.min(billed_input));
        prop_assert_eq!(bill.source == UsageSource::Upstream, input.is_some() && output.is_some());
    }
}
