//! Finds the end of each HTTP/1.1 request, strictly by RFC 9112.
//!
//! Request smuggling needs two parsers that disagree about the end of a request. Here, only [`Framing`] decides it. The
//! HTTP library gets no byte of a head until the whole head has been validated here, and no size line or trailer of a
//! chunked body until that line has been validated.
//!
//! * A line ends with CRLF. A head, a chunk's size line and a trailer must not contain any other CR or LF, or a control
//!   character other than a tab.
//! * A body has one `Content-Length` of digits, or, on HTTP/1.1, `Transfer-Encoding: chunked`. Both together, or one of
//!   them twice, are refused.
//! * Everything that RFC 9112 allows a server to accept or refuse (white space around a chunk's extensions, folded
//!   header lines, other transfer codings) is refused, since parsers differ there. A WebSocket request with a body is
//!   also refused, since actix-http would read that body without an end.

use actix_http::Uri;
use memchr::memchr;

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

/// The largest head of a request, in bytes. The same limit applies to all extensions and trailers of a chunked body
/// together.
pub(in crate::http) const MAX_HEAD: usize = 64 << 10;

/// The maximum number of header lines in a head, which is actix-http's own maximum.
const MAX_FIELDS: usize = 96;

/// The maximum number of digits of a chunk's size.
const MAX_SIZE_DIGITS: usize = 16;

/// The reason why a request is not valid HTTP, or is not sent over TLS. After a fault, nothing more is read from the
/// connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Fault {
    BareLineFeed,
    ControlCharacter,
    RequestLine,
    FieldLine,
    Host,
    ContentLength,
    TransferEncoding,
    LengthBesideChunks,
    UpgradeWithBody,
    ChunkSize,
    ChunkEnd,
    Trailer,
    HeadTooLarge,
    TooManyFields,
    /// It is plain HTTP, on a listener with TLS.
    PlainHttp,
}

impl Fault {
    /// Whether the request is too large (431) rather than malformed (400).
    pub(in crate::http) fn is_size(self) -> bool {
        matches!(self, Self::HeadTooLarge | Self::TooManyFields)
    }

    /// The error's code, on both listeners.
    pub(in crate::http) fn code(self) -> &'static str {
        match self {
            Self::HeadTooLarge | Self::TooManyFields => "header_too_large",
            Self::PlainHttp => "https_required",
            _ => "malformed_http",
        }
    }

    /// The error message for the client.
    pub(in crate::http) fn message(self) -> &'static str {
        match self {
            Self::BareLineFeed => "The request is not valid HTTP/1.1: a line ends with LF instead of CRLF.",
            Self::ControlCharacter => "The request is not valid HTTP/1.1: a line contains a control character.",
            Self::RequestLine => {
                "The request is not valid HTTP/1.1: its first line must be a method, a target and HTTP/1.1 or HTTP/1.0."
            }
            Self::FieldLine => "The request is not valid HTTP/1.1: a header line must be a name, a colon and a value.",
            Self::Host => "The request is not valid HTTP/1.1: it must have exactly one Host header.",
            Self::ContentLength => {
                "The request is not valid HTTP/1.1: Content-Length must be given once, as one decimal number. On \
                 HTTP/1.0, POST requires it."
            }
            Self::TransferEncoding => {
                "The request is not valid HTTP/1.1: Transfer-Encoding must be chunked, given once, on HTTP/1.1 only."
            }
            Self::LengthBesideChunks => {
                "The request is not valid HTTP/1.1: it has both Content-Length and Transfer-Encoding."
            }
            Self::UpgradeWithBody => {
                "The request is not valid HTTP/1.1 here: a WebSocket request must not have a body."
            }
            Self::ChunkSize => "The request is not valid HTTP/1.1: a chunk's size line is malformed.",
            Self::ChunkEnd => {
                "The request is not valid HTTP/1.1: a chunk is longer than its size or does not end with CRLF."
            }
            Self::Trailer => "The request is not valid HTTP/1.1: a trailer is malformed or not allowed.",
            Self::HeadTooLarge => "The request's head (request line and headers) is larger than 64 KiB.",
            Self::PlainHttp => "This port speaks HTTPS, but the request is plain HTTP. Use https:// in the URL.",
            Self::TooManyFields => "The request has more than 96 header lines.",
        }
    }
}

