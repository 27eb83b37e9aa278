//! A customer's request body: what we read of it, and the few bytes of it that we change.
//!
//! [`scan`] passes once over the whole body, validates it, and keeps what the gateway acts on; [`Request::rewrite`] then
//! splices the changes into the bytes as they came. Everything that is not named here reaches the upstream byte for byte,
//! unknown fields and odd spellings included. Keys count as what they mean, not as how they are written: `\u006dodel` is
//! `model`. A key that we read may stand there once; which of two an upstream would take is anyone's guess.

use std::ops::{Range, RangeInclusive};

pub use self::rewrite::{Changes, OutputCap};
use super::{
    json::{self, Invalid, Kind, Reader},
    usage::Most,
};
use crate::domain::route::Route;

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod prompt;
mod rewrite;
#[cfg(test)]
mod tests;

/// Larger `metadata`, in bytes as written, is not recorded.
const MAX_METADATA: usize = 16 << 10;

/// The most answers to one prompt that may be asked for.
const MAX_CHOICES: u64 = 1024;

/// The largest reports that are always believed, in tokens: of the prompt, and of one choice.
const PROMPT_BOUND: u64 = 1 << 21;
const OUTPUT_BOUND: u64 = 1 << 20;

/// A 400 of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRequest {
    /// `invalid_json`, `missing_model`, `duplicate_key`, `invalid_key`, `invalid_type` or `invalid_value`.
    pub code: &'static str,
    /// The parameter at fault, if it is one.
    pub param: Option<&'static str>,
    /// A sentence for the caller. It holds nothing of the body.
    pub message: String,
}

impl From<Invalid> for BadRequest {
    fn from(invalid: Invalid) -> Self {
        Self { code: "invalid_json", param: None, message: format!("The body is not valid JSON: {invalid}.") }
    }
}

/// What we read of a request body. Offsets are into that body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The slug that was called, unescaped.
    pub model: String,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// The largest of the output maxima that were declared, in tokens for each choice. With two of them it depends on
    /// the upstream which one holds; the largest never holds back too little.
    pub max_output: Option<u64>,
    /// Choices to be returned for each prompt: 1 to 1024.
    pub n: u64,
    /// Choices to be generated for each prompt, of which the best `n` are returned: 1 to 1024.
    pub best_of: Option<u64>,
    /// Prompts in one body, each of which gets its choices: above 1 only on completions.
    pub prompts: u64,
    /// Whether `background` is `true`: the caller does not want to wait for the answer.
    pub background: bool,
    /// Text that a model would read, in bytes of UTF-8; inline data is none.
    pub prompt_bytes: u64,
    /// Tokens that the prompt names by their numbers.
    pub prompt_ids: u64,
    metadata: Option<Range<usize>>,
    streams_usage: bool,
    model_at: Range<usize>,
    options: StreamOptions,
    // The value of `stream_options`.
    options_at: Option<Range<usize>>,
    maxima: Vec<Maximum>,
    // Right behind the brace that opens the body.
    inside: usize,
}

/// Where `stream_options.include_usage` stands, or would.
#[derive(Debug, Clone, PartialEq, Eq)]
enum StreamOptions {
    Absent,
    Null(Range<usize>),
    /// An object without it; `inside` is right behind its brace.
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
    /// `None`: it is there, and sets no limit.
    tokens: Option<u64>,
    /// Whether servers at large heed it.
    declares: bool,
}

/// The top-level members that we read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Model,
    Metadata,
    Background,
    Stream,
    StreamOptions,
    MaxTokens,
    MaxCompletionTokens,
    /// llama.cpp's own, which there beats the other two.
    NPredict,
    N,
    /// llama.cpp's own `n`, which there beats the other.
    NCmpl,
    BestOf,
}

impl Field {
    /// Only what some upstream would heed on this route.
    fn named(key: &[u8], route: Route) -> Option<Self> {
        match key {
            b"model" => Some(Self::Model),
            b"metadata" => Some(Self::Metadata),
            b"background" => Some(Self::Background),
            _ if !route.generates() => None,
            b"stream" => Some(Self::Stream),
            b"stream_options" => Some(Self::StreamOptions),
            b"max_tokens" => Some(Self::MaxTokens),
            b"max_completion_tokens" => Some(Self::MaxCompletionTokens),
            b"n_predict" => Some(Self::NPredict),
            b"n" => Some(Self::N),
            b"n_cmpl" => Some(Self::NCmpl),
            b"best_of" => Some(Self::BestOf),
            _ => None,
        }
    }

