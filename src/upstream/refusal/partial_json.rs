//! Reads JSON that a strict parser rejects: truncated, with `NaN`, or with an unpaired surrogate.
//!
//! Values that are still open at the end of the text are closed there. Unreadable parts are skipped. Reading a text
//! that begins like JSON never fails. In contrast, [`Reader::lenient`] rejects text that is not complete.

use serde_json::{Map, Value};

use crate::upstream::json::Reader;

/// Greatest nesting depth. Reading stops at a value that is nested deeper.
const MAX_DEPTH: usize = 32;

/// Reads the value that `text` begins with. Returns `None` if it does not begin like an object or a list of objects or
/// strings.
pub(super) fn read(text: &str) -> Option<Value> {
    let inner = text.trim_start_matches(|c: char| c == '[' || c.is_whitespace());
    let (is_list, object) = (text.starts_with('['), inner.strip_prefix('{'));
    let next = object.unwrap_or(inner).trim_start().chars().next();
    let is_json = match object {
        Some(_) => matches!(next, None | Some('"' | '}')),
        None => is_list && matches!(next, None | Some('"' | ']')),
    };
    is_json.then(|| PartialJson { rest: text }.value(MAX_DEPTH))
}

struct PartialJson<'a> {
    rest: &'a str,
}

impl PartialJson<'_> {
    fn value(&mut self, depth: usize) -> Value {
        match self.next() {
            Some('{' | '[') if depth == 0 => {
                self.rest = "";
                Value::Null
            }
            Some('{') => Value::Object(self.object(depth - 1)),
            Some('[') => Value::Array(self.array(depth - 1)),
            Some('"') => Value::String(self.string()),
            _ => self.word(),
        }
    }

    fn object(&mut self, depth: usize) -> Map<String, Value> {
        let mut members = Map::new();
        self.pass();
        while let Some(next) = self.next() {
            if next != '"' {
                self.pass();
                if next == '}' {
                    break;
                }
                continue;
            }
            let key = self.string();
            if self.next() == Some(':') {
                self.pass();
                let value = self.value(depth);
                members.insert(key, value);
            }
        }
        members
    }

    fn array(&mut self, depth: usize) -> Vec<Value> {
        let mut items = Vec::new();
        self.pass();
        while let Some(next) = self.next() {
            match next {
                ']' => {
                    self.pass();
                    break;
                }
                ',' | '}' | ':' => self.pass(),
                _ => items.push(self.value(depth)),
            }
        }
        items
    }

    /// Reads a string from its opening quote on. Omits the last word of a truncated string, because a name that must be
    /// hidden may only be recognizable as a whole.
    fn string(&mut self) -> String {
        self.pass();
        let mut is_escaped = false;
        let end = self.rest.find(|c| {
            let ends = c == '"' && !is_escaped;
            is_escaped = c == '\\' && !is_escaped;
            ends
        });
        let raw = &self.rest[..end.or_else(|| self.rest.rfind(char::is_whitespace)).unwrap_or(0)];
        self.rest = end.map_or("", |end| &self.rest[end + 1..]);
        let quoted = format!("\"{}\"", raw.replace(|c: char| c < ' ', " "));
        let text = Reader::new(quoted.as_bytes()).and_then(|mut reader| reader.string().map(|text| text.to_text()));
        text.unwrap_or_else(|_| raw.to_owned())
    }

    /// Reads a number, `true` or `false`. Any other word is read as null.
    fn word(&mut self) -> Value {
        let len = self.rest.find([',', ']', '}', '"', '{', '[']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(len);
        self.rest = rest;
        serde_json::from_str(word.trim_end()).unwrap_or_default()
    }

    /// Skips white space and returns the next character without consuming it.
    fn next(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }

    /// Skips one character.
    fn pass(&mut self) {
        let mut chars = self.rest.chars();
        chars.next();
        self.rest = chars.as_str();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn valid_json_is_read_as_by_a_strict_parser() {
        for text in [
            r#"{"a":[1,-2.5e3,true,false,null,"x\n\"é\u00e9\ud83d\ude00",{}],"b":{"c":[[]]}}"#,
            "[ { \"a\" : 1 } , [ ] ]",
            "{}",
            "[]",
        ] {
            let strict: Value = serde_json::from_str(text).unwrap();
            assert_eq!(read(text), Some(strict), "{text}");
        }
    }

    #[test]
    fn damaged_json_is_read_as_far_as_possible() {
        for (text, expected) in [
            (r#"{"a":NaN,"b":[Infinity,1],"c":-Infinity}"#, json!({"a": null, "b": [null, 1], "c": null})),
            (r#"{"a":"x\ud83d y"}"#, json!({"a": "x\u{fffd} y"})),
            ("{\"a\":\"two\nlines\"}", json!({"a": "two lines"})),
            (r#"{"a":[{"b":"cut he"#, json!({"a": [{"b": "cut"}]})),
            (r#"{"a":"cut\"#, json!({"a": ""})),
            (r#"{"a":"c\u0075t \u00"#, json!({"a": "cut"})),
            (r#"{"a":1,"b"#, json!({"a": 1})),
            (r#"{"a":1,"b":"#, json!({"a": 1, "b": null})),
            (r#"{"a":"\x"}"#, json!({"a": "\\x"})),
            (r#"["a",}:,"b"] and more"#, json!(["a", "b"])),
            ("{", json!({})),
        ] {
            assert_eq!(read(text), Some(expected), "{text}");
        }
        for text in ["", "{oops", "{Error: x}", "[Errno 111] refused", "[INFO] x", "[{'a': 1}]", "x {\"a\":1}", "é"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn reading_stops_at_values_that_are_nested_too_deep() {
        let deep = read(&format!("{{\"a\":1,\"b\":{}", "[".repeat(60_000))).unwrap();
        assert_eq!(deep["a"], 1);
    }
}