/// Finds the end of one request. See the module's documentation for the rules.
pub(super) struct Framing {
    next: Part,
    is_tunnel: bool,
}

/// The part of a request that comes next.
enum Part {
    Head(Head),
    /// A body of a known length, with the number of bytes that are left of it.
    Sized(u64),
    Chunked(Chunks),
    /// Nothing: the request is complete.
    End,
}

impl Framing {
    /// The state before the first byte of a request.
    pub(super) fn start() -> Self {
        Self { next: Part::Head(Head::default()), is_tunnel: false }
    }

    /// Whether all of the request has been passed.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self.next, Part::End)
    }

    /// Whether the request asks for a tunnel or a WebSocket. Its connection cannot be used for another request.
    pub(super) fn is_tunnel(&self) -> bool {
        self.is_tunnel
    }

    /// The number of bytes at the front of `bytes` that belong to this request and are valid. `bytes` must begin with
    /// the first byte that has not been passed yet. If the request is complete, the remaining bytes belong to the next
    /// request. Otherwise they are an incomplete line or head.
    ///
    /// # Errors
    ///
    /// The first rule that the request breaks. After an error, the framing must not be used again.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let mut passed = 0;
        loop {
            let rest = &bytes[passed..];
            match &mut self.next {
                Part::Head(head) => {
                    let Some(body) = head.read(rest)? else { return Ok(passed) };
                    passed += head.length;
                    self.is_tunnel = head.is_tunnel();
                    self.next = body;
                }
                Part::Sized(0) => self.next = Part::End,
                Part::Sized(_) if rest.is_empty() => return Ok(passed),
                Part::Sized(left) => passed += take(left, rest),
                Part::Chunked(chunks) => match chunks.pass(rest)? {
                    0 => return Ok(passed),
                    length => {
                        passed += length;
                        if let Chunk::End = chunks.next {
                            self.next = Part::End;
                        }
                    }
                },
                Part::End => return Ok(passed),
            }
        }
    }
}

/// The state of a request's head while it is being read.
#[derive(Default)]
struct Head {
    /// The length of the lines that have been read, in bytes.
    length: usize,
    /// The request line, once it has been read.
    request: Option<(Method, Version)>,
    fields: usize,
    has_host: bool,
    content_length: Option<u64>,
    is_chunked: bool,
    is_websocket: bool,
}

/// The methods that affect the framing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Post,
    Connect,
    Other,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

impl Head {
    /// Reads more lines. `bytes` is the head from its beginning. Once the head is complete, returns the body that
    /// follows.
    fn read(&mut self, bytes: &[u8]) -> Result<Option<Part>, Fault> {
        loop {
            let line = line(&bytes[self.length..])?;
            let length = line.map_or(bytes.len(), |line| self.length + line.len() + CRLF.len());
            if length > MAX_HEAD {
                return Err(Fault::HeadTooLarge);
            }
            let Some(line) = line else { return Ok(None) };
            let is_first = self.length == 0;
            self.length = length;
            match self.request {
                // RFC 9112, 2.2: an empty line before the request is ignored.
                None if line.is_empty() && is_first => {}
                None => self.request = Some(request_line(line)?),
                Some((method, version)) if line.is_empty() => return self.body(method, version).map(Some),
                Some((_, version)) => self.field(line, version)?,
            }
        }
    }

