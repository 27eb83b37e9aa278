//! Answers of the routes that judge their input instead of writing: `/v1/embeddings`, `/v1/rerank` and
//! `/v1/moderations`.

use std::{collections::HashSet, slice};

use serde_json::{Map, Value, json};

use super::{
    DemoBody,
    words::{count, tokens},
};

/// The categories of OpenAI's moderations.
const CATEGORIES: [&str; 13] = [
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
];

/// Returns an embedding of eight numbers for each text, computed from its bytes.
pub(super) fn embeddings(request: &Value) -> DemoBody {
    let input = &request["input"];
    let inputs = match input {
        Value::Array(items) if items.iter().all(|item| !item.is_number()) => items.as_slice(),
        one => slice::from_ref(one),
    };
    let embed = |(index, text): (usize, &Value)| {
        let bytes = text.to_string().into_bytes();
        let at = |place: usize| bytes.iter().skip(place).step_by(8).map(|b| f64::from(*b)).sum::<f64>() / 10_000.0;
        json!({ "object": "embedding", "index": index, "embedding": (0..8).map(at).collect::<Vec<_>>() })
    };
    let data: Vec<_> = inputs.iter().enumerate().map(embed).collect();
    DemoBody::json(&json!({
        "object": "list",
        "model": request["model"],
        "data": data,
        "usage": usage(tokens([input])),
    }))
}

/// Sorts documents by their scores. A document's score is the share of the query's words that it has.
pub(super) fn rerank(request: &Value) -> DemoBody {
    let (query, documents) = (&request["query"], &request["documents"]);
    let wanted: HashSet<_> = text(query).split_whitespace().collect();
    let result = |(index, document): (usize, &Value)| {
        let words: HashSet<_> = text(document).split_whitespace().collect();
        let score = wanted.intersection(&words).count() as f64 / wanted.len().max(1) as f64;
        (score, json!({ "index": index, "relevance_score": score, "document": { "text": text(document) } }))
    };
    let mut results: Vec<_> = documents.as_array().into_iter().flatten().enumerate().map(result).collect();
    results.sort_by(|(score, _), (other, _)| other.total_cmp(score));
    let most = count(request, "top_n").unwrap_or(usize::MAX);
    DemoBody::json(&json!({
        "id": "rerank-demo",
        "model": request["model"],
        "results": results.into_iter().take(most).map(|(_, result)| result).collect::<Vec<_>>(),
        "usage": usage(tokens([query, documents])),
    }))
}

/// Flags a text for each category whose name is one of its words.
pub(super) fn moderations(request: &Value) -> DemoBody {
    let input = &request["input"];
    let inputs = match input {
        // Parts of one input.
        Value::Array(parts) if parts.iter().any(Value::is_object) => slice::from_ref(input),
        Value::Array(items) => items.as_slice(),
        one => slice::from_ref(one),
    };
    let judge = |input: &Value| {
        let parts = input.as_array().map_or(slice::from_ref(input), Vec::as_slice);
        let words: HashSet<_> = parts.iter().flat_map(|part| text(part).split_whitespace()).collect();
        let of_each = |value: fn(bool) -> Value| -> Map<String, Value> {
            CATEGORIES.iter().map(|name| ((*name).to_owned(), value(words.contains(name)))).collect()
        };
        json!({
            "flagged": CATEGORIES.iter().any(|name| words.contains(name)),
            "categories": of_each(Value::from),
            "category_scores": of_each(|has| json!(f64::from(u8::from(has)))),
            "category_applied_input_types": of_each(|_| json!(["text"])),
        })
    };
    DemoBody::json(&json!({
        "id": "modr-demo",
        "model": request["model"],
        "results": inputs.iter().map(judge).collect::<Vec<_>>(),
        "usage": usage(tokens([input])),
    }))
}

/// A text, or the text of an object that holds one.
fn text(value: &Value) -> &str {
    value.as_str().or(value["text"].as_str()).unwrap_or_default()
}

fn usage(tokens: usize) -> Value {
    json!({ "prompt_tokens": tokens, "total_tokens": tokens })
}
