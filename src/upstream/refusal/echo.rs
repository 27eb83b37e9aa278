//! Removes quotes of the customer's request from the messages that operators see. Servers often quote a request that
//! they cannot process.
//!
//! Two kinds of quotes are removed: text in quotation marks that also occurs in the request, and any sequence of at
//! least [`STRETCH`] bytes that occurs in both. A shorter sequence without quotation marks is as likely to be the
//! server's own words.

use std::ops::Range;

use memchr::memmem;

use super::as_read::BLANK;

/// Shortest common sequence without quotation marks, in bytes, that counts as a quote.
const STRETCH: usize = 24;

/// Length of the part by which a common sequence is searched for, in bytes.
const HALF: usize = STRETCH / 2;

/// Most occurrences of the same text that are examined.
const MAX_FOUND: usize = 64;

/// Shortest text in quotation marks, in bytes, that is removed. A shorter one reveals nothing.
const MIN_QUOTED: usize = 3;

/// Returns `words` without quotes from `body`, the request's body as the customer sent it.
pub(super) fn without_echo(words: &str, body: &[u8]) -> String {
    let mut echoes = Vec::new();
    quoted(words, |at| {
        if at.len() >= MIN_QUOTED && memmem::find(body, &words.as_bytes()[at.clone()]).is_some() {
            echoes.push(at);
        }
    });
    stretches(words.as_bytes(), body, &mut echoes);
    let mut shown = String::with_capacity(words.len());
    let mut passed = 0;
    echoes.sort_unstable_by_key(|at| at.start);
    for at in echoes {
        let start = words.floor_char_boundary(at.start);
        if start >= passed {
            shown.push_str(&words[passed..start]);
            shown.push_str(BLANK);
        }
        passed = passed.max(words.ceil_char_boundary(at.end));
    }
    shown + &words[passed..]
}

/// Whether one of `texts` contains the whole name of `parameter` outside a quote from the request with this `body`.
pub(super) fn names(texts: &[String], parameter: &str, body: &[u8]) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let mut named =
        texts.iter().flat_map(|text| text.match_indices(parameter).map(move |(at, _)| (text, at))).peekable();
    if named.peek().is_none() {
        return false;
    }
    let places: Vec<usize> = memmem::find_iter(body, parameter).take(MAX_FOUND).collect();
    named.take(MAX_FOUND).any(|(text, start)| {
        let end = start + parameter.len();
        let (before, after) = (&text[..start], &text[end..]);
        let near = start.saturating_sub(STRETCH);
        let around = &text.as_bytes()[near..text.len().min(end + STRETCH)];
        !before.ends_with(is_part)
            && !after.starts_with(is_part)
            && !is_member(before, after)
            && longest(around, start - near, body, places.iter().copied()).len() < STRETCH
    })
}

/// Whether the name between `before` and `after` is a member in JSON or Python: in quotation marks, with an object or a
/// number as its value. Then it is a quote, possibly of a member that we added to the request.
fn is_member(before: &str, after: &str) -> bool {
    let Some(mark) = before.chars().next_back().filter(|mark| matches!(mark, '"' | '\'')) else { return false };
    let value = after.trim_start_matches('\\').strip_prefix(mark).and_then(|rest| rest.trim_start().strip_prefix(':'));
    value.is_some_and(|value| value.trim_start().starts_with(|c: char| c == '{' || c.is_ascii_digit()))
}

/// Calls `see` with the range between each quotation mark and the next one of its kind.
fn quoted(words: &str, mut see: impl FnMut(Range<usize>)) {
    for mark in ['\'', '"', '`'] {
        let mut opened = None;
        for (at, _) in words.match_indices(mark) {
            if let Some(start) = opened.replace(at + mark.len_utf8()) {
                see(start..at);
            }
        }
    }
}

/// Adds the sequences of [`STRETCH`] bytes or more that occur in both. Each contains a block of [`HALF`] bytes that
/// starts at a multiple of [`HALF`] in `words`, so it is enough to search for these blocks.
fn stretches(words: &[u8], body: &[u8], found: &mut Vec<Range<usize>>) {
    let mut start = 0;
    while start + HALF <= words.len() {
        let places = memmem::find_iter(body, &words[start..start + HALF]).take(MAX_FOUND);
        let longest = longest(words, start, body, places);
        if longest.len() >= STRETCH {
            found.push(longest);
        }
        start += HALF;
    }
}

/// Returns the longest sequence around `at` in `words` that also occurs around one of `places` in `body`.
fn longest(words: &[u8], at: usize, body: &[u8], places: impl Iterator<Item = usize>) -> Range<usize> {
    let common = |place: usize| {
        let before = words[..at].iter().rev().zip(body[..place].iter().rev()).take_while(|(a, b)| a == b).count();
        let after = words[at..].iter().zip(&body[place..]).take_while(|(a, b)| a == b).count();
        at - before..at + after
    };
    places.map(common).max_by_key(Range::len).unwrap_or(at..at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_of_the_request_are_removed() {
        let body = br#"{"model":"acme/chat","messages":[{"role":"user","content":"my secret diary of the year, page one"}],"tools":[{"type":"web_search"}]}"#;
        for (words, shown) in [
            ("CUDA out of memory. Tried to allocate 2.00 GiB", "CUDA out of memory. Tried to allocate 2.00 GiB"),
            ("unsupported tool type 'web_search'", "unsupported tool type '[…]'"),
            ("bad role 'admin' in \"messages\"", "bad role 'admin' in \"[…]\""),
            ("cannot parse: my secret diary of the year, page", "cannot parse: […]"),
            ("cannot parse: xx my secret diary of the year, page one yy", "cannot parse: xx […] yy"),
            ("it's the user's", "it's the user's"),
            ("é'é", "é'é"),
            ("", ""),
        ] {
            assert_eq!(without_echo(words, body), shown, "{words}");
        }
    }

    #[test]
    fn a_quote_is_found_wherever_it_begins() {
        let text = "abcdefghijklmnopqrstuvwxyz0123456789";
        for pad in 0..40 {
            let words = format!("{}{}", "#".repeat(pad), &text[..STRETCH]);
            assert_eq!(without_echo(&words, text.as_bytes()), format!("{}{BLANK}", "#".repeat(pad)));
        }
    }
}
