//! Follows a JSON answer that is too large to be kept, byte by byte and in constant memory: the name in `model`, and the
//! `usage` object, are all that is ever held.
//!
//! This is a lexer: it knows strings, brackets and colons, which is enough to know where a member of the outermost object
//! begins and ends in JSON that is valid. It does not find out whether it is; what is not is passed on as it came. A
//! string is a key if a colon follows, and a member's value if one came before.

use std::{borrow::Cow, ops::Range};

use bytes::Bytes;

use super::{
    Slug,
    answer::{Said, is_reason},
};
use crate::upstream::{
    json::{
        Reader,
        text::{hex_digit, unit_len},
    },
    splice::Splice,
    usage::Report,
};

/// The longest `model` that is held back, in bytes as written; a longer one is passed on.
const MAX_MODEL: usize = 1024;
/// The largest `usage` object that is read, in bytes as written.
const MAX_USAGE: usize = 64 << 10;
/// The names that reasoning comes under.
const REASONING: [&[u8]; 3] = [b"reasoning_content", b"reasoning", b"thinking"];
/// No key that we know is longer than that, every character of it escaped.
const MAX_KEY: usize = 128;

/// Where the lexer stands in an answer.
#[derive(Debug, Default)]
pub(super) struct Big {
    depth: u32,
    state: State,
    // The last significant byte was a colon.
    after_colon: bool,
    // The last string that was not a member's value, or was a finish reason, quotes included, cut at `MAX_KEY`.
    last: Vec<u8>,
    // The last key, and the last in the outermost object.
    key: Key,
    top: Key,
    // The beginning of the model's value, while the rest of it is awaited.
    held: Vec<u8>,
    // The `usage` object so far, while the lexer is in it.
    usage: Option<Vec<u8>>,
    // Bytes of reasoning so far, by the name that they came under: the same may come under several.
    reasoning: [u64; REASONING.len()],
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Between,
    String(Role),
    /// Behind a backslash.
    Escape(Role),
    /// In a `\u` escape: digits so far and their value.
    Unit(Role, u8, u16),
}

/// What a string is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// A key, or an element of an array: what follows will tell.
    Key,
    Model,
    /// Text that was generated.
    Text,
    /// Reasoning, by its place in [`REASONING`].
    Reasoning(usize),
    FinishReason,
    Other,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Key {
    #[default]
    Other,
    Model,
    Usage,
    Choices,
    /// An object that may have a `model` of its own.
    Holder,
    Text,
    Reasoning(usize),
    FinishReason,
}

impl Key {
    fn named(key: &[u8]) -> Self {
        match key {
            b"model" => Self::Model,
            b"usage" => Self::Usage,
            b"choices" => Self::Choices,
            b"response" | b"message" => Self::Holder,
            b"content" | b"refusal" | b"text" | b"name" | b"arguments" | b"input" | b"transcript" => Self::Text,
            b"finish_reason" => Self::FinishReason,
            _ => REASONING.iter().position(|name| *name == key).map_or(Self::Other, Self::Reasoning),
        }
    }
}

impl Big {
    /// Follows `chunk`, appends to `splices` what has to change in it, and gives what it says.
    pub(super) fn feed(&mut self, chunk: &[u8], slug: &Slug, splices: &mut Vec<Splice>) -> Said {
        let mut said = Said::default();
        let mut at = 0;
        // Where the value of a `model` begins in this chunk, and what of `usage` has not been copied yet.
        let mut model_at = 0;
        let mut usage_at = 0;
        while let Some(&byte) = chunk.get(at) {
            at += 1;
            match self.state {
                State::Between => match byte {
                    b'"' => {
                        let role = self.role();
                        match role {
                            Role::Model => model_at = at - 1,
                            Role::Key | Role::FinishReason => {
                                self.last.clear();
                                self.last.push(byte);
                            }
                            _ => {}
                        }
                        self.after_colon = false;
                        self.state = State::String(role);
                    }
                    b':' => {
                        self.key = unquoted(&self.last).map_or(Key::Other, |key| Key::named(&key));
                        if self.depth == 1 {
                            self.top = self.key;
                        }
                        self.after_colon = true;
                    }
                    b'{' | b'[' => {
                        if byte == b'{' && self.after_colon && self.depth == 1 && self.top == Key::Usage {
                            self.usage = Some(Vec::new());
                            usage_at = at - 1;
                        }
                        self.after_colon = false;
                        self.depth = self.depth.saturating_add(1);
                    }
                    b'}' | b']' => {
                        self.depth = self.depth.saturating_sub(1);
                        if self.depth == 1
                            && let Some(mut usage) = self.usage.take()
                        {
                            usage.extend_from_slice(&chunk[usage_at..at]);
                            if let Some(report) = read_report(&usage) {
                                // As if it had come in a chunk of its own.
                                said.report.get_or_insert_default().add(&report);
                            }
                        }
                    }
                    b' ' | b'\n' | b'\r' | b'\t' => {}
                    _ => {
                        self.after_colon = false;
                        at += chunk[at..].iter().position(|byte| STRUCTURE[*byte as usize]).unwrap_or(chunk.len() - at);
                    }
                },
                State::String(role) => {
                    let run = memchr::memchr2(b'"', b'\\', &chunk[at - 1..]);
                    let end = run.map_or(chunk.len(), |n| at - 1 + n);
                    self.remember(role, &chunk[at - 1..end]);
                    self.count(role, end + 1 - at, &mut said);
                    at = (end + 1).min(chunk.len());
                    match run.map(|_| chunk[end]) {
                        Some(b'"') => {
                            self.state = State::Between;
                            match role {
                                Role::Key => self.last.push(b'"'),
                                Role::FinishReason => {
                                    self.last.push(b'"');
                                    said.finish_reason |= unquoted(&self.last).is_none_or(|text| is_reason(&text));
                                }
                                Role::Model => self.model(chunk, model_at..at, slug, splices),
                                _ => {}
                            }
                        }
                        Some(_) => {
                            self.remember(role, b"\\");
                            self.state = State::Escape(role);
                        }
                        None => {}
                    }
                }
                State::Escape(role) => {
                    self.remember(role, &[byte]);
                    self.state = if byte == b'u' { State::Unit(role, 0, 0) } else { State::String(role) };
                    self.count(role, usize::from(byte != b'u'), &mut said);
                }
                State::Unit(role, digits, unit) => {
                    self.remember(role, &[byte]);
                    let unit = unit << 4 | hex_digit(byte).unwrap_or(0);
                    self.state = if digits < 3 { State::Unit(role, digits + 1, unit) } else { State::String(role) };
                    self.count(role, if digits < 3 { 0 } else { unit_len(unit) }, &mut said);
                }
            }
        }
        if let State::String(Role::Model) | State::Escape(Role::Model) | State::Unit(Role::Model, ..) = self.state {
            self.hold(chunk, model_at, splices);
        }
        if let Some(usage) = &mut self.usage {
            usage.extend_from_slice(&chunk[usage_at..]);
            if usage.len() > MAX_USAGE {
                self.usage = None;
            }
        }
        said
    }

