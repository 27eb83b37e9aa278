//! Reads a multipart form: the parts that the gateway acts on.
//!
//! A part that is read is plain text, has no other meaning to some server (a file, another charset or encoding), and
//! occurs once. Its name is spelled exactly: `Model` and `model[]` are refused, since some servers read them as `model`.

use std::str;

use self::multipart::{Part, Parts};
use super::{BadRequest, Request, Syntax};

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod multipart;
#[cfg(test)]
mod tests;

/// The names of the parts that are read. `response_format` is not acted on, but refused if it is given twice.
const READ: [&str; 4] = ["model", "stream", "prompt", "response_format"];

/// The part that declares the charset of the others (RFC 7578, section 4.6).
const CHARSET: &str = "_charset_";

/// The longest text of a part that is read, in bytes, and the longest prompt.
const MAX_TEXT: usize = 1 << 10;
const MAX_PROMPT: usize = 64 << 10;

/// Reads a whole form. `content_type` is that of the request.
///
/// # Errors
///
/// The first rule that the form breaks.
pub(super) fn scan(body: &[u8], content_type: &[u8]) -> Result<Request, BadRequest> {
    let mut parts = Parts::new(body, content_type)?;
    let mut read: [Option<Part<'_>>; READ.len()] = Default::default();
    while let Some(part) = parts.next()? {
        match READ.iter().position(|name| *name == part.name) {
            Some(index) if read[index].is_some() => {
                return Err(refused(READ[index], "duplicate_key", "is given twice"));
            }
            Some(index) => read[index] = Some(part),
            None => check_unread(part.name)?,
        }
    }
    let [model, stream, prompt, response_format] = read;
    let Some(model) = model else { return Err(refused("model", "missing_model", "is missing")) };
    let mut request = Request::empty(Syntax::Form { length_at: model.length_at.clone() });
    request.model = text(&model, "model", body, MAX_TEXT)?.to_owned();
    request.model_at = model.value;
    if let Some(part) = stream {
        request.stream = switch(text(&part, "stream", body, MAX_TEXT)?)?;
    }
    if let Some(part) = prompt {
        request.prompt_bytes = text(&part, "prompt", body, MAX_PROMPT)?.len() as u64;
    }
    if let Some(part) = response_format {
        text(&part, "response_format", body, MAX_TEXT)?;
    }
    Ok(request)
}

/// The requested slug of a form that is refused, if it can be read.
pub(super) fn slug_of(body: &[u8], content_type: &[u8]) -> Option<String> {
    let mut parts = Parts::new(body, content_type).ok()?;
    while let Some(part) = parts.next().ok()? {
        if part.name == "model" {
            return text(&part, "model", body, MAX_TEXT).ok().map(str::to_owned);
        }
    }
    None
}

/// Checks the name of a part that is not read.
fn check_unread(name: &str) -> Result<(), BadRequest> {
    if name == CHARSET {
        return Err(refused(CHARSET, "invalid_key", "is not supported; text in the form must be UTF-8"));
    }
    let base = name.split('[').next().unwrap_or(name);
    match READ.into_iter().find(|read| read.eq_ignore_ascii_case(base)) {
        Some(read) => Err(refused(read, "invalid_key", "must be spelled exactly like this, in lower case")),
        None => Ok(()),
    }
}

/// The text of a part with this name, at most `most` bytes.
fn text<'a>(part: &Part<'_>, name: &'static str, body: &'a [u8], most: usize) -> Result<&'a str, BadRequest> {
    let is_plain = part.encoding.is_none_or(|encoding| is_one_of(encoding, &["7bit", "8bit", "binary"]))
        && part.content_type.is_none_or(is_plain_text);
    if part.is_file || part.has_other_headers || !is_plain {
        let rule = "must be plain text in UTF-8, without a file name, an encoding or other headers of its own";
        return Err(refused(name, "invalid_type", rule));
    }
    let value = &body[part.value.clone()];
    if value.len() > most {
        return Err(refused(name, "invalid_value", &format!("must be at most {most} bytes long")));
    }
    str::from_utf8(value).map_err(|_| refused(name, "invalid_value", "must be UTF-8"))
}

/// Whether text of this content type reads the same as UTF-8. Java's clients declare ISO-8859-1 for plain ASCII.
fn is_plain_text(content_type: &[u8]) -> bool {
    let (media_type, mut rest) = multipart::media_type(content_type);
    let charset = match rest {
        [] => Some(&b"utf-8"[..]),
        _ => multipart::parameter(&mut rest)
            .and_then(|(name, value)| name.eq_ignore_ascii_case(b"charset").then_some(value)),
    };
    let has_charset = charset.is_some_and(|charset| is_one_of(charset, &["utf-8", "us-ascii", "iso-8859-1"]));
    has_charset && rest.is_empty() && media_type.eq_ignore_ascii_case(b"text/plain")
}

fn is_one_of(word: &[u8], known: &[&str]) -> bool {
    known.iter().any(|known| word.eq_ignore_ascii_case(known.as_bytes()))
}

/// Reads a boolean.
fn switch(text: &str) -> Result<bool, BadRequest> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(refused("stream", "invalid_value", "must be true or false")),
    }
}

/// The error for a part with this name. `rule` follows the name in the message.
fn refused(name: &'static str, code: &'static str, rule: &str) -> BadRequest {
    BadRequest { code, param: Some(name), message: format!("`{name}` {rule}.") }
}
