//! Answers of untrusted servers, as bytes on the wire.

use bytes::BytesMut;

use super::{decoder::Decoder, head::HeadReader};
use crate::fuzz::pieces::cut;

/// An answer has the same head, body and rest, or the same fault, wherever it is cut.
pub(crate) fn upstream(input: &[u8]) {
    let expected = read(vec![input]);
    for pieces in [cut(input), input.chunks(1).collect()] {
        let found = read(pieces);
        match (&expected, &found) {
            (Some(expected), Some(found)) => assert_eq!(expected, found, "it matters where an answer is cut"),
            (expected, found) => assert_eq!(expected, found, "only one of them has a head"),
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
    /// Whether the body has ended, or its fault.
    end: Result<bool, &'static str>,
    /// The bytes behind the body. Empty if the body has a fault.
    rest: Vec<u8>,
}

/// The answer, if there is a whole head.
fn read(pieces: Vec<&[u8]>) -> Option<Answer> {
    let (mut reader, mut buffer) = (HeadReader::default(), BytesMut::new());
    let mut answer: Option<(Answer, Decoder)> = None;
    for piece in pieces {
        buffer.extend_from_slice(piece);
        if answer.is_none() {
            let Some(head) = reader.read(&mut buffer).ok()? else { continue };
            let fields = head.headers.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
            let begun = Answer { status: head.status, fields, body: Vec::new(), end: Ok(false), rest: Vec::new() };
            answer = Some((begun, head.framing));
        }
        let Some((answer, framing)) = &mut answer else { continue };
        while answer.end.is_ok() {
            match framing.take(&mut buffer) {
                Ok(Some(data)) => answer.body.extend_from_slice(&data),
                Ok(None) => break,
                Err(why) => answer.end = Err(why),
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
