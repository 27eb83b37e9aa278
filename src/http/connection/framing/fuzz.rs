//! Untrusted requests, as raw bytes.

use httparse::{EMPTY_HEADER, Status, parse_chunk_size, parse_headers};

use super::{Fault, Framing, MAX_FIELDS};
use crate::fuzz::pieces::cut;

/// A request ends where httparse finds its end, no matter how its bytes are split into pieces.
pub(crate) fn framing(input: &[u8]) {
    let whole = passed_on(vec![input]);
    for pieces in [cut(input), input.chunks(1).collect()] {
        let found = passed_on(pieces);
        // An incomplete line is not checked, so the two may find different faults, and one of them none yet.
        assert!(whole == found || whole.is_err() || found.is_err(), "the result depends on the pieces");
        assert_eq!(is_whole(&whole), is_whole(&found), "only one of the two found a complete request");
    }
    if let Ok((length, true)) = whole {
        let end = end(&input[..length]);
        assert_eq!(end, Some(length), "two parsers disagree about the end of this request");
    }
}

fn is_whole(outcome: &Result<(usize, bool), Fault>) -> bool {
    matches!(outcome, Ok((_, true)))
}

/// The number of bytes that are passed on, and whether they are a complete request.
fn passed_on(pieces: Vec<&[u8]>) -> Result<(usize, bool), Fault> {
    let (mut framing, mut held, mut passed) = (Framing::start(), Vec::new(), 0);
    for piece in pieces {
        held.extend_from_slice(piece);
        let length = framing.pass(&held)?;
        assert!(length <= held.len());
        held.drain(..length);
        passed += length;
    }
    Ok((passed, framing.is_complete()))
}

/// The end of the request according to httparse.
fn end(input: &[u8]) -> Option<usize> {
    let mut fields = [EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let Ok(Status::Complete(head)) = request.parse(input) else { return None };
    let value = |name: &str| {
        let found = request.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        found.and_then(|field| std::str::from_utf8(field.value).ok())
    };
    if value("transfer-encoding").is_none() {
        return value("content-length").map_or(Some(head), |length| Some(head + length.parse::<usize>().ok()?));
    }
    let mut at = head;
    loop {
        let Ok(Status::Complete((line, size))) = parse_chunk_size(&input[at..]) else { return None };
        at += line;
        if size == 0 {
            break;
        }
        at = at.checked_add(usize::try_from(size).ok()?)?.checked_add(2)?;
        if input.get(at - 2..at)? != b"\r\n" {
            return None;
        }
    }
    let trailers = &mut vec![EMPTY_HEADER; input.len()];
    match parse_headers(&input[at..], trailers) {
        Ok(Status::Complete((length, _))) => Some(at + length),
        _ => None,
    }
}
