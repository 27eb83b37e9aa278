//! W3C Trace Context (Recommendation, level 1): the check of `traceparent` and `tracestate` headers before they are
//! forwarded. <https://www.w3.org/TR/trace-context-1/>

use std::fmt;

/// Most list members of a `tracestate`.
const MAX_MEMBERS: usize = 32;

/// The id of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId(u128);

impl TraceId {
    /// Reads the trace id of a `traceparent` header. `None` if the header is not valid.
    pub fn of_traceparent(value: &[u8]) -> Option<Self> {
        let (known, rest) = value.split_at_checked(55)?;
        let fields: Vec<&[u8]> = known.split(|byte| *byte == b'-').collect();
        let [version, trace_id, parent_id, flags] = fields[..] else { return None };
        // Version 00 ends here. A later one may have more fields.
        let may_follow = rest.is_empty() || (rest[0] == b'-' && version != b"00");
        hex(version, 2).filter(|version| *version != 0xff && may_follow)?;
        hex(parent_id, 16).filter(|id| *id != 0)?;
        hex(flags, 2)?;
        hex(trace_id, 32).filter(|id| *id != 0).map(Self)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Reads a number of exactly `digits` lower-case hexadecimal digits.
fn hex(text: &[u8], digits: usize) -> Option<u128> {
    let is_hex = text.len() == digits && text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    u128::from_str_radix(std::str::from_utf8(text).ok().filter(|_| is_hex)?, 16).ok()
}

/// Whether the value of a `tracestate` header is valid and has a member.
pub fn is_tracestate(value: &[u8]) -> bool {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let mut members = 0;
    let mut has_member = false;
    for member in value.split(|byte| *byte == b',') {
        members += 1;
        let start = member.iter().position(|byte| !is_blank(byte)).unwrap_or(member.len());
        let end = member.iter().rposition(|byte| !is_blank(byte)).map_or(start, |last| last + 1);
        let member = &member[start..end];
        // Empty members are allowed.
        if member.is_empty() {
            continue;
        }
        has_member = true;
        let Some(equals) = member.iter().position(|byte| *byte == b'=') else { return false };
        if !is_key(&member[..equals]) || !is_value(&member[equals + 1..]) {
            return false;
        }
    }
    has_member && members <= MAX_MEMBERS
}

/// A key of one vendor, or of one tenant of a vendor: `tenant@vendor`.
fn is_key(key: &[u8]) -> bool {
    let has_valid_characters =
        |part: &[u8]| part.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/'));
    let is_name = |part: &[u8], most: usize| {
        part.len() <= most && part.first().is_some_and(u8::is_ascii_lowercase) && has_valid_characters(part)
    };
    match key.iter().position(|byte| *byte == b'@') {
        None => is_name(key, 256),
        Some(at) => {
            let (tenant, vendor) = (&key[..at], &key[at + 1..]);
            let starts_well = tenant.first().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
            starts_well && tenant.len() <= 241 && has_valid_characters(tenant) && is_name(vendor, 14)
        }
    }
}

/// 1 to 256 printable ASCII characters except `,` and `=`, the last one not a space.
fn is_value(value: &[u8]) -> bool {
    let is_valid = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b',' | b'=');
    (1..=256).contains(&value.len()) && value.iter().all(is_valid) && value.last() != Some(&b' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";

    #[test]
    fn a_traceparent_is_valid_by_its_version() {
        let trace_id = |value: &str| TraceId::of_traceparent(value.as_bytes()).map(|id| id.to_string());
        for valid in [
            format!("00-{TRACE}-{PARENT}-01"),
            format!("00-{TRACE}-{PARENT}-ff"),
            format!("01-{TRACE}-{PARENT}-00"),
            format!("cc-{TRACE}-{PARENT}-01-what-the-future-brings"),
            format!("fe-{TRACE}-{PARENT}-01-"),
        ] {
            assert_eq!(trace_id(&valid).as_deref(), Some(TRACE), "{valid}");
        }
        assert_eq!(trace_id(&format!("00-{:032x}-{PARENT}-01", 1)), Some(format!("{:032x}", 1)));
        for invalid in [
            String::new(),
            "00".to_owned(),
            "-".repeat(55),
            format!("00-{TRACE}-{PARENT}"),
            format!("00-{TRACE}-{PARENT}-0"),
            format!("00-{TRACE}-{PARENT}-01-"),
            format!("00-{TRACE}-{PARENT}-01-more"),
            format!("00-{TRACE}-{PARENT}-010"),
            format!("cc-{TRACE}-{PARENT}-01.more"),
            format!("cc-{TRACE}-{PARENT}-010"),
            format!("ff-{TRACE}-{PARENT}-01"),
            format!("0g-{TRACE}-{PARENT}-01"),
            format!("0-{TRACE}-{PARENT}-001"),
            format!("00-{}-{PARENT}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{}-{PARENT}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-{}-01", PARENT.to_uppercase()),
            format!("00-{TRACE}-{PARENT}-0A"),
            format!("00-{TRACE}-{PARENT}-+1"),
            format!("00-{}-{PARENT}-01", TRACE.replace('4', "g")),
            format!("00_{TRACE}-{PARENT}-01"),
            format!("00-{}-{PARENT}0-01", &TRACE[1..]),
            format!(" 00-{TRACE}-{PARENT}-01"),
            format!("00-{TRACE}-{PARENT}-01,00-{TRACE}-{PARENT}-01"),
            "\u{e9}".repeat(30),
        ] {
            assert_eq!(trace_id(&invalid), None, "{invalid}");
        }
    }

    #[test]
    fn a_tracestate_is_valid_by_its_members() {
        let members = |count: usize| (0..count).map(|at| format!("k{at}=v")).collect::<Vec<_>>().join(",");
        let long = |key: usize, value: usize| format!("{}={}", "k".repeat(key), "v".repeat(value));
        let tenant = |tenant: usize, vendor: usize| format!("{}@{}=v", "1".repeat(tenant), "v".repeat(vendor));
        for valid in [
            "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE".to_owned(),
            "a=1 , \tb=2\t,c=3".to_owned(),
            ",a=1,,b=2,".to_owned(),
            "a= 1".to_owned(),
            "a=!\"#$%&'()*+-./:;<>?@[\\]^_`{|}~".to_owned(),
            "a-_*/0=1".to_owned(),
            "0tenant@vendor=1".to_owned(),
            members(32),
            long(256, 256),
            tenant(241, 14),
        ] {
            assert!(is_tracestate(valid.as_bytes()), "{valid}");
        }
        for invalid in [
            String::new(),
            " ,, ".to_owned(),
            "a".to_owned(),
            "=1".to_owned(),
            "a=".to_owned(),
            "a=1=2".to_owned(),
            "a=1;b=2 c".to_owned() + "=3",
            "a =1".to_owned(),
            "A=1".to_owned(),
            "0a=1".to_owned(),
            "a.b=1".to_owned(),
            "@vendor=1".to_owned(),
            "tenant@=1".to_owned(),
            "a@b@c=1".to_owned(),
            "a@0b=1".to_owned(),
            "a=1\t2".to_owned(),
            "a=\u{e9}".to_owned(),
            "a=1,b".to_owned(),
            members(33),
            long(257, 1),
            long(1, 257),
            tenant(242, 1),
            tenant(1, 15),
        ] {
            assert!(!is_tracestate(invalid.as_bytes()), "{invalid}");
        }
    }
}
