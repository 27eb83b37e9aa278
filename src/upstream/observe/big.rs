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
    key::{Key, REASONING_NAMES},
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
/// Keys are remembered down to this depth. Everything that is read is above it, but for the parts of a text.
const MAX_PATH: usize = 8;
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
    // The last key, and the last one at each depth, from the outermost object on. In an array it is `Other`.
    key: Key,
    path: [Key; MAX_PATH],
    // The beginning of the model's value, while the rest of it is awaited.
    held: Vec<u8>,
    // While the lexer is in a `usage` object: the depth outside of it, and the object so far.
    usage: Option<(u32, Vec<u8>)>,
    // While the lexer is in arguments that are no string: the depth outside of them.
    arguments: Option<u32>,
    // Bytes of the choice's reasoning so far, by the name that they came under, and the same for its summaries.
    reasoning: [[u64; 2]; REASONING_NAMES],
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
    /// Reasoning under the name with this number, or a summary of it.
    Reasoning {
        name: usize,
        is_summary: bool,
    },
    FinishReason,
    Other,
}

impl Big {
    /// Follows `chunk`, appends to `splices` what has to change in it, and gives what it says.
    pub(super) fn feed(&mut self, chunk: &[u8], slug: &Slug, splices: &mut Vec<Splice>) -> Said {
        let mut said = Said::default();
        let mut at = 0;
        // Where the value of a `model`, a `usage` or arguments begins in this chunk; 0 if it began before.
        let (mut model_at, mut usage_at, mut arguments_at) = (0, 0, 0);
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
                        let key = unquoted(&self.last).map_or(Key::Other, |key| Key::named(&key));
                        self.set_key(key);
                        self.after_colon = true;
                    }
                    b'{' | b'[' => {
                        match self.path() {
                            _ if !self.after_colon => {}
                            [Key::Usage] | [Key::Choices, _, Key::Usage] if byte == b'{' => {
                                self.usage = Some((self.depth, Vec::new()));
                                usage_at = at - 1;
                            }
                            [Key::Choices, .., Key::Arguments] if self.is_function() => {
                                self.arguments = Some(self.depth);
                                arguments_at = at - 1;
                            }
                            _ => {}
                        }
                        self.after_colon = false;
                        self.depth = self.depth.saturating_add(1);
                        self.set_key(Key::Other);
                    }
                    b'}' | b']' => {
                        self.depth = self.depth.saturating_sub(1);
                        if let Some((_, mut usage)) = self.usage.take_if(|(depth, _)| *depth == self.depth) {
                            usage.extend_from_slice(&chunk[usage_at..at]);
                            self.report(&usage, &mut said);
                        }
                        if self.arguments.take_if(|depth| *depth == self.depth).is_some() {
                            add_text(at - arguments_at, &mut said);
                        }
                        if self.depth == 2 {
                            self.reasoning = Default::default();
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
        if let Some((_, usage)) = &mut self.usage {
            usage.extend_from_slice(&chunk[usage_at..]);
            if usage.len() > MAX_USAGE {
                self.usage = None;
            }
        }
        if self.arguments.is_some() {
            add_text(chunk.len() - arguments_at, &mut said);
        }
        said
    }

    fn set_key(&mut self, key: Key) {
        self.key = key;
        if let Some(last) = (self.depth as usize).checked_sub(1).and_then(|depth| self.path.get_mut(depth)) {
            *last = key;
        }
    }

    /// The keys from the outermost object to here, as far as they are remembered.
    fn path(&self) -> &[Key] {
        &self.path[..MAX_PATH.min(self.depth as usize)]
    }

    /// Whether the object here is the function of a tool call.
    fn is_function(&self) -> bool {
        matches!(
            self.path(),
            [Key::Choices, _, Key::Delta | Key::Message, Key::FunctionCall, _]
                | [Key::Choices, _, Key::Delta | Key::Message, Key::ToolCalls, _, Key::Function, _]
        )
    }

    /// A `usage` object has ended.
    fn report(&self, usage: &[u8], said: &mut Said) {
        let Some(report) = read_report(usage) else { return };
        if self.depth == 1 {
            // As if it had come in a chunk of its own.
            said.report.get_or_insert_default().add(&report);
        } else {
            said.choice_report = Some(report);
        }
    }

    /// The role of the string that begins here.
    fn role(&self) -> Role {
        match *self.path() {
            _ if !self.after_colon => Role::Key,
            [Key::Model] | [Key::Response | Key::Message, Key::Model] => Role::Model,
            [Key::Choices, _, Key::FinishReason] => Role::FinishReason,
            [Key::Choices, _, Key::Text] => Role::Text,
            [Key::Choices, _, Key::Delta | Key::Message, ref inside @ ..] => self.role_in_message(inside),
            _ => Role::Other,
        }
    }

    /// The role of a member's value in a message, by the keys from the message on.
    fn role_in_message(&self, path: &[Key]) -> Role {
        match *path {
            [Key::Content] | [Key::Audio, Key::Transcript] => Role::Text,
            [.., Key::Name | Key::Arguments] if self.is_function() => Role::Text,
            [Key::Content, ..] if self.key.is_part() => Role::Text,
            [Key::Reasoning(name)] => Role::Reasoning { name, is_summary: false },
            [Key::Reasoning(name), ..] if self.key.is_part_of_reasoning() => {
                Role::Reasoning { name, is_summary: false }
            }
            [Key::Reasoning(name), ..] if self.key == Key::Summary => Role::Reasoning { name, is_summary: true },
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
            Role::Text => bytes,
            // The same reasoning may come under several names.
            Role::Reasoning { name, is_summary } => {
                let most = |reasoning: &[[u64; 2]]| reasoning.as_flattened().iter().max().copied().unwrap_or(0);
                let before = most(&self.reasoning);
                let so_far = &mut self.reasoning[name][usize::from(is_summary)];
                *so_far = so_far.saturating_add(bytes as u64);
                (most(&self.reasoning) - before) as usize
            }
            Role::Key | Role::Model | Role::FinishReason | Role::Other => 0,
        };
        add_text(text, said);
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

fn add_text(bytes: usize, said: &mut Said) {
    said.text_bytes = said.text_bytes.saturating_add(bytes as u64);
    said.content |= bytes > 0;
}

fn unquoted(string: &[u8]) -> Option<Cow<'_, [u8]>> {
    Some(Reader::new(string).ok()?.string().ok()?.bytes())
}

fn read_report(usage: &[u8]) -> Option<Report> {
    Report::read(&mut Reader::lenient(usage)).ok()?
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
