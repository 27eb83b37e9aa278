//! The head of an answer: its status, its headers, the framing of the body, and whether the connection is reusable.
//!
//! If two readers disagreed on where a body ends, one would read a part of the body as the next answer. A body must
//! therefore have exactly one length: `content-length` together with `transfer-encoding`, two different lengths, and
//! any transfer coding other than `chunked` are errors.

use std::{mem::MaybeUninit, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use httparse::{ParserConfig, Status};

use super::decoder::Decoder;

/// Longest head, in bytes.
const MAX_HEAD: usize = 64 * 1024;
const MAX_HEADERS: usize = 128;
/// Most 1xx answers that may precede the final one.
const MAX_INTERIM: usize = 8;
/// Time to keep an idle connection if the upstream declares no `keep-alive` timeout. It is below the 5 s after which
/// uvicorn and Node close a connection.
const REUSABLE_FOR: Duration = Duration::from_secs(4);
/// Longest time to keep an idle connection, whatever timeout the upstream declares.
const REUSABLE_AT_MOST: Duration = Duration::from_secs(60);

/// The header fields of an answer, in the order in which they were sent.
#[derive(Clone)]
pub struct Headers {
    head: Bytes,
    fields: Box<[Field]>,
}

/// The position of a header field in the head.
#[derive(Clone, Copy)]
struct Field {
    name: Span,
    value: Span,
}

#[derive(Clone, Copy)]
struct Span {
    start: u32,
    len: u32,
}

impl Headers {
    /// Returns the value of the first field with this name. Names ignore case.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// Returns all fields as (name, value). Names keep the upstream's case; values have no line breaks.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|field| (self.bytes(field.name), self.bytes(field.value)))
    }

    fn bytes(&self, span: Span) -> &[u8] {
        let start = span.start as usize;
        self.head.get(start..start + span.len as usize).unwrap_or_default()
    }
}

/// The head of a final (not 1xx) answer.
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) headers: Headers,
    /// The decoder for the body.
    pub(super) framing: Decoder,
    /// The longest time for which the connection may be idle before its next exchange. `None` if it must be closed.
    pub(super) reusable_for: Option<Duration>,
}

/// Finds the head of the final answer in the bytes read from a connection.
#[derive(Default)]
pub(super) struct HeadReader {
    /// The number of bytes at the start of the buffer that are known to hold no complete head.
    seen: usize,
    interim: usize,
}

impl HeadReader {
    /// Takes the final head out of `buf`, after skipping interim answers. Returns `None` if it is not complete yet.
    pub(super) fn read(&mut self, buf: &mut BytesMut) -> Result<Option<Head>, &'static str> {
        loop {
            match buf.first() {
                None => return Ok(None),
                Some(b'H') => {}
                Some(_) => return Err("it does not begin with HTTP/"),
            }
            // A head can only become complete at the end of a line. Parsing only then keeps a head that arrives byte by
            // byte from being parsed for each byte.
            let line_ended = memchr::memchr(b'\n', &buf[self.seen..]).is_some();
            self.seen = buf.len();
            let parsed = if line_ended { parse(buf)? } else { None };
            let Some((len, head)) = parsed else {
                return if buf.len() < MAX_HEAD { Ok(None) } else { Err("its head is too long") };
            };
            if len > MAX_HEAD {
                return Err("its head is too long");
            }
            match head {
                Parsed::Interim if self.interim < MAX_INTERIM => {
                    self.interim += 1;
                    self.seen = 0;
                    buf.advance(len);
                }
                Parsed::Interim => return Err("too many interim answers"),
                Parsed::Final { status, fields, framing, reusable_for } => {
                    let headers = Headers { head: buf.split_to(len).freeze(), fields };
                    return Ok(Some(Head { status, headers, framing, reusable_for }));
                }
            }
        }
    }
}

enum Parsed {
    Interim,
    Final { status: u16, fields: Box<[Field]>, framing: Decoder, reusable_for: Option<Duration> },
}

