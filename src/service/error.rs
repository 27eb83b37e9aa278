//! The errors of the admin services. `http::admin::error` maps them to statuses.

use std::fmt;

/// Why an operator's request failed. Nothing was changed, except for `Pending`.
#[derive(Debug)]
pub enum Error {
    /// The request breaks a rule. The message names the field and says what is allowed.
    Invalid {
        /// The rule, for programs.
        code: &'static str,
        /// The rule, for people.
        message: String,
    },
    /// The same, with the published API's exact message, since clients compare it.
    Published {
        /// The rule, for programs.
        code: &'static str,
        /// The message as published.
        message: &'static str,
    },
    /// The thing that the path names does not exist. Holds its kind, for example `"group"`.
    NotFound(&'static str),
    /// The change is recorded but not durable yet. It takes effect once the journal can be written again.
    Pending,
    /// The journal cannot be written. The text says why.
    Unavailable(String),
    /// A bug or a machine fault: logged, never shown.
    Internal(String),
}

/// The most characters of a message, so that a long value from the request is not sent back in full.
const MAX_MESSAGE: usize = 500;

impl Error {
    /// A broken rule. The message may quote the request, so it is cut after [`MAX_MESSAGE`] characters.
    pub fn invalid(code: &'static str, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if let Some((cut, _)) = message.char_indices().nth(MAX_MESSAGE) {
            message.truncate(cut);
            message.push('…');
        }
        Self::Invalid { code, message }
    }

    /// A bug or a machine fault.
    pub fn internal(cause: impl fmt::Display) -> Self {
        Self::Internal(cause.to_string())
    }
}
