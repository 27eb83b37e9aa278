//! Reads one JSON document of an answer: a whole one, or the data of a frame.

use std::ops::Range;

use super::{Slug, choices::Choices, key::Key};
use crate::{
    domain::route::Route,
    upstream::{
        json::{Event, Invalid, Kind, Reader, whole_number},
        usage::Report,
    },
};

/// A longer beginning of a frame is not worth remembering, in bytes.
const MAX_KNOWN: usize = 1024;

/// The facts in a document, or in a piece of one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// There is a `usage` that is an object.
    pub(super) report: Option<Report>,
    /// There is one in a choice.
    pub(super) choice_report: Option<Report>,
    /// UTF-8 bytes of generated text.
    pub(super) text_bytes: u64,
    /// A choice says why it ended.
    pub(super) finish_reason: bool,
    /// There is something in it for the customer: text, a tool call, any other part of a message, a vector.
    pub(super) content: bool,
    pub(super) error: bool,
    /// There is a `detail` or `errors`: an error, unless the answer stands beside it.
    complaint: bool,
    listed: Listed,
}

impl Said {
    /// Whether it is the extra chunk that answers `include_usage`.
    pub(super) fn is_usage_alone(&self) -> bool {
        self.report.is_some() && self.listed != Listed::Some && !self.content && !self.finish_reason
    }

    /// Whether it says that something failed.
    pub(super) fn is_error(&self) -> bool {
        self.error || (self.complaint && self.listed == Listed::Absent && !self.content)
    }

    /// Whether the route's answer is in it, however little that says: a choice, a list of vectors.
    pub(super) fn is_answer(&self) -> bool {
        self.listed == Listed::Some
    }
}

/// The list of choices, or of vectors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Listed {
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
    choices: &'a mut Choices,
    pub(super) said: Said,
}