/// Parses the head at the start of `buf` and returns it with its length in bytes, or `None` if it is not complete.
fn parse(buf: &[u8]) -> Result<Option<(usize, Parsed)>, &'static str> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut []);
    let status = ParserConfig::default().parse_response_with_uninit_headers(&mut response, buf, &mut fields);
    let len = match status {
        Ok(Status::Complete(len)) => len,
        Ok(Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err("it has too many headers"),
        Err(httparse::Error::Version) => return Err("it is not HTTP/1.0 or HTTP/1.1"),
        Err(_) => return Err("its head is malformed"),
    };
    let status = response.code.unwrap_or_default();
    match status {
        101 => return Err("it switches protocols without being asked to"),
        100..200 => return Ok(Some((len, Parsed::Interim))),
        200..600 => {}
        _ => return Err("its status is out of range"),
    }
    let facts = Facts::of(response.headers)?;
    let http_1_1 = response.version == Some(1);
    let framing = match (status, facts.chunked, facts.content_length) {
        (204 | 304, _, _) => Decoder::length(0),
        (_, true, _) if !http_1_1 => return Err("it is HTTP/1.0 and has a transfer-encoding"),
        (_, true, _) => Decoder::chunked(),
        (_, false, Some(length)) => Decoder::length(length),
        (_, false, None) => Decoder::until_close(),
    };
    let span =
        |part: &[u8]| Span { start: (part.as_ptr() as usize - buf.as_ptr() as usize) as u32, len: part.len() as u32 };
    let fields =
        response.headers.iter().map(|h| Field { name: span(h.name.as_bytes()), value: span(h.value) }).collect();
    let reusable = http_1_1 && !facts.close;
    let reusable_for = reusable.then(|| facts.idle_limit.unwrap_or(REUSABLE_FOR));
    Ok(Some((len, Parsed::Final { status, fields, framing, reusable_for })))
}

/// The headers that concern the connection and the length of the body.
#[derive(Default)]
struct Facts {
    content_length: Option<u64>,
    chunked: bool,
    close: bool,
    idle_limit: Option<Duration>,
}

impl Facts {
    fn of(headers: &[httparse::Header<'_>]) -> Result<Self, &'static str> {
        let mut facts = Self::default();
        for header in headers {
            let (name, value) = (header.name, header.value.trim_ascii());
            if name.eq_ignore_ascii_case("content-length") {
                let length = decimal(value).ok_or("its content-length is not a number")?;
                if facts.content_length.is_some_and(|other| other != length) {
                    return Err("it has two different content-lengths");
                }
                facts.content_length = Some(length);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                if facts.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err("its transfer-encoding is not exactly 'chunked'");
                }
                facts.chunked = true;
            } else if name.eq_ignore_ascii_case("connection") {
                facts.close |= list(value).any(|item| item.eq_ignore_ascii_case(b"close"));
            } else if name.eq_ignore_ascii_case("keep-alive") {
                facts.idle_limit = list(value).find_map(idle_limit).or(facts.idle_limit);
            }
        }
        if facts.chunked && facts.content_length.is_some() {
            return Err("it has both a content-length and a transfer-encoding");
        }
        Ok(facts)
    }
}

/// The items of a comma-separated header value.
fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

/// Reads `timeout=N` of a `keep-alive` header. Returns less than N seconds, to leave time for the answer and the next
/// request to travel: one second less, but at least half of N.
fn idle_limit(item: &[u8]) -> Option<Duration> {
    let (name, seconds) = item.split_at_checked(b"timeout=".len())?;
    if !name.eq_ignore_ascii_case(b"timeout=") {
        return None;
    }
    let limit = Duration::from_secs(decimal(seconds)?);
    Some(limit.saturating_sub(Duration::from_secs(1)).max(limit / 2).min(REUSABLE_AT_MOST))
}

/// Parses a number that consists of digits only. `str::parse` alone would accept a sign.
fn decimal(digits: &[u8]) -> Option<u64> {
    let plain = digits.iter().all(u8::is_ascii_digit);
    if plain { str::from_utf8(digits).ok()?.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn read(bytes: &[u8]) -> Result<Option<Head>, &'static str> {
        HeadReader::default().read(&mut BytesMut::from(bytes))
    }

    fn head(fields: &str) -> Head {
        read(format!("HTTP/1.1 200 OK\r\n{fields}\r\n").as_bytes()).unwrap().unwrap()
    }

    fn refused(bytes: &[u8]) -> &'static str {
        match read(bytes) {
            Err(reason) => reason,
            Ok(_) => panic!("accepted: {}", String::from_utf8_lossy(bytes)),
        }
    }

    #[test]
    fn a_head_is_read_the_same_wherever_it_is_split() {
        let bytes = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n\
                      HTTP/1.1 429 Too Many\r\nRetry-After: 7\r\nX-Empty:\r\nContent-Length: 4\r\n\r\nbody";
        for cut in 1..=bytes.len() {
            let (mut reader, mut buf) = (HeadReader::default(), BytesMut::new());
            let mut found = None;
            for piece in bytes.chunks(cut) {
                buf.extend_from_slice(piece);
                if found.is_none() {
                    found = reader.read(&mut buf).unwrap();
                }
            }
            let mut head = found.unwrap();
            assert_eq!(head.status, 429);
            assert_eq!(head.headers.get("retry-after"), Some(&b"7"[..]));
            assert_eq!(head.headers.get("x-empty"), Some(&b""[..]));
            assert_eq!(head.headers.get("link"), None);
            assert_eq!(head.headers.iter().count(), 3);
            assert_eq!(head.framing.take(&mut buf).unwrap().unwrap(), "body");
            assert!(head.framing.is_done());
        }
    }

