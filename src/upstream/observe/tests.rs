use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{domain::usage::Usage, upstream::json::tests::any_json};

const SLUG: &str = "acme/chat";

fn observer(hide_usage: bool) -> Observer {
    Observer::new(Route::ChatCompletions, SLUG, hide_usage)
}

impl AnswerFacts {
    fn usage(&self) -> Option<Usage> {
        self.report.usage(Route::ChatCompletions)
    }

    /// The figures that both readers of JSON answers measure.
    fn metered(&self) -> (Report, u64) {
        (self.report, self.text.bytes())
    }
}

/// The result of observing a stream.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    pass: String,
    terminal: String,
    error: Option<Bytes>,
    facts: AnswerFacts,
}

fn stream_of<'a>(mut observer: Observer, chunks: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut outcome = Outcome::default();
    let mut add = |observed: ObservedChunk, text: &mut dyn FnMut(&[u8]) -> String| {
        assert!(outcome.terminal.is_empty() || observed.pass.is_empty(), "bytes overtake the terminal event");
        outcome.pass += &text(&observed.pass);
        outcome.terminal += &text(&observed.terminal.unwrap_or_default());
        outcome.error = outcome.error.take().or(observed.error);
    };
    let mut text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    for chunk in chunks {
        add(observer.feed(Bytes::copy_from_slice(chunk)).unwrap(), &mut text);
    }
    add(observer.finish(), &mut text);
    outcome.facts = observer.facts;
    outcome
}

fn stream(text: &str, hide_usage: bool) -> Outcome {
    stream_of(observer(hide_usage), [text.as_bytes()])
}

