//! Reads the members of one JSON document of an answer: a whole answer, or the data of a frame. Members of answers with
//! choices, vectors and scores are read here.

use std::ops::Range;

use super::{
    choices::Choices,
    event_type::EventType,
    facts::{Answers, DocumentFacts},
    key::Key,
    slug::Slug,
};
use crate::{
    domain::route::{Output, Route},
    upstream::{
        json::{Event, Invalid, Kind, Reader, whole_number},
        usage::Report,
    },
};

/// Reads a document and collects its facts.
pub(super) struct DocumentReader<'a> {
    pub(super) route: Route,
    slug: &'a Slug,
    // The places of models' names that must be rewritten, in ascending order.
    pub(super) models: &'a mut Vec<Range<usize>>,
    pub(super) choices: &'a mut Choices,
    /// The type of the event, on routes whose events have one.
    pub(super) event: EventType,
    pub(super) facts: DocumentFacts,
}

impl<'a> DocumentReader<'a> {
    pub(super) fn new(
        route: Route,
        slug: &'a Slug,
        models: &'a mut Vec<Range<usize>>,
        choices: &'a mut Choices,
    ) -> Self {
        Self { route, slug, models, choices, event: EventType::default(), facts: DocumentFacts::default() }
    }

    /// Sets the name of the event that the document is the data of.
    pub(super) fn with_event(self, name: Option<&[u8]>) -> Self {
        Self { event: name.map_or(EventType::default(), EventType::named), ..self }
    }

    /// A list is an answer only on rerank, where SGLang sends one. Gemini's errors come in one too.
    pub(super) fn list(&mut self, reader: &mut Reader<'_>) -> Result<(), Invalid> {
        if self.route == Route::Rerank {
            self.facts.answers = Answers::Some;
        }
        reader.elements(|reader| {
            reader.members(|reader, key| match key {
                b"error" | b"errors" | b"detail" => self.other_member(reader, key).map(drop),
                _ => reader.skip(),
            })
        })
    }

    pub(super) fn member(&mut self, reader: &mut Reader<'_>, key: &[u8]) -> Result<Member, Invalid> {
        match Key::named(key) {
            Key::Model => return self.model(reader),
            Key::Choices => {
                self.facts.answers = match reader.kind()? {
                    Kind::Null => Answers::Absent,
                    Kind::Array => Answers::Empty,
                    _ => Answers::Some,
                };
                reader.elements(|reader| self.choice(reader))?;
            }
            Key::Usage => self.facts.report = Report::read(reader)?.or(self.facts.report),
            Key::Response | Key::Message => reader.members(|reader, key| match Key::named(key) {
                Key::Model => self.model(reader).map(drop),
                _ => reader.skip(),
            })?,
            _ => return self.other_member(reader, key),
        }
        Ok(Member::Known)
    }

    /// Reads a member that the lexer of large answers does not read.
    fn other_member(&mut self, reader: &mut Reader<'_>, key: &[u8]) -> Result<Member, Invalid> {
        match key {
            b"input_tokens" if self.route == Route::CountTokens => self.facts.has_content |= is_something(reader)?,
            b"data" | b"results" if self.route.output() == Output::None && self.route != Route::CountTokens => {
                if reader.kind()? == Kind::Array {
                    self.facts.answers = Answers::Some;
                }
                self.facts.has_content |= is_something(reader)?;
            }
            b"error" => return note_error(reader, &mut self.facts.has_error),
            // The errors of FastAPI and Cloudflare.
            b"detail" | b"errors" => return note_error(reader, &mut self.facts.has_complaint),
            b"object" | b"type" if reader.kind()? == Kind::String => {
                let is_error = reader.string()?.is("error");
                self.facts.has_error |= is_error;
                return Ok(if is_error { Member::Known } else { Member::Unknown });
            }
            _ => {
                reader.skip()?;
                return Ok(Member::Unknown);
            }
        }
        Ok(Member::Known)
    }

    fn model(&mut self, reader: &mut Reader<'_>) -> Result<Member, Invalid> {
        if reader.kind()? != Kind::String {
            reader.skip()?;
            return Ok(Member::Known);
        }
        let model = reader.string()?;
        if !model.is(&self.slug.name) {
            self.models.push(model.span());
        }
        Ok(Member::Model)
    }

