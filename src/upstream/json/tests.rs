use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::*;

/// Whether serde_json accepts the bytes. UTF-8 is checked separately, since serde_json skips that in ignored strings.
fn serde_accepts(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok() && serde_json::from_slice::<IgnoredAny>(bytes).is_ok()
}

#[test]
fn valid_json_is_accepted() {
    for json in [
        "null",
        " true ",
        "false",
        "0",
        "-0",
        "-0.0e-0",
        "1E+2",
        "12.5",
        "\"\"",
        "[]",
        "{}",
        "[ ]",
        "{ }",
        "[[],{}]",
        "[1,2 , 3]",
        "{\"a\":1,\"a\":2}",
        "{\"a\":{\"b\":[{}]}}",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\"",
        "\"é\u{7f}€😀\"",
        "\"\\ud83d\\ude00\"",
        "\"\\ud83d\"",
        "\r\n\t [\r\n\t 1 \r\n\t]\r\n\t ",
        "123456789012345678901234567890",
        "1e999999",
    ] {
        assert_eq!(validate(json.as_bytes()), Ok(()), "{json}");
        assert!(serde_accepts(json.as_bytes()), "{json}");
    }
}

#[test]
fn invalid_json_is_refused() {
    for json in [
        "",
        " ",
        "nul",
        "nulll",
        "True",
        "+1",
        "01",
        "-",
        "-a",
        "1.",
        ".5",
        "1e",
        "1e+",
        "0x1",
        "NaN",
        "Infinity",
        "\"",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\\u+123\"",
        "\"\n\"",
        "\"\t\"",
        "\"\0\"",
        "\"\u{1f}\"",
        "'a'",
        "[",
        "]",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1}",
        "{",
        "}",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,",
        "{\"a\":1,}",
        "{,}",
        "{a:1}",
        "{\"a\" 1}",
        "{\"a\":1]",
        "{1:1}",
        "{\"a\":}",
        "1 2",
        "{} {}",
        "[]]",
        "{}x",
        "\u{feff}{}",
        "{}\u{feff}",
        "{}\0",
        "// c\n1",
        "\u{a0}1",
    ] {
        assert!(validate(json.as_bytes()).is_err(), "{json:?}");
        assert!(!serde_accepts(json.as_bytes()), "{json:?}");
    }
    assert_eq!(validate(b"\"\xff\""), Err(Invalid { at: 1, reason: "not UTF-8" }));
    assert_eq!(validate(b"\"\xed\xa0\x80\"").map_err(|e| e.reason), Err("not UTF-8"), "a surrogate in UTF-8");
    assert_eq!(validate(b"{\"a\":1} x"), Err(Invalid { at: 8, reason: "extra bytes after the end" }));
}

#[test]
fn a_lenient_reader_accepts_the_flawed_json_of_servers() {
    let read = |json: &[u8]| {
        let mut reader = Reader::lenient(json);
        reader.skip().and_then(|()| reader.end())
    };
    for json in
        [&b"[NaN, Infinity,-Infinity]"[..], b"\xEF\xBB\xBF{}", b"\"\xff\"", b"\"a\n\"", b"{\"a\":[-1.5e3,null]}"]
    {
        assert_eq!(read(json), Ok(()), "{}", json.escape_ascii());
        assert!(validate(json).is_err() || json.starts_with(b"{"), "{}", json.escape_ascii());
    }
    for json in ["", "{", "{oops}", "[1}", "\"a", "{}{}", "{} x", "NaNs", "Inf", "[nan]", "{a:1}", "{'a':1}", "\"\\x\""]
    {
        assert!(read(json.as_bytes()).is_err(), "{json}");
    }
}

#[test]
fn nesting_is_bounded_and_needs_no_stack() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert_eq!(validate(nested(MAX_DEPTH as usize).as_bytes()), Ok(()));
    assert!(validate(nested(MAX_DEPTH as usize + 1).as_bytes()).is_err());
    assert!(validate("[".repeat(1 << 20).as_bytes()).is_err());
    assert!(validate("{\"a\":".repeat(1 << 20).as_bytes()).is_err());
    let mixed = format!("{}0{}", "[{\"k\":".repeat(256), "}]".repeat(256));
    assert_eq!(validate(mixed.as_bytes()), Ok(()));
    let crossed = format!("{}0{}", "[{\"k\":".repeat(256), "]}".repeat(256));
    assert!(validate(crossed.as_bytes()).is_err());
}

#[test]
fn a_special_byte_is_found_at_every_position_in_a_word() {
    for len in 0..40 {
        for at in 0..len {
            for special in [b'"', b'\\', 0, 0x1f] {
                for filler in [b' ', b'!', b'#', b'[', b']', 0x7f, 0xff, b'a'] {
                    let mut bytes = vec![filler; len];
                    bytes[at] = special;
                    assert_eq!(text::plain_run(&bytes), at);
                    // The result must not depend on the bytes after it.
                    bytes[at + 1..].fill(special ^ 1);
                    assert_eq!(text::plain_run(&bytes), at);
                }
            }
        }
    }
}

