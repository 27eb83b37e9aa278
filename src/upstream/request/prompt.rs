//! Measures the text of a prompt: the text that the model reads, in bytes of UTF-8.
//!
//! All string values count, at any depth. In `tools`, `functions` and `response_format` the keys count too, since the
//! model reads these schemas. Numbers in `prompt` and `input` are token ids and are counted separately. Settings do not
//! count, nor does inline data outside the schemas: base64 or `data:` URLs in members for pictures, sounds and files,
//! and in the `data` member of an object for one of these. A `data:` URL inside a text counts, since the model reads
//! it.

use memchr::memmem;

use crate::upstream::json::{Event, Invalid, Reader, Text};

/// Top-level members whose strings the model does not read, besides `model` and `metadata`.
const SETTINGS: [&[u8]; 24] = [
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
    // Responses.
    b"client_metadata",
    b"conversation",
    b"include",
    b"previous_response_id",
    b"reasoning",
    b"truncation",
    // Messages.
    b"context_management",
    b"output_config",
    b"stop_sequences",
    b"thinking",
    // Images and audio.
    b"quality",
    b"size",
    b"voice",
];

/// Members that hold a URL. A base64 `data:` URL in them is inline data.
const URLS: [&str; 5] = ["url", "image_url", "audio_url", "video_url", "file_url"];

/// Members that hold inline data as base64 or as a `data:` URL, as named by OpenAI, Ollama (`images`), the AI SDK
/// (`image`), vLLM (`image_embeds`), llama.cpp (`image_data`) and Bedrock (`bytes`). The last two seal earlier
/// reasoning of responses and of messages.
const FILES: [&str; 9] = [
    "b64_json",
    "file_data",
    "images",
    "image",
    "image_embeds",
    "image_data",
    "bytes",
    "encrypted_content",
    "signature",
];

/// Objects whose `data` is inline data, as named by OpenAI, Anthropic (`source`) and Gemini.
const HOLDERS: [&str; 4] = ["input_audio", "source", "inlineData", "inline_data"];

/// The depth to which [`HOLDERS`] are recognized.
const MAX_DEPTH: usize = 12;

/// Strings shorter than this count as text without a check for inline data.
const MIN_INLINE: usize = 64;

/// The measures of one member of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Measured {
    /// The text, in bytes of UTF-8.
    pub(super) text: u64,
    /// The number of token ids.
    pub(super) ids: u64,
    /// The number of elements of an array that are not numbers: the prompts of a batch.
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
    // For each depth: whether the object or array there is one of `HOLDERS`.
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
                // The next element of an array has no key.
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
            Event::Number if self.ids => self.measured.ids += 1,
            Event::Number => {}
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

/// Whether a text consists of characters of base64 only.
fn is_base64(text: &Text<'_>) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_');
    text.raw_head(usize::MAX).iter().all(|byte| is_part(byte) || *byte == b'\\')
}