    /// What the string is that begins here.
    fn role(&self) -> Role {
        match self.key {
            _ if !self.after_colon => Role::Key,
            Key::Model if self.depth == 1 || (self.depth == 2 && self.top == Key::Holder) => Role::Model,
            Key::Text if self.depth > 1 && self.top == Key::Choices => Role::Text,
            Key::Reasoning(name) if self.depth > 1 && self.top == Key::Choices => Role::Reasoning(name),
            Key::FinishReason if self.top == Key::Choices => Role::FinishReason,
            _ => Role::Other,
        }
    }

    /// Some bytes of a string, as written.
    fn remember(&mut self, role: Role, bytes: &[u8]) {
        if let Role::Key | Role::FinishReason = role {
            let room = MAX_KEY.saturating_sub(self.last.len());
            self.last.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    /// Some bytes of a string, as they mean.
    fn count(&mut self, role: Role, bytes: usize, said: &mut Said) {
        let text = match role {
            Role::Text => bytes as u64,
            Role::Reasoning(name) => {
                let most = |reasoning: &[u64]| reasoning.iter().max().copied().unwrap_or(0);
                let before = most(&self.reasoning);
                self.reasoning[name] = self.reasoning[name].saturating_add(bytes as u64);
                most(&self.reasoning) - before
            }
            Role::Key | Role::Model | Role::FinishReason | Role::Other => 0,
        };
        said.text_bytes = said.text_bytes.saturating_add(text);
        said.content |= text > 0;
    }

    /// The value of a `model` ends with `at`.
    fn model(&mut self, chunk: &[u8], at: Range<usize>, slug: &Slug, splices: &mut Vec<Splice>) {
        let begun_here = self.held.is_empty();
        self.held.extend_from_slice(&chunk[at.clone()]);
        let written = std::mem::take(&mut self.held);
        if unquoted(&written).is_none_or(|model| *model != *slug.name.as_bytes()) {
            splices.push(Splice { at, with: slug.quoted.clone() });
        } else if !begun_here {
            splices.push(Splice { at, with: written.into() });
        }
    }

    /// The value of a `model` goes on in the next chunk.
    fn hold(&mut self, chunk: &[u8], from: usize, splices: &mut Vec<Splice>) {
        self.held.extend_from_slice(&chunk[from..]);
        let mut with = Bytes::new();
        if self.held.len() > MAX_MODEL {
            with = std::mem::take(&mut self.held).into();
            self.state = match self.state {
                State::Escape(_) => State::Escape(Role::Other),
                State::Unit(_, digits, unit) => State::Unit(Role::Other, digits, unit),
                State::String(_) | State::Between => State::String(Role::Other),
            };
        }
        splices.push(Splice { at: from..chunk.len(), with });
    }
}

fn unquoted(string: &[u8]) -> Option<Cow<'_, [u8]>> {
    Some(Reader::new(string).ok()?.string().ok()?.bytes())
}

fn read_report(usage: &[u8]) -> Option<Report> {
    Report::read(&mut Reader::new(usage).ok()?).ok()?
}

/// Bytes that mean something between strings, numbers and literals aside.
const STRUCTURE: [bool; 256] = {
    let mut table = [false; 256];
    let mut bytes: &[u8] = b"\"{}[]:";
    while let [byte, rest @ ..] = bytes {
        table[*byte as usize] = true;
        bytes = rest;
    }
    table
};
