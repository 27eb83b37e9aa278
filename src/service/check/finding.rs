//! The findings about a target.

/// The findings about a target.
pub struct Checks {
    /// Whether it answers HTTP.
    pub reachable: Finding,
    /// Whether it has the model.
    pub model: Finding,
    /// Whether it streams.
    pub stream: Finding,
    /// Whether it reports the usage of an answer.
    pub usage: Finding,
}

/// The finding of one check.
pub struct Finding {
    /// Whether the check passed; `None` if it could not be done.
    pub ok: Option<bool>,
    /// The observation, and advice if there is a problem.
    pub detail: String,
}

impl Finding {
    pub(super) fn good(detail: impl Into<String>) -> Self {
        Self { ok: Some(true), detail: detail.into() }
    }

    pub(super) fn bad(detail: impl Into<String>) -> Self {
        Self { ok: Some(false), detail: detail.into() }
    }

    pub(super) fn open(detail: impl Into<String>) -> Self {
        Self { ok: None, detail: detail.into() }
    }
}