    /// The member that a server which does not heed case would take this one for. Go's readers do so, by Unicode's
    /// simple folding, and of two the last one counts: a `Model` would choose another model than the one we checked.
    fn resembled(key: &[u8], route: Route) -> Option<Self> {
        if key.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'_')) {
            return None;
        }
        Self::named(folded(key).as_bytes(), route)
    }

    /// Whether servers at large heed it as the output's maximum. What only llama.cpp does, where it beats `max_tokens`, is
    /// lowered to a cap but not taken for a declaration: a maximum that is ignored must not shrink what a request holds.
    fn declares(self, route: Route) -> bool {
        self == Self::MaxTokens || (self == Self::MaxCompletionTokens && route == Route::ChatCompletions)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Metadata => "metadata",
            Self::Background => "background",
            Self::Stream => "stream",
            Self::StreamOptions => "stream_options",
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
            Self::NPredict => "n_predict",
            Self::N => "n",
            Self::NCmpl => "n_cmpl",
            Self::BestOf => "best_of",
        }
    }

    fn wrong_type(self, expected: &str) -> BadRequest {
        self.refused("invalid_type", format!("`{}` must be {expected}.", self.name()))
    }

    fn refused(self, code: &'static str, message: String) -> BadRequest {
        BadRequest { code, param: Some(self.name()), message }
    }

    fn switch(self, reader: &mut Reader<'_>) -> Result<bool, BadRequest> {
        let kind = reader.kind()?;
        reader.skip()?;
        match kind {
            Kind::True => Ok(true),
            Kind::False | Kind::Null => Ok(false),
            _ => Err(self.wrong_type("true or false")),
        }
    }

    fn whole_number(
        self,
        reader: &mut Reader<'_>,
        range: RangeInclusive<u64>,
        expected: &str,
    ) -> Result<Option<u64>, BadRequest> {
        match reader.kind()? {
            Kind::Null => {
                reader.skip()?;
                Ok(None)
            }
            Kind::Number => {
                let value = json::whole_number(reader.number()?).filter(|value| range.contains(value));
                let out_of_range = || self.refused("invalid_value", format!("`{}` must be {expected}.", self.name()));
                value.map(Some).ok_or_else(out_of_range)
            }
            _ => Err(self.wrong_type(expected)),
        }
    }

    fn choices(self, reader: &mut Reader<'_>) -> Result<Option<u64>, BadRequest> {
        self.whole_number(reader, 1..=MAX_CHOICES, "a whole number from 1 to 1024")
    }
}

/// A key as servers read it that do not heed case, by Unicode's simple folding.
fn folded(key: &[u8]) -> String {
    String::from_utf8_lossy(key).to_uppercase().to_lowercase()
}

/// Reads a request body, whole. `Err` is a 400. What is not JSON is called so, whatever else is wrong with it.
pub fn scan(body: &[u8], route: Route) -> Result<Request, BadRequest> {
    read(body, route).map_err(|bad| json::validate(body).err().map_or(bad, BadRequest::from))
}

/// The slug that a body calls, as far as that can be read of one that is refused.
pub fn slug_of(body: &[u8]) -> Option<String> {
    let mut slug = None;
    // Whatever is wrong with the rest has been said already.
    let _ = Reader::new(body).and_then(|mut reader| {
        reader.members(|reader, key| match key {
            b"model" if reader.kind()? == Kind::String => {
                slug = Some(reader.string()?.to_text());
                Ok(())
            }
            _ => reader.skip(),
        })
    });
    slug
}

fn read(body: &[u8], route: Route) -> Result<Request, BadRequest> {
    let mut reader = Reader::new(body)?;
    if reader.kind()? != Kind::Object {
        let message = "The body must be a JSON object.".into();
        return Err(BadRequest { code: "invalid_json", param: None, message });
    }
    let mut scan = Scan {
        route,
        read: 0,
        named: false,
        request: Request {
            model: String::new(),
            stream: false,
            max_output: None,
            n: 1,
            best_of: None,
            prompts: 1,
            background: false,
            prompt_bytes: 0,
            prompt_ids: 0,
            metadata: None,
            streams_usage: matches!(route, Route::ChatCompletions | Route::Completions),
            model_at: 0..0,
            options: StreamOptions::Absent,
            options_at: None,
            maxima: Vec::new(),
            inside: reader.pos() + 1,
        },
    };
    reader.members(|reader, key| match Field::named(key, route) {
        Some(field) => scan.field(reader, field),
        None => match Field::resembled(key, route) {
            Some(field) => {
                let message =
                    format!("`{}` is spelled in another way: write it in exactly these letters.", field.name());
                Err(field.refused("invalid_key", message))
            }
            None => Ok(scan.text(reader, key)?),
        },
    })?;
    reader.end()?;
    if !scan.named {
        return Err(Field::Model.refused("missing_model", "`model` is missing.".into()));
    }
    Ok(scan.request)
}

struct Scan {
    route: Route,
    // A bit for each `Field` that has been met.
    read: u16,
    named: bool,
    request: Request,
}

