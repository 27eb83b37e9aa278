//! Usage reports of untrusted servers.

use super::{MAX_COUNT, Most, Report, Seen};
use crate::{
    domain::{route::Route, usage::UsageSource},
    upstream::json::Reader,
};

/// Takes one or two reports, one in a line. No bill exceeds the most that a request can use, and an empty report changes
/// nothing.
pub(crate) fn usage(input: &[u8]) {
    let mut merged = Report::default();
    for line in input.split(|byte| *byte == b'\n').take(2) {
        let report = Reader::new(line).and_then(|mut reader| Report::read(&mut reader));
        let Ok(Some(report)) = report else { continue };
        let before = merged;
        merged.add(&report);
        assert!(!report.is_empty() || merged == before, "an empty report counts");
        assert!(before.output_so_far() == 0 || merged.output_so_far() > 0, "a report of nothing takes output back");
    }
    let figures = [merged.input, merged.output, merged.total, merged.cached];
    assert!(figures.into_iter().flatten().all(|figure| figure <= MAX_COUNT));
    let again = merged;
    merged.add(&again);
    assert_eq!(merged, again, "the same report twice counts twice");
    for route in Route::ALL {
        for (text_bytes, unreported_bytes) in [(0, 0), (40, 0), (40, 8)] {
            let most = Most { input: 1000, output: 2000 };
            let bill = merged.bill(&Seen { route, prompt_tokens: 5, most, text_bytes, unreported_bytes });
            let usage = bill.usage;
            assert!(usage.input <= most.input && usage.output <= most.output + text_bytes.div_ceil(4));
            assert!(usage.cached <= usage.input && (route.generates() || usage.output == 0));
            let is_reported = bill.source == UsageSource::Upstream;
            assert!(!is_reported || (!bill.is_beyond_belief && merged.usage(route) == Some(usage)), "{bill:?}");
        }
    }
}
