//! Fuzzes the reading of untrusted forms.

use bytes::Bytes;
use memchr::memmem;

use super::{Request, scan};
use crate::upstream::request::Changes;

/// Reads a form whose content type is the first line of the input. Checks that servers that read forms in other ways
/// find the same model, and that a rewrite changes nothing but the model.
pub(crate) fn form(input: &[u8]) {
    let at = memchr::memchr(b'\n', input).unwrap_or(input.len());
    let (content_type, body) = (&input[..at], Bytes::copy_from_slice(input.get(at + 1..).unwrap_or_default()));
    let request = match scan(&body, content_type) {
        Ok(request) => request,
        Err(bad) => return assert!(!bad.message.is_empty()),
    };
    check_model(&body, content_type, &request);
    let sent = Bytes::from(request.rewrite(&body, &Changes::to("up\"stream")).concat());
    let read = scan(&sent, content_type);
    let is_same = read.as_ref().is_ok_and(|read| {
        let restored = read.rewrite(&sent, &Changes::to(&request.model)).concat();
        read.model == "up\"stream"
            && (read.stream, read.prompt_bytes) == (request.stream, request.prompt_bytes)
            && restored == body
    });
    assert!(is_same, "sent: {}: {read:?}", sent.escape_ascii());
}

/// Checks that the model is found by a server that takes every occurrence of the boundary for the end of a part, except
/// before other characters of a line, ends a line at each CR or LF, and takes the first `name` of a part in any letter case.
fn check_model(body: &[u8], content_type: &[u8], request: &Request) {
    let at = memmem::find(content_type, b"boundary=").map_or(0, |at| at + 9);
    let value = content_type[at..].strip_prefix(b"\"").unwrap_or(&content_type[at..]);
    let delimiter = [b"--", value.split(|byte| matches!(byte, b'"' | b';')).next().unwrap_or_default()].concat();
    let mut delimiters: Vec<usize> = memmem::find_iter(body, &delimiter).collect();
    delimiters.retain(|at| {
        let after = &body[at + delimiter.len()..];
        let is_first_in_line = *at == 0 || matches!(body[at - 1], b'\r' | b'\n');
        is_first_in_line || after.starts_with(b"\r\n") || after.starts_with(b"--")
    });
    let is_model = |part: &&[u8]| {
        let head = part.split(|byte| *byte == b'\n').take_while(|line| !line.trim_ascii().is_empty());
        let mut head = head.map(<[u8]>::to_ascii_lowercase);
        let line = head.find(|line| line.starts_with(b"content-disposition:")).unwrap_or_default();
        let name = memmem::find_iter(&line, b"name").find(|at| !line[*at - 1].is_ascii_alphanumeric());
        let name = name.map_or(&[][..], |at| &line[at + 4..]);
        let name = name.split(|byte| matches!(byte, b';' | b'\r')).next().unwrap_or_default();
        let is_outside = |byte: &u8| matches!(byte, b'=' | b' ' | b'"' | b'[');
        name.split(is_outside).find(|part| !part.is_empty()) == Some(b"model")
    };
    let parts = delimiters.windows(2).map(|at| &body[at[0] + delimiter.len() + 2..at[1]]);
    let models: Vec<&[u8]> = parts.filter(is_model).collect();
    let values = models.iter().map(|part| &part[memmem::find(part, b"\r\n\r\n").map_or(0, |at| at + 4)..]);
    let expected = [request.model.as_bytes(), b"\r\n"].concat();
    assert!(values.eq([&expected[..]]), "{} models: {}", models.len(), body.escape_ascii());
}
