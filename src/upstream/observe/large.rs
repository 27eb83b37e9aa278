//! Reads a JSON answer that is too large to be kept, in pieces and in constant memory. It holds no more than a `model`
//! that has not ended and the `usage` object.
//!
//! This is a lexer. It recognizes strings, brackets and colons, which is enough to find the members of valid JSON. It
//! does not validate: invalid JSON is passed on as it came. A string is a key if a colon follows it, and a member's
//! value if a colon came before it.

use std::{borrow::Cow, ops::Range};

use bytes::Bytes;

use super::{
    document::is_reason,
    facts::DocumentFacts,
    key::{Key, REASONING_NAMES},
    slug::Slug,
};
use crate::upstream::{
    json::{
        Reader,
        text::{hex_digit, unit_len},
    },
    splice::Splice,
    usage::Report,
};

/// The longest `model` that is held back, in bytes as written. A longer one is passed on.
const MAX_MODEL: usize = 1024;
/// The largest `usage` object that is read, in bytes as written.
const MAX_USAGE: usize = 64 << 10;
/// The depth to which keys are remembered. Only the parts of a text lie deeper.
const MAX_PATH: usize = 8;
/// No key of the vocabulary is longer than this, even with every character escaped.
const MAX_KEY: usize = 128;

/// The state of the lexer between two pieces of an answer.
#[derive(Debug, Default)]
pub(super) struct LargeAnswerLexer {
    depth: u32,
    state: State,
    // The last significant byte was a colon.
    after_colon: bool,
    // The last string that is either a key or a finish reason, quotes included, cut at `MAX_KEY`.
    last_string: Vec<u8>,
    // The last key, and the last key at each depth from the outermost object on. In an array it is `Other`.
    key: Key,
    path: [Key; MAX_PATH],
    // The beginning of a model's name whose end has not come.
    held_model: Vec<u8>,
    // Inside a `usage` object: the depth outside it, and the object so far.
    usage: Option<(u32, Vec<u8>)>,
    // Inside arguments that are not a string: the depth outside them.
    arguments: Option<u32>,
    // Bytes of the current choice's reasoning by the name of its member: the text, and its summaries.
    reasoning: [[u64; 2]; REASONING_NAMES],
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Between,
    String(Role),
    /// After a backslash.
    Escape(Role),
    /// In a `\u` escape: the number of digits so far, and their value.
    Unit(Role, u8, u16),
}

/// The role of a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// A key, or an element of an array. The next byte decides.
    Key,
    Model,
    /// Generated text.
    Text,
    /// Reasoning in the member with this number in the vocabulary, or a summary of it.
    Reasoning {
        name: usize,
        is_summary: bool,
    },
    FinishReason,
    Other,
}

/// A piece of the answer while it is read.
struct Piece<'a> {
    bytes: &'a [u8],
    /// The offset of the next byte.
    at: usize,
    slug: &'a Slug,
    // Where the current `model`, `usage` or arguments begin in this piece; 0 if they began in an earlier one.
    model_at: usize,
    usage_at: usize,
    arguments_at: usize,
    facts: DocumentFacts,
    splices: &'a mut Vec<Splice>,
}

impl LargeAnswerLexer {
    /// Reads a piece of the answer. Returns its facts and appends the changes of the model's name to `splices`.
    pub(super) fn feed(&mut self, bytes: &[u8], slug: &Slug, splices: &mut Vec<Splice>) -> DocumentFacts {
        let (model_at, usage_at, arguments_at) = (0, 0, 0);
        let facts = DocumentFacts::default();
        let mut piece = Piece { bytes, at: 0, slug, model_at, usage_at, arguments_at, facts, splices };
        while let Some(&byte) = bytes.get(piece.at) {
            piece.at += 1;
            self.state = match self.state {
                State::Between => self.between(byte, &mut piece),
                State::String(role) => self.string(role, &mut piece),
                State::Escape(role) => self.escape(role, byte, &mut piece),
                State::Unit(role, digits, unit) => self.unit(role, digits, unit, byte, &mut piece),
            };
        }
        self.end_piece(&mut piece);
        piece.facts
    }

    /// Outside strings.
    fn between(&mut self, byte: u8, piece: &mut Piece<'_>) -> State {
        match byte {
            b'"' => return State::String(self.begin_string(piece)),
            b':' => {
                self.set_key(unquoted(&self.last_string).map_or(Key::Other, |key| Key::named(&key)));
                self.after_colon = true;
            }
            b'{' | b'[' => self.open(byte, piece),
            b'}' | b']' => self.close(piece),
            b' ' | b'\n' | b'\r' | b'\t' => {}
            _ => {
                self.after_colon = false;
                let rest = &piece.bytes[piece.at..];
                piece.at += rest.iter().position(|byte| STRUCTURE[*byte as usize]).unwrap_or(rest.len());
            }
        }
        State::Between
    }

