use bytes::Bytes;
use serde_json::{Value, json};

use crate::{
    domain::{route::Route, usage::Usage},
    upstream::observe::Observer,
};

const SLUG: &str = "acme/chat";

fn event(data: &Value) -> String {
    let name = data["type"].as_str().unwrap_or_default();
    format!("event: {name}\ndata: {data}\n\n")
}

/// The parts of a stream: passed on at once, held until the event is durable, and the upstream's error.
fn read(observer: &mut Observer, events: &[Value]) -> (String, String, Option<Bytes>) {
    let (mut pass, mut terminal, mut error) = (String::new(), String::new(), None);
    for data in events {
        let observed = observer.feed(event(data).into()).unwrap();
        pass += std::str::from_utf8(&observed.pass).unwrap();
        terminal += std::str::from_utf8(&observed.terminal.unwrap_or_default()).unwrap();
        error = error.or(observed.error);
    }
    (pass, terminal, error)
}

fn observed(route: Route, events: &[Value]) -> Observer {
    let mut observer = Observer::new(route, SLUG, false);
    read(&mut observer, events);
    observer
}

fn response(status: &str, output: Value, usage: Value) -> Value {
    json!({ "id": "resp_1", "object": "response", "status": status, "error": null, "model": "llama", "output": output,
        "usage": usage, "metadata": {} })
}

fn message_item(text: &str) -> Value {
    json!({ "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": text,
        "annotations": [] }] })
}

/// A response with reasoning, a text and a call of a tool: 5 + 7 + 9 bytes.
fn response_events() -> Vec<Value> {
    let reasoning = json!({ "type": "reasoning", "summary": [{ "type": "summary_text", "text": "think" }] });
    let call = json!({ "type": "function_call", "call_id": "c1", "name": "add", "arguments": "{\"x\":1}" });
    let called = json!({ "type": "function_call", "call_id": "c1", "name": "add", "arguments": "" });
    let usage = json!({ "input_tokens": 12, "input_tokens_details": { "cached_tokens": 4 }, "output_tokens": 9,
        "output_tokens_details": { "reasoning_tokens": 3 }, "total_tokens": 21 });
    vec![
        json!({ "type": "response.created", "response": response("in_progress", json!([]), Value::Null) }),
        json!({ "type": "response.output_item.added", "item": { "type": "reasoning", "summary": [] } }),
        json!({ "type": "response.reasoning_summary_text.delta", "delta": "think" }),
        json!({ "type": "response.reasoning_summary_text.done", "text": "think" }),
        json!({ "type": "response.output_item.done", "item": reasoning }),
        json!({ "type": "response.output_text.delta", "delta": "Hé" }),
        json!({ "type": "response.output_text.delta", "delta": "llo" }),
        json!({ "type": "response.output_text.done", "text": "Héllo" }),
        json!({ "type": "response.output_item.done", "item": message_item("Héllo") }),
        json!({ "type": "response.output_item.added", "item": called }),
        json!({ "type": "response.function_call_arguments.delta", "delta": "{\"x\":" }),
        json!({ "type": "response.function_call_arguments.delta", "delta": "1}" }),
        json!({ "type": "response.function_call_arguments.done", "arguments": "{\"x\":1}" }),
        json!({ "type": "response.output_item.done", "item": call }),
        json!({ "type": "response.completed",
            "response": response("completed", json!([reasoning, message_item("Héllo"), call]), usage) }),
    ]
}

const RESPONSE_TEXT: u64 = 5 + 6 + 3 + 7;

fn anthropic_events() -> Vec<Value> {
    let start = json!({ "id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": [],
        "stop_reason": null, "usage": { "input_tokens": 10, "cache_creation_input_tokens": 20,
            "cache_read_input_tokens": 30, "output_tokens": 1 } });
    vec![
        json!({ "type": "message_start", "message": start }),
        json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "thinking", "thinking": "" } }),
        json!({ "type": "ping" }),
        json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "thinking_delta", "thinking": "hm" } }),
        json!({ "type": "content_block_delta", "index": 0,
            "delta": { "type": "signature_delta", "signature": "c2lnbmF0dXJl" } }),
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({ "type": "content_block_delta", "index": 1, "delta": { "type": "text_delta", "text": "Hello" } }),
        json!({ "type": "content_block_start", "index": 2,
            "content_block": { "type": "tool_use", "id": "t1", "name": "add", "input": {} } }),
        json!({ "type": "content_block_delta", "index": 2,
            "delta": { "type": "input_json_delta", "partial_json": "{\"x\":1}" } }),
        json!({ "type": "message_delta", "delta": { "stop_reason": "tool_use", "stop_sequence": null },
            "usage": { "output_tokens": 15 } }),
        json!({ "type": "message_stop" }),
    ]
}