impl Scan {
    fn field(&mut self, reader: &mut Reader<'_>, field: Field) -> Result<(), BadRequest> {
        let bit = 1 << field as u16;
        if self.read & bit != 0 {
            return Err(field.refused("duplicate_key", format!("`{}` is given twice.", field.name())));
        }
        self.read |= bit;
        let request = &mut self.request;
        match field {
            Field::Model => match reader.kind()? {
                Kind::String => {
                    let model = reader.string()?;
                    request.model = model.to_text();
                    request.model_at = model.span();
                    self.named = true;
                }
                Kind::Null => reader.skip()?,
                _ => return Err(field.wrong_type("a string")),
            },
            Field::Metadata => match reader.kind()? {
                Kind::Object => request.metadata = Some(reader.span()?).filter(|at| at.len() <= MAX_METADATA),
                Kind::Null => reader.skip()?,
                _ => return Err(field.wrong_type("an object")),
            },
            Field::Background => {
                request.background = reader.kind()? == Kind::True;
                reader.skip()?;
            }
            Field::Stream => request.stream = field.switch(reader)?,
            Field::StreamOptions => {
                reader.kind()?;
                let start = reader.pos();
                request.options = stream_options(reader)?;
                request.options_at = Some(start..reader.pos());
            }
            Field::MaxTokens | Field::MaxCompletionTokens if field.declares(self.route) => {
                reader.kind()?;
                let start = reader.pos();
                let tokens = field.whole_number(reader, 0..=u64::MAX, "a whole number, 0 or more")?;
                request.max_output = request.max_output.max(tokens);
                request.maxima.push(Maximum { field, at: start..reader.pos(), tokens, declares: true });
            }
            Field::MaxTokens | Field::MaxCompletionTokens | Field::NPredict => {
                let number = reader.kind()? == Kind::Number;
                let at = reader.span()?;
                if number {
                    // Below 0 it means no limit.
                    let tokens = reader.read(&at).and_then(json::whole_number);
                    request.maxima.push(Maximum { field, at, tokens, declares: false });
                }
            }
            Field::N | Field::NCmpl => request.n = request.n.max(field.choices(reader)?.unwrap_or(1)),
            Field::BestOf => request.best_of = field.choices(reader)?,
        }
        Ok(())
    }

    /// Measures the text in a member that we do not act on.
    fn text(&mut self, reader: &mut Reader<'_>, key: &[u8]) -> Result<(), Invalid> {
        let measured = prompt::measure(reader, key)?;
        self.request.prompt_bytes += measured.text;
        self.request.prompt_ids += measured.ids;
        if key == b"prompt" && self.route == Route::Completions {
            self.request.prompts = self.request.prompts.max(measured.items);
        }
        Ok(())
    }
}

fn stream_options(reader: &mut Reader<'_>) -> Result<StreamOptions, BadRequest> {
    const PARAM: &str = "stream_options.include_usage";
    match reader.kind()? {
        Kind::Object => {}
        Kind::Null => return Ok(StreamOptions::Null(reader.span()?)),
        _ => return Err(Field::StreamOptions.wrong_type("an object")),
    }
    let mut options = StreamOptions::Without { inside: reader.pos() + 1, empty: true };
    reader.members(|reader, key| {
        if let StreamOptions::Without { empty, .. } = &mut options {
            *empty = false;
        }
        let refused = |code, message| Err(BadRequest { code, param: Some(PARAM), message });
        if key != b"include_usage" {
            if folded(key) == "include_usage" {
                return refused(
                    "invalid_key",
                    format!("`{PARAM}` is spelled in another way: write it in exactly these letters."),
                );
            }
            return Ok(reader.skip()?);
        }
        if let StreamOptions::With { .. } = options {
            return refused("duplicate_key", format!("`{PARAM}` is given twice."));
        }
        let asked = match reader.kind()? {
            Kind::True => true,
            Kind::False | Kind::Null => false,
            _ => return refused("invalid_type", format!("`{PARAM}` must be true or false.")),
        };
        options = StreamOptions::With { value: reader.span()?, asked };
        Ok(())
    })?;
    Ok(options)
}

impl Request {
    /// More tokens than this no server can honestly report. Of a text there is at most one a byte; four times that, and
    /// no less than [`PROMPT_BOUND`], leaves room for templates, pictures and what servers add.
    pub fn most_tokens(&self) -> Most {
        let input = self.prompt_bytes.saturating_add(self.prompt_ids).saturating_mul(4).max(PROMPT_BOUND);
        let choices = self.n.max(self.best_of.unwrap_or(0)).saturating_mul(self.prompts);
        let each = self.max_output.unwrap_or(0).max(OUTPUT_BOUND);
        Most { input, output: each.saturating_mul(choices) }
    }

    /// The `metadata` object as written in `body`, the one that was scanned: `None` without one, or if it is larger than
    /// 16 KiB.
    pub fn metadata<'a>(&self, body: &'a [u8]) -> Option<&'a [u8]> {
        body.get(self.metadata.clone()?)
    }
}
