//! How much text a prompt holds, in bytes of UTF-8: what a model would read.
//!
//! That is every string value at any depth; the names of members too in `tools`, `functions` and `response_format`, where
//! schemas are shown to the model. Numbers in `prompt` and `input` are tokens, and counted apart. Left out are
//! settings, and inline data outside of those schemas: base64 and `data:` URLs under names that stand for pictures, sounds
//! and files, and base64 in the `data` of an object that holds one. A `data:` URL in a text is read by the model.

use memchr::memmem;

use crate::upstream::json::{Event, Invalid, Reader, Text};

/// Top-level members whose strings are no text for a model. `model` and `metadata` never are.
const SETTINGS: [&[u8]; 11] = [
    b"user",
    b"safety_identifier",
    b"prompt_cache_key",
    b"prompt_cache_retention",
    b"service_tier",
    b"reasoning_effort",
    b"verbosity",
    b"encoding_format",
    b"modalities",
    b"audio",
    b"stop",
];

/// Members that hold a URL: a base64 `data:` URL in them is inline data.
const URLS: [&str; 5] = ["url", "image_url", "audio_url", "video_url", "file_url"];

/// Members that hold inline data as base64 or as a `data:` URL: of OpenAI, Ollama (`images`), the AI SDK (`image`), vLLM
/// (`image_embeds`), llama.cpp (`image_data`) and Bedrock (`bytes`).
const FILES: [&str; 7] = ["b64_json", "file_data", "images", "image", "image_embeds", "image_data", "bytes"];

/// Objects whose `data` is inline data: of OpenAI, Anthropic (`source`) and Gemini.
const HOLDERS: [&str; 4] = ["input_audio", "source", "inlineData", "inline_data"];

/// Holders are known down to this depth.
const MAX_DEPTH: usize = 12;

/// Shorter strings are counted without asking whether they are inline data.
const MIN_INLINE: usize = 64;

/// What one member of a request holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Measured {
    /// Text, in bytes of UTF-8.
    pub(super) text: u64,
    /// Numbers that stand for tokens.
    pub(super) ids: u64,
    /// Elements, if it is an array, numbers aside: prompts, in a batch of them.
    pub(super) items: u64,
}

/// Measures the value of the top-level member `key`.
pub(super) fn measure(reader: &mut Reader<'_>, key: &[u8]) -> Result<Measured, Invalid> {
    let mut walk = Walk {
        names: matches!(key, b"tools" | b"functions" | b"response_format"),
        ids: matches!(key, b"prompt" | b"input"),
        depth: 0,
        key: None,
        holders: [false; MAX_DEPTH],
        measured: Measured::default(),
    };
    if SETTINGS.contains(&key) {
        reader.skip()?;
    } else {
        reader.walk(|event| walk.see(event))?;
    }
    Ok(walk.measured)
}

struct Walk<'a> {
    names: bool,
    ids: bool,
    depth: usize,
    key: Option<Text<'a>>,
    // Whether the object or array at each depth is one of `HOLDERS`.
    holders: [bool; MAX_DEPTH],
    measured: Measured,
}

impl<'a> Walk<'a> {
    fn see(&mut self, event: Event<'a>) {
        match event {
            Event::Open => {
                self.measured.items += u64::from(self.depth == 1);
                let is_holder = self.key.is_some_and(|key| HOLDERS.iter().any(|holder| key.is(holder)));
                if let Some(here) = self.holders.get_mut(self.depth) {
                    *here = is_holder;
                }
                self.depth += 1;
            }
            Event::Close => {
                self.depth = self.depth.saturating_sub(1);
                // What comes next in an array has no key of its own.
                self.key = None;
            }
            Event::Key(key) => {
                self.key = Some(key);
                if self.names {
                    self.measured.text += key.len() as u64;
                }
            }
            Event::String(text) => {
                self.measured.items += u64::from(self.depth == 1);
                if !self.is_inline(&text) {
                    self.measured.text += text.len() as u64;
                }
            }
            Event::Number(_) if self.ids => self.measured.ids += 1,
            Event::Number(_) => {}
        }
    }

    fn is_inline(&self, text: &Text<'_>) -> bool {
        let (false, MIN_INLINE.., Some(key)) = (self.names, text.len(), self.key) else { return false };
        let is_one_of = |names: &[&str]| names.iter().any(|name| key.is(name));
        let is_held = || self.depth.checked_sub(1).and_then(|depth| self.holders.get(depth)) == Some(&true);
        match () {
            () if is_one_of(&FILES) || (key.is("data") && is_held()) => is_base64(text) || is_data_url(text),
            () if is_one_of(&URLS) => is_data_url(text),
            () => false,
        }
    }
}

/// Whether a text is a `data:` URL in base64.
fn is_data_url(text: &Text<'_>) -> bool {
    // The media type is short.
    let head = text.raw_head(256).to_ascii_lowercase();
    head.starts_with(b"data:") && memmem::find(&head, b";base64,").is_some()
}

/// Whether a text can be nothing but base64: no white space, one alphabet.
fn is_base64(text: &Text<'_>) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_');
    text.raw_head(usize::MAX).iter().all(|byte| is_part(byte) || *byte == b'\\')
}