impl<'a> Answer<'a> {
    pub(super) fn new(
        route: Route,
        slug: &'a Slug,
        models: &'a mut Vec<Range<usize>>,
        choices: &'a mut Choices,
    ) -> Self {
        Self { route, slug, models, choices, said: Said::default() }
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

    /// Reads `payload`, which is no strict JSON, once more, as [`Reader::lenient`] does.
    pub(super) fn read_again(&mut self, payload: &[u8]) -> Result<(), Invalid> {
        self.models.clear();
        self.said = Said::default();
        let mut reader = Reader::lenient(payload);
        match reader.kind()? {
            Kind::Array => self.list(&mut reader)?,
            _ => reader.members(|reader, key| self.member(reader, key).map(drop))?,
        }
        reader.end()
    }

    fn document(&mut self, payload: &[u8], known: &mut Known, learn: bool) -> Result<(), Invalid> {
        let mut reader = Reader::new(payload)?;
        if reader.kind()? == Kind::Array {
            self.list(&mut reader)?;
            return reader.end();
        }
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

    /// A list is not an answer, but Gemini's errors come in one.
    fn list(&mut self, reader: &mut Reader<'_>) -> Result<(), Invalid> {
        reader.elements(|reader| {
            reader.members(|reader, key| match key {
                b"error" | b"errors" | b"detail" => self.other(reader, key).map(drop),
                _ => reader.skip(),
            })
        })
    }

    fn member(&mut self, reader: &mut Reader<'_>, key: &[u8]) -> Result<Met, Invalid> {
        match Key::named(key) {
            Key::Model => return self.model(reader),
            Key::Choices => {
                self.said.listed = match reader.kind()? {
                    Kind::Null => Listed::Absent,
                    Kind::Array => Listed::Empty,
                    _ => Listed::Some,
                };
                reader.elements(|reader| self.choice(reader))?;
            }
            Key::Usage => self.said.report = Report::read(reader)?.or(self.said.report),
            Key::Response | Key::Message => reader.members(|reader, key| match Key::named(key) {
                Key::Model => self.model(reader).map(drop),
                _ => reader.skip(),
            })?,
            _ => return self.other(reader, key),
        }
        Ok(Met::Something)
    }

    /// A member that only this reader reads.
    fn other(&mut self, reader: &mut Reader<'_>, key: &[u8]) -> Result<Met, Invalid> {
        match key {
            b"data" if !self.route.generates() => {
                if reader.kind()? == Kind::Array {
                    self.said.listed = Listed::Some;
                }
                self.said.content |= is_something(reader)?;
            }
            b"error" => return note_error(reader, &mut self.said.error),
            // As some servers put it.
            b"detail" | b"errors" => return note_error(reader, &mut self.said.complaint),
            b"object" | b"type" if reader.kind()? == Kind::String => {
                let is_error = reader.string()?.is("error");
                self.said.error |= is_error;
                return Ok(if is_error { Met::Something } else { Met::Nothing });
            }
            _ => {
                reader.skip()?;
                return Ok(Met::Nothing);
            }
        }
        Ok(Met::Something)
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
        self.said.listed = Listed::Some;
        let (mut index, mut is_finished) = (0, false);
        reader.members(|reader, key| match Key::named(key) {
            Key::Delta | Key::Message => self.message(reader),
            Key::Text => self.text(reader),
            Key::FinishReason => {
                match reader.kind()? {
                    Kind::String => is_finished |= is_reason(&reader.string()?.bytes()),
                    _ => reader.skip()?,
                }
                Ok(())
            }
            Key::Usage => {
                self.said.choice_report = Report::read(reader)?.or(self.said.choice_report);
                Ok(())
            }
            _ => match key {
                b"index" if reader.kind()? == Kind::Number => {
                    index = whole_number(reader.number()?).unwrap_or(0);
                    Ok(())
                }
                b"error" => note_error(reader, &mut self.said.error).map(drop),
                _ => reader.skip(),
            },
        })?;
        self.choices.mark(index, is_finished);
        self.said.finish_reason |= is_finished;
        Ok(())
    }

    fn message(&mut self, reader: &mut Reader<'_>) -> Result<(), Invalid> {
        // Some servers send the same reasoning under several names.
        let mut reasoning = 0;
        let read = reader.members(|reader, key| {
            match Key::named(key) {
                Key::Content => self.text(reader)?,
                Key::Reasoning(_) => {
                    let Length { text, summary } = length(reader, Key::is_part_of_reasoning)?;
                    reasoning = reasoning.max(text).max(summary);
                }
                Key::Audio => self.audio(reader)?,
                Key::FunctionCall => self.function(reader)?,
                Key::ToolCalls => reader.elements(|reader| {
                    self.said.content = true;
                    reader.members(|reader, key| match Key::named(key) {
                        Key::Function => self.function(reader),
                        _ => reader.skip(),
                    })
                })?,
                _ if key == b"role" => reader.skip()?,
                _ => self.said.content |= is_something(reader)?,
            }
            Ok(())
        });
        self.add_text(reasoning);
        read
    }

    fn function(&mut self, reader: &mut Reader<'_>) -> Result<(), Invalid> {
        reader.members(|reader, key| match (Key::named(key), reader.kind()?) {
            // Some servers do not write arguments as a string.
            (Key::Arguments, Kind::Object | Kind::Array) => {
                self.add_text(reader.span()?.len() as u64);
                Ok(())
            }
            (Key::Name | Key::Arguments, _) => self.text(reader),
            _ => reader.skip(),
        })
    }

    fn audio(&mut self, reader: &mut Reader<'_>) -> Result<(), Invalid> {
        reader.members(|reader, key| match Key::named(key) {
            Key::Transcript => self.text(reader),
            _ => {
                self.said.content |= is_something(reader)?;
                Ok(())
            }
        })
    }

    fn text(&mut self, reader: &mut Reader<'_>) -> Result<(), Invalid> {
        let Length { text, .. } = length(reader, Key::is_part)?;
        self.add_text(text);
        Ok(())
    }

    fn add_text(&mut self, len: u64) {
        self.said.text_bytes += len;
        self.said.content |= len > 0;
    }
}

/// Whether the text of a `finish_reason` is a reason: until there is one, some servers write `""` or `"null"`.
pub(super) fn is_reason(text: &[u8]) -> bool {
    !matches!(text, b"" | b"null")
}

/// Passes over the value of an error and notes whether it is one. Where there is none, some servers write 0, `false` or an
/// empty value. Half a value is an error.
fn note_error(reader: &mut Reader<'_>, error: &mut bool) -> Result<Met, Invalid> {
    let kind = reader.kind()?;
    let at = reader.pos();
    let found = is_something(reader);
    let is_zero = kind == Kind::Number && reader.read(&(at..reader.pos())) == Some(b"0");
    let is_error = found.unwrap_or(!matches!(kind, Kind::Null | Kind::False)) && !is_zero;
    *error |= is_error;
    found.map(|_| if is_error { Met::Something } else { Met::Nothing })
}

/// The values of the errors in a JSON answer that was read whole: beside the choices and in them.
pub(super) fn errors(answer: &[u8]) -> Result<Vec<Range<usize>>, Invalid> {
    let mut errors = Vec::new();
    let mut note = |reader: &mut Reader<'_>| {
        reader.kind()?;
        let start = reader.pos();
        let mut is_error = false;
        note_error(reader, &mut is_error)?;
        errors.extend(is_error.then_some(start..reader.pos()));
        Ok(())
    };
    Reader::lenient(answer).members(|reader, key| match key {
        b"error" => note(reader),
        b"choices" => reader.elements(|reader| {
            reader.members(|reader, key| if key == b"error" { note(reader) } else { reader.skip() })
        }),
        _ => reader.skip(),
    })?;
    Ok(errors)
}

/// Passes over a value; whether it is anything but `null`, `false` and what is empty.
fn is_something(reader: &mut Reader<'_>) -> Result<bool, Invalid> {
    let kind = reader.kind()?;
    let at = reader.span()?;
    Ok(match kind {
        Kind::Null | Kind::False => false,
        Kind::String | Kind::Array | Kind::Object => at.len() > 2,
        Kind::True | Kind::Number => true,
    })
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

/// The length of a text, in bytes of UTF-8. A text is a string, or the parts of one in an array or object.
#[derive(Debug, Clone, Copy, Default)]
struct Length {
    text: u64,
    /// Of the summaries of reasoning, which some servers send beside it or in its place.
    summary: u64,
}

fn length(reader: &mut Reader<'_>, is_part: fn(Key) -> bool) -> Result<Length, Invalid> {
    let mut length = Length::default();
    match reader.kind()? {
        Kind::String => length.text = reader.string()?.len() as u64,
        Kind::Array | Kind::Object => {
            let mut key = Key::Other;
            reader.walk(|event| match event {
                Event::Key(name) => key = Key::named(&name.bytes()),
                Event::String(part) if is_part(key) => length.text += part.len() as u64,
                Event::String(part) if key == Key::Summary => length.summary += part.len() as u64,
                _ => {}
            })?;
        }
        _ => reader.skip()?,
    }
    Ok(length)
}
