//! Usage reports: what a server says of the tokens that a request took.
//!
//! Servers name the same figures differently, leave some out, and send some that cannot be true. A report is read member
//! by member from one table of names; a member that is no count is as if it were not there, and takes none of its
//! neighbours with it. Several reports of one answer are merged by [`Report::add`], and [`Report::bill`] makes of them
//! the figures that are billed. The rules are section 2.5 of the contract.

use crate::{
    domain::{
        route::Route,
        usage::{Usage, UsageSource},
    },
    upstream::json::{Invalid, Kind, Reader, whole_number},
};

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;

/// The largest count that is believed: beyond it, readers that keep numbers as doubles lose digits.
const MAX_COUNT: u64 = 1 << 53;

/// Where servers put each figure: its path in the `usage` object. Where one object holds several names of the same
/// figure, the largest counts: gateways fill the ones that they do not use with zeros.
const PLACES: [(&[&str], Figure); 9] = [
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
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Figure {
    Input,
    Output,
    Total,
    Cached,
}

/// The figures of one or several `usage` objects, in tokens. One that none of them tells is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    input: Option<u64>,
    output: Option<u64>,
    total: Option<u64>,
    cached: Option<u64>,
}

/// The facts of a request and its answer besides the reports.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// The route that was called.
    pub route: Route,
    /// The prompt's estimate, in tokens.
    pub prompt_tokens: u64,
    /// More tokens than this the request cannot have taken.
    pub most: Most,
    /// UTF-8 bytes of text that the answer passed on.
    pub text_bytes: u64,
    /// Of which so many came after the last report that tells the output.
    pub unreported_bytes: u64,
}

/// The most tokens that a request can take, generously. A figure beyond it is a defect of the server: it counts as not
/// reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Most {
    /// Of the prompt.
    pub input: u64,
    /// Of all choices together.
    pub output: u64,
}

/// The figures that are billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bill {
    /// Tokens.
    pub usage: Usage,
    /// [`UsageSource::Upstream`] only if all of `usage` is as reported.
    pub source: UsageSource,
    /// A reported figure was beyond [`Most`], and is not billed.
    pub is_beyond_belief: bool,
}

impl Report {
    /// Reads the value of a `usage` member. `None` if it is no object.
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
        let count = whole_number(reader.number()?).filter(|count| *count <= MAX_COUNT);
        let told = match figure {
            Figure::Input => &mut self.input,
            Figure::Output => &mut self.output,
            Figure::Total => &mut self.total,
            Figure::Cached => &mut self.cached,
        };
        // `None` is less than any count.
        *told = count.max(*told);
        Ok(())
    }

    /// Merges a later report of the same answer: its figures count, and what it leaves out stays. A report of nothing but
    /// zeros is none, and an output of 0 takes back no output.
    pub fn add(&mut self, later: &Self) {
        if later.is_empty() {
            return;
        }
        self.input = later.input.or(self.input);
        self.total = later.total.or(self.total);
        self.cached = later.cached.or(self.cached);
        self.output = later.output.filter(|output| *output > 0).or(self.output).or(later.output);
    }

    /// Whether it tells no token at all.
    pub fn is_empty(&self) -> bool {
        [self.input, self.output, self.total].iter().all(|told| told.unwrap_or(0) == 0)
    }

    /// Whether it tells of output.
    pub fn has_output(&self) -> bool {
        self.output().is_some_and(|output| output > 0)
    }

    /// The figures as they are reported; `None` if one that a bill for `route` needs is missing.
    pub fn usage(&self, route: Route) -> Option<Usage> {
        let input = self.input(route)?;
        let output = if route.generates() { self.output()? } else { 0 };
        Some(Usage { input, output, cached: self.cached.unwrap_or(0).min(input) })
    }

    /// Prompt tokens. On routes without output a total alone, or beside an input of 0, is the prompt.
    fn input(&self, route: Route) -> Option<u64> {
        let total = self.total.filter(|_| !route.generates());
        self.input.filter(|input| *input > 0 || total.is_none()).or(total)
    }

    /// Output tokens. A total above prompt and output together means that reasoning is reported apart.
    fn output(&self) -> Option<u64> {
        let output = self.output?;
        let apart = self.total.zip(self.input).map_or(0, |(total, input)| total.saturating_sub(input));
        Some(output.max(apart))
    }

    /// The report without the figures that a request on `route` cannot have taken.
    pub fn within(&self, most: Most, route: Route) -> Self {
        let input = self.input.filter(|told| *told <= most.input);
        // A total beyond the prompt is output.
        let most_in_all = match route.generates() {
            true => input.unwrap_or(0).saturating_add(most.output),
            false => most.input,
        };
        Self {
            input,
            output: self.output.filter(|told| *told <= most.output),
            total: self.total.filter(|told| *told <= most_in_all),
            cached: self.cached.filter(|told| *told <= most.input),
        }
    }

    /// Output tokens as far as they are reported, 0 if they are not.
    pub fn output_so_far(&self) -> u64 {
        self.output().unwrap_or(0)
    }

    /// The bill. A figure that is not reported is counted: the prompt's estimate, a token for each four bytes of
    /// text, rounded up. So is an output of 0 beside text, and text that came after the last report of output.
    pub fn bill(&self, seen: &Seen) -> Bill {
        let generates = seen.route.generates();
        let believed = self.within(seen.most, seen.route);
        let is_beyond_belief = believed != *self;
        let told = if believed.is_empty() { Self::default() } else { believed };
        let told_input = told.input(seen.route);
        let told_output = match told.output() {
            _ if !generates => Some(0),
            Some(0) if seen.text_bytes > 0 => None,
            told => told,
        };
        let counted_bytes = match told_output {
            _ if !generates => 0,
            Some(_) => seen.unreported_bytes,
            None => seen.text_bytes,
        };
        let input = told_input.unwrap_or(seen.prompt_tokens);
        let output = told_output.unwrap_or(0).saturating_add(counted_bytes.div_ceil(4));
        let is_reported = told_input.is_some() && told_output.is_some() && counted_bytes == 0 && !is_beyond_belief;
        Bill {
            usage: Usage { input, output, cached: told.cached.unwrap_or(0).min(input) },
            source: if is_reported { UsageSource::Upstream } else { UsageSource::Counted },
            is_beyond_belief,
        }
    }
}
