//! The facts that an answer's document states, whichever reader finds them.

use crate::upstream::usage::Report;

/// The facts in a document, or in a part of one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct DocumentFacts {
    /// The `usage` object of the document.
    pub(super) report: Option<Report>,
    /// The last `usage` object of a choice.
    pub(super) choice_report: Option<Report>,
    /// Generated text.
    pub(super) text: TextBytes,
    /// A choice has a finish reason.
    pub(super) has_finish_reason: bool,
    /// The document holds something for the customer: text, a tool call, another part of a message, a vector.
    pub(super) has_content: bool,
    /// The document reports an error.
    pub(super) has_error: bool,
    /// There is a `detail` or `errors`: an error, unless the document holds an answer too.
    pub(super) has_complaint: bool,
    /// The list of the route's answers.
    pub(super) answers: Answers,
    /// Complete pictures.
    pub(super) images: u64,
    /// The length of the recording, in microseconds.
    pub(super) micros: Option<u64>,
    /// This is the last event of a stream.
    pub(super) is_terminal: bool,
}

/// UTF-8 bytes of generated text. Some APIs send the same text several times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct TextBytes {
    /// Text that is sent once, or in deltas.
    pub(super) streamed: u64,
    /// Text in output items that are complete.
    pub(super) items: u64,
    /// Text in the whole answer.
    pub(super) answer: u64,
}

impl TextBytes {
    /// The text without its repetitions.
    pub(super) fn bytes(&self) -> u64 {
        self.streamed.max(self.items).max(self.answer)
    }

    /// Adds the text of a later document.
    pub(super) fn add(&mut self, later: &Self) {
        self.streamed = self.streamed.saturating_add(later.streamed);
        self.items = self.items.saturating_add(later.items);
        self.answer = self.answer.saturating_add(later.answer);
    }
}

/// The list of a route's answers: choices, vectors, output items, content blocks, pictures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Answers {
    #[default]
    Absent,
    Empty,
    Some,
}

impl DocumentFacts {
    /// Whether this is the extra chunk that carries the usage and nothing else.
    pub(super) fn is_usage_alone(&self) -> bool {
        self.report.is_some() && self.answers != Answers::Some && !self.has_content && !self.has_finish_reason
    }

    /// Whether the document reports a failure.
    pub(super) fn is_error(&self) -> bool {
        self.has_error || (self.has_complaint && self.answers == Answers::Absent && !self.has_content)
    }

    /// Whether the document has the form of the route's answer, even if it is empty: a choice, a list of vectors.
    pub(super) fn is_answer(&self) -> bool {
        self.answers == Answers::Some
    }

    /// Adds generated text, in bytes of UTF-8.
    pub(super) fn add_text(&mut self, bytes: u64) {
        self.text.streamed = self.text.streamed.saturating_add(bytes);
        self.has_content |= bytes > 0;
    }
}
