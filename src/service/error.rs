//! Why a service refused. `http::error` is the only place that knows which status each becomes.

use std::fmt;

/// Why an operator's request failed. Unless it is `Pending`, nothing was changed.
#[derive(Debug)]
pub enum Error {
    /// The request breaks a rule; the sentence names the field and says what would be right.
    Invalid {
        /// Which rule, for programs.
        code: &'static str,
        /// Which rule, for people.
        message: String,
    },
    /// Likewise, in the words of the published API, which clients compare: they are told as they are.
    Published {
        /// Which rule, for programs.
        code: &'static str,
        /// Which rule, as published.
        message: &'static str,
    },
    /// What the path names does not exist: `"group"`.
    NotFound(&'static str),
    /// The change is written down but not durable yet: it comes into force once the journal can be written again.
    Pending,
    /// The journal cannot be written; the words say why.
    Unavailable(String),
    /// A defect or a broken machine: logged, never shown.
    Internal(String),
}

/// Characters of a message: nobody is thrown back at length what they sent.
const MAX_MESSAGE: usize = 500;

impl Error {
    /// A broken rule. What the request holds may be named in the message: a long one is cut.
    pub fn invalid(code: &'static str, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if let Some((cut, _)) = message.char_indices().nth(MAX_MESSAGE) {
            message.truncate(cut);
            message.push('…');
        }
        Self::Invalid { code, message }
    }

    /// A broken machine.
    pub fn internal(cause: impl fmt::Display) -> Self {
        Self::Internal(cause.to_string())
    }
}