    fn choice(&mut self, reader: &mut Reader<'_>) -> Result<(), Invalid> {
        self.facts.answers = Answers::Some;
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
                self.facts.choice_report = Report::read(reader)?.or(self.facts.choice_report);
                Ok(())
            }
            _ => match key {
                b"index" if reader.kind()? == Kind::Number => {
                    index = whole_number(reader.number()?).unwrap_or(0);
                    Ok(())
                }
                b"error" => note_error(reader, &mut self.facts.has_error).map(drop),
                _ => reader.skip(),
            },
        })?;
        self.choices.mark(index, is_finished);
        self.facts.has_finish_reason |= is_finished;
        Ok(())
    }

    fn message(&mut self, reader: &mut Reader<'_>) -> Result<(), Invalid> {
        // Some servers send the same reasoning under several names: only the longest counts.
        let mut reasoning = 0;
        let read = reader.members(|reader, key| {
            match Key::named(key) {
                Key::Content => self.text(reader)?,
                Key::Reasoning(_) => {
                    let TextLength { text, summary } = text_length(reader, Key::is_part_of_reasoning)?;
                    reasoning = reasoning.max(text).max(summary);
                }
                Key::Audio => self.audio(reader)?,
                Key::FunctionCall => self.function(reader)?,
                Key::ToolCalls => reader.elements(|reader| {
                    self.facts.has_content = true;
                    reader.members(|reader, key| match Key::named(key) {
                        Key::Function => self.function(reader),
                        _ => reader.skip(),
                    })
                })?,
                _ if key == b"role" => reader.skip()?,
                _ => self.facts.has_content |= is_something(reader)?,
            }
            Ok(())
        });
        self.facts.add_text(reasoning);
        read
    }

    fn function(&mut self, reader: &mut Reader<'_>) -> Result<(), Invalid> {
        reader.members(|reader, key| match (Key::named(key), reader.kind()?) {
            // Some servers send the arguments as JSON instead of a string.
            (Key::Arguments, Kind::Object | Kind::Array) => {
                self.facts.add_text(reader.span()?.len() as u64);
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
                self.facts.has_content |= is_something(reader)?;
                Ok(())
            }
        })
    }

    /// Reads generated text.
    pub(super) fn text(&mut self, reader: &mut Reader<'_>) -> Result<(), Invalid> {
        let TextLength { text, .. } = text_length(reader, Key::is_part)?;
        self.facts.add_text(text);
        Ok(())
    }
}

/// The kind of a member of the outermost object.
#[derive(PartialEq, Eq)]
pub(super) enum Member {
    /// The model's name.
    Model,
    /// Another member that is read.
    Known,
    Unknown,
}

/// Whether the text of a `finish_reason` is a reason. Some servers send `""` or `"null"` until there is one.
pub(super) fn is_reason(text: &[u8]) -> bool {
    !matches!(text, b"" | b"null")
}

/// Reads the value of an error and sets `is_error` if it is one. If there is no error, some servers send 0, `false` or
/// an empty value. A value that is cut off is an error.
fn note_error(reader: &mut Reader<'_>, is_error: &mut bool) -> Result<Member, Invalid> {
    let kind = reader.kind()?;
    let at = reader.pos();
    let found = is_something(reader);
    let is_zero = kind == Kind::Number && reader.read(&(at..reader.pos())) == Some(b"0");
    let is_one = found.unwrap_or(!matches!(kind, Kind::Null | Kind::False)) && !is_zero;
    *is_error |= is_one;
    found.map(|_| if is_one { Member::Known } else { Member::Unknown })
}

/// The places of the errors in an answer: beside the choices and inside them.
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

/// Skips a value. Returns whether it is anything but `null`, `false` or empty.
pub(super) fn is_something(reader: &mut Reader<'_>) -> Result<bool, Invalid> {
    let kind = reader.kind()?;
    let at = reader.span()?;
    Ok(match kind {
        Kind::Null | Kind::False => false,
        Kind::String | Kind::Array | Kind::Object => at.len() > 2,
        Kind::True | Kind::Number => true,
    })
}

/// The length of a text, in bytes of UTF-8. A text is a string, or an array or object whose parts are strings.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TextLength {
    pub(super) text: u64,
    /// The summaries of reasoning, which some servers send beside it or instead of it.
    summary: u64,
}

pub(super) fn text_length(reader: &mut Reader<'_>, is_part: fn(Key) -> bool) -> Result<TextLength, Invalid> {
    let mut length = TextLength::default();
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
