//! Finds hosts in a text.
//!
//! By the contract, these are: a URL, an address, the target's own host or a name in its domain, and a dotted name with
//! one of the labels in [`LOCAL`]. A name with a port and an address written as a name (`ip-10-1-2-3`) are hidden too.
//! Other names stay as they are: `messages.0.role`, `torch.cuda`, `12:30`.

use std::{net::Ipv6Addr, ops::Range};

use super::as_read::runs;

/// Labels of names that exist only inside a network.
const LOCAL: [&str; 9] = ["internal", "local", "localdomain", "lan", "svc", "cluster", "intra", "corp", "arpa"];

/// Extensions of source files. A dotted name that ends in one, followed by a colon and a number, is a line of source
/// code.
const SOURCES: [&str; 10] = ["py", "rs", "c", "cc", "cpp", "cu", "h", "js", "ts", "go"];

/// Adds to `hidden` every host in `text`. `own` is the target's, in lower case.
pub(super) fn hosts(text: &str, own: &str, hidden: &mut Vec<Range<usize>>) {
    urls(text, hidden);
    for at in runs(text, |c| c.is_ascii_hexdigit() || matches!(c, ':' | '.')) {
        hidden.extend(ipv6(&text[at.clone()]).map(|part| at.start + part.start..at.start + part.end));
    }
    let mut is_hidden = |at: Range<usize>| {
        let port = port(&text[at.end..]);
        let is_host = is_host(&text[at.clone()].to_lowercase(), own, port.is_some());
        if is_host {
            hidden.push(at.start..at.end + port.unwrap_or(0));
        }
        is_host
    };
    for at in runs(text, |c| c.is_alphanumeric() || matches!(c, '-' | '.' | '_')) {
        if !is_hidden(at.clone()) {
            // An underscore can also separate a host from other text.
            for part in runs(&text[at.clone()], |c| c != '_') {
                is_hidden(at.start + part.start..at.start + part.end);
            }
        }
    }
}

/// Hides URLs, each from its scheme to the end of the word.
fn urls(text: &str, hidden: &mut Vec<Range<usize>>) {
    let mut passed = 0;
    for (at, mark) in text.match_indices("://") {
        // Skip further marks within the same URL.
        if at < passed {
            continue;
        }
        let before = text[..at].bytes().rev().take_while(|b| b.is_ascii_alphanumeric() || b"+.-".contains(b)).count();
        let is_end = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>' | '(' | ')' | ',' | ';');
        let rest = &text[at + mark.len()..];
        let len = rest.find(is_end).unwrap_or(rest.len());
        passed = at + mark.len() + len;
        hidden.push(at - before..at + mark.len() + rest[..len].trim_end_matches(['.', ':', '!', '?']).len());
    }
}

/// Whether a lower-case name, apart from punctuation at its ends, is a host.
fn is_host(name: &str, own: &str, has_port: bool) -> bool {
    let name = name.trim_matches(['.', '-', '_']);
    let labels: Vec<&str> = name.split('.').collect();
    let is_named = |label: &str| label.contains(|c: char| c == '-' || c.is_ascii_digit());
    let has_letter = name.contains(|c: char| c.is_alphabetic());
    if name.is_empty() {
        return false;
    }
    if labels.iter().any(|label| is_address_label(label)) {
        return true;
    }
    if let [label] = labels[..] {
        let first = own.split('.').next().unwrap_or_default();
        return label == "localhost"
            || (label.len() > 2 && label == own)
            || (is_named(label) && label == first)
            || (has_port && has_letter && is_named(label));
    }
    holds_ipv4(&labels)
        || labels.iter().any(|label| LOCAL.contains(label))
        || (has_port && has_letter && !labels.last().is_some_and(|last| SOURCES.contains(last)))
        || domain(own).is_some_and(|domain| name == domain || name.ends_with(&format!(".{domain}")))
}

/// The domain that a host shares with its neighbors: its last two labels, or three if the last two are as short as in
/// `co.uk`. An address has none.
fn domain(host: &str) -> Option<&str> {
    let dots: Vec<usize> = host.rmatch_indices('.').map(|(at, _)| at).collect();
    let last = host.rsplit('.').next()?;
    if dots.is_empty() || last.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let is_short = dots.len() > 1 && last.len() == 2 && dots[0] - dots[1] <= 4;
    let before = dots.get(if is_short { 2 } else { 1 });
    Some(before.map_or(host, |at| &host[at + 1..]))
}

/// Finds an IPv6 address in a run of hexadecimal digits, colons and dots. A label may precede it, and a colon may
/// follow. An address without a digit, such as `::bad`, is not found, since it may be a name in source code.
fn ipv6(text: &str) -> Option<Range<usize>> {
    let text = text.trim_end_matches('.');
    let starts = [0, text.find(':')? + 1];
    let ends = [text.len(), text.rfind(':')?];
    let mut parts = starts.into_iter().flat_map(|start| ends.map(|end| start..end));
    parts.find(|at| {
        let part = text.get(at.clone()).unwrap_or_default();
        part.parse::<Ipv6Addr>().is_ok() && part.bytes().any(|byte| byte.is_ascii_digit())
    })
}

/// Whether a label is an IPv4 address in the form that clouds use for machine names: `ip-10-1-2-3`.
fn is_address_label(label: &str) -> bool {
    let parts = || label.strip_prefix("ip-").into_iter().flat_map(|parts| parts.split('-'));
    parts().count() == 4 && parts().all(|part| part.parse::<u8>().is_ok())
}

/// Whether four consecutive labels are an IPv4 address. Other characters may directly precede and follow it.
fn holds_ipv4(labels: &[&str]) -> bool {
    labels.windows(4).any(|window| {
        let [first, second, third, fourth] = window else { return false };
        let first = first.rsplit(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
        let fourth = fourth.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
        [first, second, third, fourth].iter().all(|part| part.parse::<u8>().is_ok())
    })
}

/// The length of the port that a text begins with, including its colon.
fn port(text: &str) -> Option<usize> {
    let digits = text.strip_prefix(':')?.bytes().take_while(u8::is_ascii_digit).count();
    (2..=5).contains(&digits).then_some(1 + digits)
}
