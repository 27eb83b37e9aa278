//! The changes to a request body, spliced into the bytes as they came.

use std::ops::Range;

use bytes::Bytes;

use super::{Field, Maximum, Request, StreamOptions};
use crate::upstream::{
    json,
    splice::{Splice, splice_in_pieces},
};

/// What is to stand in the body that goes upstream.
#[derive(Debug, Clone, Copy)]
pub struct Changes<'a> {
    /// The target's name of the model.
    pub model: &'a str,
    /// A hard cap on the output, if there is to be one.
    pub cap: Option<OutputCap<'a>>,
    /// The target takes no `stream_options`, ours or the customer's.
    pub without_options: bool,
    /// The target takes no second output maximum beside one that the customer declares.
    pub without_second_maximum: bool,
}

impl<'a> Changes<'a> {
    /// Nothing but the name of the model and the wish for usage.
    pub fn to(model: &'a str) -> Self {
        Self { model, cap: None, without_options: false, without_second_maximum: false }
    }
}

/// A hard cap on the output.
#[derive(Debug, Clone, Copy)]
pub struct OutputCap<'a> {
    /// The parameter to be set when the customer declared no maximum: `max_tokens`, or what the target takes instead.
    pub parameter: &'a str,
    /// Tokens for each choice.
    pub tokens: u64,
}

/// A member of an object, by the place of its value, with one of the commas around it. It is not the only member, and
/// its key has no quotes in it.
fn member(body: &[u8], value: &Range<usize>) -> Range<usize> {
    let before = |end: usize| body[..end].trim_ascii_end().len();
    let key_end = before(before(value.start).saturating_sub(1)).saturating_sub(1);
    let key = memchr::memrchr(b'"', &body[..key_end]).unwrap_or(key_end);
    let behind = value.end + (body.len() - value.end - body[value.end..].trim_ascii_start().len());
    match body.get(behind) {
        Some(b',') => key..behind + 1,
        _ => before(key).saturating_sub(1)..value.end,
    }
}

impl Request {
    /// Whether [`Self::rewrite`] asks the upstream for usage in the stream, and the customer did not: then he is not
    /// to see the chunk that carries it.
    pub fn hides_usage(&self) -> bool {
        self.asks_for_usage() && !matches!(self.options, StreamOptions::With { asked: true, .. })
    }

    /// Whether [`Self::rewrite`] makes a body that has `stream_options`.
    pub fn sends_options(&self, changes: &Changes<'_>) -> bool {
        let has_own = !matches!(self.options, StreamOptions::Absent);
        !changes.without_options && (has_own || self.asks_for_usage())
    }

    /// The output maximum that [`Self::rewrite`] adds beside one that the customer declares, by its name.
    pub fn adds_second_maximum<'a>(&self, changes: &Changes<'a>) -> Option<&'a str> {
        let cap = changes.cap.filter(|_| !changes.without_second_maximum)?;
        let is_declared = self.maxima.iter().any(|max| max.declares && max.tokens.is_some());
        let is_named = |max: &Maximum| max.field.name() == cap.parameter;
        (is_declared && !self.maxima.iter().any(is_named)).then_some(cap.parameter)
    }

    /// The body for the upstream, in pieces; a large one is not copied. `body` is the one that was scanned; if nothing
    /// changes, that is what comes back.
    ///
    /// A stream of chat/completions or completions is asked for usage. A cap lowers every maximum above it, and is set
    /// where the customer declared none.
    pub fn rewrite(&self, body: &Bytes, changes: &Changes<'_>) -> Vec<Bytes> {
        let mut splices = Vec::new();
        // The body is never empty: it holds `model`. So what is added in front of the first member ends in a comma.
        let mut added = Vec::new();
        if changes.model != self.model {
            splices.push(Splice { at: self.model_at.clone(), with: json::quote(changes.model).into() });
        }
        if changes.without_options {
            let member = self.options_at.as_ref().map(|value| member(body, value));
            splices.extend(member.map(|at| Splice { at, with: Bytes::new() }));
        } else if self.asks_for_usage() {
            self.ask_for_usage(&mut splices, &mut added);
        }
        if let Some(cap) = changes.cap {
            self.cap_output(cap, changes.without_second_maximum, &mut splices, &mut added);
        }
        if !added.is_empty() {
            splices.push(Splice { at: self.inside..self.inside, with: added.into() });
        }
        splices.sort_unstable_by_key(|splice| (splice.at.start, splice.at.end));
        splice_in_pieces(body, &splices)
    }

    fn asks_for_usage(&self) -> bool {
        self.stream && self.streams_usage
    }

    fn ask_for_usage(&self, splices: &mut Vec<Splice>, added: &mut Vec<u8>) {
        let (at, with) = match &self.options {
            StreamOptions::With { asked: true, .. } => return,
            StreamOptions::Absent => {
                return added.extend_from_slice(br#""stream_options":{"include_usage":true},"#);
            }
            StreamOptions::Null(at) => (at.clone(), r#"{"include_usage":true}"#),
            StreamOptions::With { value, asked: false } => (value.clone(), "true"),
            StreamOptions::Without { inside, empty: true } => (*inside..*inside, r#""include_usage":true"#),
            StreamOptions::Without { inside, empty: false } => (*inside..*inside, r#""include_usage":true,"#),
        };
        splices.push(Splice { at, with: Bytes::from_static(with.as_bytes()) });
    }

    fn cap_output(&self, cap: OutputCap<'_>, alone: bool, splices: &mut Vec<Splice>, added: &mut Vec<u8>) {
        let tokens = cap.tokens.to_string();
        // Servers that know `max_tokens` alone pass over the newer name, so it is set beside that. OpenAI refuses both.
        let is_heeded = |max: &&Maximum| cap.parameter != "max_tokens" || max.field == Field::MaxTokens;
        let mut set = self.maxima.iter().filter(is_heeded).any(|max| max.declares && max.tokens.is_some());
        for Maximum { field, at, tokens: declared, declares } in &self.maxima {
            let above = declared.is_some_and(|declared| declared > cap.tokens);
            // A maximum that is there as `null` cannot be given a second time.
            let is_named = *declares && field.name() == cap.parameter;
            let unlimited = declared.is_none() && (!declares || (!set && is_named));
            set |= is_named;
            if above || unlimited {
                splices.push(Splice { at: at.clone(), with: tokens.clone().into() });
            }
        }
        let has_first = self.maxima.iter().any(|max| max.declares && max.tokens.is_some());
        if !(set || alone && has_first) {
            added.extend(json::quote(cap.parameter));
            added.extend_from_slice(format!(":{tokens},").as_bytes());
        }
    }
}
