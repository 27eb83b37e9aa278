//! Moments as clients read and write them: RFC 3339. Inside they are milliseconds of Unix time.

use jiff::Timestamp;

const NS_PER_MS: i128 = 1_000_000;

/// `2026-11-23T10:00:00.123Z`. Later than year 9999 is shown as its last moment.
pub fn rfc3339(unix_ms: u64) -> String {
    let moment = i64::try_from(unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    format!("{:.3}", moment.unwrap_or(Timestamp::MAX))
}

/// Reads a moment with any offset; one before 1970 is taken as 1970. Fractions of a millisecond are rounded up, so that
/// a whole millisecond lies before the result exactly if it lies before what was written. A space stands for the plus
/// sign that a URL's decoder takes it from.
pub fn parse(text: &str) -> Option<u64> {
    let text = text.replace(' ', "+");
    let ns = match text.parse::<Timestamp>() {
        Ok(moment) => moment.as_nanosecond().max(0),
        // The last day that four digits can write lies beyond jiff's range, and means "never".
        Err(_) if text.starts_with("9999-12-31T") => same_time_the_day_before(&text)?.as_nanosecond(),
        Err(_) => return None,
    };
    u64::try_from((ns + NS_PER_MS - 1) / NS_PER_MS).ok()
}

fn same_time_the_day_before(text: &str) -> Option<Timestamp> {
    text.replacen("9999-12-31T", "9999-12-29T", 1).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_shown_in_utc_with_milliseconds() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_795_428_000_123), "2026-11-23T10:00:00.123Z");
        assert_eq!(rfc3339(u64::MAX), "9999-12-30T22:00:00.999Z");
    }

    #[test]
    fn moments_are_read_with_any_offset_and_rounded_up() {
        for (text, unix_ms) in [
            ("2026-11-23T10:00:00.123Z", 1_795_428_000_123),
            ("2026-11-23T11:00:00.123+01:00", 1_795_428_000_123),
            ("2026-11-23T11:00:00.123 01:00", 1_795_428_000_123),
            ("2026-11-23T10:00:00.1230001Z", 1_795_428_000_124),
            ("1969-12-31T23:59:59Z", 0),
            ("9999-12-31T23:59:59Z", 253_402_127_999_000),
        ] {
            assert_eq!(parse(text), Some(unix_ms), "{text}");
        }
        for bad in ["", "1", "yesterday", "2026-11-23", "2026-11-23T10:00:00", "2030-02-30T00:00:00Z", "-1"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
