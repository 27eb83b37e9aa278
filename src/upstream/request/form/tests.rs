use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::upstream::request::{Changes, OutputCap};

const TYPE: &[u8] = b"multipart/form-data; boundary=b";

/// A part with this name and text.
fn field(name: &str, text: &str) -> String {
    part(&format!("Content-Disposition: form-data; name=\"{name}\""), text)
}

/// A part with these headers, which are separated by `|`.
fn part(headers: &str, text: &str) -> String {
    format!("--b\r\n{}\r\n\r\n{text}\r\n", headers.replace('|', "\r\n"))
}

fn form(parts: &[String]) -> String {
    format!("{}--b--\r\n", parts.concat())
}

fn accepted(parts: &[String]) -> Request {
    scan(form(parts).as_bytes(), TYPE).unwrap()
}

/// The error for a form: its code, its parameter and a part of its message.
fn check_refused(body: impl AsRef<[u8]>, code: &str, param: Option<&str>, says: &str) {
    let body = body.as_ref();
    let shown = body[..body.len().min(300)].escape_ascii();
    let bad = scan(body, TYPE).expect_err(&format!("accepted: {shown}"));
    assert_eq!((bad.code, bad.param), (code, param), "{bad:?}: {shown}");
    assert!(bad.message.contains(says) && bad.message.ends_with('.'), "{bad:?}: {shown}");
}

fn check_malformed(body: impl AsRef<[u8]>, says: &str) {
    check_refused(body, "invalid_multipart", None, says);
}

#[test]
fn the_model_is_found_wherever_its_part_stands() {
    let file =
        part("Content-Disposition: form-data; name=\"file\"; filename=\"a.wav\"|Content-Type: audio/wav", "RIFF");
    let others = [file, field("language", "de"), field("timestamp_granularities[]", "word"), field("x", "")];
    for place in 0..=others.len() {
        let mut parts = others.to_vec();
        parts.insert(place, field("model", "acme/whisper"));
        let body = form(&parts);
        let request = scan(body.as_bytes(), TYPE).unwrap();
        assert_eq!((&*request.model, &body[request.model_at.clone()]), ("acme/whisper", "acme/whisper"));
        assert_eq!((request.stream, request.prompt_bytes, request.n, request.max_output), (false, 0, 1, None));
    }
}

#[test]
fn stream_and_prompt_are_read() {
    for (text, expected) in [("true", true), ("1", true), ("True", true), ("false", false), ("0", false)] {
        assert_eq!(accepted(&[field("stream", text), field("model", "m")]).stream, expected, "{text}");
    }
    assert_eq!(accepted(&[field("prompt", "héllo"), field("model", "m")]).prompt_bytes, 6);
    assert_eq!(accepted(&[field("prompt", &"x".repeat(64 << 10)), field("model", "m")]).prompt_bytes, 64 << 10);
}

