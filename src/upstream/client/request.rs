//! Requests, and the part of them that is the same each time.

use std::{
    io::{IoSlice, Write as _},
    sync::Arc,
    task::{Context, Poll},
};

use arrayvec::ArrayVec;
use bytes::Bytes;
use url::Url;

use super::{connection::Stream, error::InvalidRequest, origin::Origin};

/// The methods that upstreams are called with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// A request without a body.
    Get,
    /// A request with a body, which may be empty.
    Post,
}

/// The constant part of the requests for one URL, written once: request line, host, and the headers that stay the
/// same, such as the credential. Cheap to clone, may be shared between threads, and cannot print.
#[derive(Clone)]
pub struct Template {
    origin: Origin,
    method: Method,
    head: Arc<[u8]>,
}

/// One request, ready to be sent.
pub struct Request {
    pub(super) origin: Origin,
    pub(super) outgoing: Outgoing,
}

impl Template {
    /// Requests for `url`; credentials and a fragment in it are not sent. The client itself writes `host`,
    /// `accept-encoding`, `content-length` and what concerns the connection; `headers` has the others.
    pub fn new(method: Method, url: &Url, headers: &[(&str, &[u8])]) -> Result<Self, InvalidRequest> {
        let origin = Origin::parse(url)?;
        let verb = match method {
            Method::Get => "GET",
            Method::Post => "POST",
        };
        let mut head = Vec::with_capacity(512);
        head.extend_from_slice(verb.as_bytes());
        head.push(b' ');
        head.extend_from_slice(url.path().as_bytes());
        if let Some(query) = url.query() {
            head.push(b'?');
            head.extend_from_slice(query.as_bytes());
        }
        head.extend_from_slice(b" HTTP/1.1\r\n");
        push_headers(&mut head, &[("host", origin.authority().as_bytes()), ("accept-encoding", b"identity")])?;
        push_headers(&mut head, headers)?;
        Ok(Self { origin, method, head: head.into() })
    }

    /// A request with the headers of this one call, and the pieces of its body. A body given to [`Method::Get`] is not
    /// sent.
    pub fn request(&self, headers: &[(&str, &[u8])], body: Vec<Bytes>) -> Result<Request, InvalidRequest> {
        let own: usize = headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        let mut head = Vec::with_capacity(self.head.len() + own + 48);
        head.extend_from_slice(&self.head);
        push_headers(&mut head, headers)?;
        let body = match self.method {
            Method::Get => Vec::new(),
            Method::Post => {
                // Writing to a Vec cannot fail.
                let _ = write!(head, "content-length: {}\r\n", body.iter().map(Bytes::len).sum::<usize>());
                body
            }
        };
        head.extend_from_slice(b"\r\n");
        Ok(Request { origin: self.origin.clone(), outgoing: Outgoing { head, body, ..Outgoing::default() } })
    }

    /// Where the requests go.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }
}

/// Appends header lines. A line break in a value would let it add headers of its own, so it is refused.
fn push_headers(head: &mut Vec<u8>, headers: &[(&str, &[u8])]) -> Result<(), InvalidRequest> {
    for (name, value) in headers {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
            return Err(InvalidRequest::new("a header name has a character that it must not have"));
        }
        if value.iter().any(|&byte| (byte < b' ' && byte != b'\t') || byte == 0x7f) {
            return Err(InvalidRequest::new(format!("the value of the header {name} has a control character")));
        }
        head.extend_from_slice(name.as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value);
        head.extend_from_slice(b"\r\n");
    }
    Ok(())
}

/// Pieces handed to the operating system at once.
const MAX_SLICES: usize = 16;

/// The bytes of one request and how far they have been sent. The body is not copied.
#[derive(Default)]
pub(super) struct Outgoing {
    head: Vec<u8>,
    body: Vec<Bytes>,
    written: usize,
    progress: Progress,
}

#[derive(Default, PartialEq)]
enum Progress {
    #[default]
    Sending,
    Sent,
    /// The upstream takes no more. What it answered, if it did, is still to be read.
    Broken,
}

