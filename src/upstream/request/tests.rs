use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{domain::route::Route, upstream::json::tests::any_json};

fn chat(body: &str) -> Request {
    scan(body.as_bytes(), Route::ChatCompletions).unwrap()
}

fn refusal(body: impl AsRef<[u8]>) -> (&'static str, Option<&'static str>) {
    let refused = scan(body.as_ref(), Route::ChatCompletions).unwrap_err();
    (refused.code, refused.param)
}

fn prompt_bytes(route: Route, body: Value) -> u64 {
    scan(body.to_string().as_bytes(), route).unwrap().prompt_bytes
}

/// The rewritten body, for a target that calls the model `m`.
fn rewritten(body: &str, cap: Option<u64>) -> String {
    let bytes = Bytes::copy_from_slice(body.as_bytes());
    let cap = cap.map(|tokens| OutputCap { parameter: "max_tokens", tokens });
    let out = chat(body).rewrite(&bytes, &Changes { cap, ..Changes::to("m") }).concat();
    serde_json::from_slice::<Value>(&out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn the_members_that_the_gateway_acts_on_are_read() {
    let request = chat(
        r#" {"messages":[],"m\u006fdel":"acme\/chat","stream":true,"max_tokens":7,"max_completion_tokens":9,"n":2,
            "best_of":3,"metadata": {"a":1} ,"background":true,"stream_options":{"include_usage":true}} "#,
    );
    assert_eq!(request.model, "acme/chat");
    assert!(request.stream && !request.hides_usage());
    assert_eq!((request.max_output, request.n, request.best_of), (Some(9), 2, Some(3)));
}

#[test]
fn a_null_member_counts_as_absent() {
    let request = chat(
        r#"{"model":"m","stream":null,"stream_options":null,"max_tokens":null,"n":null,"best_of":null,"metadata":null}"#,
    );
    assert_eq!((request.stream, request.max_output, request.n, request.best_of), (false, None, 1, None));
    assert_eq!(request.metadata(b""), None);
    assert_eq!(refusal(r#"{"model":null}"#), ("missing_model", Some("model")));
}

#[test]
fn a_body_that_is_not_a_json_object_is_refused() {
    for body in
        ["", "[]", "\"model\"", "{\"model\":\"m\"", "{\"model\":\"m\"} x", "\u{feff}{\"model\":\"m\"}", "{'model':1}"]
    {
        assert_eq!(refusal(body), ("invalid_json", None), "{body}");
    }
    assert_eq!(refusal(b"{\"model\":\"m\",\"x\":\"\xff\"}"), ("invalid_json", None));
    let deep = format!("{{\"model\":\"m\",\"x\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(refusal(deep), ("invalid_json", None));
}

#[test]
fn a_member_that_is_read_may_occur_only_once() {
    for (body, param) in [
        (r#"{"model":"a","model":"a"}"#, "model"),
        (r#"{"model":"a","\u006dodel":"b"}"#, "model"),
        (r#"{"model":null,"model":"b"}"#, "model"),
        (r#"{"model":"a","stream":true,"stre\u0061m":true}"#, "stream"),
        (r#"{"model":"a","max_tokens":1,"max_tokens":1}"#, "max_tokens"),
        (r#"{"model":"a","n_predict":1,"n_predict":-1}"#, "n_predict"),
        (r#"{"model":"a","metadata":{},"metadata":{}}"#, "metadata"),
        (r#"{"model":"a","prompt_cache_key":"s","prompt_cache_\u006bey":null}"#, "prompt_cache_key"),
        (r#"{"model":"a","stream_options":null,"stream_options":{}}"#, "stream_options"),
        (
            r#"{"model":"a","stream_options":{"include_usage":true,"include_us\u0061ge":true}}"#,
            "stream_options.include_usage",
        ),
    ] {
        assert_eq!(refusal(body), ("duplicate_key", Some(param)), "{body}");
    }
    chat(r#"{"model":"a","messages":[{"model":1,"model":2}],"x":1,"x":2,"metadata":{"a":1,"a":1}}"#);
}

#[test]
fn a_member_of_the_wrong_type_or_out_of_range_is_refused() {
    for (member, param) in [
        (r#""stream":"true""#, "stream"),
        (r#""stream":1"#, "stream"),
        (r#""prompt_cache_key":7"#, "prompt_cache_key"),
        (r#""prompt_cache_key":["s"]"#, "prompt_cache_key"),
        (r#""stream_options":"x""#, "stream_options"),
        (r#""stream_options":[]"#, "stream_options"),
        (r#""stream_options":{"include_usage":"yes"}"#, "stream_options.include_usage"),
        (r#""max_tokens":"12""#, "max_tokens"),
        (r#""max_completion_tokens":{}"#, "max_completion_tokens"),
        (r#""n":"1""#, "n"),
        (r#""best_of":true"#, "best_of"),
    ] {
        assert_eq!(refusal(format!(r#"{{"model":"m",{member}}}"#)), ("invalid_type", Some(param)), "{member}");
    }
    assert_eq!(refusal(r#"{"model":["m"]}"#), ("invalid_type", Some("model")));
    for (member, param) in [
        (r#""max_tokens":-1"#, "max_tokens"),
        (r#""max_tokens":1.5"#, "max_tokens"),
        (r#""n":0"#, "n"),
        (r#""n":1025"#, "n"),
        (r#""best_of":1e99"#, "best_of"),
    ] {
        assert_eq!(refusal(format!(r#"{{"model":"m",{member}}}"#)), ("invalid_value", Some(param)), "{member}");
    }
}

#[test]
fn a_maximum_may_be_huge_or_written_as_a_float() {
    assert_eq!(chat(r#"{"model":"m","max_tokens":99999999999999999999999}"#).max_output, Some(u64::MAX));
    assert_eq!(chat(r#"{"model":"m","max_tokens":16.0}"#).max_output, Some(16));
}

#[test]
fn a_maximum_that_the_upstream_may_ignore_does_not_count_as_declared() {
    let body = r#"{"model":"m","max_completion_tokens":1,"n_predict":2}"#;
    assert_eq!(scan(body.as_bytes(), Route::Completions).unwrap().max_output, None);
    assert_eq!(chat(body).max_output, Some(1));
    let embeddings = scan(br#"{"model":"m","max_tokens":"what","stream":5,"n":0}"#, Route::Embeddings).unwrap();
    assert_eq!((embeddings.max_output, embeddings.stream, embeddings.n), (None, false, 1));
}

#[test]
fn metadata_is_kept_as_written_up_to_16_kib() {
    let body = r#"{"model":"m","metadata" : { "a" : [1, {"b":"\u0041"}] } }"#;
    assert_eq!(chat(body).metadata(body.as_bytes()), Some(&br#"{ "a" : [1, {"b":"\u0041"}] }"#[..]));
    let of_size = |size: usize| format!(r#"{{"model":"m","metadata":{{"a":"{}"}}}}"#, "x".repeat(size - 8));
    let (fits, too_large) = (of_size(16 << 10), of_size((16 << 10) + 1));
    assert_eq!(chat(&fits).metadata(fits.as_bytes()).map(<[u8]>::len), Some(16 << 10));
    assert_eq!(chat(&too_large).metadata(too_large.as_bytes()), None);
    let list = scan(br#"{"model":"m","metadata":["a"]}"#, Route::ChatCompletions).unwrap_err();
    assert_eq!((list.code, list.param), ("invalid_type", Some("metadata")));
}

#[test]
fn a_prompt_cache_key_is_read_on_the_routes_that_take_one() {
    let body = r#"{"model":"m","prompt_cache_key" : "\u0073\/\ud83d\ude00"}"#;
    for route in [Route::ChatCompletions, Route::Completions, Route::Responses] {
        let request = scan(body.as_bytes(), route).unwrap();
        assert_eq!(request.prompt_cache_key(body.as_bytes()).as_deref(), Some("s/😀".as_bytes()));
        assert_eq!(request.prompt_bytes, 0);
    }
    let other = br#"{"model":"m","prompt_cache_key":7,"prompt_cache_key":8}"#;
    assert_eq!(scan(other, Route::Embeddings).unwrap().prompt_cache_key(other), None);
    for absent in [r#"{"model":"m","prompt_cache_key":null}"#, r#"{"model":"m","prompt_cache_key":""}"#] {
        assert_eq!(chat(absent).prompt_cache_key(absent.as_bytes()), None);
    }
}

#[test]
fn the_text_of_a_prompt_is_the_text_that_the_model_reads() {
    use Route::*;
    let message = json!({"model": "not counted", "user": "nor this", "messages": [{"role": "user", "content": "é\n"}]});
    assert_eq!(prompt_bytes(ChatCompletions, message), 4 + 3);
    let parts = json!([{"type": "text", "text": "12345"}, {"type": "text", "text": "6"}]);
    let parts = json!({"model": "m", "messages": [{"content": parts}]});
    assert_eq!(prompt_bytes(ChatCompletions, parts), 4 + 5 + 4 + 1);
    let tools = json!({"model": "m", "tools": [{"function": {"name": "f", "parameters": {"city": {"minimum": 5}}}}]});
    assert_eq!(prompt_bytes(ChatCompletions, tools), "functionnamefparameterscityminimum".len() as u64);
    let called = json!({"model": "m", "messages": [{"tool_calls": [{"function": {"arguments": "{\"a\":1}"}}]}]});
    assert_eq!(prompt_bytes(ChatCompletions, called), 7);
    assert_eq!(prompt_bytes(Completions, json!({"model": "m", "prompt": "abc", "suffix": "de", "stop": "zzz"})), 5);
    assert_eq!(prompt_bytes(Completions, json!({"model": "m", "prompt": ["abc", "de"]})), 5);
    let measured = |route, body: Value| {
        let request = scan(body.to_string().as_bytes(), route).unwrap();
        (request.prompt_bytes, request.prompt_ids)
    };
    assert_eq!(measured(Completions, json!({"model": "m", "prompt": [[1, 2, 3], [4]], "seed": 5})), (0, 4));
    assert_eq!(measured(Completions, json!({"model": "m", "prompt": ["ab", [4]]})), (2, 1));
    assert_eq!(measured(Embeddings, json!({"model": "m", "input": [1, 2, 3], "dimensions": 7})), (0, 3));
    assert_eq!(
        prompt_bytes(ChatCompletions, json!({"model": "m", "temperature": 1, "logit_bias": {"50256": -100}})),
        0
    );
}

#[test]
fn inline_data_does_not_count_unless_the_model_reads_it_as_text() {
    let base64 = "QUJD".repeat(100);
    let url = format!("data:image/png;base64,{base64}");
    let image =
        |part: Value| prompt_bytes(Route::ChatCompletions, json!({"model": "m", "messages": [{"content": [part]}]}));
    assert_eq!(image(json!({"image_url": {"url": url}})), 0);
    assert_eq!(image(json!({"image_url": url})), 0);
    assert_eq!(image(json!({"input_audio": {"format": "", "data": base64}})), 0);
    assert_eq!(image(json!({"file": {"file_data": base64}})), 0);
    assert_eq!(image(json!({"b64_json": base64})), 0);
    let capitals = url.replace("data:", "DATA:").replace("base64", "BASE64");
    assert_eq!(image(json!({"image_url": {"url": capitals}})), 0);
    for file in ["images", "image", "image_data", "image_embeds", "bytes"] {
        assert_eq!(image(json!({file: base64})) + image(json!({file: [url, base64]})), 0, "{file}");
        assert_eq!(image(json!({file: "a few words ".repeat(10)})), 120, "{file}");
    }
    for holder in ["input_audio", "source", "inlineData", "inline_data"] {
        assert_eq!(image(json!({holder: {"cache": {"a": []}, "data": base64}})), 0, "{holder}");
    }
    assert_eq!(image(json!({"source": {"inner": {"data": base64}}})), 400);
    assert_eq!(image(json!({"data": base64})), 400);
    assert_eq!(image(json!({"image_url": {"url": "https://example.com/a.png"}})), 25);
    assert_eq!(image(json!({"text": url})), url.len() as u64);
    assert_eq!(image(json!({"reasoning_content": url})), url.len() as u64);
    let tool = json!([{"function": {"description": url, "parameters": {"url": url}}}]);
    let names = "functiondescriptionparametersurl".len();
    assert_eq!(
        prompt_bytes(Route::ChatCompletions, json!({"model": "m", "tools": tool})),
        (names + 2 * url.len()) as u64
    );
    // A bare text after an image, which some servers accept.
    let parts = json!({"model": "m", "messages": [{"content": [{"image_url": {"url": url}}, url]}]});
    assert_eq!(prompt_bytes(Route::ChatCompletions, parts), url.len() as u64);
    assert_eq!(
        prompt_bytes(Route::ChatCompletions, json!({"model": "m", "messages": [{"content": url}]})),
        url.len() as u64
    );
    assert_eq!(prompt_bytes(Route::Embeddings, json!({"model": "m", "input": [url]})), url.len() as u64);
    let text = format!("data: {}", "I mean it. ".repeat(20));
    assert_eq!(image(json!({"other": text})), text.len() as u64);
}

#[test]
fn a_batch_of_prompts_is_counted() {
    let prompts = |prompt: Value| {
        scan(json!({"model": "m", "prompt": prompt}).to_string().as_bytes(), Route::Completions).unwrap().prompts
    };
    assert_eq!(prompts(json!("one")), 1);
    assert_eq!(prompts(json!(["one", "two", "three"])), 3);
    assert_eq!(prompts(json!([1, 2, 3])), 1);
    assert_eq!(prompts(json!([[1, 2], [3]])), 2);
    assert_eq!(prompts(json!([])), 1);
}

#[test]
fn usage_is_requested_in_the_customers_own_stream_options() {
    for (before, after) in [
        (r#"{"model":"m","stream":true}"#, r#"{"stream_options":{"include_usage":true},"model":"m","stream":true}"#),
        (
            r#"{"model":"m","stream":true,"stream_options": null }"#,
            r#"{"model":"m","stream":true,"stream_options": {"include_usage":true} }"#,
        ),
        (
            r#"{"model":"m","stream":true,"stream_options":{ }}"#,
            r#"{"model":"m","stream":true,"stream_options":{"include_usage":true }}"#,
        ),
        (
            r#"{"model":"m","stream":true,"stream_options":{"continuous_usage_stats":true}}"#,
            r#"{"model":"m","stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true}}"#,
        ),
        (
            r#"{"model":"m","stream":true,"stream_options":{"a":1,"include\u005fusage":false}}"#,
            r#"{"model":"m","stream":true,"stream_options":{"a":1,"include\u005fusage":true}}"#,
        ),
        (
            r#"{"model":"m","stream":true,"stream_options":{"include_usage":null}}"#,
            r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
        ),
    ] {
        assert_eq!(rewritten(before, None), after);
        assert!(chat(before).hides_usage());
    }
}

#[test]
fn an_unchanged_body_is_not_copied() {
    for body in [
        r#"{"model":"m"}"#,
        r#"{"model":"\u006d","stream":false,"stream_options":{"include_usage":false}}"#,
        r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
    ] {
        let bytes = Bytes::copy_from_slice(body.as_bytes());
        let request = chat(body);
        let [out] = &request.rewrite(&bytes, &Changes::to("m"))[..] else { panic!("the body is in pieces") };
        assert_eq!((out.as_ptr(), out.len()), (bytes.as_ptr(), bytes.len()));
        assert!(!request.hides_usage());
    }
}

#[test]
fn a_cap_lowers_every_larger_maximum_and_sets_a_missing_max_tokens() {
    for (before, after) in [
        (r#"{"model":"m"}"#, r#"{"max_tokens":5,"model":"m"}"#),
        (r#"{"model":"m","max_tokens":4}"#, r#"{"model":"m","max_tokens":4}"#),
        (r#"{"model":"m","max_tokens":6}"#, r#"{"model":"m","max_tokens":5}"#),
        (r#"{"model":"m","max_tokens":null}"#, r#"{"model":"m","max_tokens":5}"#),
        (r#"{"model":"m","max_completion_tokens":60}"#, r#"{"max_tokens":5,"model":"m","max_completion_tokens":5}"#),
        (
            r#"{"model":"m","max_completion_tokens":null}"#,
            r#"{"max_tokens":5,"model":"m","max_completion_tokens":null}"#,
        ),
        (
            r#"{"model":"m","max_completion_tokens":3,"max_tokens":null}"#,
            r#"{"model":"m","max_completion_tokens":3,"max_tokens":5}"#,
        ),
        (
            r#"{"model":"m","max_tokens":1e9,"max_completion_tokens":4}"#,
            r#"{"model":"m","max_tokens":5,"max_completion_tokens":4}"#,
        ),
        (r#"{"model":"m","n_predict":-1}"#, r#"{"max_tokens":5,"model":"m","n_predict":5}"#),
        (r#"{"model":"m","n_predict":3,"max_tokens":2}"#, r#"{"model":"m","n_predict":3,"max_tokens":2}"#),
    ] {
        assert_eq!(rewritten(before, Some(5)), after);
    }
}

#[test]
fn a_maximum_for_llama_cpp_is_capped_but_does_not_count_as_declared() {
    let body = br#"{"model":"m","prompt":"a","max_tokens":5,"max_completion_tokens":900,"n_cmpl":4,"n":2}"#;
    let body = Bytes::from_static(body);
    let request = scan(&body, Route::Completions).unwrap();
    assert_eq!((request.max_output, request.n), (Some(5), 4));
    let cap = OutputCap { parameter: "max_tokens", tokens: 3 };
    let out = request.rewrite(&body, &Changes { cap: Some(cap), ..Changes::to("m") }).concat();
    let expected = r#"{"model":"m","prompt":"a","max_tokens":3,"max_completion_tokens":3,"n_cmpl":4,"n":2}"#;
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn a_models_name_is_written_as_json() {
    let body = Bytes::from_static(br#"{"a":"acme/chat","model" : "acme\/chat" ,"b":"acme/chat"}"#);
    let request = scan(&body, Route::ChatCompletions).unwrap();
    let out = request.rewrite(&body, &Changes::to("a\"b\\\n/é")).concat();
    assert_eq!(String::from_utf8(out).unwrap(), r#"{"a":"acme/chat","model" : "a\"b\\\u000a/é" ,"b":"acme/chat"}"#);
}

#[test]
fn rewriting_another_body_than_the_scanned_one_does_not_panic() {
    let request = chat(r#"{"stream":true,"x":"long enough","model":"acme/chat"}"#);
    for other in ["", "{", r#"{"model":"m"}"#] {
        let bytes = Bytes::copy_from_slice(other.as_bytes());
        request.rewrite(
            &bytes,
            &Changes { cap: Some(OutputCap { parameter: "max_tokens", tokens: 1 }), ..Changes::to("m") },
        );
        request.metadata(&bytes);
    }
}

/// The members of a request body: those that the gateway reads, in any order, mixed with others.
fn any_request() -> impl Strategy<Value = Vec<(String, Value)>> {
    let number = prop_oneof![Just(Value::Null), (0..100u64).prop_map(Value::from)];
    let options = prop_oneof![
        Just(Value::Null),
        prop::collection::hash_map("[a-z]{1,3}", any_json(), 0..3).prop_map(|members| json!(members)),
        any::<bool>().prop_map(|asked| json!({"a": 1, "include_usage": asked, "z": []})),
    ];
    let ours = (
        prop::option::of(any::<bool>()),
        prop::option::of(options),
        prop::option::of(number.clone()),
        prop::option::of(number.clone()),
        prop::option::of(number),
    );
    let others = prop::collection::vec(("[a-z]{1,2}[^a-z].{0,3}", any_json()), 0..5);
    ("[a-z]{1,3}/[^x]{1,5}", ours, others).prop_flat_map(|(model, ours, mut members)| {
        members.push(("model".into(), model.into()));
        members.extend(ours.0.map(|stream| ("stream".into(), stream.into())));
        members.extend(ours.1.map(|options| ("stream_options".into(), options)));
        members.extend(ours.2.map(|tokens| ("max_tokens".into(), tokens)));
        members.extend(ours.3.map(|tokens| ("max_completion_tokens".into(), tokens)));
        members.extend(ours.4.map(|tokens| ("n_predict".into(), tokens)));
        Just(members).prop_shuffle()
    })
}

proptest! {
    #[test]
    fn a_rewrite_changes_only_the_intended_members(
        members in any_request(),
        model in ".{0,8}",
        cap in prop::option::of(0..100u64),
    ) {
        let written: Vec<String> = members.iter().map(|(key, value)| format!("{}: {value}", json!(key))).collect();
        let body = Bytes::from(format!("{{ {} }}", written.join(" , ")));
        let mut expected: Value = serde_json::from_slice(&body).unwrap();
        let request = scan(&body, Route::ChatCompletions).unwrap();
        prop_assert_eq!(&request.model, expected["model"].as_str().unwrap());

        let cap = cap.map(|tokens| OutputCap { parameter: "max_completion_tokens", tokens });
        let out = request.rewrite(&body, &Changes { cap, ..Changes::to(&model) }).concat();
        let out: Value = serde_json::from_slice(&out).unwrap();

        expected["model"] = model.into();
        if expected.get("stream") == Some(&Value::Bool(true)) {
            expected["stream_options"]["include_usage"] = true.into();
        }
        if let Some(OutputCap { parameter, tokens }) = cap {
            let declared = ["max_tokens", "max_completion_tokens"].map(|key| expected.get(key).and_then(Value::as_u64));
            if declared == [None, None] {
                expected[parameter] = tokens.into();
            }
            for key in ["max_tokens", "max_completion_tokens", "n_predict"] {
                if let Some(value) = expected.get_mut(key) && value.as_u64().is_some_and(|value| value > tokens) {
                    *value = tokens.into();
                }
            }
        }
        prop_assert_eq!(out, expected);
    }

    #[test]
    fn no_body_causes_a_panic(body in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = scan(&body, Route::ChatCompletions);
    }

    #[test]
    fn no_damaged_request_causes_a_panic(members in any_request(), cut: prop::sample::Index, byte: u8) {
        let mut body = json!(members.into_iter().collect::<std::collections::HashMap<_, _>>()).to_string().into_bytes();
        let at = cut.index(body.len());
        body[at] = byte;
        if let Ok(request) = scan(&body, Route::Completions) {
            request.rewrite(&body.into(), &Changes::to("m"));
        }
    }
}

#[test]
fn a_key_that_differs_from_one_of_ours_only_in_case_is_refused() {
    for key in ["Model", "MAX_TOKENS", "n_Predict", "\u{17f}tream", "max_to\u{212a}ens"] {
        let body = json!({"model": "m", key: 1}).to_string();
        assert_eq!(scan(body.as_bytes(), Route::ChatCompletions).unwrap_err().code, "invalid_key", "{key}");
    }
    assert!(scan(br#"{"model":"m","Temperature":1,"\u00e9":2}"#, Route::ChatCompletions).is_ok());
}

#[test]
fn stream_options_are_removed_with_one_adjacent_comma() {
    for body in [
        r#"{"stream_options":{"include_usage":true},"model":"a","stream":true}"#,
        r#"{"model":"a", "stream_options" : {"x":[","]} , "stream":true}"#,
        r#"{ "model":"a","stream":true , "str\u0065am_options" : null }"#,
        r#"{"model":"a","stream":true,"stream_options":{}}"#,
        r#"{"stream":true,"model":"a"}"#,
    ] {
        let changes = Changes { without_options: true, ..Changes::to("m") };
        let out = chat(body).rewrite(&Bytes::from_static(body.as_bytes()), &changes).concat();
        let out: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(out, json!({"model": "m", "stream": true}), "{body}");
        assert!(!chat(body).sends_options(&changes));
    }
    assert!(chat(r#"{"model":"a","stream":true}"#).sends_options(&Changes::to("m")), "the gateway asks for usage");
    assert!(!chat(r#"{"model":"a"}"#).sends_options(&Changes::to("m")));
    let cap = Some(OutputCap { parameter: "max_tokens", tokens: 5 });
    let changes = Changes { cap, without_options: true, ..Changes::to("m") };
    let body = Bytes::from_static(br#"{"stream_options":{},"model":"a"}"#);
    let out = chat(std::str::from_utf8(&body).unwrap()).rewrite(&body, &changes).concat();
    assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), json!({"model": "m", "max_tokens": 5}));
}

#[test]
fn a_second_output_maximum_can_be_left_out() {
    let body = r#"{"model":"m","max_completion_tokens":60}"#;
    let cap = Some(OutputCap { parameter: "max_tokens", tokens: 5 });
    let both = Changes { cap, ..Changes::to("m") };
    assert_eq!(chat(body).adds_second_maximum(&both), Some("max_tokens"));
    let one = Changes { without_second_maximum: true, ..both };
    assert_eq!(chat(body).adds_second_maximum(&one), None);
    let out = chat(body).rewrite(&Bytes::from_static(body.as_bytes()), &one).concat();
    assert_eq!(out, br#"{"model":"m","max_completion_tokens":5}"#);
    for only in [r#"{"model":"m"}"#, r#"{"model":"m","max_tokens":9}"#] {
        assert_eq!(chat(only).adds_second_maximum(&both), None);
        let out = chat(only).rewrite(&Bytes::from_static(only.as_bytes()), &one).concat();
        assert!(
            out.ends_with(b"}") && std::str::from_utf8(&out).unwrap().contains(r#""max_tokens":5"#),
            "the only maximum is kept"
        );
    }
    let null = r#"{"model":"m","max_tokens":null,"max_completion_tokens":60}"#;
    assert_eq!(chat(null).adds_second_maximum(&both), Some("max_tokens"), "null is replaced");
    let out = chat(null).rewrite(&Bytes::from_static(null.as_bytes()), &one).concat();
    assert_eq!(out, br#"{"model":"m","max_tokens":null,"max_completion_tokens":5}"#);
    let newer = Changes { cap: Some(OutputCap { parameter: "max_completion_tokens", tokens: 5 }), ..both };
    let older = r#"{"model":"m","max_tokens":9}"#;
    assert_eq!(chat(older).adds_second_maximum(&newer), None, "the maximum is lowered and none is added");
}

#[test]
fn pictures_in_the_form_of_anthropic_or_ollama_are_not_counted() {
    let picture = "iVBORw0KGgo".repeat(20);
    let source = json!({"type": "base64", "media_type": "image/png", "data": picture});
    let message = json!({"role": "user", "content": [{"type": "image", "source": source}]});
    let text = |body: Value| prompt_bytes(Route::ChatCompletions, body);
    let without = |kind: &str| (kind.len() + "userimagebase64image/png".len()) as u64;
    assert_eq!(text(json!({"model": "m", "messages": [message]})), without(""));
    let ollama = json!({"role": "user", "content": "hi", "images": [picture, picture]});
    assert_eq!(text(json!({"model": "m", "messages": [ollama]})), "userhi".len() as u64);
    let words = "plain words of a document ".repeat(10);
    let document = json!({"type": "document", "source": {"type": "text", "data": words}});
    let counted = "documenttext".len() + words.len();
    assert_eq!(text(json!({"model": "m", "messages": [{"content": [document]}]})), counted as u64);
}

#[test]
fn a_report_is_believed_up_to_a_bound_that_grows_with_the_request() {
    let most = |body: Value| scan(body.to_string().as_bytes(), Route::ChatCompletions).unwrap().most_tokens();
    let hi = json!({"model": "m", "messages": [{"content": "hi"}]});
    assert_eq!(most(hi), TokenBounds { input: 1 << 21, output: 1 << 20 });
    let long = json!({"model": "m", "messages": [{"content": "x".repeat(1 << 20)}], "n": 2, "max_tokens": 1 << 22});
    assert_eq!(most(long), TokenBounds { input: 4 << 20, output: 2 << 22 });
}
