//! The changes to a request body, spliced into the bytes as they came.

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
}

/// A hard cap on the output.
#[derive(Debug, Clone, Copy)]
pub struct OutputCap<'a> {
    /// The parameter to be set when the customer declared no maximum: `max_tokens`, or what the target takes instead.
    pub parameter: &'a str,
    /// Tokens for each choice.
    pub tokens: u64,
}

impl Request {
    /// Whether [`Self::rewrite`] asks the upstream for usage in the stream, and the customer did not: then he is not
    /// to see the chunk that carries it.
    pub fn hides_usage(&self) -> bool {
        self.asks_for_usage() && !matches!(self.options, StreamOptions::With { asked: true, .. })
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
        if self.asks_for_usage() {
            self.ask_for_usage(&mut splices, &mut added);
        }
        if let Some(cap) = changes.cap {
            self.cap_output(cap, &mut splices, &mut added);
        }
        if !added.is_empty() {
            splices.push(Splice { at: self.inside..self.inside, with: added.into() });
        }
        splices.sort_unstable_by_key(|splice| splice.at.start);
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

    fn cap_output(&self, cap: OutputCap<'_>, splices: &mut Vec<Splice>, added: &mut Vec<u8>) {
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
        if !set {
            added.extend(json::quote(cap.parameter));
            added.extend_from_slice(format!(":{tokens},").as_bytes());
        }
    }
}