const MESSAGE_TEXT: u64 = 2 + 5 + 3 + 7;

#[test]
fn the_text_of_a_response_counts_once_although_it_is_sent_three_times() {
    let events = response_events();
    let mut observer = Observer::new(Route::Responses, SLUG, false);
    let (pass, terminal, error) = read(&mut observer, &events);
    assert_eq!(observer.text_bytes(), RESPONSE_TEXT);
    let usage = Usage { input: 12, output: 9, cached: 4, cache_write: 0 };
    assert_eq!(observer.report().usage(Route::Responses), Some(usage));
    assert!(observer.has_terminal() && observer.is_whole() && error.is_none());
    let (last, others) = events.split_last().unwrap();
    let sent = |events: &[Value]| events.iter().map(event).collect::<String>().replace("llama", SLUG);
    assert_eq!((pass, terminal), (sent(others), sent(std::slice::from_ref(last))));
    for some in [
        // Only deltas, only complete items, only the last event.
        events.iter().filter(|data| data["type"].as_str().unwrap().ends_with(".delta")).cloned().collect(),
        events.iter().filter(|data| data["type"] == "response.output_item.done").cloned().collect(),
        vec![last.clone()],
    ] {
        let some: Vec<Value> = some;
        let name = if some.len() > 3 { 3 } else { 0 };
        assert_eq!(observed(Route::Responses, &some).text_bytes() + name, RESPONSE_TEXT, "{some:?}");
    }
}

#[test]
fn a_response_without_text_yet_has_no_content() {
    let start = &response_events()[..2];
    let observer = observed(Route::Responses, start);
    assert!(!observer.has_content() && !observer.is_whole());
    for (last, has_content) in [
        (json!({ "type": "response.output_item.added", "item": { "type": "message", "content": [] } }), false),
        (json!({ "type": "response.output_text.delta", "delta": "" }), false),
        (json!({ "type": "response.in_progress", "response": response("in_progress", json!([]), json!(null)) }), false),
        (json!({ "type": "response.output_text.delta", "delta": "a" }), true),
        (json!({ "type": "response.output_item.added", "item": { "type": "function_call", "name": "f" } }), true),
        (json!({ "type": "response.incomplete", "response": response("incomplete", json!([]), json!(null)) }), true),
    ] {
        let events = [start, std::slice::from_ref(&last)].concat();
        assert_eq!(observed(Route::Responses, &events).has_content(), has_content, "{last}");
    }
}

#[test]
fn a_failed_response_is_an_error_and_not_an_end() {
    for last in [
        json!({ "type": "response.failed", "response": { "error": { "code": "server_error", "message": "x" } } }),
        json!({ "type": "error", "code": "server_error", "message": "x", "param": null, "sequence_number": 3 }),
        json!({ "type": "error", "error": { "message": "x" } }),
    ] {
        let mut observer = Observer::new(Route::Responses, SLUG, false);
        let events = [&response_events()[..6], std::slice::from_ref(&last)].concat();
        let (pass, terminal, error) = read(&mut observer, &events);
        assert_eq!(error, Some(Bytes::from(last.to_string())));
        assert!(!pass.contains(&*event(&last)) && terminal.is_empty() && !observer.is_whole(), "{last}");
    }
}

