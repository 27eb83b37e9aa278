use serde_json::{Value, json};

use super::*;
use crate::{domain::usage::Usage, upstream::observe::Observer};

const SENTENCE: &str = "every token passes the gate once is counted once and billed once";

const GENERATING: [Route; 4] = [Route::ChatCompletions, Route::Completions, Route::Responses, Route::Messages];

/// The answer, and its observer at the end.
fn answer(route: Route, request: &Value) -> (String, Observer) {
    let body = respond(route, request.to_string().as_bytes()).unwrap();
    let mut observer = Observer::new(route, "acme/chat", false);
    let is_stream = body.content_type() == "text/event-stream";
    let mut answer = String::new();
    for piece in body.pieces {
        answer += std::str::from_utf8(&piece).unwrap();
        if is_stream {
            observer.feed(piece).unwrap();
        } else {
            observer.whole(piece);
        }
    }
    (answer, observer)
}

fn whole(route: Route, request: &Value) -> Value {
    serde_json::from_str(&answer(route, request).0).unwrap()
}

fn events(route: Route, request: &Value) -> Vec<Value> {
    events_of(&answer(route, request).0)
}

/// The data of the events of a stream.
fn events_of(stream: &str) -> Vec<Value> {
    let data = stream.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}

/// A request whose prompt has four words.
fn request(route: Route, maximum: Option<usize>, stream: bool) -> Value {
    let messages = json!([{ "role": "user", "content": [{ "type": "text", "text": "two words" }] }]);
    let (mut request, name) = match route {
        Route::Responses => (json!({ "instructions": "be brief", "input": messages }), "max_output_tokens"),
        Route::Messages => (json!({ "system": "be brief", "messages": messages }), "max_tokens"),
        Route::Completions => (json!({ "prompt": "be brief two words" }), "max_tokens"),
        _ => (json!({ "messages": [{ "content": "be brief" }, messages[0]] }), "max_completion_tokens"),
    };
    request["model"] = "words".into();
    request["stream"] = stream.into();
    request["stream_options"] = json!({ "include_usage": true });
    if let Some(maximum) = maximum {
        request[name] = maximum.into();
    }
    request
}

fn text_of(route: Route, answer: &Value) -> &Value {
    match route {
        Route::Responses => &answer["output"][0]["content"][0]["text"],
        Route::Messages => &answer["content"][0]["text"],
        Route::Completions => &answer["choices"][0]["text"],
        _ => &answer["choices"][0]["message"]["content"],
    }
}

fn streamed_text(route: Route, events: &[Value]) -> String {
    let delta = |event: &Value| match route {
        Route::Responses => event["delta"].as_str().map(str::to_owned),
        Route::Messages => event["delta"]["text"].as_str().map(str::to_owned),
        Route::Completions => event["choices"][0]["text"].as_str().map(str::to_owned),
        _ => event["choices"][0]["delta"]["content"].as_str().map(str::to_owned),
    };
    events.iter().filter_map(delta).collect()
}

fn usage(input: u64, output: u64) -> Usage {
    Usage { input, output, ..Usage::default() }
}

#[test]
fn an_answer_is_the_sentence_cut_at_the_maximum() {
    for route in GENERATING {
        for (maximum, text) in [(None, SENTENCE), (Some(12), SENTENCE), (Some(3), "every token passes")] {
            let answer = whole(route, &request(route, maximum, false));
            assert_eq!(text_of(route, &answer), text, "{route:?}");
            assert_eq!(answer["model"], "words");
        }
    }
}

#[test]
fn only_chats_and_completions_fill_a_larger_maximum() {
    for route in GENERATING {
        let answer = whole(route, &request(route, Some(32_000), false));
        let words = text_of(route, &answer).as_str().unwrap().split(' ').count();
        let fills = matches!(route, Route::ChatCompletions | Route::Completions);
        assert_eq!(words, if fills { 400 } else { 12 }, "{route:?}");
    }
}

#[test]
fn an_answer_says_whether_the_maximum_ended_it() {
    for (maximum, reasons) in
        [(None, ["stop", "stop", "completed", "end_turn"]), (Some(3), ["length", "length", "incomplete", "max_tokens"])]
    {
        for (route, reason) in GENERATING.into_iter().zip(reasons) {
            let place = match route {
                Route::Responses => "/status",
                Route::Messages => "/stop_reason",
                _ => "/choices/0/finish_reason",
            };
            let answer = whole(route, &request(route, maximum, false));
            assert_eq!(answer.pointer(place), Some(&reason.into()), "{route:?}");
        }
    }
    let cut = whole(Route::Responses, &request(Route::Responses, Some(3), false));
    assert_eq!(cut["incomplete_details"], json!({ "reason": "max_output_tokens" }));
    assert_eq!(events(Route::Responses, &request(Route::Responses, Some(3), true)).last().unwrap()["response"], cut);
}

