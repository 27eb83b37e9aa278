//! Reads the answers of APIs whose stream events name their type: OpenAI's responses, images and audio, and Anthropic's
//! messages.
//!
//! ```text
//! responses  response.{model, usage, output[]}, item, delta
//! messages   message.{model, usage, content[]}, content_block, delta.{text, thinking, partial_json, stop_reason}
//! images     data[], usage; image_generation.completed
//! audio      text, duration, usage; transcript.text.delta.delta, speech.audio.delta
//! ```
//!
//! A whole answer has the members of `response` or `message` at its top level. Responses repeat their text: in deltas,
//! in each item when it is done, and in the event that ends the stream. The repetitions are counted separately
//! ([`TextBytes`]), because only some servers send all three.

use super::{
    document::{DocumentReader, TextLength, is_reason, is_something, text_length},
    event_type::EventType,
    facts::{Answers, TextBytes},
    key::Key,
};
use crate::{
    domain::route::Route,
    upstream::{
        json::{Invalid, Kind, Reader},
        usage::{Report, micros},
    },
};

impl DocumentReader<'_> {
    /// Reads the outermost object. `self.event` is the type that the event's name gives.
    pub(super) fn typed(&mut self, reader: &mut Reader<'_>) -> Result<(), Invalid> {
        reader.members(|reader, key| self.typed_member(reader, key))?;
        match self.event {
            EventType::Error | EventType::Failed => self.facts.has_error = true,
            EventType::Terminal => {
                self.facts.is_terminal = true;
                self.facts.has_finish_reason = true;
            }
            EventType::Image => {
                self.facts.images += 1;
                self.facts.has_content = true;
            }
            EventType::Media => self.facts.has_content = true,
            EventType::ItemDone | EventType::Other => {}
        }
        if self.facts.has_finish_reason {
            self.choices.mark(0, true);
        }
        Ok(())
    }

    fn typed_member(&mut self, reader: &mut Reader<'_>, key: &[u8]) -> Result<(), Invalid> {
        match key {
            b"type" if reader.kind()? == Kind::String => {
                self.event = EventType::named(&reader.string()?.bytes());
                Ok(())
            }
            b"delta" => self.typed_delta(reader),
            b"response" | b"message" => reader.members(|reader, key| self.answer_member(reader, key)),
            b"item" if self.event == EventType::ItemDone => {
                self.repeated(|text| &mut text.items, |this| this.item(reader))
            }
            b"item" => self.item(reader),
            b"content_block" => self.block(reader),
            _ => self.answer_member(reader, key),
        }
    }

    /// Reads a member of a whole answer.
    fn answer_member(&mut self, reader: &mut Reader<'_>, key: &[u8]) -> Result<(), Invalid> {
        match (self.route, key) {
            (Route::Responses, b"output") => {
                self.note_answers(reader)?;
                let items = |this: &mut Self| reader.elements(|reader| this.item(reader));
                self.repeated(|text| &mut text.answer, items)
            }
            (Route::Messages, b"content") => {
                self.note_answers(reader)?;
                reader.elements(|reader| self.block(reader))
            }
            (Route::Messages, b"stop_reason") => self.stop_reason(reader),
            (Route::Images, b"data") => {
                self.note_answers(reader)?;
                reader.elements(|reader| {
                    self.facts.images += 1;
                    self.facts.has_content = true;
                    reader.skip()
                })
            }
            (Route::Transcriptions | Route::Translations, b"text") => {
                self.facts.answers = Answers::Some;
                self.repeated(|text| &mut text.answer, |this| this.text(reader))
            }
            (Route::Transcriptions | Route::Translations, b"duration") => {
                self.facts.micros = length(reader)?;
                Ok(())
            }
            // Only the outermost object holds an answer. A model's name deeper inside is not ours.
            (_, b"response" | b"message") => reader.skip(),
            (_, b"usage") => {
                self.facts.report = Report::read(reader)?.or(self.facts.report);
                Ok(())
            }
            _ => self.member(reader, key).map(drop),
        }
    }

    /// Notes whether a list of answers is there, which is the next value.
    fn note_answers(&mut self, reader: &mut Reader<'_>) -> Result<(), Invalid> {
        if reader.kind()? == Kind::Array {
            self.facts.answers = Answers::Some;
        }
        Ok(())
    }

    /// Reads text that earlier events may have streamed, and counts it in `place`.
    fn repeated(
        &mut self,
        place: fn(&mut TextBytes) -> &mut u64,
        read: impl FnOnce(&mut Self) -> Result<(), Invalid>,
    ) -> Result<(), Invalid> {
        let streamed = std::mem::take(&mut self.facts.text.streamed);
        let result = read(self);
        let repeated = std::mem::replace(&mut self.facts.text.streamed, streamed);
        let place = place(&mut self.facts.text);
        *place = place.saturating_add(repeated);
        result
    }

    fn typed_delta(&mut self, reader: &mut Reader<'_>) -> Result<(), Invalid> {
        match reader.kind()? {
            Kind::String if self.event == EventType::Media => reader.skip(),
            Kind::String => self.text(reader),
            _ => reader.members(|reader, key| match key {
                b"text" | b"thinking" | b"partial_json" => self.text(reader),
                b"stop_reason" => self.stop_reason(reader),
                b"type" => reader.skip(),
                _ => {
                    self.facts.has_content |= is_something(reader)?;
                    Ok(())
                }
            }),
        }
    }

    fn stop_reason(&mut self, reader: &mut Reader<'_>) -> Result<(), Invalid> {
        match reader.kind()? {
            Kind::String => self.facts.has_finish_reason |= is_reason(&reader.string()?.bytes()),
            _ => reader.skip()?,
        }
        Ok(())
    }

    /// Reads an output item of a response: a message, reasoning, or a call of a tool.
    fn item(&mut self, reader: &mut Reader<'_>) -> Result<(), Invalid> {
        // Reasoning may have a text and a summary of it: only the longer one counts.
        let mut reasoning = 0;
        reader.members(|reader, key| match Key::named(key) {
            Key::Content | Key::Summary => {
                let TextLength { text, .. } = text_length(reader, Key::is_part_of_item)?;
                reasoning = reasoning.max(text);
                Ok(())
            }
            Key::Name | Key::Arguments => self.text(reader),
            _ => match key {
                b"type" => self.part_type(reader, &[b"message", b"reasoning"]),
                b"code" => self.text(reader),
                _ => reader.skip(),
            },
        })?;
        self.facts.add_text(reasoning);
        Ok(())
    }

    /// Reads a content block of a message: text, thinking, or a call of a tool.
    fn block(&mut self, reader: &mut Reader<'_>) -> Result<(), Invalid> {
        reader.members(|reader, key| match (key, reader.kind()?) {
            (b"text" | b"thinking" | b"name", _) => self.text(reader),
            (b"input", Kind::Object) => {
                // In a stream, the input is empty here and follows in deltas.
                let at = reader.span()?;
                if at.len() > 2 {
                    self.facts.add_text(at.len() as u64);
                }
                Ok(())
            }
            (b"type", _) => self.part_type(reader, &[b"text", b"thinking"]),
            _ => reader.skip(),
        })
    }

    /// Reads the type of an item or block. The types in `empty` are content only if they have text.
    fn part_type(&mut self, reader: &mut Reader<'_>, empty: &[&[u8]]) -> Result<(), Invalid> {
        match reader.kind()? {
            Kind::String => {
                let name = reader.string()?.bytes();
                self.facts.has_content |= !empty.contains(&&*name);
            }
            _ => reader.skip()?,
        }
        Ok(())
    }
}

/// Reads the length of a recording in seconds, a number or a string. Returns microseconds.
fn length(reader: &mut Reader<'_>) -> Result<Option<u64>, Invalid> {
    Ok(match reader.kind()? {
        Kind::Number => micros(reader.number()?),
        Kind::String => micros(&reader.string()?.bytes()),
        _ => {
            reader.skip()?;
            None
        }
    })
}

#[cfg(test)]
mod tests;