fn delta(model: &str, delta: Value) -> String {
    let choice = json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": null}]);
    format!(r#"data: {{"id":"c1","object":"chat.completion.chunk","model":"{model}","choices":{choice}}}"#) + "\n\n"
}

const STOP: &str =
    "data: {\"id\":\"c1\",\"model\":\"llama\",\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const STOPPED: &str =
    "data: {\"id\":\"c1\",\"model\":\"acme/chat\",\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const USAGE: &str = "data: {\"model\":\"llama\",\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":5,\
                     \"prompt_tokens_details\":{\"cached_tokens\":4}}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

#[test]
fn a_stream_is_passed_on_under_the_slug_and_metered() {
    let hello = json!({"role": "assistant", "content": "Hé\n"});
    let text = delta("llama", hello.clone()) + &delta("llama", json!({"content": "llo"})) + STOP + USAGE + DONE;
    let outcome = stream(&text, true);
    assert_eq!(outcome.pass, delta(SLUG, hello) + &delta(SLUG, json!({"content": "llo"})) + STOPPED);
    assert_eq!(outcome.terminal, DONE);
    assert_eq!(outcome.facts.usage(), Some(Usage { input: 9, output: 5, cached: 4, cache_write: 0 }));
    assert_eq!((outcome.facts.text.bytes(), outcome.facts.reported_bytes), (7, 7));
    assert!(outcome.facts.has_terminal && outcome.facts.has_content && !outcome.facts.has_error);
    assert!(outcome.facts.choices.have_all_finished());
}

#[test]
fn a_customer_who_asked_for_usage_sees_it() {
    let outcome = stream(&(STOP.to_owned() + USAGE + DONE), false);
    assert_eq!(outcome.pass, STOPPED.to_owned() + &USAGE.replace("llama", SLUG));
}

#[test]
fn only_the_extra_chunk_is_taken_out() {
    for kept in [
        r#"{"choices":[],"usage":null}"#,
        r#"{"choices":[],"prompt_filter_results":[]}"#,
        r#"{"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#,
        r#"{"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":1,"completion_tokens":1}"#,
        r#"{"x":oops,"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}"#,
    ] {
        let frame = format!("data: {kept}\n\n");
        assert_eq!(stream(&frame, true).pass, frame);
    }
    for taken_out in [
        r#"{"choices":null,"usage":{"prompt_tokens":1,"completion_tokens":1}}"#,
        r#"{"usage":{"prompt_tokens":1,"completion_tokens":1}}"#,
        r#"{"choices":[],"x":NaN,"usage":{"prompt_tokens":1,"completion_tokens":1}}"#,
    ] {
        assert_eq!(stream(&format!("data: {taken_out}\n\n"), true).pass, "");
    }
}

#[test]
fn the_cuts_of_a_stream_do_not_change_the_result() {
    let basic = delta("llama", json!({"content": "é"})) + &delta(SLUG, json!({})) + STOP + USAGE + DONE;
    let unix = ": hi\n\ndata: {\"model\":\"x\",\ndata: \"choices\":[{\"text\":\"ab\"}]}\n\n".to_owned() + USAGE + DONE;
    let broken = "data: {\"error\":{\"message\":\"llama\"}}\n\ndata: [DONE]\n\ndata: x\n\n".to_owned();
    let open = delta("llama", json!({"content": "a"})) + &STOP[..STOP.len() - 2];
    let escaped =
        "event: m\ndata:{\"mod\\u0065l\":\"\\ud83d\\ude00\",\"message\":{\"model\":\"y\"}}\n\n".to_owned() + USAGE;
    for text in [basic, unix, broken, open, escaped] {
        for line_end in ["\n", "\r\n", "\r"] {
            let text = text.replace('\n', line_end);
            let expected = stream(&text, true);
            for first in 0..=text.len() {
                // A varying stride covers every second place within a few rounds and keeps the test quick.
                for second in (first..=text.len()).step_by(1 + first % 3) {
                    let (head, tail) = text.as_bytes().split_at(second);
                    let chunks = [&head[..first], &head[first..], tail];
                    assert_eq!(stream_of(observer(true), chunks), expected, "{text:?} cut at {first} and {second}");
                }
            }
            assert_eq!(stream_of(observer(true), text.as_bytes().chunks(1)), expected);
        }
    }
}

#[test]
fn a_chunk_in_which_nothing_changes_is_passed_on_without_a_copy() {
    let mut observer = observer(true);
    let chunk = Bytes::from(delta(SLUG, json!({"content": "a"})).repeat(5) + ": ping\n\n");
    for _ in 0..3 {
        let observed = observer.feed(chunk.clone()).unwrap();
        assert_eq!((observed.pass.as_ptr(), observed.pass.len()), (chunk.as_ptr(), chunk.len()));
    }
    assert_eq!(observer.text_bytes(), 15);
}

#[test]
fn frames_with_a_common_prefix_are_read_like_others() {
    // The first frame teaches the prefix. In the others, the name is different, longer, shorter or missing.
    let frame = |model: &str, more: &str| format!("data: {{\"id\":\"1\",\"model\":{model}{more}}}\n\n");
    let slug = format!("\"{SLUG}\"");
    for (models, expected) in [
        (["\"a\"", "\"a\"", "\"b\""], [&slug, &slug, &slug]),
        (["\"a\"", "\"ab\"", "\"a\""], [&slug, &slug, &slug]),
        ([&slug, &slug, "\"a\""], [&slug, &slug, &slug]),
        ([&slug, "null", "1"], [&slug, &"null".to_owned(), &"1".to_owned()]),
        (["\"a\"", "\"\"", "{\"model\":\"a\"}"], [&slug, &slug, &"{\"model\":\"a\"}".to_owned()]),
    ] {
        for more in ["", ",\"choices\":[{\"text\":\"abc\"}]", " , \"model\" : \"again\""] {
            let before: String = models.iter().map(|model| frame(model, more)).collect();
            let after: String = expected.iter().map(|model| frame(model, &more.replace("again", SLUG))).collect();
            assert_eq!(stream(&before, false).pass, after);
        }
    }
}

#[test]
fn the_rest_of_a_frame_with_a_common_prefix_is_validated() {
    let good = "data: {\"model\":\"a\",\"x\":1}\n\n";
    for bad in
        ["data: {\"model\":\"a\"", "data: {\"model\":\"a\"x}", "data: {\"model\":\"a\",}", "data: {\"model\":\"a\"}}"]
    {
        let outcome = stream(&format!("{good}{bad}\n\n"), false);
        assert_eq!(
            outcome.pass,
            good.replace("\"a\"", "\"acme/chat\"") + &bad.replace("\"a\"", "\"acme/chat\"") + "\n\n"
        );
    }
}

#[test]
fn the_model_is_found_by_its_path_only() {
    let text = "data: {\"x\":{\"model\":\"llama\"},\"choices\":[{\"model\":\"llama\",\"delta\":{\"content\":\
                \"\\\"model\\\":\\\"llama\\\"\"}}],\"response\":{\"a\":[],\"model\":\"llama\"},\"message\":{\"model\":\
                \"llama\"},\"m\\u006fdel\" : \"ll\\u0061ma\" }\n\n";
    let expected = text
        .replace("\"response\":{\"a\":[],\"model\":\"llama\"", "\"response\":{\"a\":[],\"model\":\"acme/chat\"")
        .replace("\"message\":{\"model\":\"llama\"", "\"message\":{\"model\":\"acme/chat\"")
        .replace("\"ll\\u0061ma\"", "\"acme/chat\"");
    assert_eq!(stream(text, false).pass, expected);
    let same = "data: {\"model\":\"acme\\/ch\\u0061t\"}\n\n";
    assert_eq!(stream(same, false).pass, same);
}

#[test]
fn generated_text_is_counted_and_nothing_else() {
    for (delta, bytes) in [
        (json!({"role": "assistant", "content": "é€😀\n\"\\"}), 12),
        (json!({"content": null, "refusal": "no"}), 2),
        (json!({"reasoning_content": "abc"}), 3),
        (json!({"reasoning": "abc", "reasoning_content": "abc", "content": "d"}), 4),
        (
            json!({"tool_calls": [{"id": "xyz", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}]}),
            8,
        ),
        (json!({"function_call": {"name": "f", "arguments": "{}"}}), 3),
        (json!({"content": [{"type": "text", "text": "ab"}, {"thinking": [{"text": "c"}]}]}), 3),
        (json!({"audio": {"id": "a", "transcript": "abc", "data": "UklG"}}), 3),
        (json!({"thinking": "abcd", "reasoning": "abc"}), 4),
        (
            json!({"reasoning": "abc", "reasoning_details": [{"type": "reasoning.text", "text": "abc", "signature": "x"}]}),
            3,
        ),
        (json!({"reasoning_details": [{"type": "reasoning.summary", "summary": "ab"}]}), 2),
        (json!({"tool_calls": [{"type": "custom", "custom": {"name": "f", "input": "abc"}}]}), 4),
        (json!({"reasoning": {"text": "ab", "summary": "abc"}}), 3),
        (json!({"reasoning": {"content": "abc"}, "content": [{"type": "x", "content": "abc"}]}), 3),
        (
            json!({"reasoning_text": "ab", "thinking_blocks": [{"type": "thinking", "thinking": "ab", "signature": "x"}]}),
            2,
        ),
        (json!({"content": [{"type": "thinking", "thinking": "ab"}, {"type": "image", "data": "abc"}]}), 2),
        (json!({"tool_calls": [{"function": {"name": "f", "arguments": {"a": [1]}}}]}), 10),
        (json!({"function_call": {"arguments": {"name": "f", "arguments": "{}"}}}), 29),
        (json!({"content": 5, "tool_calls": null, "annotations": ["abc", {"content": "abc", "text": "d"}]}), 0),
        (json!({"custom": {"name": "abc"}, "name": "abc", "input": "abc", "arguments": {"a": 1}}), 0),
        (json!("abc"), 0),
    ] {
        let choices =
            json!({"choices": [{"delta": delta, "logprobs": {"content": [{"token": "abc"}]}}, {"message": delta}]});
        assert_eq!(stream(&format!("data: {choices}\n\n"), false).facts.text.bytes(), 2 * bytes, "{choices}");
        let choices = choices.to_string();
        for size in [1, 7, choices.len()] {
            let (_, facts) = pieces(Route::ChatCompletions, choices.as_bytes().chunks(size));
            assert_eq!(facts.text.bytes(), 2 * bytes, "in pieces of {size} bytes: {choices}");
        }
    }
    assert_eq!(stream("data: {\"choices\":[{\"text\":\"abc\"},{\"text\":\"d\"}]}\n\n", false).facts.text.bytes(), 4);
}

#[test]
fn a_report_in_a_choice_counts_if_there_is_no_other() {
    let frame = |data: &str| format!("data: {data}\n\n");
    let tokens = |input, output| Some(Usage { input, output, cached: 0, cache_write: 0 });
    let in_choice = r#"{"choices":[{"delta":{"content":"a"},"usage":{"prompt_tokens":9,"completion_tokens":1}}]}"#;
    let beside = r#"{"choices":[],"usage":{"prompt_tokens":8,"completion_tokens":5}}"#;
    let facts = |frames: &[&str]| stream(&frames.iter().map(|data| frame(data)).collect::<String>(), false).facts;
    assert_eq!(facts(&[in_choice]).usage(), tokens(9, 1));
    assert_eq!(facts(&[in_choice, beside]).usage(), tokens(8, 5));
    assert_eq!(facts(&[beside, in_choice]).usage(), tokens(8, 5));
    let both = r#"{"usage":{"prompt_tokens":8},"choices":[{"usage":{"prompt_tokens":9,"completion_tokens":1}}]}"#;
    assert_eq!(facts(&[both]).usage(), None, "the report outside the choices counts, and has no output");
    let null = r#"{"usage":null,"choices":[{"usage":{"prompt_tokens":9,"completion_tokens":1}}]}"#;
    assert_eq!(facts(&[null, null]).usage(), tokens(9, 1));
    for large in [in_choice, both, null] {
        for size in [1, 7, large.len()] {
            let (_, in_pieces) = pieces(Route::ChatCompletions, large.as_bytes().chunks(size));
            assert_eq!(in_pieces.usage(), facts(&[large]).usage(), "in pieces of {size} bytes: {large}");
        }
    }
}

#[test]
fn text_after_the_latest_report_of_output_is_unreported() {
    let report =
        |output: u64| format!("data: {{\"usage\":{{\"prompt_tokens\":9,\"completion_tokens\":{output}}}}}\n\n");
    let text = delta(SLUG, json!({"content": "abcd"}));
    for (frames, unreported) in [
        ([report(0), text.clone(), text.clone()], 8),
        ([text.clone(), report(1), text.clone()], 4),
        ([text.clone(), text.clone(), report(2)], 0),
        ([text.clone(), text.clone(), report(0)], 8),
        ([text.clone(), report(1), report(0)], 0),
    ] {
        let facts = stream(&frames.concat(), false).facts;
        assert_eq!(facts.text.bytes() - facts.reported_bytes, unreported, "{frames:?}");
    }
}

#[test]
fn a_stream_has_content_once_it_holds_something_for_the_customer() {
    for (data, expected) in [
        (r#"{"choices":[{"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#, false),
        (
            r#"{"choices":[{"delta":{"role":"assistant","content":null,"tool_calls":[],"refusal":null}}],"usage":null}"#,
            false,
        ),
        (r#"{"choices":[],"prompt_filter_results":[{"x":1}]}"#, false),
        (r#"{"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0}}"#, false),
        (r#"{"error":{"message":"no"}}"#, false),
        ("{}", false),
        ("hello", false),
        (r#"{"choices":[{"delta":{"content":"a"}}]}"#, true),
        (r#"{"choices":[{"delta":{"reasoning_content":"a"}}]}"#, true),
        (r#"{"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}"#, true),
        (r#"{"choices":[{"delta":{"audio":{"data":"UklG"}}}]}"#, true),
        (r#"{"choices":[{"delta":{"images":[{"x":1}]}}]}"#, true),
        (r#"{"choices":[{"text":"a"}]}"#, true),
        (r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#, true),
        (r#"{"choices":[],"usage":{"prompt_tokens":1}}"#, true),
        (r#"{"choices":[{"delta":{"content":"a"},"logprobs":NaN}]}"#, true),
    ] {
        assert_eq!(stream(&format!("data: {data}\n\n"), false).facts.has_content, expected, "{data}");
    }
}

#[test]
fn a_stream_has_finished_when_all_its_choices_have() {
    let frame = |index: u64, reason: &str| {
        format!("data: {{\"choices\":[{{\"index\":{index},\"delta\":{{}},\"finish_reason\":{reason}}}]}}\n\n")
    };
    let (one, other) = (frame(0, "\"stop\""), frame(1, "\"stop\""));
    let finished = |frames: &[&str], choices| {
        let mut observer = observer(true);
        observer.feed(Bytes::from(frames.concat())).unwrap();
        (observer.has_finished(choices), observer.is_whole())
    };
    assert_eq!(finished(&[&one], 1), (true, true));
    assert_eq!(finished(&[&one], 2), (false, true));
    assert_eq!(finished(&[&frame(1, "null"), &one], 2), (false, false));
    assert_eq!(finished(&[&one, &one], 2), (false, true));
    assert_eq!(finished(&[&one, &other], 2), (true, true));
    assert_eq!(finished(&[&one, USAGE], 2), (true, true), "the server returned fewer choices than requested");
    assert_eq!(finished(&[&frame(1, "null"), &one, USAGE], 2), (false, false));
    assert_eq!(finished(&[&frame(0, "null"), DONE], 1), (false, true));
}

#[test]
fn embeddings_have_no_output() {
    let mut observer = Observer::new(Route::Embeddings, SLUG, false);
    let body = r#"{"model":"e","data":[{"embedding":[0.5,-1e-3]}],"usage":{"prompt_tokens":8,"completion_tokens":3}}"#;
    assert_eq!(observer.whole(Bytes::from_static(body.as_bytes())), body.replace("\"e\"", "\"acme/chat\""));
    assert_eq!(
        observer.report().usage(Route::Embeddings),
        Some(Usage { input: 8, output: 0, cached: 0, cache_write: 0 })
    );
    assert!(observer.has_content());
}

#[test]
fn a_whole_answer_is_rewritten_and_metered() {
    let body = |model: &str| {
        format!(
            r#"{{"model": "{model}", "choices": [{{"message": {{"content": "héllo"}}, "finish_reason": "stop"}}],
            "usage": {{"prompt_tokens": 3, "completion_tokens": 2}}}}"#
        )
    };
    let mut observer = observer(false);
    assert_eq!(observer.whole(body("llama").into()), body(SLUG));
    assert_eq!((observer.text_bytes(), observer.is_whole(), observer.has_error()), (6, true, false));
    assert_eq!(observer.facts.usage(), Some(Usage { input: 3, output: 2, cached: 0, cache_write: 0 }));
    let same = Bytes::from(body(SLUG));
    assert_eq!(observer.whole(same.clone()).as_ptr(), same.as_ptr());
    for other in ["", "<html>", "[1]", "{\"model\":null}"] {
        assert_eq!(observer.whole(Bytes::from_static(other.as_bytes())), other);
    }
}

#[test]
fn invalid_json_is_rewritten_and_measured_too() {
    let mut whole = observer(false);
    let body = r#"{"model":"llama","choices":[{"message":{"content":"hi"},"logprobs":NaN}],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#;
    assert_eq!(whole.whole(Bytes::from_static(body.as_bytes())), body.replace("llama", SLUG));
    assert_eq!(whole.facts.usage(), Some(Usage { input: 3, output: 2, cached: 0, cache_write: 0 }));
    let mut half = observer(false);
    half.whole(Bytes::from_static(br#"{"model":"llama","choices":[{"message":{"content":"eight by"}}],"usa"#));
    assert_eq!((half.text_bytes(), half.facts.usage()), (8, None));
    assert_eq!((whole.has_answer(), half.has_answer()), (true, false));
}

#[test]
fn a_document_is_an_answer_if_it_has_the_form_of_its_route() {
    let is_answer = |route, body: &'static str| {
        let mut observer = Observer::new(route, SLUG, false);
        observer.whole(Bytes::from_static(body.as_bytes()));
        observer.has_answer()
    };
    for (body, chat, vectors) in [
        (r#"{"choices":[{"message":{"content":""}}]}"#, true, true),
        (r#"{"usage":{"prompt_tokens":1}}"#, true, true),
        (r#"{"data":[]}"#, false, true),
        (r#"{"data":[{"embedding":"AAAA"}]}"#, false, true),
        (r#"{"choices":[]}"#, false, false),
        (r#"{"choices":null,"data":null}"#, false, false),
        ("{}", false, false),
        (r#"{"choices":[{"text":"a"}]}}"#, false, false),
        (r#"{"choices":[{"text":"a"}]} {}"#, false, false),
        (r#"{"choices":[{"text":"a"]}"#, false, false),
        (r#"{"choices":[{"text":a}]}"#, false, false),
    ] {
        assert_eq!(is_answer(Route::ChatCompletions, body), chat, "{body}");
        assert_eq!(is_answer(Route::Embeddings, body), vectors, "{body}");
    }
}

#[test]
fn an_empty_finish_reason_does_not_count() {
    for (reason, counts) in [("\"stop\"", true), ("\"\"", false), ("\"null\"", false), ("null", false)] {
        let choice = format!(r#"{{"choices":[{{"text":"","finish_reason":{reason}}}]"#);
        for frame in [format!("{choice}}}"), choice.clone() + ",\"x\":NaN}", choice.clone(), choice + "}}"] {
            let mut observer = observer(false);
            observer.feed(format!("data: {frame}\n\n").into()).unwrap();
            assert_eq!((observer.has_finished(1), observer.has_content()), (counts, counts), "{frame}");
        }
    }
}

#[test]
fn an_upstream_error_is_returned_and_not_passed_on() {
    for payload in [
        r#"{"error":{"message":"llama at 10.0.0.7 ran out of memory","code":500}}"#,
        r#"{"error":"llama failed"}"#,
        r#"{"object":"error","message":"llama failed"}"#,
        r#"{"model":"llama","choices":[{"delta":{},"finish_reason":"error"}],"error":{"message":"x"}}"#,
        r#"{"choices":[],"usage":{"prompt_tokens":9},"error":{"message":"x"}}"#,
        r#"{"error":[{"message":"llama failed"}]}"#,
        r#"{"error":true,"message":"llama failed"}"#,
        r#"{"error":503}"#,
        r#"{"type":"error","message":"llama failed"}"#,
        r#"{"detail":"llama failed"}"#,
        r#"{"errors":[{"message":"llama failed"}],"choices":null}"#,
        r#"{"choices":[{"index":0,"error":{"message":"llama failed"}}]}"#,
        r#"{"error":{"message":"llama failed","p":NaN}}"#,
        r#"{"x":"a\u0062","error":{"message":"llama fai"#,
        r#"{"choices":[{"error":"lla"#,
        r#"{"error":{"message":"llama failed"}}}"#,
    ] {
        let before = delta(SLUG, json!({"content": "a"}));
        let text = before.clone() + "data: " + payload + "\n\n" + STOP + DONE;
        for outcome in [stream(&text, false), stream_of(observer(false), text.as_bytes().chunks(1))] {
            assert_eq!((&*outcome.pass, &*outcome.terminal), (&*before, ""), "the error ends the stream: {payload}");
            assert_eq!((outcome.error.unwrap(), outcome.facts.has_error), (Bytes::from(payload), true));
        }
        let mut alone = observer(false);
        alone.feed(format!("data: {payload}\n\n").into()).unwrap();
        assert!(!alone.has_content(), "{payload}");
    }
    for (text, error) in [
        ("{\"error\":\"x\"}\n\n", "{\"error\":\"x\"}\n\n"),
        (": hi\n{\n\"detail\":\"x\"\n}\n\n", "{\n\"detail\":\"x\"\n}\n\n"),
        ("data: {}\r\nerror: {}\r\n\r\n", " {}\r\n\r\n"),
        ("id: 1\n{\"error\":\"x\"}\ndata: {}\n\n", "{\"error\":\"x\"}\ndata: {}\n\n"),
    ] {
        assert_eq!(stream(text, false).error.as_deref(), Some(error.as_bytes()), "{text:?}");
    }
    let named = stream("event: error\ndata: out of memory\n\n", false);
    assert_eq!((named.pass, named.error), (String::new(), Some(Bytes::from_static(b"out of memory"))));
    for fine in [
        "{\"error\":null}",
        "{\"error\":\"\"}",
        "{\"error\":false,\"object\":\"chat.completion.chunk\"}",
        "{\"error\":0,\"detail\":null,\"errors\":[],\"type\":\"x\"}",
        "{\"error\":{},\"choices\":[{\"error\":null}]}",
        "{\"detail\":\"x\",\"choices\":[{\"delta\":{}}]}",
    ] {
        let frame = format!("data: {fine}\n\n");
        let outcome = stream(&frame, false);
        assert_eq!((outcome.pass, outcome.error, outcome.facts.has_error), (frame, None, false));
    }
}

#[test]
fn invalid_json_is_passed_on_under_the_slug() {
    for data in ["", "hello", "[1]", "\u{feff}"] {
        let frame = format!("data: {data}\n\n");
        assert_eq!(stream(&frame, true).pass, frame);
    }
    for (data, expected) in [
        ("{\"model\":\"llama\"", "{\"model\":\"acme/chat\""),
        ("{\"model\":\"llama\"}}", "{\"model\":\"acme/chat\"}}"),
        ("{\"model\":\"llama\",\"p\":NaN}", "{\"model\":\"acme/chat\",\"p\":NaN}"),
        ("{\"p\":1,\"model\":\"lla", "{\"p\":1,\"model\":\"acme/chat\""),
    ] {
        assert_eq!(stream(&format!("data: {data}\n\n"), true).pass, format!("data: {expected}\n\n"));
    }
    let mut latin = observer(true);
    let observed = latin.feed(Bytes::from_static(b"data: {\"model\":\"llama\",\"x\":\"\xff\"}\n\n")).unwrap();
    assert_eq!(observed.pass, &b"data: {\"model\":\"acme/chat\",\"x\":\"\xff\"}\n\n"[..]);
    let damaged = "data: {\"choices\":[{\"delta\":{\"content\":\"abc\"},\"logprobs\":NaN}],\"model\":\"llama\",\"usage\":\
                   {\"prompt_tokens\":9,\"completion_tokens\":2}}\n\n";
    let outcome = stream(damaged, true);
    assert_eq!((outcome.pass, outcome.facts.text.bytes()), (damaged.replace("llama", SLUG), 3));
    assert_eq!(outcome.facts.usage(), Some(Usage { input: 9, output: 2, cached: 0, cache_write: 0 }));
}

#[test]
fn everything_from_the_terminal_event_on_is_held() {
    let mut observer = observer(true);
    let observed = observer.feed(Bytes::from(STOP.to_owned() + DONE + ": bye\n\n")).unwrap();
    assert_eq!(
        (observed.pass, observed.terminal.unwrap()),
        (Bytes::from(STOPPED), Bytes::from(DONE.to_owned() + ": bye\n\n"))
    );
    assert!(observer.has_terminal());
    let observed = observer.feed(Bytes::from(STOP.to_owned() + USAGE + ": later")).unwrap();
    assert_eq!((observed.pass, observed.terminal.unwrap()), (Bytes::new(), Bytes::from(STOPPED)));
    assert_eq!(observer.finish(), ObservedChunk::default());
}

#[test]
fn a_complete_last_frame_counts_without_its_empty_line() {
    for ending in ["", "\n", "\r\n", "\r"] {
        let outcome = stream(&format!("{STOP}data: [DONE]{ending}"), true);
        assert_eq!((outcome.pass.as_str(), outcome.terminal), (STOPPED, format!("data: [DONE]{ending}")));
        let outcome = stream(&format!("{}{ending}", STOP.trim_end()), true);
        assert_eq!(outcome.pass, format!("{}{ending}", STOPPED.trim_end()));
        let outcome = stream(&format!("{STOP}{}{ending}", USAGE.trim_end()), true);
        assert_eq!((outcome.pass.as_str(), outcome.facts.usage().is_some()), (STOPPED, true));
    }
    for half in ["da", ": comment", "data: {\"model\":\"lla", "data: [DON", "event: x\n"] {
        assert_eq!(stream(&(STOP.to_owned() + half), true).pass, STOPPED);
    }
}

/// The result of observing a JSON answer in these pieces.
fn pieces<'a>(route: Route, pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, AnswerFacts) {
    let mut observer = Observer::new(route, SLUG, false);
    let mut out = Vec::new();
    for piece in pieces {
        out.extend_from_slice(&observer.piece(Bytes::copy_from_slice(piece)));
    }
    assert_eq!(observer.finish(), ObservedChunk::default());
    (out, observer.facts)
}

const LARGE: [&str; 4] = [
    r#" { "object":"list" , "mod\u0065l" : "ll\u0061m\"a" ,"data":[{"model":"llama","embedding":[0.5,-1e3],"b":"\\\""}],
        "usage" : {"prompt_tokens":8,"a":{"b":[{}]},"prompt_tokens_details":{"cached_tokens":2}},"z":[[],{}],"x":1} "#,
    r#"{"choices":[{"message":{"role":"assistant","content":"a\u00e9\ud83d\ude00\n","tool_calls":[{"function":{
        "name":"f","arguments":"{\"model\":\"x\"}"}}]},"logprobs":{"content":[{"token":"no"}]},"finish_reason":"stop"},
        {"text":"bc","finish_reason":null}],"model":"acme\/chat","usage":{"prompt_tokens":8,"completion_tokens":4}}"#,
    r#"{"response":{"model":"llama","x":{"model":"llama"}},"message":{"model":"llama"},"usage":null,"model":""}"#,
    r#"{"model":null,"usage":[{"prompt_tokens":8}],"choices":["content",{"content":["a"]}],"s":"model","t":"usage"}"#,
];

#[test]
fn a_large_answer_is_treated_like_a_small_one() {
    for route in [Route::ChatCompletions, Route::Embeddings] {
        for body in LARGE {
            let mut observer = Observer::new(route, SLUG, false);
            let expected = (observer.whole(Bytes::from_static(body.as_bytes())).to_vec(), observer.facts.metered());
            let metered = |(out, facts): (Vec<u8>, AnswerFacts)| (out, facts.metered());
            assert_eq!(metered(pieces(route, [body.as_bytes()])), expected);
            assert_eq!(metered(pieces(route, body.as_bytes().chunks(1))), expected);
            for first in 0..=body.len() {
                for second in first..=body.len() {
                    let (head, tail) = body.as_bytes().split_at(second);
                    assert_eq!(metered(pieces(route, [&head[..first], &head[first..], tail])), expected);
                }
            }
        }
    }
}

#[test]
fn reports_are_merged_wherever_a_large_answer_is_cut() {
    let body = r#"{"usage":{"prompt_tokens":8,"completion_tokens":4},"x":1,"usage":{"prompt_tokens":9}}"#;
    let (_, facts) = pieces(Route::ChatCompletions, [body.as_bytes()]);
    assert_eq!(facts.usage(), Some(Usage { input: 9, output: 4, cached: 0, cache_write: 0 }));
    for cut in 0..body.len() {
        let (head, tail) = body.as_bytes().split_at(cut);
        assert_eq!(pieces(Route::ChatCompletions, [head, tail]).1.report, facts.report, "cut at {cut}");
    }
}

#[test]
fn a_large_answer_is_passed_on_without_a_copy_and_without_waiting() {
    let mut observer = Observer::new(Route::Embeddings, SLUG, false);
    let body = Bytes::from(format!(r#"{{"model":"{SLUG}","data":[{}"#, "0.25,".repeat(1000)));
    assert_eq!(observer.piece(body.clone()).as_ptr(), body.as_ptr());
    assert_eq!(observer.piece(Bytes::from_static(b"1],\"model\":\"lla")), "1],\"model\":");
    assert_eq!(observer.piece(Bytes::from_static(b"ma\"}")), "\"acme/chat\"}");
}

#[test]
fn the_memory_for_a_large_answer_is_bounded() {
    let body =
        format!(r#"{{"model":"{}","usage":{{"a":"{}","prompt_tokens":1}}}}"#, "m".repeat(5000), "u".repeat(1 << 20));
    let (out, facts) = pieces(Route::Embeddings, body.as_bytes().chunks(100));
    assert_eq!((String::from_utf8(out).unwrap(), facts.report), (body, Report::default()));
    let escapes = format!(r#"{{"x":{{}},"model":"{}","usage":{{"prompt_tokens":1}}}}"#, r#"\\\"\u0022"#.repeat(500));
    for size in 1..12 {
        let (out, facts) = pieces(Route::Embeddings, escapes.as_bytes().chunks(size));
        assert_eq!((out, facts.report.is_empty()), (escapes.clone().into_bytes(), false));
    }
    let keys = format!(r#"{{"{}model":"x","{}":"y"}}"#, "k".repeat(1000), "\\u006d".repeat(1000));
    assert_eq!(pieces(Route::Embeddings, keys.as_bytes().chunks(7)).0, keys.as_bytes());
}

/// An answer with members that are read and members that are not.
fn any_answer() -> impl Strategy<Value = Value> {
    let model = prop_oneof![Just(json!(SLUG)), Just(json!("llama")), ".{0,4}".prop_map(Value::from), Just(Value::Null)];
    let name = "(content|reasoning|reasoning_details|thinking|refusal|text|summary|arguments|name|usage|x)";
    let text = (name, ".{0,8}").prop_map(|(key, text)| json!({key: text}));
    let nested = text.prop_recursive(4, 12, 3, move |inner| {
        let name = "(content|reasoning|thinking_blocks|tool_calls|function|function_call|audio|arguments|x)";
        prop_oneof![
            (name, inner.clone()).prop_map(|(key, inner)| json!({key: inner})),
            (name, prop::collection::vec(inner, 0..3)).prop_map(|(key, inner)| json!({key: inner})),
        ]
    });
    let message = prop::collection::vec(nested, 0..3).prop_map(|members| {
        let mut message = json!({});
        for member in members {
            message.as_object_mut().unwrap().extend(member.as_object().unwrap().clone());
        }
        message
    });
    let choice = prop_oneof![
        message.clone().prop_map(|message| json!({"message": message, "finish_reason": null})),
        message.prop_map(|delta| json!({"delta": delta, "finish_reason": "stop"})),
        any_json(),
    ];
    (prop::collection::btree_map(".{0,6}", any_json(), 0..4), model, prop::collection::vec(choice, 0..3), 0..9u64)
        .prop_map(|(mut members, model, choices, tokens)| {
            members.insert("model".into(), model);
            members.insert("choices".into(), choices.into());
            members.insert("usage".into(), json!({"prompt_tokens": tokens}));
            json!(members)
        })
}

proptest! {
    #[test]
    fn only_the_model_of_an_answer_changes(answer in any_answer(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 3)) {
        let body = Bytes::from(answer.to_string());
        // As read back: floats may differ in the last digit from what was written.
        let mut expected: Value = serde_json::from_slice(&body).unwrap();
        if answer["model"].is_string() {
            expected["model"] = SLUG.into();
        }
        let mut whole = observer(false);
        let out = whole.whole(body.clone());
        prop_assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), expected);
        let tokens = answer["usage"]["prompt_tokens"].as_u64();
        prop_assert_eq!(whole.report().usage(Route::Embeddings).map(|usage| usage.input), tokens.filter(|tokens| *tokens > 0));

        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len())).collect();
        cuts.sort_unstable();
        let parts = [&body[..cuts[0]], &body[cuts[0]..cuts[1]], &body[cuts[1]..cuts[2]], &body[cuts[2]..]];
        let (piecewise, facts) = pieces(Route::ChatCompletions, parts);
        prop_assert_eq!(&piecewise, &out);
        prop_assert_eq!(facts.metered(), whole.facts.metered());

        let streamed = stream_of(observer(false), [b"data: ", parts[0], parts[1], parts[2], parts[3], b"\n\n"]);
        prop_assert_eq!(streamed.pass.as_bytes(), [b"data: ", &out[..], b"\n\n"].concat());
        prop_assert_eq!(AnswerFacts { reported_bytes: 0, ..streamed.facts }, whole.facts);
    }

    #[test]
    fn no_bytes_cause_a_panic(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..6)) {
        let (mut stream, mut large) = (observer(true), observer(true));
        for chunk in chunks {
            let chunk = Bytes::from(chunk);
            let _ = stream.feed(chunk.clone());
            large.piece(chunk.clone());
            observer(true).whole(chunk);
        }
        stream.finish();
    }

    #[test]
    fn no_mix_of_tokens_causes_a_panic(
        tokens in r#"(data: |event: error\n|\n|\r|\{|\}|\[|\]|,|:|"model"|"choices"|"usage"|"delta"|"content"|"x"|"\\u00|\[DONE\]|\\|0){0,40}"#,
        cut: prop::sample::Index,
    ) {
        let (head, tail) = tokens.as_bytes().split_at(cut.index(tokens.len() + 1));
        let (mut stream, mut large) = (observer(true), observer(true));
        for chunk in [head, tail] {
            let chunk = Bytes::copy_from_slice(chunk);
            stream.feed(chunk.clone()).unwrap();
            large.piece(chunk);
        }
        stream.finish();
    }
}
