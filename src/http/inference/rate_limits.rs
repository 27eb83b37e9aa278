//! The `x-ratelimit-*` headers of the responses to calls of a model. Limits on running requests and budgets have none.

use std::{fmt, time::Duration};

use actix_http::header::{HeaderMap, HeaderName};

use crate::domain::ledger::{Standing, Standings, count};

struct Names {
    limit: HeaderName,
    remaining: HeaderName,
    reset: HeaderName,
}

const REQUESTS: Names = Names {
    limit: HeaderName::from_static("x-ratelimit-limit-requests"),
    remaining: HeaderName::from_static("x-ratelimit-remaining-requests"),
    reset: HeaderName::from_static("x-ratelimit-reset-requests"),
};

const TOKENS: Names = Names {
    limit: HeaderName::from_static("x-ratelimit-limit-tokens"),
    remaining: HeaderName::from_static("x-ratelimit-remaining-tokens"),
    reset: HeaderName::from_static("x-ratelimit-reset-tokens"),
};

/// Writes the headers for the tightest limit of each type. The threshold of a shared limit is not shown.
pub(super) fn write(standings: &Standings, headers: &mut HeaderMap) {
    let mut write = |names: Names, standing: &Standing| {
        if !standing.effective.is_shared() {
            headers.insert(names.limit, count(standing.effective.rule.threshold()).into());
        }
        headers.insert(names.remaining, count(standing.left()).into());
        headers.insert(names.reset, super::headers::text(Reset(standing.reset.unwrap_or_default())));
    };
    if let Some(standing) = &standings.requests {
        write(REQUESTS, standing);
    }
    if let Some(standing) = &standings.tokens {
        write(TOKENS, standing);
    }
}

/// A duration in OpenAI's format: `120ms`, `1s`, `6m0s`.
struct Reset(Duration);

impl fmt::Display for Reset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_nanos().div_ceil(1_000_000);
        if millis < 1000 {
            return write!(f, "{millis}ms");
        }
        let seconds = self.0.as_secs() + u64::from(self.0.subsec_nanos() > 0);
        let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        match (hours, minutes) {
            (0, 0) => write!(f, "{rest}s"),
            (0, _) => write!(f, "{minutes}m{rest}s"),
            _ => write!(f, "{hours}h{minutes}m{rest}s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resets_are_written_as_openai_writes_them() {
        let write = |millis| Reset(Duration::from_millis(millis)).to_string();
        assert_eq!(Reset(Duration::from_micros(999_001)).to_string(), "1s");
        let written = [0, 120, 999, 1000, 1001, 59_000, 60_000, 360_000, 3_600_000, 86_399_500].map(write);
        assert_eq!(written, ["0ms", "120ms", "999ms", "1s", "2s", "59s", "1m0s", "6m0s", "1h0m0s", "24h0m0s"]);
    }
}