#[test]
fn parts_as_common_clients_write_them_are_accepted() {
    for headers in [
        // .NET, Retrofit, Guzzle, Symfony, aiohttp, Apache HttpClient, Spring, a lower-case client
        "Content-Type: text/plain; charset=utf-8|Content-Disposition: form-data; name=model",
        "Content-Disposition: form-data; name=\"model\"|Content-Transfer-Encoding: binary|Content-Type: text/plain; \
         charset=UTF-8|Content-Length: 1",
        "Content-Disposition: form-data; name=\"model\"|Content-Length: 1",
        "Content-Type: text/plain; charset=utf-8|Content-Transfer-Encoding: 8bit|Content-Disposition: form-data; \
         name=\"model\"",
        "Content-Type: text/plain; charset=utf-8|Content-Disposition: form-data; name=\"model\"",
        "Content-Disposition: form-data; name=\"model\"|Content-Type: text/plain; charset=ISO-8859-1\
         |Content-Transfer-Encoding: 8bit",
        "Content-Disposition: form-data; name=\"model\"|Content-Type: text/plain;charset=\"utf-8\"",
        "content-disposition:form-data;name=\"model\"",
    ] {
        assert_eq!(accepted(&[part(headers, "m")]).model, "m", "{headers}");
    }
    for headers in [
        "Content-Disposition: form-data; name=\"file\"; filename=\"a \\\"b\\\\\\\"; c\\\\\"|Content-Type: audio/wav",
        "Content-Disposition: form-data; name=file; filename=a.wav; filename*=utf-8''%e2%82%ac.wav",
        "Content-Disposition: form-data; name=\"file\"; filename*=utf-8''x; filename=\"\"|Content-ID: 7",
        "Content-Disposition: form-data; name=\"file\"; filename=\"x; name=\\\"model\\\"; filename=y\"",
        "Content-Disposition: form-data; name=\"file\"; filename=\"ü.wav\"|Content-Transfer-Encoding: base64",
    ] {
        assert_eq!(accepted(&[part(headers, "x"), field("model", "m")]).model, "m", "{headers}");
    }
    let without_end = form(&[field("model", "m")]).trim_end().to_owned();
    assert_eq!(scan(without_end.as_bytes(), TYPE).unwrap().model, "m");
    for (content_type, boundary) in [
        ("multipart/form-data;boundary=\"b\"", "b"),
        ("multipart/form-data; boundary=b; charset=UTF-8", "b"),
        ("multipart/form-data; charset=\"utf-8\"; boundary=----WebKitFormBoundary+'_.x", "----WebKitFormBoundary+'_.x"),
        ("multipart/form-data; boundary=\"a(b)/c:d?e,f\"", "a(b)/c:d?e,f"),
    ] {
        let body = form(&[field("model", "m")]).replace("--b", &format!("--{boundary}"));
        assert_eq!(scan(body.as_bytes(), content_type.as_bytes()).unwrap().model, "m", "{content_type}");
    }
}

#[test]
fn text_like_the_boundary_is_data_inside_a_line() {
    for data in ["x--bx", "x--b-", "x--bb\r\n", "--x--b ", "\r\n-b", "\r\n--c\r\n", "--a", "\r\n --b ", "--", "\r\n"] {
        let file = part("Content-Disposition: form-data; name=\"file\"; filename=\"f\"", data);
        let body = form(&[file.clone(), field("model", "m")]);
        let request = scan(body.as_bytes(), TYPE).unwrap();
        assert_eq!(&body[request.model_at.clone()], "m", "{data:?}");
    }
}

#[test]
fn a_content_type_without_one_usable_boundary_is_refused() {
    let long = format!("multipart/form-data; boundary={}", "b".repeat(71));
    for (content_type, says) in [
        ("application/json", "multipart/form-data"),
        ("", "multipart/form-data"),
        ("multipart/mixed; boundary=b", "multipart/form-data"),
        ("Multipart/Form-Data; boundary=b", "multipart/form-data"),
        ("multipart/form-data ; boundary=b", "multipart/form-data"),
        ("multipart/form-data; boundary=b, application/json", "only a boundary"),
        ("multipart/form-data;\tboundary=b", "only a boundary"),
        ("multipart/form-data", "no boundary"),
        ("multipart/form-data; charset=utf-8", "no boundary"),
        ("multipart/form-data; boundary=b; boundary=b", "twice"),
        ("multipart/form-data; boundary=b; charset=utf-16", "only a boundary"),
        ("multipart/form-data; boundary=b; x=y", "only a boundary"),
        ("multipart/form-data; Boundary=b", "only a boundary"),
        ("multipart/form-data; boundary*=utf-8''b", "only a boundary"),
        ("multipart/form-data; boundary=\"b", "only a boundary"),
        ("multipart/form-data; boundary=b;", "only a boundary"),
        ("multipart/form-data; boundary=", "only a boundary"),
        ("multipart/form-data; boundary=\"\"", "1 to 70"),
        ("multipart/form-data; boundary=\"b b\"", "1 to 70"),
        ("multipart/form-data; boundary=\"a=b\"", "1 to 70"),
        ("multipart/form-data; boundary=\"a\\b\"", "1 to 70"),
        ("multipart/form-data; boundary=\"b\u{e9}\"", "1 to 70"),
        (&long, "1 to 70"),
    ] {
        let bad = scan(form(&[field("model", "m")]).as_bytes(), content_type.as_bytes()).unwrap_err();
        assert_eq!((bad.code, bad.param), ("invalid_multipart", None), "{content_type}");
        assert!(bad.message.contains(says), "{content_type}: {bad:?}");
    }
}

