//! Reads one JSON document of an answer: a whole one, or the data of a frame.

use std::ops::Range;

use super::Slug;
use crate::{
    domain::{route::Route, usage::Usage},
    upstream::json::{Event, Invalid, Kind, Reader, Text, whole_number},
};

/// A longer beginning of a frame is not worth remembering, in bytes.
const MAX_KNOWN: usize = 1024;

/// More tokens than that in one answer are a defect of the upstream, and no bill.
const MAX_TOKENS: u64 = 1 << 40;

/// What a document says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) usage: Option<Usage>,
    /// UTF-8 bytes of generated text.
    pub(super) text_bytes: u64,
    pub(super) finish_reason: bool,
    pub(super) error: bool,
    choices: Choices,
    // There is a `usage` that is an object, whether or not it could be understood.
    usage_object: bool,
}

impl Said {
    /// Whether it is the extra chunk that answers `include_usage`.
    pub(super) fn is_usage_alone(&self) -> bool {
        self.usage_object && self.choices == Choices::Empty
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Choices {
    #[default]
    Absent,
    Empty,
    Some,
}

/// The beginning that the frames of a stream have in common, up to and with the model's name. A frame that begins so
/// needs no second look at it.
#[derive(Debug, Default)]
pub(super) struct Known {
    prefix: Vec<u8>,
    /// Where the model's name is, if it must be rewritten.
    model: Option<Range<usize>>,
}

/// A document while it is read.
pub(super) struct Answer<'a> {
    route: Route,
    slug: &'a Slug,
    // Where models' names are that must be rewritten, ascending.
    models: &'a mut Vec<Range<usize>>,
    pub(super) said: Said,
}

impl<'a> Answer<'a> {
    pub(super) fn new(route: Route, slug: &'a Slug, models: &'a mut Vec<Range<usize>>) -> Self {
        Self { route, slug, models, said: Said::default() }
    }

    /// Reads `payload` to its end. After an `Err`, `said` holds what came before the fault.
    pub(super) fn read(&mut self, payload: &[u8], known: Option<&mut Known>) -> Result<(), Invalid> {
        let Some(known) = known else { return self.document(payload, &mut Known::default(), false) };
        if known.prefix.is_empty() || !payload.starts_with(&known.prefix) {
            return self.document(payload, known, true);
        }
        self.models.extend(known.model.clone());
        let mut reader = Reader::resume(payload, known.prefix.len())?;
        reader.more_members(|reader, key| self.member(reader, key).map(drop))?;
        reader.end()
    }

    fn document(&mut self, payload: &[u8], known: &mut Known, learn: bool) -> Result<(), Invalid> {
        let mut reader = Reader::new(payload)?;
        // Whether everything so far means nothing to us, so that it may be passed over in the next frame.
        let mut dull = learn;
        reader.members(|reader, key| {
            let met = self.member(reader, key)?;
            if met == Met::Model && dull && reader.pos() <= MAX_KNOWN {
                known.prefix.clear();
                known.prefix.extend_from_slice(&payload[..reader.pos()]);
                known.model = self.models.first().cloned();
            }
            dull &= met == Met::Nothing;
            Ok::<(), Invalid>(())
        })?;
        reader.end()
    }

    fn member(&mut self, reader: &mut Reader<'_>, key: &[u8]) -> Result<Met, Invalid> {
        match key {
            b"model" => return self.model(reader),
            b"choices" => {
                self.said.choices = if reader.kind()? == Kind::Array { Choices::Empty } else { Choices::Some };
                reader.elements(|reader| self.choice(reader))?;
            }
            b"usage" => {
                self.said.usage_object = reader.kind()? == Kind::Object;
                self.said.usage = usage(reader, self.route)?.or(self.said.usage);
            }
            b"response" | b"message" => reader.members(|reader, key| match key {
                b"model" => self.model(reader).map(drop),
                _ => reader.skip(),
            })?,
            b"error" => return self.error(reader, |text| text.len() > 0),
            // As some servers put it.
            b"object" => return self.error(reader, |text| text.is("error")),
            _ => {
                reader.skip()?;
                return Ok(Met::Nothing);
            }
        }
        Ok(Met::Something)
    }

    fn error(&mut self, reader: &mut Reader<'_>, is_error: impl Fn(Text<'_>) -> bool) -> Result<Met, Invalid> {
        let error = match reader.kind()? {
            Kind::String => is_error(reader.string()?),
            kind => {
                reader.skip()?;
                kind == Kind::Object
            }
        };
        self.said.error |= error;
        Ok(if error { Met::Something } else { Met::Nothing })
    }