#[test]
fn the_usage_of_a_message_is_merged_from_its_first_and_last_events() {
    let events = anthropic_events();
    let mut observer = Observer::new(Route::Messages, SLUG, false);
    let (pass, terminal, error) = read(&mut observer, &events);
    let usage = Usage { input: 60, output: 15, cached: 30, cache_write: 20 };
    assert_eq!(observer.report().usage(Route::Messages), Some(usage));
    assert_eq!(observer.text_bytes(), MESSAGE_TEXT);
    assert!(observer.has_finished(1) && observer.has_terminal() && error.is_none());
    assert!(pass.starts_with("event: message_start") && pass.contains(SLUG) && !pass.contains("claude"));
    assert_eq!(terminal, event(&json!({ "type": "message_stop" })));
    let cut = observed(Route::Messages, &events[..9]);
    assert!(!cut.is_whole() && cut.unreported_bytes() == MESSAGE_TEXT);
    assert!(observed(Route::Messages, &events[..10]).is_whole(), "a stop reason ends a message");
}

#[test]
fn an_event_has_a_type_by_its_name_or_by_its_data() {
    let mut observer = Observer::new(Route::Messages, SLUG, false);
    let observed = observer.feed("event: message_stop\ndata: {}\n\n".into()).unwrap();
    assert_eq!(observed.terminal.as_deref(), Some(&b"event: message_stop\ndata: {}\n\n"[..]));
    let mut observer = Observer::new(Route::Responses, SLUG, false);
    let observed = observer.feed("data: {\"response\":{},\"type\":\"response.completed\"}\n\n".into()).unwrap();
    assert!(observed.pass.is_empty() && observed.terminal.is_some());
}

#[test]
fn a_model_inside_an_answers_own_message_is_not_renamed() {
    let event = "data: {\"response\":{\"model\":\"a\",\"message\":{\"model\":\"b\"}}}\n\n";
    let observed = Observer::new(Route::Responses, SLUG, false).feed(event.into()).unwrap();
    assert_eq!(observed.pass, event.replacen("\"a\"", &format!("\"{SLUG}\""), 1));
}

#[test]
fn whole_answers_are_read_like_streams() {
    let events = response_events();
    let whole = events.last().unwrap()["response"].clone();
    let message = json!({ "type": "message", "model": "claude", "stop_reason": "tool_use", "content": [
        { "type": "thinking", "thinking": "hm", "signature": "c2ln" }, { "type": "text", "text": "Hello" },
        { "type": "tool_use", "id": "t1", "name": "add", "input": { "x": 1 } }],
        "usage": { "input_tokens": 10, "cache_read_input_tokens": 5, "output_tokens": 15 } });
    let transcript = json!({ "text": "Hello", "duration": "12.3", "segments": [{ "text": "Hello" }] });
    let images = json!({ "created": 1, "data": [{ "b64_json": "AAAA" }, { "url": "x" }], "usage":
        { "input_tokens": 5, "output_tokens": 7, "total_tokens": 12 } });
    for (route, answer, text, images) in [
        (Route::Responses, whole, RESPONSE_TEXT, 0),
        (Route::Messages, message, MESSAGE_TEXT, 0),
        (Route::Transcriptions, transcript, 5, 0),
        (Route::Images, images, 0, 2),
    ] {
        let mut observer = Observer::new(route, SLUG, false);
        let passed = observer.whole(answer.to_string().into());
        assert!(observer.has_answer() && !observer.has_error(), "{answer}");
        assert!(!passed.windows(6).any(|bytes| bytes == b"claude" || bytes == b"llama\""), "{answer}");
        let mut in_pieces = Observer::new(route, SLUG, false);
        for piece in answer.to_string().as_bytes().chunks(7) {
            in_pieces.piece(Bytes::copy_from_slice(piece));
        }
        for observer in [observer, in_pieces] {
            assert_eq!((observer.text_bytes(), observer.images()), (text, images), "{answer}");
            assert_eq!(observer.report().usage(route).is_some(), answer.get("usage").is_some(), "{answer}");
        }
    }
}