#[test]
fn a_form_whose_delimiters_can_be_read_in_two_ways_is_refused() {
    let head = "Content-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n";
    let model = form(&[field("model", "m")]);
    for (body, says) in [
        (String::new(), "does not begin"),
        (format!("\r\n{model}"), "does not begin"),
        (format!("preamble\r\n{model}"), "does not begin"),
        (model.replacen("--b", "--c", 1), "does not begin"),
        (model.replacen("--b\r\n", "--b\n", 1), "followed by CRLF"),
        (model.replacen("--b\r\n", "--b \r\n", 1), "followed by CRLF"),
        (model.replacen("--b\r\n", "--bb\r\n", 1), "followed by CRLF"),
        (format!("{model}x"), "Nothing but CRLF"),
        (format!("{model}{model}"), "Nothing but CRLF"),
        (model.replace("--b--\r\n", "--b--\n"), "Nothing but CRLF"),
        (model.replace("--b--\r\n", "--b---"), "Nothing but CRLF"),
        (model.replace("\r\n--b--", "\n--b--"), "no CRLF"),
        (model.replace("\r\n--b--", "\r--b--"), "no CRLF"),
        (model.replace("m\r\n--b--", "--b--"), "in its content"),
        (format!("--b\r\n{head}\n--b\r\n{}", &model[5..]), "no CRLF"),
        (format!("--b\r\n{head}x\n--bc\r\n{model}"), "no CRLF"),
        (format!("--b\r\n{head}x--b\r\n{}", &model[5..]), "in its content"),
        (format!("--b\r\n{head}x--b\r\n{model}"), "in its content"),
        (format!("--b\r\n{head}x--b--\r\n{model}"), "in its content"),
        (format!("--b\r\n{head}x\r\n--bc\r\n{model}"), "followed by CRLF"),
        (format!("--b\r\n{head}x\r\n--b\t\r\n{model}"), "followed by CRLF"),
    ] {
        check_malformed(body, says);
    }
}

#[test]
fn a_form_that_is_cut_off_anywhere_is_refused() {
    let file = part("Content-Disposition: form-data; name=\"file\"; filename=\"f\"|Content-Type: audio/wav", "a\r\nb");
    let body = form(&[field("model", "m"), file, field("stream", "true")]);
    for length in 0..body.len() - 2 {
        let bad = scan(&body.as_bytes()[..length], TYPE).expect_err(&body[..length]);
        assert_eq!(bad.code, "invalid_multipart");
        assert!(bad.message.contains(if length < 3 { "does not begin" } else { "cut off" }), "{length}: {bad:?}");
    }
}

