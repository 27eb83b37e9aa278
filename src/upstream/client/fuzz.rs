//! Fuzzes the parsing of answers from untrusted servers.

use bytes::BytesMut;

use super::{decoder::Decoder, head::HeadReader};
use crate::fuzz::pieces::cut;

/// Checks that an answer yields the same head, body and remaining bytes, or the same error, wherever it is split.
pub(crate) fn upstream(input: &[u8]) {
    let expected = read(vec![input]);
    for pieces in [cut(input), input.chunks(1).collect()] {
        let found = read(pieces);
        match (&expected, &found) {
            (Some(expected), Some(found)) => assert_eq!(expected, found, "the result depends on where it is split"),
            (expected, found) => assert_eq!(expected, found, "only one of the two has a head"),
        }
    }
    if let Some(Answer { body, rest, .. }) = expected {
        assert!(body.len() + rest.len() <= input.len(), "bytes were added");
    }
}

#[derive(Debug, PartialEq)]
struct Answer {
    status: u16,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    body: Vec<u8>,
    /// Whether the body has ended, or its error.
    end: Result<bool, &'static str>,
    /// The bytes after the body. Empty if the body has an error.
    rest: Vec<u8>,
}

/// Reads the answer. Returns `None` if there is no complete and valid head.
fn read(pieces: Vec<&[u8]>) -> Option<Answer> {
    let (mut reader, mut buffer) = (HeadReader::default(), BytesMut::new());
    let mut answer: Option<(Answer, Decoder)> = None;
    for piece in pieces {
        buffer.extend_from_slice(piece);
        if answer.is_none() {
            let Some(head) = reader.read(&mut buffer).ok()? else { continue };
            let fields = head.headers.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
            let started = Answer { status: head.status, fields, body: Vec::new(), end: Ok(false), rest: Vec::new() };
            answer = Some((started, head.framing));
        }
        let Some((answer, framing)) = &mut answer else { continue };
        while answer.end.is_ok() {
            match framing.take(&mut buffer) {
                Ok(Some(data)) => answer.body.extend_from_slice(&data),
                Ok(None) => break,
                Err(reason) => answer.end = Err(reason),
            }
        }
    }
    let (mut answer, framing) = answer?;
    if answer.end.is_ok() {
        answer.end = Ok(framing.is_done());
        answer.rest = buffer.to_vec();
    }
    Some(answer)
}