#[test]
fn answers_of_routes_without_output_hold_a_list_or_a_count() {
    for (route, answer, is_answer) in [
        (Route::Rerank, r#"{"results":[{"index":0,"relevance_score":0.5}],"usage":{"total_tokens":6}}"#, true),
        (Route::Moderations, r#"{"results":[{"flagged":false}]}"#, true),
        (Route::CountTokens, r#"{"input_tokens":7}"#, true),
        (Route::CountTokens, r#"{"results":[]}"#, false),
        (Route::Rerank, r#"{"ok":true}"#, false),
        (Route::Rerank, r#"[{"index":0,"score":0.5,"meta_info":{}}]"#, true),
        (Route::Rerank, r#"[{"error":{"message":"x"}}]"#, false),
        (Route::Moderations, r#"[{"flagged":false}]"#, false),
        (Route::Messages, r#"{"type":"error","error":{"type":"overloaded_error","message":"x"}}"#, false),
        (Route::Responses, r#"{"status":"failed","output":[],"error":{"message":"x"}}"#, false),
    ] {
        let mut observer = Observer::new(route, SLUG, false);
        observer.whole(Bytes::from_static(answer.as_bytes()));
        assert_eq!(observer.has_answer() && !observer.has_error(), is_answer, "{answer}");
    }
}

#[test]
fn the_length_of_a_recording_is_the_reported_one_else_the_stated_one() {
    for (answer, micros) in [
        (r#"{"text":"a","usage":{"type":"duration","seconds":9}}"#, Some(9_000_000)),
        (r#"{"text":"a","duration":8.47,"usage":{"type":"duration","seconds":9}}"#, Some(9_000_000)),
        (r#"{"text":"a","duration":8.470000059604645}"#, Some(8_470_000)),
        (r#"{"text":"a","duration":"8.5"}"#, Some(8_500_000)),
        (r#"{"text":"a","duration":-1}"#, None),
        (r#"{"text":"a","usage":{"type":"tokens","input_tokens":5,"output_tokens":1}}"#, None),
    ] {
        let mut observer = Observer::new(Route::Transcriptions, SLUG, false);
        observer.whole(Bytes::from_static(answer.as_bytes()));
        assert_eq!(observer.recording_micros(), micros, "{answer}");
    }
}

#[test]
fn a_stream_of_pictures_ends_with_the_last_one() {
    let completed = json!({ "type": "image_generation.completed", "b64_json": "AAAA", "usage":
        { "input_tokens": 5, "output_tokens": 7, "total_tokens": 12 } });
    let partial = json!({ "type": "image_generation.partial_image", "b64_json": "AA", "partial_image_index": 0 });
    assert!(observed(Route::Images, std::slice::from_ref(&partial)).has_content());
    let mut observer = Observer::new(Route::Images, SLUG, false);
    observer.expect_pictures(2);
    let (pass, terminal, _) = read(&mut observer, &[partial.clone(), completed.clone()]);
    assert_eq!((pass, terminal, observer.images()), (event(&partial) + &event(&completed), String::new(), 1));
    let (pass, terminal, _) = read(&mut observer, std::slice::from_ref(&completed));
    assert_eq!((pass, terminal, observer.images()), (String::new(), event(&completed), 2));
}

#[test]
fn a_transcript_counts_once_and_sound_not_at_all() {
    let events = [
        json!({ "type": "transcript.text.delta", "delta": "Hel" }),
        json!({ "type": "transcript.text.delta", "delta": "lo" }),
        json!({ "type": "transcript.text.done", "text": "Hello", "usage": { "type": "tokens", "input_tokens": 9,
            "output_tokens": 2, "total_tokens": 11 } }),
    ];
    let observer = observed(Route::Transcriptions, &events);
    let usage = Usage { input: 9, output: 2, cached: 0, cache_write: 0 };
    assert_eq!((observer.text_bytes(), observer.report().usage(Route::Transcriptions)), (5, Some(usage)));
    assert!(observer.has_terminal());
    let sound = [json!({ "type": "speech.audio.delta", "audio": "AAAA" }), json!({ "type": "speech.audio.done" })];
    let observer = observed(Route::Speech, &sound);
    assert_eq!((observer.text_bytes(), observer.has_content(), observer.has_terminal()), (0, true, true));
    let mut raw = Observer::new(Route::Speech, SLUG, false);
    raw.raw(b"\xff\xfb\x90");
    assert_eq!((raw.text_bytes(), raw.has_content()), (0, true));
    let mut raw = Observer::new(Route::Translations, SLUG, false);
    raw.raw(b"Hello");
    assert_eq!(raw.text_bytes(), 5);
}
