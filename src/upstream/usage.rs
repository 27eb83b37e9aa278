//! Usage reports: the token counts that a server reports for a request.
//!
//! Servers use different names for the same figure, leave some figures out, and send some that cannot be true. A report
//! is read member by member, with one table of names. A member that is not a valid count is ignored; the other members
//! still count. [`Report::add`] merges several reports of one answer, and [`Report::bill`] turns the result into the
//! billed figures. Section 2.5 of the contract has the rules.

use crate::{
    domain::{
        route::{Output, Route},
        usage::{Usage, UsageSource},
    },
    upstream::json::{Invalid, Kind, Reader, whole_number},
};

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;

/// The largest count that is accepted. Readers that store numbers as doubles lose digits above it.
const MAX_COUNT: u64 = 1 << 53;

/// The paths of each figure in the `usage` object. If an object has several names of the same figure, the largest value
/// counts, because gateways set the names that they do not use to zero.
const PLACES: [(&[&str], Figure); 14] = [
    (&["prompt_tokens"], Figure::Input),
    (&["input_tokens"], Figure::Input),
    (&["completion_tokens"], Figure::Output),
    (&["output_tokens"], Figure::Output),
    (&["total_tokens"], Figure::Total),
    (&["prompt_tokens_details", "cached_tokens"], Figure::Cached),
    (&["input_tokens_details", "cached_tokens"], Figure::Cached),
    // DeepSeek.
    (&["prompt_cache_hit_tokens"], Figure::Cached),
    // Moonshot.
    (&["cached_tokens"], Figure::Cached),
    // Anthropic.
    (&["cache_read_input_tokens"], Figure::CacheRead),
    (&["cache_creation_input_tokens"], Figure::CacheWrite),
    // OpenAI.
    (&["prompt_tokens_details", "cache_write_tokens"], Figure::CacheWrite),
    (&["input_tokens_details", "cache_write_tokens"], Figure::CacheWrite),
    // Transcriptions that are billed by their duration.
    (&["seconds"], Figure::Seconds),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Figure {
    Input,
    Output,
    Total,
    Cached,
    CacheRead,
    CacheWrite,
    Seconds,
}

/// The figures of one or several `usage` objects, in tokens. A figure that none of them has is `None`.
///
/// Anthropic's API reports the parts of a prompt separately: those read from the cache and those written to it are not
/// included in `input`. Other APIs include them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    input: Option<u64>,
    output: Option<u64>,
    total: Option<u64>,
    cached: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    /// The length of the recording, in microseconds. It is not merged: `add` ignores it.
    micros: Option<u64>,
}

/// The facts about a request and its answer that billing needs in addition to the reports.
#[derive(Debug, Clone, Copy)]
pub struct BillingFacts {
    /// The route that was called.
    pub route: Route,
    /// The estimated prompt, in tokens.
    pub prompt_tokens: u64,
    /// The most tokens that the request can have used.
    pub most: TokenBounds,
    /// The text of the answer that was passed on, in UTF-8 bytes.
    pub text_bytes: u64,
    /// The part of `text_bytes` that came after the last report with an output figure.
    pub unreported_bytes: u64,
}

/// A generous upper bound of the tokens that a request can use. A figure above it is a defect of the server and counts
/// as not reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenBounds {
    /// Bound of the prompt tokens.
    pub input: u64,
    /// Bound of the output tokens of all choices together.
    pub output: u64,
}

/// The figures that are billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bill {
    /// The billed tokens.
    pub usage: Usage,
    /// [`UsageSource::Upstream`] only if all of `usage` is as reported.
    pub source: UsageSource,
    /// Whether a reported figure was above [`TokenBounds`], so that it is not billed.
    pub is_implausible: bool,
}

impl Report {
    /// Reads the value of a `usage` member. Returns `None` if it is not an object.
    pub fn read(reader: &mut Reader<'_>) -> Result<Option<Self>, Invalid> {
        if reader.kind()? != Kind::Object {
            reader.skip()?;
            return Ok(None);
        }
        let mut report = Self::default();
        reader.members(|reader, outer| {
            if reader.kind()? != Kind::Object {
                return report.member(reader, &[outer]);
            }
            reader.members(|reader, inner| report.member(reader, &[outer, inner]))
        })?;
        Ok(Some(report))
    }

    fn member(&mut self, reader: &mut Reader<'_>, path: &[&[u8]]) -> Result<(), Invalid> {
        let is_at = |place: &[&str]| place.iter().map(|name| name.as_bytes()).eq(path.iter().copied());
        let (Some((_, figure)), Kind::Number) = (PLACES.iter().find(|(place, _)| is_at(place)), reader.kind()?) else {
            return reader.skip();
        };
        let number = reader.number()?;
        let count = match figure {
            Figure::Seconds => micros(number),
            _ => whole_number(number).filter(|count| *count <= MAX_COUNT),
        };
        let reported = match figure {
            Figure::Input => &mut self.input,
            Figure::Output => &mut self.output,
            Figure::Total => &mut self.total,
            Figure::Cached => &mut self.cached,
            Figure::CacheRead => &mut self.cache_read,
            Figure::CacheWrite => &mut self.cache_write,
            Figure::Seconds => &mut self.micros,
        };
        // `None` is less than any count.
        *reported = count.max(*reported);
        Ok(())
    }