#[test]
fn headers_that_can_be_read_in_two_ways_are_refused() {
    let long = format!("Content-Disposition: form-data; name=\"x\"|X: {}", "x".repeat(1 << 20));
    let disposition = |rest: &str| format!("Content-Disposition: {rest}");
    for (headers, says) in [
        ("Content-Type: text/plain", "no Content-Disposition"),
        (&*disposition(""), "begins with form-data; name"),
        (&*disposition("attachment; name=\"x\""), "begins with form-data; name"),
        (&*disposition("form-data"), "begins with form-data; name"),
        (&*disposition("form-data ; name=\"x\""), "begins with form-data; name"),
        (&*disposition("form-data; filename=\"f\"; name=\"x\""), "begins with form-data; name"),
        (&*disposition("form-data; name*=utf-8''x"), "begins with form-data; name"),
        (&*disposition("form-data; Name=\"x\""), "begins with form-data; name"),
        (&*disposition("form-data; name = \"x\""), "begins with form-data; name"),
        (&*disposition("form-data; name=\"x"), "begins with form-data; name"),
        (&*disposition("form-data; name=\"x\\"), "begins with form-data; name"),
        (&*disposition("form-data; name="), "begins with form-data; name"),
        (&*disposition("form-data; name=\"\""), "letters, digits"),
        (&*disposition("form-data; name=\"model\\\"\""), "letters, digits"),
        (&*disposition("form-data; name=\"model \""), "letters, digits"),
        (&*disposition("form-data; name=\"%6dodel\""), "letters, digits"),
        (&*disposition("form-data; name=\"mod\u{e9}l\""), "letters, digits"),
        (&*disposition("form-data; name=\"x;name=model\""), "letters, digits"),
        (&*disposition("form-data; name=\"x\"; name=\"model\""), "only one filename"),
        (&*disposition("form-data; name=\"x\"; name*=utf-8''model"), "only one filename"),
        (&*disposition("form-data; name=\"x\"; filename=\"f\"; filename=\"g\""), "only one filename"),
        (&*disposition("form-data; name=\"x\"; filename*0=\"f\""), "only one filename"),
        (&*disposition("form-data; name=\"x\"; filename=\"f\"g\""), "only one filename"),
        (&*disposition("form-data; name=\"x\"; filename=\"f\\\""), "only one filename"),
        (&*disposition("form-data; name=\"x\";"), "only one filename"),
        (&*disposition("form-data; name=\"x\"; filename=\"f\0g\""), "control character"),
        (&*disposition("form-data; name=\"x\"; filename=\"f\ng\""), "control character"),
        (&*disposition("form-data;\tname=\"x\""), "control character"),
        (&*disposition("form-data; name=\"x\"\nContent-Type: text/plain"), "control character"),
        (&*disposition("form-data;| name=\"x\""), "begins with form-data; name"),
        (&*disposition("form-data; name=\"x\"| continued"), "not a name"),
        (&*disposition("form-data; name=\"x\"|--b: x"), "not a name"),
        (&*disposition("form-data; name=\"x\"|: x"), "not a name"),
        (&*disposition("form-data; name=\"x\"|X : x"), "not a name"),
        (&*disposition("form-data; name=\"x\"|no colon"), "not a name"),
        ("Content-Disposition : form-data; name=\"x\"", "not a name"),
        (&*disposition("form-data; name=\"x\"|content-disposition: form-data; name=\"y\""), "same header twice"),
        (&*disposition("form-data; name=\"x\"|Content-Type: a/b|Content-Type: a/b"), "same header twice"),
        (&*disposition("form-data; name=\"x\"|Content-Length: 1|Content-Length: 1"), "same header twice"),
        (&*disposition("form-data; name=\"x\"|Content-Length: 2"), "Content-Length"),
        (&*disposition("form-data; name=\"x\"|Content-Length: +1"), "Content-Length"),
        (&*disposition("form-data; name=\"x\"|Content-Length: 01"), "Content-Length"),
        (&*disposition("form-data; name=\"x\"|Content-Length: 1 "), "Content-Length"),
        (&*disposition("form-data; name=\"x\"|Content-Length: "), "Content-Length"),
        (&*disposition("form-data; name=\"x\"|Content-Length: 99999999999999999999999"), "Content-Length"),
        (&*long, "more than 16 KiB"),
    ] {
        check_malformed(form(&[field("model", "m"), part(headers, "v")]), says);
    }
    check_malformed("--b\r\n\r\nm\r\n--b--", "no Content-Disposition");
}

#[test]
fn a_form_has_at_most_256_parts() {
    let mut parts = vec![field("x", ""); 255];
    parts.push(field("model", "m"));
    assert_eq!(accepted(&parts).model, "m");
    parts.push(field("x", ""));
    check_malformed(form(&parts), "more than 256 parts");
    check_malformed(form(&vec![field("x", ""); 10_000]), "more than 256 parts");
}

