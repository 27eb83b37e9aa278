//! Changes a request body by splicing its bytes.

use std::ops::Range;

use bytes::Bytes;

use super::{Field, Maximum, Request, StreamOptions, Syntax};
use crate::upstream::{
    json,
    splice::{Splice, splice_in_pieces},
};

/// The changes to make in the body that is sent upstream.
#[derive(Debug, Clone, Copy)]
pub struct Changes<'a> {
    /// The target's name of the model.
    pub model: &'a str,
    /// The hard cap on the output, if there is one.
    pub cap: Option<OutputCap<'a>>,
    /// Whether to leave out `stream_options`, ours and the customer's, because the target refuses it.
    pub without_options: bool,
    /// Whether to leave out the output maximum that a cap would add to the customer's own, because the target refuses a
    /// second one.
    pub without_second_maximum: bool,
}

impl<'a> Changes<'a> {
    /// Changes that only set the model's name and ask for usage.
    pub fn to(model: &'a str) -> Self {
        Self { model, cap: None, without_options: false, without_second_maximum: false }
    }
}

/// A hard cap on the output.
#[derive(Debug, Clone, Copy)]
pub struct OutputCap<'a> {
    /// The target's parameter for the output maximum, such as `max_tokens`.
    pub parameter: &'a str,
    /// The most output tokens of each choice.
    pub tokens: u64,
}

/// Returns the range of an object's member with one adjacent comma, given the range of its value. It must not be the
/// only member, and its key must not contain a quote.
fn member(body: &[u8], value: &Range<usize>) -> Range<usize> {
    let before = |end: usize| body[..end].trim_ascii_end().len();
    let key_end = before(before(value.start).saturating_sub(1)).saturating_sub(1);
    let key = memchr::memrchr(b'"', &body[..key_end]).unwrap_or(key_end);
    let after = value.end + (body.len() - value.end - body[value.end..].trim_ascii_start().len());
    match body.get(after) {
        Some(b',') => key..after + 1,
        _ => before(key).saturating_sub(1)..value.end,
    }
}

impl Request {
    /// Whether [`Self::rewrite`] asks the upstream for usage in the stream although the customer did not. If so, the
    /// usage chunk must be hidden from the customer.
    pub fn hides_usage(&self) -> bool {
        self.asks_for_usage() && !matches!(self.options, StreamOptions::With { asked: true, .. })
    }

    /// Whether the body that [`Self::rewrite`] returns has `stream_options`.
    pub fn sends_options(&self, changes: &Changes<'_>) -> bool {
        let has_own = !matches!(self.options, StreamOptions::Absent);
        !changes.without_options && (has_own || self.asks_for_usage())
    }

    /// The name of the output maximum that [`Self::rewrite`] adds to one that the customer declared, if it adds one.
    pub fn adds_second_maximum<'a>(&self, changes: &Changes<'a>) -> Option<&'a str> {
        let cap = changes.cap.filter(|cap| cap.parameter == "max_tokens" && !changes.without_second_maximum)?;
        let is_set = |max: &Maximum| max.field == Field::MaxTokens && max.tokens.is_some();
        (self.declares_maximum() && !self.maxima.iter().any(is_set)).then_some(cap.parameter)
    }

    /// Whether the customer has declared an output maximum.
    fn declares_maximum(&self) -> bool {
        self.maxima.iter().any(|max| max.declares && max.tokens.is_some())
    }

    /// Returns the body for the upstream in pieces. `body` must be the body that was scanned. A large body is not
    /// copied, and an unchanged body is returned as it is.
    ///
    /// Asks for usage in streams of chat/completions and completions. Lowers every maximum above the cap. Sets the
    /// cap's parameter if the customer declared no maximum. If the parameter is `max_tokens`, it is also set beside a
    /// declared `max_completion_tokens`, unless [`Changes::without_second_maximum`] is set. In a form, only the model's
    /// name is changed, since routes that take one have no parameters for the rest.
    pub fn rewrite(&self, body: &Bytes, changes: &Changes<'_>) -> Vec<Bytes> {
        let inside = match &self.syntax {
            Syntax::Json { inside } => *inside,
            Syntax::Form { length_at } => return self.rewrite_form(body, length_at.clone(), changes.model),
        };
        let mut splices = Vec::new();
        // The object has at least one member, `model`, so everything that is added before it ends with a comma.
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
            splices.push(Splice { at: inside..inside, with: added.into() });
        }
        splices.sort_unstable_by_key(|splice| (splice.at.start, splice.at.end));
        splice_in_pieces(body, &splices)
    }

    fn rewrite_form(&self, body: &Bytes, length_at: Option<Range<usize>>, model: &str) -> Vec<Bytes> {
        if model == self.model {
            return vec![body.clone()];
        }
        let length = length_at.map(|at| Splice { at, with: model.len().to_string().into() });
        let name = Splice { at: self.model_at.clone(), with: model.to_owned().into() };
        let splices: Vec<Splice> = length.into_iter().chain([name]).collect();
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
        // Servers that only support `max_tokens` ignore the newer name, so `max_tokens` is set in addition to it.
        // OpenAI refuses a request with both.
        let is_honored = |max: &&Maximum| cap.parameter != "max_tokens" || max.field == Field::MaxTokens;
        // The customer's own maximum is enough for a target that refuses a second one.
        let is_enough = alone && self.declares_maximum();
        let mut set = self.maxima.iter().filter(is_honored).any(|max| max.declares && max.tokens.is_some());
        for Maximum { field, at, tokens: declared, declares } in &self.maxima {
            let above = declared.is_some_and(|declared| declared > cap.tokens);
            // A parameter that is present as `null` is replaced, since adding it would duplicate the key.
            let is_named = *declares && field.name() == cap.parameter;
            let unlimited = declared.is_none() && (!declares || (!set && is_named && !is_enough));
            set |= is_named;
            if above || unlimited {
                splices.push(Splice { at: at.clone(), with: tokens.clone().into() });
            }
        }
        if !(set || is_enough) {
            added.extend(json::quote(cap.parameter));
            added.extend_from_slice(format!(":{tokens},").as_bytes());
        }
    }
}
