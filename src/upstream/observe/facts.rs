//! The facts that an answer's document states, whichever reader finds them.

use crate::upstream::usage::Report;

/// The facts in a document, or in a part of one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct DocumentFacts {
    /// The `usage` object of the document.
    pub(super) report: Option<Report>,
    /// The last `usage` object of a choice.
    pub(super) choice_report: Option<Report>,
    /// UTF-8 bytes of generated text.
    pub(super) text_bytes: u64,
    /// A choice has a finish reason.
    pub(super) has_finish_reason: bool,
    /// The document holds something for the customer: text, a tool call, another part of a message, a vector.
    pub(super) has_content: bool,
    /// The document reports an error.
    pub(super) has_error: bool,
    /// There is a `detail` or `errors`: an error, unless the document holds an answer too.
    pub(super) has_complaint: bool,
    /// The list of choices, or of vectors.
    pub(super) answers: Answers,
}

/// The list of choices, or of vectors.
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
        self.text_bytes = self.text_bytes.saturating_add(bytes);
        self.has_content |= bytes > 0;
    }
}