    /// Merges a later report of the same answer. Its figures replace earlier ones; figures that it leaves out stay. A
    /// report that consists of zeros is ignored, and an output of 0 does not replace a larger one.
    pub fn add(&mut self, later: &Self) {
        if later.is_empty() {
            return;
        }
        self.input = later.input.or(self.input);
        self.total = later.total.or(self.total);
        self.cached = later.cached.or(self.cached);
        self.cache_read = later.cache_read.or(self.cache_read);
        self.cache_write = later.cache_write.or(self.cache_write);
        self.output = later.output.filter(|output| *output > 0).or(self.output).or(later.output);
    }

    /// Whether the report contains no tokens.
    pub fn is_empty(&self) -> bool {
        let figures = [self.input, self.output, self.total, self.cache_read, self.cache_write];
        figures.iter().all(|figure| figure.unwrap_or(0) == 0)
    }

    /// The length of the recording in this report, in microseconds.
    pub fn micros(&self) -> Option<u64> {
        self.micros
    }

    /// Whether the report contains output tokens.
    pub fn has_output(&self) -> bool {
        self.output().is_some_and(|output| output > 0)
    }

    /// Returns the figures as reported, or `None` if one that `route` requires is missing.
    pub fn usage(&self, route: Route) -> Option<Usage> {
        let input = self.input(route)?;
        let output = if route.output() == Output::None { 0 } else { self.output()? };
        Some(self.with_cache(route, input, output))
    }

    /// Prompt tokens. On routes without output, the total counts as the prompt if the input is missing or 0.
    fn input(&self, route: Route) -> Option<u64> {
        if route.is_anthropic() {
            let parts = [self.input, self.cache_read, self.cache_write];
            return parts.into_iter().flatten().reduce(u64::saturating_add);
        }
        let total = self.total.filter(|_| route.output() == Output::None);
        self.input.filter(|input| *input > 0 || total.is_none()).or(total)
    }

    /// Adds the parts of the prompt that the cache was used for. Together they are at most `input`.
    fn with_cache(&self, route: Route, input: u64, output: u64) -> Usage {
        let included = self.cached.filter(|_| !route.is_anthropic());
        let cached = self.cache_read.max(included).unwrap_or(0).min(input);
        let cache_write = self.cache_write.unwrap_or(0).min(input - cached);
        Usage { input, output, cached, cache_write }
    }

    /// Output tokens. A total above the sum of prompt and output means that reasoning is reported separately.
    fn output(&self) -> Option<u64> {
        let output = self.output?;
        let with_reasoning = self.total.zip(self.input).map_or(0, |(total, input)| total.saturating_sub(input));
        Some(output.max(with_reasoning))
    }

    /// The report without the figures that are implausible for a request on `route`.
    pub fn within(&self, most: TokenBounds, route: Route) -> Self {
        let input = self.input.filter(|input| *input <= most.input);
        // The part of a total that exceeds the prompt is output.
        let most_in_all = match route.output() {
            Output::None => most.input,
            Output::Text | Output::Media => input.unwrap_or(0).saturating_add(most.output),
        };
        Self {
            input,
            output: self.output.filter(|output| *output <= most.output),
            total: self.total.filter(|total| *total <= most_in_all),
            cached: self.cached.filter(|cached| *cached <= most.input),
            cache_read: self.cache_read.filter(|read| *read <= most.input),
            cache_write: self.cache_write.filter(|written| *written <= most.input),
            ..*self
        }
    }

    /// Output tokens reported so far, 0 if none are.
    pub fn output_so_far(&self) -> u64 {
        self.output().unwrap_or(0)
    }

    /// Computes the bill. A figure that is not reported is counted instead: the prompt by its estimate, the output as
    /// one token per four bytes of text, rounded up. A reported output of 0 for an answer with text counts as not
    /// reported. Text that came after the last report is counted and added.
    pub fn bill(&self, facts: &BillingFacts) -> Bill {
        let has_output = facts.route.output() != Output::None;
        let plausible = self.within(facts.most, facts.route);
        let is_implausible = plausible != *self;
        let report = if plausible.is_empty() { Self::default() } else { plausible };
        let reported_input = report.input(facts.route);
        let reported_output = match report.output() {
            _ if !has_output => Some(0),
            Some(0) if facts.text_bytes > 0 => None,
            output => output,
        };
        let counted_bytes = match reported_output {
            _ if !has_output => 0,
            Some(_) => facts.unreported_bytes,
            None => facts.text_bytes,
        };
        let input = reported_input.unwrap_or(facts.prompt_tokens);
        let output = reported_output.unwrap_or(0).saturating_add(counted_bytes.div_ceil(4));
        let is_reported =
            reported_input.is_some() && reported_output.is_some() && counted_bytes == 0 && !is_implausible;
        Bill {
            usage: report.with_cache(facts.route, input, output),
            source: if is_reported { UsageSource::Upstream } else { UsageSource::Counted },
            is_implausible,
        }
    }
}

/// Reads a number of seconds, as written in JSON. Returns microseconds, rounded, or `None` if it is not a length of
/// time.
pub fn micros(number: &[u8]) -> Option<u64> {
    const MAX_SECONDS: f64 = 1e9;
    let seconds: f64 = std::str::from_utf8(number).ok()?.parse().ok()?;
    // The range leaves no loss in the conversion.
    (0.0..=MAX_SECONDS).contains(&seconds).then(|| (seconds * 1e6).round() as u64)
}