impl Outgoing {
    /// Whether all of it has been handed to the operating system.
    pub(super) fn is_sent(&self) -> bool {
        self.progress == Progress::Sent
    }

    /// To be sent again from its first byte.
    pub(super) fn rewind(&mut self) {
        self.written = 0;
        self.progress = Progress::Sending;
    }

    /// What is left to send, as far as one write takes it.
    fn unsent(&self) -> ArrayVec<IoSlice<'_>, MAX_SLICES> {
        let mut sent = self.written;
        let mut unsent = ArrayVec::new();
        for piece in std::iter::once(self.head.as_slice()).chain(self.body.iter().map(|piece| &piece[..])) {
            let (done, left) = piece.split_at(sent.min(piece.len()));
            sent -= done.len();
            if !left.is_empty() && unsent.try_push(IoSlice::new(left)).is_err() {
                break;
            }
        }
        unsent
    }

    /// Sends as much as `stream` takes now, and has the task woken when it can take more. An error ends the sending and
    /// is not reported: whoever reads finds out whether there is an answer all the same.
    pub(super) fn advance(&mut self, stream: &mut Stream, cx: &mut Context<'_>) {
        if self.progress != Progress::Sending {
            return;
        }
        loop {
            let written = match self.unsent() {
                unsent if unsent.is_empty() => break,
                unsent => stream.poll_write(cx, &unsent),
            };
            match written {
                Poll::Ready(Ok(written @ 1..)) => self.written += written,
                Poll::Ready(_) => return self.progress = Progress::Broken,
                Poll::Pending => return,
            }
        }
        match stream.poll_flush(cx) {
            Poll::Ready(Ok(())) => self.progress = Progress::Sent,
            Poll::Ready(Err(_)) => self.progress = Progress::Broken,
            Poll::Pending => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(template: &Template, headers: &[(&str, &[u8])], body: &'static str) -> String {
        let request = template.request(headers, vec![Bytes::from_static(body.as_bytes())]).unwrap();
        String::from_utf8(request.outgoing.head).unwrap()
    }

    #[test]
    fn a_request_is_its_template_its_own_headers_and_the_length() {
        let url = Url::parse("http://user:word@model.example:8000/v1/chat?x=%20#part").unwrap();
        let post = Template::new(Method::Post, &url, &[("authorization", b"Bearer up-1")]).unwrap();
        let constant = "/v1/chat?x=%20 HTTP/1.1\r\nhost: model.example:8000\r\naccept-encoding: identity\r\n\
                        authorization: Bearer up-1\r\n";
        assert_eq!(
            head(&post, &[("content-type", b"application/json")], "{}"),
            format!("POST {constant}content-type: application/json\r\ncontent-length: 2\r\n\r\n")
        );
        assert_eq!(head(&post, &[], ""), format!("POST {constant}content-length: 0\r\n\r\n"));
        let get = Template::new(Method::Get, &url, &[("authorization", b"Bearer up-1")]).unwrap();
        assert_eq!(head(&get, &[], "left out"), format!("GET {constant}\r\n"));
    }

    #[test]
    fn a_header_cannot_smuggle_in_another() {
        let url = Url::parse("http://model.example/").unwrap();
        let post = Template::new(Method::Post, &url, &[]).unwrap();
        for (name, value) in
            [("a", "x\r\nb: c"), ("a", "x\n"), ("a", "\0"), ("a: b\r\nc", "x"), ("a b", "x"), ("", "x")]
        {
            let refused = post.request(&[(name, value.as_bytes())], Vec::new()).err();
            assert!(refused.is_some(), "{name:?}: {value:?}");
            assert!(Template::new(Method::Get, &url, &[(name, value.as_bytes())]).is_err());
        }
        assert!(post.request(&[("accept", "text/\u{e9}vent\tstream".as_bytes())], Vec::new()).is_ok());
    }
}
