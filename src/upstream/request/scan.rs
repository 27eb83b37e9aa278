//! Reads a request body in one pass.

use super::{
    BadRequest, Maximum, Request, StreamOptions, Syntax,
    field::{Field, folded},
    prompt,
};
use crate::{
    domain::route::Route,
    upstream::json::{self, Invalid, Kind, Reader},
};

/// A `metadata` object larger than this, in bytes as written, is not recorded.
const MAX_METADATA: usize = 16 << 10;

/// Reads a whole request body.
///
/// # Errors
///
/// The first rule that the body breaks. If the body is not valid JSON, the error says so, whatever other rule it
/// breaks.
pub fn scan(body: &[u8], route: Route) -> Result<Request, BadRequest> {
    read(body, route).map_err(|bad| json::validate(body).err().map_or(bad, BadRequest::from))
}

/// The requested slug of a body that is refused, if it can be read.
pub(super) fn slug_of(body: &[u8]) -> Option<String> {
    let mut slug = None;
    // The caller has reported the fault already.
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
        seen: 0,
        has_model: false,
        request: Request {
            streams_usage: matches!(route, Route::ChatCompletions | Route::Completions),
            ..Request::empty(Syntax::Json { inside: reader.pos() + 1 })
        },
    };
    reader.members(|reader, key| match Field::named(key, route) {
        Some(field) => scan.field(reader, field),
        None => match Field::resembled(key, route) {
            Some(field) => {
                let message = format!("`{}` must be spelled exactly like this, in lower case.", field.name());
                Err(field.refused("invalid_key", message))
            }
            None => Ok(scan.text(reader, key)?),
        },
    })?;
    reader.end()?;
    if !scan.has_model {
        return Err(Field::Model.refused("missing_model", "`model` is missing.".into()));
    }
    Ok(scan.request)
}

struct Scan {
    route: Route,
    /// A bit for each [`Field`] that has been read.
    seen: u16,
    has_model: bool,
    request: Request,
}

impl Scan {
    fn field(&mut self, reader: &mut Reader<'_>, field: Field) -> Result<(), BadRequest> {
        let bit = 1 << field as u16;
        if self.seen & bit != 0 {
            return Err(field.refused("duplicate_key", format!("`{}` is given twice.", field.name())));
        }
        self.seen |= bit;
        let request = &mut self.request;
        match field {
            Field::Model => match reader.kind()? {
                Kind::String => {
                    let model = reader.string()?;
                    request.model = model.to_text();
                    request.model_at = model.span();
                    self.has_model = true;
                }
                Kind::Null => reader.skip()?,
                _ => return Err(field.wrong_type("a string")),
            },
            Field::Metadata => match reader.kind()? {
                Kind::Object => request.metadata = Some(reader.span()?).filter(|at| at.len() <= MAX_METADATA),
                Kind::Null => reader.skip()?,
                _ => return Err(field.wrong_type("an object")),
            },
            Field::PromptCacheKey => match reader.kind()? {
                Kind::String => request.prompt_cache_key = Some(reader.string()?.span()),
                Kind::Null => reader.skip()?,
                _ => return Err(field.wrong_type("a string")),
            },
            Field::Background if self.route == Route::Responses => {
                if field.switch(reader)? {
                    let message = "`background` is not supported: send the request without it.".to_owned();
                    return Err(field.refused("unsupported_parameter", message));
                }
            }
            Field::Background => reader.skip()?,
            Field::Stream => request.stream = field.switch(reader)?,
            Field::StreamOptions => {
                reader.kind()?;
                let start = reader.pos();
                request.options = stream_options(reader)?;
                request.options_at = Some(start..reader.pos());
            }
            Field::MaxTokens | Field::MaxCompletionTokens | Field::MaxOutputTokens if field.declares(self.route) => {
                reader.kind()?;
                let start = reader.pos();
                let tokens = field.whole_number(reader, 0..=u64::MAX, "a whole number, 0 or more")?;
                request.max_output = request.max_output.max(tokens);
                request.maxima.push(Maximum { field, at: start..reader.pos(), tokens, declares: true });
            }
            Field::MaxTokens | Field::MaxCompletionTokens | Field::MaxOutputTokens | Field::NPredict => {
                let is_number = reader.kind()? == Kind::Number;
                let at = reader.span()?;
                if is_number {
                    // A negative number means no limit.
                    let tokens = reader.read(&at).and_then(json::whole_number);
                    request.maxima.push(Maximum { field, at, tokens, declares: false });
                }
            }
            Field::N | Field::NCmpl => request.n = request.n.max(field.choices(reader)?.unwrap_or(1)),
            Field::BestOf => request.best_of = field.choices(reader)?,
        }
        Ok(())
    }

    /// Measures the text in a member that is not a [`Field`].
    fn text(&mut self, reader: &mut Reader<'_>, key: &[u8]) -> Result<(), Invalid> {
        if self.route == Route::Speech && key == b"input" && reader.kind()? == Kind::String {
            let text = reader.string()?;
            self.request.prompt_bytes += text.len() as u64;
            self.request.characters = text.to_text().chars().count() as u64;
            return Ok(());
        }
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
                return refused("invalid_key", format!("`{PARAM}` must be spelled exactly like this, in lower case."));
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