    fn begin_string(&mut self, piece: &mut Piece<'_>) -> Role {
        let role = self.role();
        self.after_colon = false;
        match role {
            Role::Model => piece.model_at = piece.at - 1,
            Role::Key | Role::FinishReason => {
                self.last_string.clear();
                self.last_string.push(b'"');
            }
            Role::Text | Role::Reasoning { .. } | Role::Other => {}
        }
        role
    }

    fn open(&mut self, bracket: u8, piece: &mut Piece<'_>) {
        match self.path() {
            _ if !self.after_colon => {}
            [Key::Usage] | [Key::Choices, _, Key::Usage] if bracket == b'{' => {
                self.usage = Some((self.depth, Vec::new()));
                piece.usage_at = piece.at - 1;
            }
            [Key::Choices, .., Key::Arguments] if self.is_function() => self.begin_arguments(piece),
            [Key::Content | Key::Output, _, Key::Arguments] => self.begin_arguments(piece),
            _ => {}
        }
        if bracket == b'{' && matches!(self.path(), [Key::Data, _]) {
            piece.facts.images += 1;
        }
        self.after_colon = false;
        self.depth = self.depth.saturating_add(1);
        self.set_key(Key::Other);
    }

    fn begin_arguments(&mut self, piece: &mut Piece<'_>) {
        self.arguments = Some(self.depth);
        piece.arguments_at = piece.at - 1;
    }

    fn close(&mut self, piece: &mut Piece<'_>) {
        self.depth = self.depth.saturating_sub(1);
        if let Some((_, mut usage)) = self.usage.take_if(|(depth, _)| *depth == self.depth) {
            usage.extend_from_slice(&piece.bytes[piece.usage_at..piece.at]);
            self.report(&usage, &mut piece.facts);
        }
        if self.arguments.take_if(|depth| *depth == self.depth).is_some() {
            piece.facts.add_text((piece.at - piece.arguments_at) as u64);
        }
        if self.depth == 2 {
            self.reasoning = Default::default();
        }
    }

    /// Reads a string up to its end, an escape, or the end of the piece.
    fn string(&mut self, role: Role, piece: &mut Piece<'_>) -> State {
        let start = piece.at - 1;
        let rest = &piece.bytes[start..];
        let run = memchr::memchr2(b'"', b'\\', rest);
        let text = &rest[..run.unwrap_or(rest.len())];
        self.remember(role, text);
        self.count(role, text.len(), &mut piece.facts);
        piece.at = start + text.len() + usize::from(run.is_some());
        match run.map(|at| rest[at]) {
            Some(b'"') => {
                self.end_string(role, piece);
                State::Between
            }
            Some(_) => {
                self.remember(role, b"\\");
                State::Escape(role)
            }
            None => State::String(role),
        }
    }

    fn end_string(&mut self, role: Role, piece: &mut Piece<'_>) {
        match role {
            Role::Key => self.last_string.push(b'"'),
            Role::FinishReason => {
                self.last_string.push(b'"');
                let is_reason = unquoted(&self.last_string).is_none_or(|text| is_reason(&text));
                piece.facts.has_finish_reason |= is_reason;
            }
            Role::Model => self.end_model(piece),
            Role::Text | Role::Reasoning { .. } | Role::Other => {}
        }
    }

    fn escape(&mut self, role: Role, byte: u8, piece: &mut Piece<'_>) -> State {
        self.remember(role, &[byte]);
        if byte == b'u' {
            return State::Unit(role, 0, 0);
        }
        self.count(role, 1, &mut piece.facts);
        State::String(role)
    }

    fn unit(&mut self, role: Role, digits: u8, unit: u16, byte: u8, piece: &mut Piece<'_>) -> State {
        self.remember(role, &[byte]);
        let unit = unit << 4 | hex_digit(byte).unwrap_or(0);
        if digits < 3 {
            return State::Unit(role, digits + 1, unit);
        }
        self.count(role, unit_len(unit), &mut piece.facts);
        State::String(role)
    }