#[test]
fn a_part_that_is_read_occurs_once_under_its_exact_name() {
    check_refused("--b--", "missing_model", Some("model"), "is missing");
    check_refused(form(&[field("file", "x")]), "missing_model", Some("model"), "is missing");
    for name in READ {
        let twice = form(&[field("model", "m"), field(name, "1"), field("x", ""), field(name, "1")]);
        check_refused(twice, "duplicate_key", Some(name), "is given twice");
        let upper = name.to_uppercase();
        for other in [&*upper, &format!("{name}[]"), &format!("{upper}[0]"), &format!("{name}[")] {
            let body = form(&[field("model", "m"), field(other, "1")]);
            check_refused(body, "invalid_key", Some(name), "spelled exactly like this");
        }
    }
    check_refused(form(&[field("model", "m"), field(CHARSET, "utf-7")]), "invalid_key", Some(CHARSET), "UTF-8");
    accepted(&[field("model", "m"), field("file", "1"), field("file", "2"), field("x[model]", "3")]);
}

#[test]
fn a_part_that_is_read_is_plain_text_within_its_bounds() {
    for (name, code, more, text) in [
        ("model", "invalid_type", "; filename=\"\"", "m"),
        ("model", "invalid_type", "; filename=\"f\"", "m"),
        ("model", "invalid_type", "; filename*=utf-8''f", "m"),
        ("model", "invalid_type", "|Content-Transfer-Encoding: base64", "bQ=="),
        ("prompt", "invalid_type", "|Content-Transfer-Encoding: quoted-printable", "=6d"),
        ("model", "invalid_type", "|Content-Encoding: gzip", "m"),
        ("stream", "invalid_type", "|Content-Type: application/octet-stream", "true"),
        ("model", "invalid_type", "|Content-Type: multipart/mixed; boundary=c", "m"),
        ("model", "invalid_type", "|Content-Type: text/plain; charset=utf-16", "m"),
        ("model", "invalid_type", "|Content-Type: text/plain; charset=utf-8; charset=utf-7", "m"),
        ("model", "invalid_type", "|Content-Type: text/plain; format=flowed", "m"),
        ("model", "invalid_type", "|Content-Type: ", "m"),
        ("response_format", "invalid_type", "; filename=\"f\"", "json"),
        ("model", "invalid_value", "", &"m".repeat(1025)),
        ("prompt", "invalid_value", "", &"m".repeat((64 << 10) + 1)),
        ("response_format", "invalid_value", "", &"m".repeat(1025)),
        ("stream", "invalid_value", "", "yes"),
        ("stream", "invalid_value", "", " true"),
        ("stream", "invalid_value", "", ""),
    ] {
        let mut parts = vec![part(&format!("Content-Disposition: form-data; name=\"{name}\"{more}"), text)];
        parts.extend((name != "model").then(|| field("model", "m")));
        check_refused(form(&parts), code, Some(name), "must be");
    }
    let latin = form(&[field("model", "m"), field("prompt", "~")]).into_bytes();
    let latin: Vec<u8> = latin.into_iter().map(|byte| if byte == b'~' { 0xe9 } else { byte }).collect();
    check_refused(latin, "invalid_value", Some("prompt"), "UTF-8");
}

#[test]
fn the_slug_of_a_refused_form_is_known() {
    let body = form(&[field("model", "acme/whisper"), field("stream", "maybe")]);
    assert!(scan(body.as_bytes(), TYPE).is_err());
    assert_eq!(slug_of(body.as_bytes(), TYPE).as_deref(), Some("acme/whisper"));
    assert_eq!(slug_of(form(&[field("x", "")]).as_bytes(), TYPE), None);
    assert_eq!(slug_of(body.as_bytes(), b"application/json"), None);
}

#[test]
fn a_rewrite_changes_the_model_and_its_length_and_nothing_else() {
    let body = form(&[
        field("prompt", "acme/whisper"),
        part("Content-Length: 12|Content-Disposition: form-data; name=\"model\"", "acme/whisper"),
        field("stream", "true"),
    ]);
    let body = Bytes::from(body);
    let request = scan(&body, TYPE).unwrap();
    let cap = Some(OutputCap { parameter: "max_tokens", tokens: 1 });
    let changes = Changes { cap, ..Changes::to("w\"é") };
    assert!(!request.hides_usage() && !request.sends_options(&changes));
    let expected = form(&[
        field("prompt", "acme/whisper"),
        part("Content-Length: 4|Content-Disposition: form-data; name=\"model\"", "w\"é"),
        field("stream", "true"),
    ]);
    assert_eq!(request.rewrite(&body, &changes).concat(), expected.as_bytes());
    let [same] = &request.rewrite(&body, &Changes::to("acme/whisper"))[..] else { panic!("the body is in pieces") };
    assert_eq!((same.as_ptr(), same.len()), (body.as_ptr(), body.len()));
}

