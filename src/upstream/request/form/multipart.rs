//! A strict reader of multipart forms (RFC 7578, RFC 2046) in memory. It copies nothing and takes linear time.
//!
//! Servers differ in what they tolerate: bare line feeds, text ahead of the first boundary, spaces after a boundary, a
//! second `name`, a semicolon in a file name. A form that two of them could read in different ways is refused, so that
//! every server sees the parts that were checked:
//!
//! * A delimiter is CRLF, `--`, the boundary, and then CRLF or `--`. The first one has no CRLF ahead of it. Elsewhere,
//!   `--` and the boundary are data only in the middle of a line. The last delimiter must come, and at most a CRLF may
//!   follow it.
//! * A header is a name, a colon and a value without control characters, on one line. Headers that describe the part
//!   occur once, and a `Content-Length` must be right.
//! * `Content-Disposition` is `form-data`, then `name`, then at most a `filename` and a `filename*`. A name needs no
//!   escapes. Some servers split at a semicolon in quotes, or search for `name=`; both find the name that comes first.

use std::ops::Range;

use memchr::memmem::{self, Finder};

use crate::upstream::request::bad_request::BadRequest;

/// The most parts of a form.
const MAX_PARTS: usize = 256;

/// The longest headers of one part, in bytes.
const MAX_HEADERS: usize = 16 << 10;

/// The longest boundary, in bytes (RFC 2046, section 5.1.1).
const MAX_BOUNDARY: usize = 70;

/// A part of a form. Ranges are offsets in the body.
#[derive(Debug, Default)]
pub(super) struct Part<'a> {
    /// The name: letters, digits and `_-.[]`.
    pub(super) name: &'a str,
    /// Whether it has a file name, which may be empty.
    pub(super) is_file: bool,
    /// The value of `Content-Type`.
    pub(super) content_type: Option<&'a [u8]>,
    /// The value of `Content-Transfer-Encoding`.
    pub(super) encoding: Option<&'a [u8]>,
    /// The place of the value of `Content-Length`.
    pub(super) length_at: Option<Range<usize>>,
    /// Whether it has a header that this reader does not know.
    pub(super) has_other_headers: bool,
    /// The content.
    pub(super) value: Range<usize>,
}

/// Reads the parts of a form one after the other.
pub(super) struct Parts<'a> {
    body: &'a [u8],
    delimiter: Finder<'static>,
    /// Just after the last delimiter.
    pos: usize,
    /// The number of parts that have been begun.
    begun: usize,
    is_done: bool,
}

impl<'a> Parts<'a> {
    /// Finds the first part. `content_type` is that of the request.
    pub(super) fn new(body: &'a [u8], content_type: &[u8]) -> Result<Self, BadRequest> {
        let boundary = boundary(content_type)?;
        let delimiter = Finder::new(&[b"--", boundary].concat()).into_owned();
        let mut parts = Self { body, pos: delimiter.needle().len(), delimiter, begun: 0, is_done: false };
        if !body.starts_with(parts.delimiter.needle()) {
            return Err(invalid("The body does not begin with the boundary that its content type declares."));
        }
        parts.pass_delimiter()?;
        Ok(parts)
    }