    #[test]
    fn bytes_that_are_not_an_answer_are_refused() {
        for bytes in [
            "SSH-2.0-OpenSSH\r\n",
            "\r\nHTTP/1.1 200 OK\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 99 Low\r\n\r\n",
            "HTTP/1.1 099 Low\r\n\r\n",
            "HTTP/1.1 600 High\r\n\r\n",
            "HTTP/1.1 abc\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            "HTTP/1.1 200 OK\r\nname : value\r\n\r\n",
            "HTTP/1.1 200 OK\r\nname: value\r\n folded\r\n\r\n",
            "HTTP/1.1 200 OK\r\nname: va\0lue\r\n\r\n",
        ] {
            refused(bytes.as_bytes());
        }
    }

    #[test]
    fn a_body_has_exactly_one_length() {
        for fields in [
            "content-length: 5\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding: chunked\r\ncontent-length: 0\r\n",
            "content-length: 5\r\nContent-Length: 6\r\n",
            "content-length: 5, 5\r\n",
            "content-length: +5\r\n",
            "content-length: -5\r\n",
            "content-length: 0x5\r\n",
            "content-length:\r\n",
            "content-length: 18446744073709551616\r\n",
            "transfer-encoding: gzip, chunked\r\n",
            "transfer-encoding: identity\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        ] {
            refused(format!("HTTP/1.1 200 OK\r\n{fields}\r\n").as_bytes());
        }
        refused(b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        let is_whole_body = |fields: &str, body: &str| {
            let mut framing = head(fields).framing;
            framing.take(&mut BytesMut::from(body)).unwrap().unwrap() == "body!" && framing.is_done()
        };
        assert!(is_whole_body("content-length: 5\r\ncontent-length: 5\r\n", "body!and more"));
        assert!(is_whole_body("Transfer-Encoding: Chunked\r\n", "5\r\nbody!\r\n0\r\n\r\nand more"));
        assert!(head("").framing.may_end_by_close());
        for status in ["204 No Content", "304 Not Modified"] {
            let head = read(format!("HTTP/1.1 {status}\r\ncontent-length: 5\r\n\r\n").as_bytes()).unwrap().unwrap();
            assert!(head.framing.is_done());
        }
    }

    #[test]
    fn heads_are_bounded() {
        let status = "HTTP/1.1 200 OK\r\n";
        assert!(head(&"a: b\r\n".repeat(128)).headers.get("a").is_some());
        assert_eq!(refused(format!("{status}{}\r\n", "a: b\r\n".repeat(129)).as_bytes()), "it has too many headers");
        assert!(head(&format!("a: {}\r\n", "b".repeat(60 * 1024))).headers.get("a").is_some());
        assert_eq!(refused(format!("{status}a: {}", "b".repeat(64 * 1024)).as_bytes()), "its head is too long");
        assert_eq!(refused(format!("{status}a: {}\r\n\r\n", "b".repeat(64 * 1024)).as_bytes()), "its head is too long");
        let interim = "HTTP/1.1 102 Processing\r\n\r\n";
        assert!(read(format!("{}{status}\r\n", interim.repeat(8)).as_bytes()).is_ok());
        assert_eq!(refused(interim.repeat(9).as_bytes()), "too many interim answers");
    }

    #[test]
    fn a_connection_is_reusable_while_the_upstream_keeps_it_open() {
        let seconds = |fields: &str| head(fields).reusable_for.map(|limit| limit.as_secs_f64());
        assert_eq!(seconds("connection: keep-alive\r\n"), Some(4.0));
        assert_eq!(seconds("keep-alive: max=100, Timeout=15\r\n"), Some(14.0));
        assert_eq!(seconds("keep-alive: timeout=1\r\n"), Some(0.5));
        assert_eq!(seconds("keep-alive: timeout=0\r\n"), Some(0.0));
        assert_eq!(seconds("keep-alive: timeout=99999999999999999\r\n"), Some(60.0));
        assert_eq!(seconds("keep-alive: timeout=x\r\n"), Some(4.0));
        assert_eq!(seconds("connection: upgrade, Close\r\n"), None);
        assert!(read(b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap().unwrap().reusable_for.is_none());
    }

    proptest! {
        #[test]
        fn it_never_panics(tail in vec(any::<u8>(), 0..80), lines in "([a-z-]{0,3}:? ?[0-9 ,]{0,4}\r?\n){0,6}") {
            let mut bytes = format!("HTTP/1.1 200 OK\r\n{lines}").into_bytes();
            bytes.extend_from_slice(&tail);
            let _ = read(&bytes);
            let _ = read(&tail);
        }
    }
}
