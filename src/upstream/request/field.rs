//! The top-level members that the gateway reads: their names, and the rules for their values.

use std::ops::RangeInclusive;

use super::bad_request::BadRequest;
use crate::{
    domain::route::{Output, Route},
    upstream::json::{self, Kind, Reader},
};

/// The largest number of choices for one prompt.
const MAX_CHOICES: u64 = 1024;

/// A top-level member that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Model,
    Metadata,
    /// Names the session of a request: requests with equal prefixes.
    PromptCacheKey,
    /// Refused on responses if it is true: the upstream would answer before the usage exists.
    Background,
    Stream,
    StreamOptions,
    MaxTokens,
    MaxCompletionTokens,
    /// The maximum of a response.
    MaxOutputTokens,
    /// llama.cpp's own maximum, which overrides the other two there.
    NPredict,
    N,
    /// llama.cpp's own `n`, which overrides the other one there.
    NCmpl,
    BestOf,
}

impl Field {
    /// The field with this key. On each route, only fields that some upstream uses there are read.
    pub(super) fn named(key: &[u8], route: Route) -> Option<Self> {
        let field = match key {
            b"model" => Self::Model,
            b"metadata" => Self::Metadata,
            b"prompt_cache_key" => Self::PromptCacheKey,
            b"background" => Self::Background,
            b"stream" => Self::Stream,
            b"stream_options" => Self::StreamOptions,
            b"max_tokens" => Self::MaxTokens,
            b"max_completion_tokens" => Self::MaxCompletionTokens,
            b"max_output_tokens" => Self::MaxOutputTokens,
            b"n_predict" => Self::NPredict,
            b"n" => Self::N,
            b"n_cmpl" => Self::NCmpl,
            b"best_of" => Self::BestOf,
            _ => return None,
        };
        field.is_read_on(route).then_some(field)
    }

    fn is_read_on(self, route: Route) -> bool {
        let is_chat_like = matches!(route, Route::ChatCompletions | Route::Completions);
        match self {
            Self::Model | Self::Metadata | Self::Background => true,
            Self::PromptCacheKey => is_chat_like || route == Route::Responses,
            Self::Stream => route.output() != Output::None,
            Self::StreamOptions | Self::MaxCompletionTokens | Self::NCmpl | Self::BestOf => is_chat_like,
            Self::MaxTokens => is_chat_like || route == Route::Messages,
            Self::MaxOutputTokens => route == Route::Responses,
            Self::NPredict => is_chat_like || matches!(route, Route::Responses | Route::Messages),
            Self::N => is_chat_like || route == Route::Images,
        }
    }

    /// The field that a server would read from this key if it ignores case. JSON readers in Go compare keys by
    /// Unicode's simple case folding and use the last of two equal keys, so `Model` could select a model that was not
    /// checked.
    pub(super) fn resembled(key: &[u8], route: Route) -> Option<Self> {
        if key.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'_')) {
            return None;
        }
        Self::named(folded(key).as_bytes(), route)
    }

    /// Whether servers in general respect this field as the output maximum. `n_predict`, and `max_completion_tokens`
    /// outside chat/completions, are lowered to a cap but do not count as declared: a maximum that the server may
    /// ignore must not reduce the tokens that a request holds.
    pub(super) fn declares(self, route: Route) -> bool {
        match self {
            Self::MaxTokens | Self::MaxOutputTokens => true,
            Self::MaxCompletionTokens => route == Route::ChatCompletions,
            _ => false,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Metadata => "metadata",
            Self::PromptCacheKey => "prompt_cache_key",
            Self::Background => "background",
            Self::Stream => "stream",
            Self::StreamOptions => "stream_options",
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
            Self::MaxOutputTokens => "max_output_tokens",
            Self::NPredict => "n_predict",
            Self::N => "n",
            Self::NCmpl => "n_cmpl",
            Self::BestOf => "best_of",
        }
    }

    pub(super) fn wrong_type(self, expected: &str) -> BadRequest {
        self.refused("invalid_type", format!("`{}` must be {expected}.", self.name()))
    }

    pub(super) fn refused(self, code: &'static str, message: String) -> BadRequest {
        BadRequest { code, param: Some(self.name()), message }
    }

    /// Reads a boolean; `null` is `false`.
    pub(super) fn switch(self, reader: &mut Reader<'_>) -> Result<bool, BadRequest> {
        let kind = reader.kind()?;
        reader.skip()?;
        match kind {
            Kind::True => Ok(true),
            Kind::False | Kind::Null => Ok(false),
            _ => Err(self.wrong_type("true or false")),
        }
    }

    /// Reads a whole number in `range`; `None` is `null`. `expected` describes the range.
    pub(super) fn whole_number(
        self,
        reader: &mut Reader<'_>,
        range: RangeInclusive<u64>,
        expected: &str,
    ) -> Result<Option<u64>, BadRequest> {
        match reader.kind()? {
            Kind::Null => {
                reader.skip()?;
                Ok(None)
            }
            Kind::Number => {
                let value = json::whole_number(reader.number()?).filter(|value| range.contains(value));
                let out_of_range = || self.refused("invalid_value", format!("`{}` must be {expected}.", self.name()));
                value.map(Some).ok_or_else(out_of_range)
            }
            _ => Err(self.wrong_type(expected)),
        }
    }

    /// Reads a number of choices.
    pub(super) fn choices(self, reader: &mut Reader<'_>) -> Result<Option<u64>, BadRequest> {
        self.whole_number(reader, 1..=MAX_CHOICES, "a whole number from 1 to 1024")
    }
}

/// A key by Unicode's simple case folding.
pub(super) fn folded(key: &[u8]) -> String {
    String::from_utf8_lossy(key).to_uppercase().to_lowercase()
}
