//! Suggests the route that a client probably meant when it called an unknown URL.
//!
//! Paths are compared in lower case, without empty segments, versions and the prefixes of other services' base URLs. So
//! a missing or doubled `/v1` and extra slashes make no difference. A path that ends with a route means that route,
//! whatever comes before it. Only existing routes are suggested.

use percent_encoding::percent_decode_str;

use super::paths::PATHS;
use crate::domain::route::Route;

/// The longest path that is compared, in bytes. A longer one is not a typing error. This also bounds the work per
/// request.
const MAX_PATH: usize = 64;

/// Segments at the beginning of a path that say nothing about the route.
const PREFIXES: [&str; 2] = ["api", "openai"];

const ONE_MODEL: &str = "/v1/models/{slug}";

/// The most similar route, if one is similar enough.
pub(super) fn suggestion(path: &str) -> Option<&'static str> {
    if path.len() > MAX_PATH {
        return None;
    }
    let called = normalized(path);
    if called.starts_with("models/") {
        return Some(ONE_MODEL);
    }
    let known = || Route::ALL.into_iter().map(Route::path).chain(PATHS).map(|path| (normalized(path), path));
    let ending = known().filter(|(meant, _)| is_end(&called, meant)).max_by_key(|(meant, _)| meant.len());
    let start = || known().find(|(meant, _)| is_start(meant, &called));
    if let Some((_, path)) = ending.or_else(start) {
        return Some(path);
    }
    let near = known().filter_map(|(meant, path)| {
        let errors = distance(&called, &meant);
        // At one error per four letters, it could be another word.
        (errors <= 2 && errors * 4 < meant.len()).then_some((errors, path))
    });
    near.min_by_key(|(errors, _)| *errors).map(|(_, path)| path)
}

/// Whether the last segments of `path` are `end`.
fn is_end(path: &str, end: &str) -> bool {
    path.strip_suffix(end).is_some_and(|before| before.is_empty() || before.ends_with('/'))
}

/// Whether the first segments of `path` are `start`, and more segments follow.
fn is_start(path: &str, start: &str) -> bool {
    !start.is_empty() && path.strip_prefix(start).is_some_and(|rest| rest.starts_with('/'))
}

/// Normalizes a path for comparison.
fn normalized(path: &str) -> String {
    let path = percent_decode_str(path).decode_utf8_lossy().to_ascii_lowercase();
    let is_version = |segment: &str| {
        let number = segment.strip_prefix('v');
        number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let is_prefix = |segment: &&str| PREFIXES.contains(segment) || is_version(segment);
    let segments: Vec<_> =
        path.split('/').map(str::trim).filter(|segment| !segment.is_empty()).skip_while(is_prefix).collect();
    segments.join("/")
}

/// The optimal string alignment distance of two texts, in bytes: the number of insertions, deletions, replacements and
/// swaps of neighbors that turn one into the other.
fn distance(one: &str, other: &str) -> usize {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let first: Vec<usize> = (0..=other.len()).collect();
    let (mut before, mut last) = (first.clone(), first);
    for (i, a) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in other.iter().enumerate() {
            let replaced = last[j] + usize::from(a != b);
            let is_swap = i > 0 && j > 0 && *a == other[j - 1] && one[i - 1] == *b;
            let swapped = if is_swap { before[j - 1] + 1 } else { usize::MAX };
            row.push(replaced.min(last[j + 1] + 1).min(row[j] + 1).min(swapped));
        }
        before = std::mem::replace(&mut last, row);
    }
    last[other.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn common_mistakes_suggest_the_route_that_was_meant() {
        const CHAT: &str = "/v1/chat/completions";
        for (called, meant) in [
            ("/chat/completions", CHAT),
            ("/v1/v1/chat/completions", CHAT),
            ("/v1//chat/completions", CHAT),
            ("//v1/chat/completions", CHAT),
            ("/v1/chat/completions/", CHAT),
            ("/V1/Chat/Completions", CHAT),
            ("/v2/chat/completions", CHAT),
            ("/v1/chat/completion", CHAT),
            ("/v1/chat/compeltions", CHAT),
            ("/v1/chat/competions", CHAT),
            ("/v1/chatcompletions", CHAT),
            ("/openai/v1/chat/completions", CHAT),
            ("/api/v1/chat/completions", CHAT),
            ("/v1/chat/completions/chat/completions", CHAT),
            ("/v1beta/openai/chat/completions", CHAT),
            ("/openai/deployments/gpt-4o/chat/completions", CHAT),
            ("/v1/chat%2Fcompletions", CHAT),
            ("/v1/chat/completions%20", CHAT),
            ("/v1/chat/completions%0A", CHAT),
            ("/v1/chat", CHAT),
            ("/v1/completions/completions", "/v1/completions"),
            ("/completions", "/v1/completions"),
            ("/v1/completion", "/v1/completions"),
            ("/v1/embedding", "/v1/embeddings"),
            ("/models", "/v1/models"),
            ("/v1/model", "/v1/models"),
            ("/v1/models/", "/v1/models"),
            ("/models/acme/chat", ONE_MODEL),
            ("/usage", "/v1/usage"),
            ("/health", "/healthz"),
            ("/v1/healthz", "/healthz"),
        ] {
            assert_eq!(suggestion(called), Some(meant), "{called}");
        }
        let long = format!("/v1/chat/completions{}", "/".repeat(MAX_PATH));
        for nothing in ["/", "", "/v1", "/v1/", "/favicon.ico", "/v1/gateway/groups", "/metrics", "/v1/spec", &long] {
            assert_eq!(suggestion(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn insertions_deletions_replacements_and_swaps_count_as_one_error_each() {
        for (one, other, errors) in
            [("", "", 0), ("", "abc", 3), ("abc", "abc", 0), ("abc", "abd", 1), ("abc", "acb", 1), ("ab", "abcd", 2)]
        {
            assert_eq!((distance(one, other), distance(other, one)), (errors, errors), "{one} {other}");
        }
    }

    proptest! {
        #[test]
        fn no_path_causes_a_panic(path in "\\PC{0,80}") {
            suggestion(&path);
        }
    }
}
