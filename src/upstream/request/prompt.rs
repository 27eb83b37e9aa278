//! How much text a prompt holds, in bytes of UTF-8: what a model would read.
//!
//! That is every string value at any depth; the names of members too in `tools`, `functions` and `response_format`, where
//! schemas are shown to the model. Numbers in `prompt` and `input` are tokens, and counted apart. Left out are
//! settings, and inline data outside of those schemas: base64 `data:` URLs where a URL belongs, `b64_json`, `file_data`,
//! the `data` of an `input_audio`, and base64 in the `data` of a `source` (Anthropic) and in `images` (Ollama).

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

/// Where a base64 `data:` URL is inline data; anywhere else the model reads its letters.
const URLS: [&str; 5] = ["url", "image_url", "audio_url", "video_url", "file_url"];

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
        holder: None,
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
    depth: u32,
    key: Option<Text<'a>>,
    // The key under which the last object or array was opened.
    holder: Option<Text<'a>>,
    measured: Measured,
}

impl<'a> Walk<'a> {
    fn see(&mut self, event: Event<'a>) {
        match event {
            Event::Open => {
                self.measured.items += u64::from(self.depth == 1);
                self.depth += 1;
                self.holder = self.key;
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
        key.is("b64_json")
            || key.is("file_data")
            || (key.is("data") && self.holder.is_some_and(|holder| holder.is("input_audio")))
            || (key.is("data") && self.holder.is_some_and(|holder| holder.is("source")) && is_base64(text))
            || (key.is("images") && is_base64(text))
            || (URLS.iter().any(|url| key.is(url))
                && text.starts_with("data:")
                && memmem::find(text.raw_head(256), b";base64,").is_some())
    }
}

/// Whether a text can be nothing but base64: no white space, one alphabet.
fn is_base64(text: &Text<'_>) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_');
    text.raw_head(usize::MAX).iter().all(|byte| is_part(byte) || *byte == b'\\')
}
