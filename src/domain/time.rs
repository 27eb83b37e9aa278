//! Times in RFC 3339, the form that clients read and write. Internally they are milliseconds of Unix time.

use jiff::Timestamp;

const NS_PER_MS: i128 = 1_000_000;

/// The last millisecond of the year 9999. Clients often send it to mean "never". jiff's range ends a day earlier.
const LAST_MS: u64 = 253_402_300_799_999;

/// Times beyond jiff's range are shifted back by this much to be read or written.
const TWO_DAYS_MS: u64 = 2 * 24 * 60 * 60 * 1000;

/// Formats a time as `2026-11-23T10:00:00.123Z`. Times after the year 9999 are shown as its last moment.
pub fn rfc3339(unix_ms: u64) -> String {
    let show = |unix_ms: u64| Some(format!("{:.3}", Timestamp::from_millisecond(unix_ms.cast_signed()).ok()?));
    let unix_ms = unix_ms.min(LAST_MS);
    show(unix_ms).or_else(|| Some(two_days_later(&show(unix_ms - TWO_DAYS_MS)?))).unwrap_or_default()
}

fn two_days_later(shown: &str) -> String {
    shown.replacen("9999-12-28T", "9999-12-30T", 1).replacen("9999-12-29T", "9999-12-31T", 1)
}

/// Reads a time with any offset. A time before 1970 becomes 1970. Fractions of a millisecond are rounded up, so that a
/// whole millisecond is before the result exactly if it is before the written time. A space counts as a plus sign,
/// because decoding a URL turns one into the other.
pub fn parse(text: &str) -> Option<u64> {
    let text = text.replace(' ', "+");
    let ns = match text.parse::<Timestamp>() {
        Ok(moment) => moment.as_nanosecond().max(0),
        Err(_) => {
            let day = ["30", "31"]
                .into_iter()
                .zip(["28", "29"])
                .find(|(day, _)| text.starts_with(&format!("9999-12-{day}T")));
            let (day, before) = day?;
            let moved: Timestamp = text.replacen(day, before, 1).parse().ok()?;
            moved.as_nanosecond() + i128::from(TWO_DAYS_MS) * NS_PER_MS
        }
    };
    u64::try_from((ns + NS_PER_MS - 1) / NS_PER_MS).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_utc_with_milliseconds() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_795_428_000_123), "2026-11-23T10:00:00.123Z");
        assert_eq!(rfc3339(253_402_207_200_999), "9999-12-30T22:00:00.999Z");
        assert_eq!(rfc3339(253_402_207_201_000), "9999-12-30T22:00:01.000Z");
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn times_are_read_with_any_offset_and_rounded_up() {
        for (text, unix_ms) in [
            ("2026-11-23T10:00:00.123Z", 1_795_428_000_123),
            ("2026-11-23T11:00:00.123+01:00", 1_795_428_000_123),
            ("2026-11-23T11:00:00.123 01:00", 1_795_428_000_123),
            ("2026-11-23T10:00:00.1230001Z", 1_795_428_000_124),
            ("1969-12-31T23:59:59Z", 0),
            ("9999-12-30T22:00:01Z", 253_402_207_201_000),
            ("9999-12-31T23:59:59Z", 253_402_300_799_000),
        ] {
            assert_eq!(parse(text), Some(unix_ms), "{text}");
        }
        for bad in ["", "1", "yesterday", "2026-11-23", "2026-11-23T10:00:00", "2030-02-30T00:00:00Z", "-1"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