    fn field(&mut self, line: &[u8], version: Version) -> Result<(), Fault> {
        self.fields += 1;
        if self.fields > MAX_FIELDS {
            return Err(Fault::TooManyFields);
        }
        let (name, value) = field(line).ok_or(Fault::FieldLine)?;
        if name.eq_ignore_ascii_case(b"host") {
            if std::mem::replace(&mut self.has_host, true) {
                return Err(Fault::Host);
            }
        } else if name.eq_ignore_ascii_case(b"content-length") {
            let length = number(value, 10).ok_or(Fault::ContentLength)?;
            if self.content_length.replace(length).is_some() {
                return Err(Fault::ContentLength);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            let is_valid = version == Version::Http11 && value.eq_ignore_ascii_case(b"chunked");
            if !is_valid || std::mem::replace(&mut self.is_chunked, true) {
                return Err(Fault::TransferEncoding);
            }
        } else if name.eq_ignore_ascii_case(b"upgrade") && value.eq_ignore_ascii_case(b"websocket") {
            self.is_websocket = true;
        }
        Ok(())
    }

    fn body(&self, method: Method, version: Version) -> Result<Part, Fault> {
        if version == Version::Http11 && !self.has_host {
            return Err(Fault::Host);
        }
        match (self.content_length, self.is_chunked) {
            (Some(_), true) => Err(Fault::LengthBesideChunks),
            (Some(1..), false) | (None, true) if self.is_websocket => Err(Fault::UpgradeWithBody),
            (None, true) => Ok(Part::Chunked(Chunks::default())),
            // RFC 1945, 7.2.2
            (None, false) if (method, version) == (Method::Post, Version::Http10) => Err(Fault::ContentLength),
            (length, false) => Ok(Part::Sized(length.unwrap_or(0))),
        }
    }

    fn is_tunnel(&self) -> bool {
        self.is_websocket || matches!(self.request, Some((Method::Connect, _)))
    }
}

/// The state of a chunked body while it is being passed.
#[derive(Default)]
struct Chunks {
    next: Chunk,
    /// The number of bytes of extensions and trailers so far.
    overhead: usize,
}

/// The part of a chunked body that comes next.
#[derive(Clone, Copy, Default)]
enum Chunk {
    #[default]
    Size,
    /// A chunk's data, with the number of bytes that are left of it.
    Data(u64),
    /// The CRLF after a chunk's data.
    DataEnd,
    Trailers,
    End,
}

impl Chunks {
    /// The number of bytes at the front of `bytes` that are the next part; 0 if it is incomplete.
    fn pass(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        match &mut self.next {
            Chunk::Size => {
                let Some(line) = self.line(bytes, Fault::ChunkSize)? else { return Ok(0) };
                let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
                let (size, extensions) = line.split_at(digits);
                let is_valid = digits <= MAX_SIZE_DIGITS && are_extensions(extensions);
                let size = number(size, 16).filter(|_| is_valid).ok_or(Fault::ChunkSize)?;
                self.overhead += extensions.len();
                self.next = if size == 0 { Chunk::Trailers } else { Chunk::Data(size) };
                Ok(line.len() + CRLF.len())
            }
            Chunk::Data(left) => {
                let taken = take(left, bytes);
                if *left == 0 {
                    self.next = Chunk::DataEnd;
                }
                Ok(taken)
            }
            Chunk::DataEnd if bytes.starts_with(CRLF) => {
                self.next = Chunk::Size;
                Ok(CRLF.len())
            }
            Chunk::DataEnd if CRLF.starts_with(bytes) => Ok(0),
            Chunk::DataEnd => Err(Fault::ChunkEnd),
            Chunk::Trailers => {
                let Some(line) = self.line(bytes, Fault::Trailer)? else { return Ok(0) };
                if line.is_empty() {
                    self.next = Chunk::End;
                } else {
                    let (name, _) = field(line).ok_or(Fault::Trailer)?;
                    let of_framing: [&[u8]; 3] = [b"host", b"content-length", b"transfer-encoding"];
                    if of_framing.iter().any(|framing| name.eq_ignore_ascii_case(framing)) {
                        return Err(Fault::Trailer);
                    }
                    self.overhead += line.len();
                }
                Ok(line.len() + CRLF.len())
            }
            Chunk::End => Ok(0),
        }
    }

    /// The next line, or `too_long` if all extensions and trailers together exceed [`MAX_HEAD`].
    fn line<'a>(&self, bytes: &'a [u8], too_long: Fault) -> Result<Option<&'a [u8]>, Fault> {
        let line = line(bytes)?;
        let length = line.map_or(bytes.len(), <[u8]>::len);
        if self.overhead + length > MAX_HEAD { Err(too_long) } else { Ok(line) }
    }
}

const CRLF: &[u8] = b"\r\n";