#[test]
fn strings_are_unescaped_and_measured() {
    let string = |json: &'static str| Reader::new(json.as_bytes()).unwrap().string().unwrap();
    assert!(string(r#""\u006dodel""#).is("model"));
    assert!(string(r#""acme\/chat""#).is("acme/chat"));
    assert!(!string(r#""acme/chatt""#).is("acme/chat"));
    assert_eq!(string(r#""\ud83d\ude00!""#).to_text(), "😀!");
    assert_eq!(string(r#""\ud83d!""#).to_text(), "\u{fffd}!");
    assert_eq!(string(r#""\ud83d\u0041\\u0041""#).to_text(), "\u{fffd}A\\u0041");
    assert_eq!(string(r#""\ude00\ud83d\ude00""#).to_text(), "\u{fffd}😀");
    assert_eq!(string(r#""é\u00e9€\u20ac\n""#).len(), "éé€€\n".len());
    assert_eq!(string(r#"  "ab\"c" "#).span(), 2..9);
}

#[test]
fn whole_numbers_are_distinguished_from_others() {
    for (raw, value) in [
        ("0", Some(0)),
        ("-0", Some(0)),
        ("4096", Some(4096)),
        ("16.0", Some(16)),
        ("1e3", Some(1000)),
        ("18446744073709551615", Some(u64::MAX)),
        ("18446744073709551616", Some(u64::MAX)),
        ("1e300", Some(u64::MAX)),
        ("1e400", None),
        ("0.5", None),
        ("-1", None),
        ("", None),
    ] {
        assert_eq!(whole_number(raw.as_bytes()), value, "{raw}");
    }
}

#[test]
fn leaving_a_value_unread_is_an_error() {
    let mut reader = Reader::new(br#"{"a":1}"#).unwrap();
    assert!(reader.members(|_, _| Ok::<(), Invalid>(())).is_err());
}

#[test]
fn a_value_that_is_not_an_object_is_skipped() {
    let mut reader = Reader::new(br#"[{"a":1}] "#).unwrap();
    reader.members(|_, _| Err(Invalid { at: 0, reason: "called" })).unwrap();
    reader.end().unwrap();
}

pub(crate) fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
        "[ -~]{0,40}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::vec((".{0,12}", inner), 0..8)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Lengths of all strings and keys, in bytes.
fn text_in(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(elements) => elements.iter().map(text_in).sum(),
        Value::Object(members) => members.iter().map(|(key, value)| key.len() + text_in(value)).sum(),
        _ => 0,
    }
}

proptest! {
    #[test]
    fn every_json_value_is_valid_and_measured(value in any_json(), pretty: bool) {
        let json = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap();
        let mut reader = Reader::new(&json).unwrap();
        let mut text = 0;
        let mut open = 0i32;
        reader.walk(|event| match event {
            Event::Key(found) | Event::String(found) => {
                text += found.len();
                assert_eq!(found.bytes().len(), found.len());
                let quoted = serde_json::from_slice::<String>(&json[found.span()]).unwrap();
                assert!(found.is(&quoted));
            }
            Event::Open => open += 1,
            Event::Close => open -= 1,
            Event::Number => {}
        }).unwrap();
        reader.end().unwrap();
        prop_assert_eq!((text, open), (text_in(&value), 0));
    }

    #[test]
    fn damaged_json_is_accepted_exactly_if_serde_json_accepts_it(
        value in any_json(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut json = serde_json::to_vec(&value).unwrap();
        for (at, byte) in damage {
            let at = at.index(json.len());
            json[at] = byte;
        }
        prop_assert_eq!(validate(&json).is_ok(), serde_accepts(&json));
    }

    #[test]
    fn random_tokens_are_accepted_exactly_if_serde_json_accepts_them(
        soup in r#"([\[\]{},:"\\ 0-2eE.+-]|true|null|"a"|\\u00|\\ud83d){0,24}"#,
    ) {
        prop_assert_eq!(validate(soup.as_bytes()).is_ok(), serde_accepts(soup.as_bytes()), "{}", soup);
    }

    #[test]
    fn it_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), at: usize) {
        let _ = validate(&bytes);
        let _ = Reader::resume(&bytes, at).map(|mut reader| reader.skip());
    }

    #[test]
    fn a_quoted_text_is_read_back_unchanged(text in ".*|[\\x00-\\x7f]*") {
        let quoted = quote(&text);
        prop_assert_eq!(serde_json::from_slice::<String>(&quoted).unwrap(), text.clone());
        prop_assert!(Reader::new(&quoted).unwrap().string().unwrap().is(&text));
    }
}
