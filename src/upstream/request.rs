//! A customer's request body: the members that the gateway reads, and the few bytes that it changes.
//!
//! [`read`] reads and validates the whole body in one pass and keeps the members that the gateway acts on.
//! [`Request::rewrite`] then splices the changes into the original bytes. All other bytes, unknown members included,
//! reach the upstream unchanged. Keys are compared unescaped: `\u006dodel` is `model`. A member that is read may occur
//! only once, since it is unknown which of two an upstream would use. The parts of a form are its members.

use std::{borrow::Cow, ops::Range};

use self::field::Field;
pub use self::{
    bad_request::BadRequest,
    rewrite::{Changes, OutputCap},
    scan::scan,
};
use super::{json::Reader, usage::TokenBounds};
use crate::domain::route::Route;

mod bad_request;
mod field;
pub(crate) mod form;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod prompt;
mod rewrite;
mod scan;
#[cfg(test)]
mod tests;

/// The largest reports that are always believed, in tokens: for the prompt, and for the output of one choice.
const PROMPT_BOUND: u64 = 1 << 21;
const OUTPUT_BOUND: u64 = 1 << 20;

/// The facts of a request body. Offsets are into that body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The requested slug, unescaped.
    pub model: String,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// The largest declared output maximum, in tokens for each choice. If two are declared, it depends on the upstream
    /// which one applies; with the larger one, the gateway never holds too little.
    pub max_output: Option<u64>,
    /// Choices to return for each prompt, or pictures: 1 to 1024.
    pub n: u64,
    /// Choices to generate for each prompt, of which the best `n` are returned: 1 to 1024.
    pub best_of: Option<u64>,
    /// Prompts in the body, each of which gets its own choices. Above 1 only on completions.
    pub prompts: u64,
    /// Text that the model reads, in bytes of UTF-8, without inline data.
    pub prompt_bytes: u64,
    /// Tokens that the prompt gives as numbers.
    pub prompt_ids: u64,
    /// Characters of the text to speak. Above 0 only on speech.
    pub characters: u64,
    metadata: Option<Range<usize>>,
    /// The value of `prompt_cache_key`, with its quotes.
    prompt_cache_key: Option<Range<usize>>,
    streams_usage: bool,
    model_at: Range<usize>,
    options: StreamOptions,
    /// The value of `stream_options`.
    options_at: Option<Range<usize>>,
    maxima: Vec<Maximum>,
    syntax: Syntax,
}

/// How a body is written.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Syntax {
    /// A JSON object. `inside` is just after its opening brace.
    Json { inside: usize },
    /// A multipart form. `length_at` is the value of `Content-Length` in the part of the model, if it has one.
    Form { length_at: Option<Range<usize>> },
}

/// The place of `stream_options.include_usage`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum StreamOptions {
    Absent,
    Null(Range<usize>),
    /// An object without `include_usage`; `inside` is just after its opening brace.
    Without {
        inside: usize,
        empty: bool,
    },
    With {
        value: Range<usize>,
        asked: bool,
    },
}

/// A member that limits the output.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Maximum {
    field: Field,
    at: Range<usize>,
    /// `None` if the member sets no limit.
    tokens: Option<u64>,
    /// Whether servers in general respect the member, see [`Field::declares`].
    declares: bool,
}

/// Reads a whole request body: a form with this content type on routes that take one, else JSON.
///
/// # Errors
///
/// The first rule that the body breaks.
pub fn read(body: &[u8], content_type: &[u8], route: Route) -> Result<Request, BadRequest> {
    if route.takes_form() { form::scan(body, content_type) } else { scan(body, route) }
}

/// The requested slug of a body that is refused, if it can be read.
pub fn slug_of(body: &[u8], content_type: &[u8], route: Route) -> Option<String> {
    if route.takes_form() { form::slug_of(body, content_type) } else { scan::slug_of(body) }
}

impl Request {
    /// A request for no model and without any other member.
    fn empty(syntax: Syntax) -> Self {
        Self {
            model: String::new(),
            stream: false,
            max_output: None,
            n: 1,
            best_of: None,
            prompts: 1,
            prompt_bytes: 0,
            prompt_ids: 0,
            characters: 0,
            metadata: None,
            prompt_cache_key: None,
            streams_usage: false,
            model_at: 0..0,
            options: StreamOptions::Absent,
            options_at: None,
            maxima: Vec::new(),
            syntax,
        }
    }

    /// The largest token counts that are believed in a report. A text has at most one token per byte. The bound for the
    /// prompt is four times that, but at least [`PROMPT_BOUND`], to leave room for templates, pictures and text that
    /// servers add.
    pub fn most_tokens(&self) -> TokenBounds {
        let input = self.prompt_bytes.saturating_add(self.prompt_ids).saturating_mul(4).max(PROMPT_BOUND);
        let choices = self.n.max(self.best_of.unwrap_or(0)).saturating_mul(self.prompts);
        let each = self.max_output.unwrap_or(0).max(OUTPUT_BOUND);
        TokenBounds { input, output: each.saturating_mul(choices) }
    }

    /// The `metadata` object as written in `body`, which must be the body that was scanned. `None` if there is none or
    /// if it is larger than 16 KiB.
    pub fn metadata<'a>(&self, body: &'a [u8]) -> Option<&'a [u8]> {
        body.get(self.metadata.clone()?)
    }

    /// The unescaped `prompt_cache_key` in `body`, which must be the body that was scanned. `None` if there is none or
    /// if it is empty.
    pub fn prompt_cache_key<'a>(&self, body: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let value = body.get(self.prompt_cache_key.clone()?)?;
        let key = Reader::new(value).and_then(|mut reader| reader.string()).ok()?.bytes();
        Some(key).filter(|key| !key.is_empty())
    }
}