    /// Reads the next part. `None` at the end of the form.
    pub(super) fn next(&mut self) -> Result<Option<Part<'a>>, BadRequest> {
        if self.is_done {
            return Ok(None);
        }
        self.begun += 1;
        if self.begun > MAX_PARTS {
            return Err(invalid(format!("The form has more than {MAX_PARTS} parts.")));
        }
        let mut part = self.headers()?;
        let start = self.pos;
        part.value = start..self.end_of_value()?;
        let declared = part.length_at.as_ref().map(|at| &self.body[at.clone()]);
        if declared.is_some_and(|declared| declared != part.value.len().to_string().as_bytes()) {
            return Err(self.fault("has a Content-Length other than the length of its content"));
        }
        Ok(Some(part))
    }

    /// Reads the headers of a part, up to and including the empty line.
    fn headers(&mut self) -> Result<Part<'a>, BadRequest> {
        let most = self.body.len().min(self.pos + MAX_HEADERS);
        let (mut part, mut has_disposition) = (Part::default(), false);
        loop {
            let start = self.pos;
            let Some(length) = memmem::find(&self.body[start..most], b"\r\n") else {
                return Err(match most == self.body.len() {
                    true => cut(),
                    false => self.fault(format!("has headers of more than {} KiB", MAX_HEADERS >> 10)),
                });
            };
            self.pos = start + length + 2;
            let line = &self.body[start..start + length];
            if line.is_empty() {
                break;
            }
            if line.iter().any(u8::is_ascii_control) {
                return Err(self.fault("has a control character in its headers"));
            }
            let Some((name, value)) = header(line) else {
                return Err(self.fault("has a line in its headers that is not a name, a colon and a value"));
            };
            let is_repeated = match name.to_ascii_lowercase().as_slice() {
                b"content-disposition" => {
                    part.is_file = self.disposition(value, &mut part.name)?;
                    std::mem::replace(&mut has_disposition, true)
                }
                b"content-type" => part.content_type.replace(value).is_some(),
                b"content-transfer-encoding" => part.encoding.replace(value).is_some(),
                b"content-length" => {
                    let end = start + length;
                    part.length_at.replace(end - value.len()..end).is_some()
                }
                _ => {
                    part.has_other_headers = true;
                    false
                }
            };
            if is_repeated {
                return Err(self.fault("has the same header twice"));
            }
        }
        if has_disposition { Ok(part) } else { Err(self.fault("has no Content-Disposition")) }
    }

    /// Reads the value of a `Content-Disposition`. Returns whether the part has a file name.
    fn disposition(&self, value: &'a [u8], part_name: &mut &'a str) -> Result<bool, BadRequest> {
        let mut rest = value.strip_prefix(b"form-data").unwrap_or_default();
        let Some((b"name", name)) = parameter(&mut rest) else {
            return Err(self.fault("must have a Content-Disposition that begins with form-data; name=\"…\""));
        };
        let is_in_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.[]".contains(byte);
        *part_name = match str::from_utf8(name) {
            Ok(text) if !text.is_empty() && name.iter().all(is_in_name) => text,
            _ => return Err(self.fault("must have a name of letters, digits, and the characters _ - . [ ]")),
        };
        let (mut plain, mut extended) = (0, 0);
        while !rest.is_empty() {
            match parameter(&mut rest) {
                Some((b"filename", _)) if plain == 0 => plain = 1,
                Some((b"filename*", _)) if extended == 0 => extended = 1,
                _ => {
                    let rule = "may have only one filename and one filename* after the name in its Content-Disposition";
                    return Err(self.fault(rule));
                }
            }
        }
        Ok(plain + extended > 0)
    }

    /// Finds the end of the content that begins here, and passes the delimiter after it.
    fn end_of_value(&mut self) -> Result<usize, BadRequest> {
        let (start, length) = (self.pos, self.delimiter.needle().len());
        for at in self.delimiter.find_iter(&self.body[start..]) {
            let after = &self.body[start + at + length..];
            let is_whole_line = after.starts_with(b"\r\n") || after.starts_with(b"--");
            if !is_whole_line && !matches!(self.body[start + at - 1], b'\r' | b'\n') {
                continue;
            }
            let Some(value) = self.body[start..start + at].strip_suffix(b"\r\n") else {
                return Err(
                    self.fault("has the boundary in its content, or no CRLF between its content and the boundary")
                );
            };
            self.pos = start + at + length;
            self.pass_delimiter()?;
            return Ok(start + value.len());
        }
        Err(cut())
    }

    /// Reads what follows a boundary: a line end, or the end of the form.
    fn pass_delimiter(&mut self) -> Result<(), BadRequest> {
        match &self.body[self.pos..] {
            [] | [b'\r' | b'-'] => return Err(cut()),
            [b'\r', b'\n', ..] => {}
            b"--" | b"--\r\n" => self.is_done = true,
            [b'-', b'-', ..] => return Err(invalid("Nothing but CRLF may follow the last boundary of the form.")),
            _ => return Err(invalid("Each boundary in the form must be followed by CRLF, and the last one by --.")),
        }
        self.pos += 2;
        Ok(())
    }

    /// The error for a part that breaks a rule.
    fn fault(&self, fault: impl std::fmt::Display) -> BadRequest {
        invalid(format!("Part {} of the form {fault}.", self.begun))
    }
}