#[test]
fn a_large_file_is_not_copied() {
    let file = part("Content-Disposition: form-data; name=\"file\"; filename=\"f\"", &"x".repeat(1 << 20));
    let body = Bytes::from(form(&[field("model", "m"), file]));
    let pieces = scan(&body, TYPE).unwrap().rewrite(&body, &Changes::to("whisper"));
    let last = pieces.last().unwrap();
    assert_eq!(last.as_ptr_range().end, body.as_ptr_range().end);
    assert!(last.len() > 1 << 20);
}

/// A content of bytes that are likely to form a part of a delimiter.
fn any_content() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"\r\n".to_vec()),
        Just(b"\r".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"--".to_vec()),
        Just(b"-bound".to_vec()),
        Just(b"--bound".to_vec()),
        Just(b"x--bound".to_vec()),
        Just(b"x--boundary.".to_vec()),
        Just(b"name=\"model\"".to_vec()),
        prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// Parts that are not read: headers and content.
fn any_parts() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let name = "[a-z][a-z_]{0,2}(\\[\\]|\\[[a-z]\\])?";
    let file = prop::option::of("[a-z ;=\u{e9}]{0,8}(\\\\\")?(; name=model)?");
    let more = prop::option::of(prop_oneof![Just("X-Y: z"), Just("Content-Type: audio/wav"), Just("a:")]);
    let part = (name, file, more, any_content()).prop_map(|(name, file, more, content)| {
        let file = file.map_or(String::new(), |file| format!("; filename=\"{file}\""));
        let more = more.map_or(String::new(), |more| format!("\r\n{more}"));
        (format!("Content-Disposition: form-data; name=\"{name}\"{file}{more}"), content)
    });
    prop::collection::vec(part, 0..5)
}

/// Writes a form with the boundary `boundary`, unless a part contains it.
fn written(parts: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (headers, content) in parts {
        body.extend_from_slice(format!("--boundary\r\n{headers}\r\n\r\n").as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--boundary--");
    body
}

proptest! {
    #[test]
    fn every_form_is_read_as_it_was_built(
        mut parts in any_parts(),
        place: prop::sample::Index,
        slug in "[a-z]{1,3}/[a-z]{1,3}",
        model in "[^\\x00-\\x1f]{0,8}",
        stream in prop::option::of(any::<bool>()),
        prompt in prop::option::of("[^y]{0,20}"),
    ) {
        const TYPE: &[u8] = b"multipart/form-data; boundary=boundary";
        let headers = |name: &str| format!("Content-Disposition: form-data; name=\"{name}\"");
        let at = place.index(parts.len() + 1);
        parts.insert(at, (headers("model"), slug.clone().into()));
        parts.extend(stream.map(|stream| (headers("stream"), stream.to_string().into())));
        parts.extend(prompt.clone().map(|prompt| (headers("prompt"), prompt.into())));
        let body = Bytes::from(written(&parts));
        let request = scan(&body, TYPE).unwrap();
        prop_assert_eq!((&request.model, request.stream), (&slug, stream.unwrap_or(false)));
        prop_assert_eq!(request.prompt_bytes, prompt.map_or(0, |prompt| prompt.len() as u64));

        let sent = request.rewrite(&body, &Changes::to(&model)).concat();
        parts[at].1 = model.into();
        prop_assert_eq!(sent, written(&parts));
    }

    #[test]
    fn no_form_causes_a_panic(content_type in "(multipart/form-data)?[ -~]{0,20}", body in any_content()) {
        let _ = scan(&body, content_type.as_bytes());
        let _ = scan(&[b"--bound\r\n", &body[..]].concat(), b"multipart/form-data; boundary=bound");
    }
}