    fn model(&mut self, reader: &mut Reader<'_>) -> Result<Met, Invalid> {
        if reader.kind()? != Kind::String {
            reader.skip()?;
            return Ok(Met::Something);
        }
        let model = reader.string()?;
        if !model.is(&self.slug.name) {
            self.models.push(model.span());
        }
        Ok(Met::Model)
    }

    fn choice(&mut self, reader: &mut Reader<'_>) -> Result<(), Invalid> {
        self.said.choices = Choices::Some;
        reader.members(|reader, key| match key {
            b"delta" | b"message" => self.message(reader),
            b"text" => self.text(reader),
            b"finish_reason" => {
                self.said.finish_reason |= reader.kind()? == Kind::String;
                reader.skip()
            }
            _ => reader.skip(),
        })
    }

    fn message(&mut self, reader: &mut Reader<'_>) -> Result<(), Invalid> {
        // Some servers send the same reasoning under both names.
        let mut reasoning = [0; 2];
        let read = reader.members(|reader, key| match key {
            b"content" | b"refusal" => self.text(reader),
            b"reasoning_content" => text_len(reader).map(|len| reasoning[0] = len),
            b"reasoning" => text_len(reader).map(|len| reasoning[1] = len),
            b"function_call" => self.function(reader),
            b"tool_calls" => reader.elements(|reader| {
                reader.members(|reader, key| match key {
                    b"function" => self.function(reader),
                    _ => reader.skip(),
                })
            }),
            _ => reader.skip(),
        });
        self.said.text_bytes += reasoning[0].max(reasoning[1]);
        read
    }

    fn function(&mut self, reader: &mut Reader<'_>) -> Result<(), Invalid> {
        reader.members(|reader, key| match key {
            b"name" | b"arguments" => self.text(reader),
            _ => reader.skip(),
        })
    }

    fn text(&mut self, reader: &mut Reader<'_>) -> Result<(), Invalid> {
        self.said.text_bytes += text_len(reader)?;
        Ok(())
    }
}

/// What a member was.
#[derive(PartialEq, Eq)]
enum Met {
    /// Nothing to us.
    Nothing,
    /// The model's name.
    Model,
    /// Anything else that we read.
    Something,
}

/// Length of a string, or of the `text`s in a list of parts.
fn text_len(reader: &mut Reader<'_>) -> Result<u64, Invalid> {
    match reader.kind()? {
        Kind::String => Ok(reader.string()?.len() as u64),
        Kind::Array => {
            let mut len = 0;
            let mut key: Option<Text<'_>> = None;
            reader.walk(|event| match event {
                Event::Key(next) => key = Some(next),
                Event::String(text) if key.is_some_and(|key| key.is("text")) => len += text.len() as u64,
                _ => {}
            })?;
            Ok(len)
        }
        _ => reader.skip().map(|()| 0),
    }
}

/// Reads a `usage` object, by OpenAI's older or newer names. What is missing or null is 0. `None` if it is no object,
/// names neither input nor output, or holds a figure that cannot be one: then it is better counted than believed.
pub(super) fn usage(reader: &mut Reader<'_>, route: Route) -> Result<Option<Usage>, Invalid> {
    let (mut input, mut output, mut cached) = (None, None, None);
    let mut sound = true;
    let mut tokens = |reader: &mut Reader<'_>, field: &mut Option<u64>| {
        match reader.kind()? {
            Kind::Null => reader.skip()?,
            Kind::Number => {
                let count = whole_number(reader.number()?).filter(|count| *count <= MAX_TOKENS);
                sound &= count.is_some();
                *field = count.or(*field);
            }
            _ => {
                sound = false;
                reader.skip()?;
            }
        }
        Ok::<(), Invalid>(())
    };
    reader.members(|reader, key| match key {
        b"prompt_tokens" | b"input_tokens" => tokens(reader, &mut input),
        b"completion_tokens" | b"output_tokens" => tokens(reader, &mut output),
        b"prompt_tokens_details" | b"input_tokens_details" => reader.members(|reader, key| match key {
            b"cached_tokens" => tokens(reader, &mut cached),
            _ => reader.skip(),
        }),
        _ => reader.skip(),
    })?;
    if !sound || (input.is_none() && output.is_none()) {
        return Ok(None);
    }
    let input = input.unwrap_or(0);
    let output = if route.generates() { output.unwrap_or(0) } else { 0 };
    Ok(Some(Usage { input, output, cached: cached.unwrap_or(0).min(input) }))
}