/// The error for a form that breaks a rule.
fn invalid(message: impl Into<String>) -> BadRequest {
    BadRequest { code: "invalid_multipart", param: None, message: message.into() }
}

fn cut() -> BadRequest {
    invalid("The form is cut off: the boundary that ends it is missing.")
}

/// Reads the boundary from the content type of a request. A server that splits at `=` in quotes would read another
/// boundary, so it must not contain one. The charset of a form would apply to its text.
fn boundary(content_type: &[u8]) -> Result<&[u8], BadRequest> {
    let (media_type, mut rest) = media_type(content_type);
    if media_type != b"multipart/form-data" {
        return Err(invalid("The body must be a form, with the content type multipart/form-data and its boundary."));
    }
    let (mut boundary, mut charset) = (None, None);
    while !rest.is_empty() {
        let is_repeated = match parameter(&mut rest) {
            Some((b"boundary", value)) => boundary.replace(value).is_some(),
            Some((b"charset", value)) if value.eq_ignore_ascii_case(b"utf-8") => charset.replace(value).is_some(),
            _ => return Err(invalid("The content type may have only a boundary and charset=utf-8 as its parameters.")),
        };
        if is_repeated {
            return Err(invalid("The content type has the same parameter twice."));
        }
    }
    let boundary = boundary.ok_or_else(|| invalid("The content type has no boundary."))?;
    let is_in_boundary = |byte: &u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:?".contains(byte);
    if matches!(boundary.len(), 1..=MAX_BOUNDARY) && boundary.iter().all(is_in_boundary) {
        return Ok(boundary);
    }
    Err(invalid(format!("The boundary must be 1 to {MAX_BOUNDARY} letters, digits, and characters of '()+_,-./:?.")))
}

/// Splits a content type into the media type and its parameters.
pub(super) fn media_type(content_type: &[u8]) -> (&[u8], &[u8]) {
    content_type.split_at(memchr::memchr(b';', content_type).unwrap_or(content_type.len()))
}

/// Takes the next `; name=value` off a header's value. `None` if there is none that is well-formed. Escapes in a quoted
/// value are left as they are.
pub(super) fn parameter<'a>(text: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let (name, rest) = token(without_spaces(text.strip_prefix(b";")?))?;
    let rest = rest.strip_prefix(b"=")?;
    let (value, rest) = match rest.strip_prefix(b"\"") {
        Some(quoted) => {
            let end = end_of_quoted(quoted)?;
            (&quoted[..end], &quoted[end + 1..])
        }
        None => token(rest)?,
    };
    *text = rest;
    Some((name, value))
}

/// The offset of the quotation mark that ends a quoted text.
fn end_of_quoted(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

/// Splits a header into its name and its value. The name begins with a letter: a line that begins with the boundary is
/// never a header.
fn header(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, rest) = token(line)?;
    let value = without_spaces(rest.strip_prefix(b":")?);
    name[0].is_ascii_alphabetic().then_some((name, value))
}

/// Removes the spaces at the start.
fn without_spaces(text: &[u8]) -> &[u8] {
    &text[text.iter().take_while(|byte| **byte == b' ').count()..]
}

/// Splits off a token of RFC 9110.
fn token(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let is_in_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let length = text.iter().position(|byte| !is_in_token(byte)).unwrap_or(text.len());
    (length > 0).then(|| text.split_at(length))
}
