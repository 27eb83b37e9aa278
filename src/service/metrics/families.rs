//! The names, types, labels and descriptions of all metrics.

/// The type of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric.
#[derive(Debug)]
pub(super) struct Family {
    /// The name. The samples of a counter have `_total` after it.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) labels: &'static [&'static str],
    /// One sentence without a line break, a backslash or a quotation mark.
    pub(super) help: &'static str,
}

impl Family {
    /// The unit, which is the last word of the name.
    pub(super) fn unit(&self) -> Option<&'static str> {
        ["seconds", "bytes"].into_iter().find(|unit| self.name.ends_with(unit))
    }
}

macro_rules! families {
    ($($constant:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)+) => {
        $(pub(super) const $constant: Family = Family {
            name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help,
        };)+

        #[cfg(test)]
        const ALL: &[Family] = &[$($constant),+];
    };
}

families! {
    REQUESTS = Counter "tollgate_requests" ["route", "model", "status"]
        "Requests that were answered, or whose customer hung up (status 499).";
    REFUSALS = Counter "tollgate_refusals" ["model", "code"]
        "Requests that were answered with an error, by the code of the error.";
    TOKENS = Counter "tollgate_tokens" ["model", "kind"]
        "Billed tokens. The input includes the cached and cache_write tokens.";
    COST = Counter "tollgate_cost" ["model", "currency"]
        "The cost of billed requests, in units of the currency.";
    ATTEMPTS = Counter "tollgate_target_attempts" ["model", "target", "outcome"]
        "Attempts to have a request answered by a target, by the target's index.";
    DURATION = Histogram "tollgate_request_duration_seconds" ["route", "model"]
        "The time from the head of a request to the end of its answer.";
    FIRST_BYTE = Histogram "tollgate_time_to_first_byte_seconds" ["route", "model"]
        "The time from the head of a billed request to the first content of its answer.";
    OVERHEAD = Histogram "tollgate_overhead_seconds" ["route"]
        "The part of the duration of an answered request that was not spent waiting for the customer, a free target or the target.";
    QUEUE_WAIT = Histogram "tollgate_queue_wait_seconds" ["model"]
        "The time that requests waited for a free target. Requests that did not have to wait are not included.";
    IN_FLIGHT = Gauge "tollgate_requests_in_flight" ["model"]
        "Requests that were admitted and have not ended, including those that wait for a free target.";
    QUEUE_LENGTH = Gauge "tollgate_queue_length" ["model"]
        "Requests that wait for a free target.";
    TARGET_UP = Gauge "tollgate_target_up" ["model", "target"]
        "1 if the target gets requests, 0 if it is left out.";
    WEBHOOK_LAG = Gauge "tollgate_webhook_lag_seconds" ["webhook"]
        "The age of the oldest event or alert that waits for its delivery, by the id of the webhook. 0 if none waits.";
    DEAD_LETTERS = Gauge "tollgate_webhook_dead_letters" ["webhook"]
        "Dead letters: deliveries that were given up and kept.";
    JOURNAL = Gauge "tollgate_journal_bytes" []
        "The size of all records in the journal.";
    DISK_FREE = Gauge "tollgate_disk_free_bytes" []
        "Free space of the file system under the data directory.";
    BUILD = Gauge "tollgate_build_info" ["version"]
        "Always 1, with the version of Tollgate.";
    GROUP_TOKENS = Counter "tollgate_group_tokens" ["external_entity_id", "model"]
        "Billed input and output tokens of the groups with the most tokens of the day.";
    GROUP_REQUESTS = Counter "tollgate_group_requests" ["external_entity_id", "model"]
        "Requests of these groups.";
    GROUP_REFUSALS = Counter "tollgate_group_refusals" ["external_entity_id", "model"]
        "Requests of these groups that were answered with an error.";
    CPU = Counter "process_cpu_seconds" []
        "The processor time of the process.";
    OPEN_FILES = Gauge "process_open_fds" []
        "Open file descriptors.";
    MAX_FILES = Gauge "process_max_fds" []
        "The limit of open file descriptors.";
    VIRTUAL_MEMORY = Gauge "process_virtual_memory_bytes" []
        "The virtual memory of the process.";
    RESIDENT_MEMORY = Gauge "process_resident_memory_bytes" []
        "The resident memory of the process.";
    START_TIME = Gauge "process_start_time_seconds" []
        "The start of the process, in seconds of Unix time.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_has_every_metric_with_its_labels_and_its_meaning() {
        let row = |family: &Family| {
            let suffix = if family.kind == Kind::Counter { "_total" } else { "" };
            let labels: String = family.labels.iter().map(|label| format!("`{label}` ")).collect();
            format!("| `{}{suffix}` | {labels}| {} |", family.name, family.help)
        };
        let rows: Vec<_> = ALL.iter().map(row).collect();
        let page = include_str!("../../../packaging/docs/metrics.md");
        let documented: Vec<_> = page.lines().filter(|line| line.starts_with("| `")).collect();
        assert_eq!(documented, rows, "the rows should be:\n{}", rows.join("\n"));
    }

    #[test]
    fn each_metric_has_a_name_of_its_own_and_a_sentence_of_help() {
        for (index, family) in ALL.iter().enumerate() {
            let is_plain = |text: &str| text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'_'));
            assert!(is_plain(family.name) && family.labels.iter().all(|label| is_plain(label)), "{family:?}");
            assert!(family.help.ends_with('.') && !family.help.contains(['\\', '"', '\n']), "{family:?}");
            assert!(ALL[index + 1..].iter().all(|other| other.name != family.name), "{family:?}");
        }
    }
}