/// The first line of `bytes`, without its CRLF; `None` if it is incomplete.
fn line(bytes: &[u8]) -> Result<Option<&[u8]>, Fault> {
    let Some(end) = memchr(b'\n', bytes) else { return Ok(None) };
    let line = bytes[..end].strip_suffix(b"\r").ok_or(Fault::BareLineFeed)?;
    let is_control = |byte: u8| (byte < b' ' && byte != b'\t') || byte == 0x7f;
    // A fold checks every byte without a branch, which is faster than stopping at the first match.
    let has_control = line.iter().fold(false, |has_control, &byte| has_control | is_control(byte));
    if has_control { Err(Fault::ControlCharacter) } else { Ok(Some(line)) }
}

/// Parses `method SP target SP version`.
fn request_line(line: &[u8]) -> Result<(Method, Version), Fault> {
    let mut parts = line.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Fault::RequestLine);
    };
    let version = match version {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        _ => return Err(Fault::RequestLine),
    };
    if method.is_empty() || !method.iter().all(|&byte| is_token(byte)) || !is_target(target) {
        return Err(Fault::RequestLine);
    }
    let method = match method {
        b"POST" => Method::Post,
        b"CONNECT" => Method::Connect,
        _ => Method::Other,
    };
    Ok((method, version))
}

/// Whether actix-http accepts this request target. Almost all targets are plain paths, which need no URI parser.
fn is_target(target: &[u8]) -> bool {
    let is_plain = |&byte: &u8| byte.is_ascii_alphanumeric() || b"/-._~%?&=+:,;@!$'()*".contains(&byte);
    (target.starts_with(b"/") && target.iter().all(is_plain))
        || (target.iter().all(u8::is_ascii_graphic) && Uri::try_from(target).is_ok())
}

/// Parses `name: value`. The value is returned without surrounding white space.
fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = line.iter().position(|&byte| !is_token(byte))?;
    let (name, rest) = line.split_at(end);
    let value = rest.strip_prefix(b":").filter(|_| !name.is_empty())?;
    // A line has no other white space than spaces and tabs, so `trim_ascii` removes nothing else.
    Some((name, value.trim_ascii()))
}

/// Whether the bytes are `*( ";" name [ "=" ( token / quoted-string ) ] )`, without white space between the parts.
fn are_extensions(mut bytes: &[u8]) -> bool {
    fn after_token(bytes: &[u8]) -> Option<&[u8]> {
        let length = bytes.iter().take_while(|&&byte| is_token(byte)).count();
        (length > 0).then_some(&bytes[length..])
    }
    fn after_quoted(bytes: &[u8]) -> Option<&[u8]> {
        let mut rest = bytes;
        loop {
            rest = match rest {
                [b'"', rest @ ..] => return Some(rest),
                [b'\\', _, rest @ ..] => rest,
                [b'\\'] | [] => return None,
                [_, rest @ ..] => rest,
            };
        }
    }
    fn after_extension(bytes: &[u8]) -> Option<&[u8]> {
        let rest = after_token(bytes.strip_prefix(b";")?)?;
        match rest {
            [b'=', b'"', quoted @ ..] => after_quoted(quoted),
            [b'=', token @ ..] => after_token(token),
            rest => Some(rest),
        }
    }
    while !bytes.is_empty() {
        match after_extension(bytes) {
            Some(rest) => bytes = rest,
            None => return false,
        }
    }
    true
}

/// Whether the byte is a `tchar` of RFC 9110, 5.6.2.
fn is_token(byte: u8) -> bool {
    const TOKEN: [bool; 256] = {
        let mut table = [false; 256];
        let mut byte = 0;
        while byte < 256 {
            table[byte] = (byte as u8).is_ascii_alphanumeric();
            byte += 1;
        }
        let others = b"!#$%&'*+-.^_`|~";
        let mut at = 0;
        while at < others.len() {
            table[others[at] as usize] = true;
            at += 1;
        }
        table
    };
    TOKEN[usize::from(byte)]
}

/// Parses a number that consists only of digits; `None` if there is no digit, or if the number is too large.
fn number(digits: &[u8], radix: u32) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, &digit| {
        number.checked_mul(radix.into())?.checked_add(char::from(digit).to_digit(radix)?.into())
    })
}

/// Subtracts from `left` the number of `bytes` that belong to it, and returns that number.
fn take(left: &mut u64, bytes: &[u8]) -> usize {
    let taken = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
    *left -= taken as u64;
    taken
}

#[cfg(test)]
mod tests;