    /// Keeps the parts of this piece that the next one continues.
    fn end_piece(&mut self, piece: &mut Piece<'_>) {
        if let State::String(Role::Model) | State::Escape(Role::Model) | State::Unit(Role::Model, ..) = self.state {
            self.hold_model(piece);
        }
        if let Some((_, usage)) = &mut self.usage {
            usage.extend_from_slice(&piece.bytes[piece.usage_at..]);
            if usage.len() > MAX_USAGE {
                self.usage = None;
            }
        }
        if self.arguments.is_some() {
            piece.facts.add_text((piece.bytes.len() - piece.arguments_at) as u64);
        }
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

    /// Whether the current object is the function of a tool call.
    fn is_function(&self) -> bool {
        matches!(
            self.path(),
            [Key::Choices, _, Key::Delta | Key::Message, Key::FunctionCall, _]
                | [Key::Choices, _, Key::Delta | Key::Message, Key::ToolCalls, _, Key::Function, _]
        )
    }

    /// Reads a complete `usage` object.
    fn report(&self, usage: &[u8], facts: &mut DocumentFacts) {
        let Some(report) = read_report(usage) else { return };
        if self.depth == 1 {
            // Merged as if each had come in a chunk of its own.
            facts.report.get_or_insert_default().add(&report);
        } else {
            facts.choice_report = Some(report);
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
            // A transcript, the blocks of Anthropic's messages, and the output items of responses.
            [Key::Text] => Role::Text,
            [Key::Content | Key::Output, _, Key::Name | Key::Arguments] => Role::Text,
            [Key::Content, ..] if self.key.is_part() => Role::Text,
            [Key::Output, ..] if self.key.is_part_of_item() => Role::Text,
            _ => Role::Other,
        }
    }

    /// The role of a member's value in a message. `path` holds the keys from the message on.
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

    /// Keeps bytes of a string whose value matters, as written.
    fn remember(&mut self, role: Role, bytes: &[u8]) {
        if let Role::Key | Role::FinishReason = role {
            let room = MAX_KEY.saturating_sub(self.last_string.len());
            self.last_string.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    /// Counts unescaped bytes of a string.
    fn count(&mut self, role: Role, bytes: usize, facts: &mut DocumentFacts) {
        match role {
            Role::Text => facts.add_text(bytes as u64),
            // The same reasoning may come under several names: only the longest counts.
            Role::Reasoning { name, is_summary } => {
                let longest = |reasoning: &[[u64; 2]]| reasoning.as_flattened().iter().max().copied().unwrap_or(0);
                let before = longest(&self.reasoning);
                let so_far = &mut self.reasoning[name][usize::from(is_summary)];
                *so_far = so_far.saturating_add(bytes as u64);
                facts.add_text(longest(&self.reasoning) - before);
            }
            Role::Key | Role::Model | Role::FinishReason | Role::Other => {}
        }
    }

    /// A model's name ends just before `piece.at`.
    fn end_model(&mut self, piece: &mut Piece<'_>) {
        let at = piece.model_at..piece.at;
        let began_earlier = !self.held_model.is_empty();
        self.held_model.extend_from_slice(&piece.bytes[at.clone()]);
        let written = std::mem::take(&mut self.held_model);
        if unquoted(&written).is_none_or(|model| *model != *piece.slug.name.as_bytes()) {
            piece.splices.push(Splice { at, with: piece.slug.quoted.clone() });
        } else if began_earlier {
            piece.splices.push(Splice { at, with: written.into() });
        }
    }

    /// A model's name continues in the next piece.
    fn hold_model(&mut self, piece: &mut Piece<'_>) {
        let at: Range<usize> = piece.model_at..piece.bytes.len();
        self.held_model.extend_from_slice(&piece.bytes[at.clone()]);
        let mut with = Bytes::new();
        if self.held_model.len() > MAX_MODEL {
            with = std::mem::take(&mut self.held_model).into();
            self.state = match self.state {
                State::Escape(_) => State::Escape(Role::Other),
                State::Unit(_, digits, unit) => State::Unit(Role::Other, digits, unit),
                State::String(_) | State::Between => State::String(Role::Other),
            };
        }
        piece.splices.push(Splice { at, with });
    }
}

fn unquoted(string: &[u8]) -> Option<Cow<'_, [u8]>> {
    Some(Reader::new(string).ok()?.string().ok()?.bytes())
}

fn read_report(usage: &[u8]) -> Option<Report> {
    Report::read(&mut Reader::lenient(usage)).ok()?
}

/// The bytes that can follow a number or a literal and matter to the lexer.
const STRUCTURE: [bool; 256] = {
    let mut table = [false; 256];
    let mut bytes: &[u8] = b"\"{}[]:";
    while let [byte, rest @ ..] = bytes {
        table[*byte as usize] = true;
        bytes = rest;
    }
    table
};
