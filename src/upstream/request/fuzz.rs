//! Fuzzes the scanning and rewriting of untrusted request bodies.

use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::{Changes, OutputCap, scan};
use crate::{
    domain::{
        endpoint::Provider::{OpenAi, OpenAiCompatible},
        route::Route,
    },
    upstream::{json, provider::output_parameter},
};

/// The members that a rewrite may change.
const CHANGED: [&str; 6] =
    ["model", "stream_options", "max_tokens", "max_completion_tokens", "max_output_tokens", "n_predict"];

/// Checks that an accepted body is JSON, and that the rewritten body is JSON in which only the members in [`CHANGED`]
/// differ.
pub(crate) fn request(input: &[u8]) {
    let is_json = std::str::from_utf8(input).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
    let validated = json::validate(input);
    let is_too_deep = validated.is_err_and(|invalid| invalid.reason == "too many levels");
    assert!(is_too_deep || validated.is_ok() == is_json, "the validators disagree: {validated:?}");
    for route in Route::ALL {
        let request = match scan(input, route) {
            Ok(request) => request,
            Err(bad) => {
                assert!(!bad.message.is_empty());
                assert!(is_json || is_too_deep || bad.code == "invalid_json", "{bad:?}");
                continue;
            }
        };
        assert!(is_json && (1..=1024).contains(&request.n));
        assert!(request.prompt_bytes <= input.len() as u64);
        let body = Bytes::copy_from_slice(input);
        for (provider, without) in
            [(OpenAi, false), (OpenAi, true), (OpenAiCompatible, false), (OpenAiCompatible, true)]
        {
            let cap = output_parameter(provider, route).map(|parameter| OutputCap { parameter, tokens: 7 });
            let changes =
                Changes { model: "up\"stream", cap, without_options: without, without_second_maximum: without };
            let sent = request.rewrite(&body, &changes).concat();
            let sent_request = scan(&sent, route);
            let is_same = sent_request.as_ref().is_ok_and(|sent| {
                sent.model == "up\"stream" && (sent.prompt_bytes, sent.n) == (request.prompt_bytes, request.n)
            });
            assert!(is_same, "sent: {}: {sent_request:?}", sent.escape_ascii());
            let most = sent_request.ok().and_then(|sent| sent.max_output);
            assert!(cap.is_none() || most.is_none_or(|most| most <= 7), "a maximum above the cap: {most:?}");
            // JSON allows unpaired surrogates, long numbers and deep nesting, but serde_json refuses them.
            let (Some(before), Some(after)) = (others(input), others(&sent)) else { continue };
            assert_eq!(before, after);
        }
    }
}

/// The members that must not change.
fn others(body: &[u8]) -> Option<Map<String, Value>> {
    let mut members: Map<String, Value> = serde_json::from_slice(body).ok()?;
    members.retain(|name, _| !CHANGED.contains(&name.as_str()));
    Some(members)
}