#[test]
fn a_stream_has_the_text_and_the_usage_of_a_whole_answer() {
    for route in GENERATING {
        for maximum in (0..30).map(Some).chain([None]) {
            let (whole, observer) = answer(route, &request(route, maximum, false));
            let (streamed, stream_observer) = answer(route, &request(route, maximum, true));
            let whole: Value = serde_json::from_str(&whole).unwrap();
            let text = streamed_text(route, &events_of(&streamed));
            assert_eq!(text_of(route, &whole), &text, "{route:?}");
            assert!(observer.has_answer() && stream_observer.is_whole() && stream_observer.has_terminal());
            for observer in [observer, stream_observer] {
                let words = text.split_whitespace().count() as u64;
                assert_eq!(observer.report().usage(route), Some(usage(4, words)), "{route:?} {maximum:?}");
                assert_eq!(observer.text_bytes(), text.len() as u64, "{route:?} {maximum:?}");
                assert!(!observer.has_error());
            }
        }
    }
}

#[test]
fn the_events_of_a_response_are_numbered_and_end_with_the_whole_response() {
    let events = events(Route::Responses, &request(Route::Responses, None, true));
    let numbers: Vec<_> = events.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..20).collect::<Vec<_>>());
    let last = events.last().unwrap();
    assert_eq!(last["type"], "response.completed");
    assert_eq!(last["response"], whole(Route::Responses, &request(Route::Responses, None, false)));
}

#[test]
fn typed_events_are_named_by_their_type() {
    let (stream, _) = answer(Route::Messages, &request(Route::Messages, Some(1), true));
    let names: Vec<_> = stream.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    let types: Vec<_> = events(Route::Messages, &request(Route::Messages, Some(1), true));
    let types: Vec<_> = types.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(names, types);
    assert_eq!(
        names,
        [
            "message_start",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop"
        ]
    );
}

#[test]
fn results_of_tools_are_part_of_the_prompt_and_their_definitions_are_not() {
    let input = json!([
        { "role": "user", "content": "what time" },
        { "type": "function_call", "name": "clock", "arguments": "{}", "call_id": "c" },
        { "type": "function_call_output", "call_id": "c", "output": "half past nine" },
    ]);
    let (_, observer) = answer(Route::Responses, &json!({ "input": input, "tools": [{ "name": "clock" }] }));
    assert_eq!(observer.report().usage(Route::Responses), Some(usage(5, 12)));
    let result =
        json!({ "type": "tool_result", "tool_use_id": "c", "content": [{ "type": "text", "text": "half past nine" }] });
    let messages = json!([
        { "role": "user", "content": "what time" },
        { "role": "assistant", "content": [{ "type": "tool_use", "id": "c", "name": "clock", "input": { "text": "no" } }] },
        { "role": "user", "content": [result] },
    ]);
    assert_eq!(whole(Route::CountTokens, &json!({ "messages": messages })), json!({ "input_tokens": 5 }));
}

#[test]
fn the_best_documents_come_first() {
    let documents = json!(["a gate", { "text": "a token gate" }, "nothing", "the gate"]);
    let request = json!({ "query": "token gate", "documents": documents, "top_n": 3 });
    let answer = whole(Route::Rerank, &request);
    let results = answer["results"].as_array().unwrap();
    let scores: Vec<_> = results.iter().map(|one| (&one["index"], &one["relevance_score"])).collect();
    assert_eq!(scores, [(&json!(1), &json!(1.0)), (&json!(0), &json!(0.5)), (&json!(3), &json!(0.5))]);
    assert_eq!(results[0]["document"], json!({ "text": "a token gate" }));
    let (_, observer) = self::answer(Route::Rerank, &request);
    assert_eq!(observer.report().usage(Route::Rerank), Some(usage(10, 0)));
}

#[test]
fn a_text_is_flagged_for_the_categories_that_it_names() {
    let flags = |input: Value| {
        let request = json!({ "input": input });
        let (_, observer) = answer(Route::Moderations, &request);
        let flags = whole(Route::Moderations, &request)["results"]
            .as_array()
            .unwrap()
            .iter()
            .map(|result| (result["flagged"] == true, result["categories"]["hate"] == true))
            .collect::<Vec<_>>();
        (flags, observer.report().usage(Route::Moderations).unwrap().input)
    };
    assert_eq!(flags(json!("much love")), (vec![(false, false)], 2));
    assert_eq!(
        flags(json!(["love", "hate", "violence and so on"])),
        (vec![(false, false), (true, true), (true, false)], 6)
    );
    let image = json!({ "type": "image_url", "image_url": { "url": "data:," } });
    assert_eq!(flags(json!([{ "type": "text", "text": "some hate" }, image])), (vec![(true, true)], 2));
}

#[test]
fn images_and_audio_are_lacking() {
    let lacking = Route::ALL.into_iter().filter(|route| respond(*route, b"{}").is_none());
    let media = [Route::Images, Route::Speech, Route::Transcriptions, Route::Translations];
    assert_eq!(lacking.collect::<Vec<_>>(), media);
}
