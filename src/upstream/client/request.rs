//! Requests, and templates for the part that is the same in every request to a URL.

use std::{
    io::{IoSlice, Write as _},
    sync::Arc,
    task::{Context, Poll},
};

use arrayvec::ArrayVec;
use bytes::Bytes;
use url::Url;

use super::{invalid::InvalidRequest, origin::Origin, stream::Stream};

/// The HTTP methods used to call upstreams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// A request without a body.
    Get,
    /// A request with a body, which may be empty.
    Post,
}

/// The constant part of the requests to one URL, encoded once: request line, host, and constant headers such as the
/// credential. Cheap to clone, can be shared between threads, and has no `Debug` or `Display`, so that it cannot leak
/// the credential.
#[derive(Clone)]
pub struct Template {
    origin: Origin,
    method: Method,
    head: Arc<[u8]>,
    default: Option<(&'static str, &'static str)>,
}

/// One request, ready to be sent.
pub struct Request {
    pub(super) origin: Origin,
    pub(super) outgoing: Outgoing,
}

impl Template {
    /// Creates a template for requests to `url`. Credentials and a fragment in the URL are not sent. The client itself
    /// writes `host`, `accept-encoding`, `content-length` and the headers that concern the connection; `headers` are
    /// the other ones.
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
        Ok(Self { origin, method, head: head.into(), default: None })
    }

    /// Sets a header for the requests that are created without one of this name, which is in lower case.
    pub fn with_default(self, default: Option<(&'static str, &'static str)>) -> Self {
        Self { default, ..self }
    }

    /// Creates a request with additional `headers` and with a body in pieces. With [`Method::Get`], the body is not
    /// sent.
    pub fn request(&self, headers: &[(&str, &[u8])], body: Vec<Bytes>) -> Result<Request, InvalidRequest> {
        let added: usize = headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        let mut head = Vec::with_capacity(self.head.len() + added + 80);
        head.extend_from_slice(&self.head);
        push_headers(&mut head, headers)?;
        if let Some((name, value)) = self.default.filter(|(name, _)| headers.iter().all(|(given, _)| given != name)) {
            push_headers(&mut head, &[(name, value.as_bytes())])?;
        }
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

    /// The origin that the requests are sent to.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }
}

/// Appends header lines. Refuses control characters in a value, because a line break could add another header.
fn push_headers(head: &mut Vec<u8>, headers: &[(&str, &[u8])]) -> Result<(), InvalidRequest> {
    for (name, value) in headers {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
            return Err(InvalidRequest::new("a header name is empty or has an invalid character"));
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

/// Most pieces that are passed to the operating system in one write.
const MAX_SLICES: usize = 16;

/// The bytes of one request, and the number of them that have been sent. The body is not copied.
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
    /// The upstream accepts no more bytes. It may have answered, so the caller still reads.
    Broken,
}

impl Outgoing {
    /// Whether the whole request has been passed to the operating system.
    pub(super) fn is_sent(&self) -> bool {
        self.progress == Progress::Sent
    }

    /// Starts again from the first byte.
    pub(super) fn rewind(&mut self) {
        self.written = 0;
        self.progress = Progress::Sending;
    }

    /// The bytes that are left to send, limited to [`MAX_SLICES`] pieces.
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

    /// Sends as much as `stream` accepts now, and has the task woken when it accepts more. An error stops the sending
    /// but is not reported: the caller reads on, because the upstream may have answered before it stopped reading.
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
    fn a_request_consists_of_its_template_its_headers_and_its_length() {
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
    fn a_default_header_gives_way_to_a_given_one() {
        let url = Url::parse("http://model.example/v1").unwrap();
        let get = Template::new(Method::Get, &url, &[]).unwrap();
        let plain = head(&get, &[], "");
        let get = get.with_default(Some(("version", "1")));
        let with = |line: &str| plain.replace("identity\r\n", &format!("identity\r\n{line}\r\n"));
        assert_eq!(head(&get, &[], ""), with("version: 1"));
        assert_eq!(head(&get, &[("version", b"2")], ""), with("version: 2"));
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
