//! The text of a scrape, in one of two formats: Prometheus text 0.0.4 and OpenMetrics 1.0.

use std::fmt::Write;

use super::{
    cells::{LIMITS, Limits},
    families::{Family, Kind},
};

/// The format of a scrape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

/// The value of a sample.
pub(super) enum Number {
    Whole(u64),
    Float(f64),
}

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<f64> for Number {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

/// A histogram that was added up over the workers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct HistogramFigures {
    /// The durations in each bucket, not accumulated.
    pub(super) buckets: [u64; LIMITS + 1],
    pub(super) sum_ns: u64,
}

/// Writes a scrape, one family after the other.
pub(super) struct Text {
    format: Format,
    written: String,
    /// The labels of the current sample, escaped, each with a comma before it but the first.
    labels: String,
}

/// Writes the samples of one family.
pub(super) struct Samples<'a> {
    text: &'a mut Text,
    family: &'static Family,
}

impl Text {
    /// Begins a text of about `length` bytes.
    pub(super) fn new(format: Format, length: usize) -> Self {
        Self { format, written: String::with_capacity(length + (16 << 10)), labels: String::new() }
    }

    /// Begins a family. Its samples must follow before the next family begins.
    pub(super) fn family(&mut self, family: &'static Family) -> Samples<'_> {
        // In OpenMetrics, the name of a counter's family does not include the suffix of its samples.
        let suffix = match (self.format, family.kind) {
            (Format::Prometheus, Kind::Counter) => "_total",
            _ => "",
        };
        let (name, kind, help) = (family.name, family.kind.word(), family.help);
        let written = &mut self.written;
        let _ = writeln!(written, "# HELP {name}{suffix} {help}");
        let _ = writeln!(written, "# TYPE {name}{suffix} {kind}");
        if let (Format::OpenMetrics, Some(unit)) = (self.format, family.unit()) {
            let _ = writeln!(written, "# UNIT {name} {unit}");
        }
        Samples { text: self, family }
    }

    /// Ends the scrape and returns its text.
    pub(super) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.written.push_str("# EOF\n");
        }
        self.written
    }

    fn set_labels(&mut self, names: &[&str], values: &[&str]) {
        debug_assert_eq!(names.len(), values.len(), "{names:?}");
        self.labels.clear();
        for (name, value) in names.iter().zip(values) {
            if !self.labels.is_empty() {
                self.labels.push(',');
            }
            self.labels.push_str(name);
            self.labels.push_str("=\"");
            if value.contains(['\\', '"', '\n']) {
                self.labels.push_str(&value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n"));
            } else {
                self.labels.push_str(value);
            }
            self.labels.push('"');
        }
    }

    fn sample(&mut self, name: &str, suffix: &str, value: impl Into<Number>) {
        let Self { written, labels, .. } = self;
        written.push_str(name);
        written.push_str(suffix);
        if !labels.is_empty() {
            written.push('{');
            written.push_str(labels);
            written.push('}');
        }
        written.push(' ');
        match value.into() {
            Number::Whole(number) => written.push_str(itoa::Buffer::new().format(number)),
            Number::Float(number) => _ = write!(written, "{number}"),
        }
        written.push('\n');
    }
}

impl Samples<'_> {
    /// Writes the sample with these label values, in the order of the family's labels.
    pub(super) fn put(&mut self, values: &[&str], value: impl Into<Number>) {
        let suffix = if self.family.kind == Kind::Counter { "_total" } else { "" };
        self.text.set_labels(self.family.labels, values);
        self.text.sample(self.family.name, suffix, value);
    }

    /// Writes a histogram with these label values.
    pub(super) fn histogram(&mut self, values: &[&str], limits: &Limits, figures: &HistogramFigures) {
        let name = self.family.name;
        self.text.set_labels(self.family.labels, values);
        let Text { format, written, labels } = &mut *self.text;
        let (prefix, mut digits) = (format!("{name}_bucket{{{labels},le=\""), itoa::Buffer::new());
        let mut count = 0;
        for (index, in_bucket) in figures.buckets.iter().enumerate() {
            count += in_bucket;
            let limit = limits.get(index).map_or("+Inf", |(_, text)| text);
            written.push_str(&prefix);
            written.push_str(limit);
            // OpenMetrics wants limits as floats.
            if *format == Format::OpenMetrics && !limit.contains(['.', 'I']) {
                written.push_str(".0");
            }
            written.push_str("\"} ");
            written.push_str(digits.format(count));
            written.push('\n');
        }
        self.text.sample(name, "_sum", figures.sum_ns as f64 / 1e9);
        self.text.sample(name, "_count", count);
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            cells::ANSWERS,
            families::{DISK_FREE, GROUP_TOKENS, QUEUE_WAIT},
        },
        *,
    };

    fn written(format: Format) -> String {
        let mut text = Text::new(format, 0);
        text.family(&GROUP_TOKENS).put(&["a\"b\\c\nd", "acme/chat"], 7_u64);
        let mut figures = HistogramFigures { sum_ns: 1_500_000_000, ..HistogramFigures::default() };
        (figures.buckets[7], figures.buckets[LIMITS]) = (2, 1);
        text.family(&QUEUE_WAIT).histogram(&["acme/chat"], &ANSWERS, &figures);
        text.family(&DISK_FREE).put(&[], 0.5);
        text.finish()
    }

    #[test]
    fn the_formats_differ_in_names_units_limits_and_the_end() {
        let (prometheus, open) = (written(Format::Prometheus), written(Format::OpenMetrics));
        for (text, lines) in [
            (&prometheus, ["# TYPE tollgate_group_tokens_total counter\n", "{model=\"acme/chat\",le=\"1\"} 2\n"]),
            (&open, ["# TYPE tollgate_group_tokens counter\n", "{model=\"acme/chat\",le=\"1.0\"} 2\n"]),
            (&open, ["# UNIT tollgate_queue_wait_seconds seconds\n", "tollgate_disk_free_bytes 0.5\n# EOF\n"]),
        ] {
            lines.iter().for_each(|line| assert!(text.contains(line), "{line} in {text}"));
        }
        assert!(!prometheus.contains("UNIT") && !prometheus.contains("EOF"));
    }

    #[test]
    fn label_values_are_escaped_and_buckets_accumulate() {
        for format in [Format::Prometheus, Format::OpenMetrics] {
            let text = written(format);
            for line in [
                r#"tollgate_group_tokens_total{external_entity_id="a\"b\\c\nd",model="acme/chat"} 7"#,
                r#"tollgate_queue_wait_seconds_bucket{model="acme/chat",le="0.5"} 0"#,
                r#"tollgate_queue_wait_seconds_bucket{model="acme/chat",le="+Inf"} 3"#,
                r#"tollgate_queue_wait_seconds_sum{model="acme/chat"} 1.5"#,
                r#"tollgate_queue_wait_seconds_count{model="acme/chat"} 3"#,
            ] {
                assert!(text.lines().any(|one| one == line), "{line} in {text}");
            }
        }
    }
}
