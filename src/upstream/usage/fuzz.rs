//! Fuzzes the usage reports of untrusted servers.

use super::{BillingFacts, MAX_COUNT, Report, TokenBounds};
use crate::{
    domain::{
        route::{Output, Route},
        usage::UsageSource,
    },
    upstream::json::Reader,
};

/// Merges one or two reports, one per line. Checks that no bill exceeds the bound of a request, and that an empty
/// report changes nothing.
pub(crate) fn usage(input: &[u8]) {
    let mut merged = Report::default();
    for line in input.split(|byte| *byte == b'\n').take(2) {
        let report = Reader::new(line).and_then(|mut reader| Report::read(&mut reader));
        let Ok(Some(report)) = report else { continue };
        let before = merged;
        merged.add(&report);
        assert!(!report.is_empty() || merged == before, "an empty report changes the figures");
        assert!(before.output_so_far() == 0 || merged.output_so_far() > 0, "a report without output removes output");
    }
    let figures = [merged.input, merged.output, merged.total, merged.cached, merged.cache_read, merged.cache_write];
    assert!(figures.into_iter().flatten().all(|figure| figure <= MAX_COUNT));
    let again = merged;
    merged.add(&again);
    assert_eq!(merged, again, "adding the same report again changes the figures");
    for route in Route::ALL {
        for (text_bytes, unreported_bytes) in [(0, 0), (40, 0), (40, 8)] {
            let most = TokenBounds { input: 1000, output: 2000 };
            let bill = merged.bill(&BillingFacts { route, prompt_tokens: 5, most, text_bytes, unreported_bytes });
            let usage = bill.usage;
            assert!(usage.input <= most.input && usage.output <= most.output + text_bytes.div_ceil(4));
            assert!(usage.cached + usage.cache_write <= usage.input);
            assert!(route.output() != Output::None || usage.output == 0);
            let is_reported = bill.source == UsageSource::Upstream;
            assert!(!is_reported || (!bill.is_implausible && merged.usage(route) == Some(usage)), "{bill:?}");
        }
    }
}
