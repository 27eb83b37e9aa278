//! Calendar windows: the days, weeks and months of one time zone.
//!
//! A window begins at the first moment of its first date and ends where the next one begins. So the windows of a period
//! follow each other without gaps, in order of time, also where a day has 23 or 25 hours, where midnight is skipped or
//! happens twice, and where a date is left out because a zone has moved across the date line. Weeks begin on Monday.
//!
//! The zone's rules come from the time zone data that is compiled into the binary, so every machine agrees on them.

use std::{fmt, time::Duration};

use jiff::{
    Timestamp, ToSpan, civil,
    tz::{TimeZone, TimeZoneDatabase},
};

use super::day::Day;

/// A period of calendar windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    /// A date.
    Day,
    /// Monday to Sunday.
    Week,
    /// A calendar month.
    Month,
}

impl Period {
    /// All of them, the shortest first.
    pub const ALL: [Self; 3] = [Self::Day, Self::Week, Self::Month];
}

/// A day, week or month: from `start_ms` up to but not including `end_ms`, in ms of Unix time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CalendarWindow {
    /// The first moment.
    pub start_ms: u64,
    /// The first moment after it.
    pub end_ms: u64,
}

impl CalendarWindow {
    /// Whether a moment (ms of Unix time) lies in it.
    pub fn contains(&self, unix_ms: u64) -> bool {
        (self.start_ms..self.end_ms).contains(&unix_ms)
    }

    /// Time from a moment until it ends; zero after its end.
    pub fn until_end(&self, unix_ms: u64) -> Duration {
        Duration::from_millis(self.end_ms.saturating_sub(unix_ms))
    }
}

/// The three windows that a moment lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CalendarWindows {
    /// The day.
    pub day: CalendarWindow,
    /// The week.
    pub week: CalendarWindow,
    /// The month.
    pub month: CalendarWindow,
}

impl CalendarWindows {
    /// The window of a period.
    pub fn of(&self, period: Period) -> &CalendarWindow {
        match period {
            Period::Day => &self.day,
            Period::Week => &self.week,
            Period::Month => &self.month,
        }
    }
}

/// The text is not the name of a time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownZone;

impl fmt::Display for UnknownZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be the name of a time zone, such as \"UTC\" or \"Europe/Berlin\"")
    }
}

/// The calendar of one time zone.
#[derive(Debug, Clone, PartialEq)]
pub struct Calendar {
    zone: TimeZone,
    name: String,
}

impl Default for Calendar {
    fn default() -> Self {
        Self { zone: TimeZone::UTC, name: "UTC".to_owned() }
    }
}

impl Calendar {
    /// The calendar of a zone of the IANA time zone database. Case does not matter.
    pub fn new(zone: &str) -> Result<Self, UnknownZone> {
        if zone.eq_ignore_ascii_case("UTC") {
            return Ok(Self::default());
        }
        let zone = TimeZoneDatabase::bundled().get(zone).map_err(|_| UnknownZone)?;
        let name = zone.iana_name().ok_or(UnknownZone)?.to_owned();
        Ok(Self { zone, name })
    }

    /// The zone's name, as the database spells it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The windows that a moment lies in.
    pub fn windows(&self, unix_ms: u64) -> CalendarWindows {
        let [day, week, month] = Period::ALL.map(|period| self.window(period, unix_ms));
        CalendarWindows { day, week, month }
    }

    /// The window of a period that a moment lies in.
    pub fn window(&self, period: Period, unix_ms: u64) -> CalendarWindow {
        let unix_ms = unix_ms.min(LATEST_MS);
        let mut first = first_date(period, self.date(unix_ms));
        // Where clocks are set back across midnight, the same date is shown before and after the next one has begun.
        let mut end_ms = self.start_ms(next_date(period, first));
        while end_ms <= unix_ms {
            first = next_date(period, first);
            end_ms = self.start_ms(next_date(period, first));
        }
        CalendarWindow { start_ms: self.start_ms(first), end_ms }
    }

    /// The date of a moment, as `2026-11-23`.
    pub fn date_text(&self, unix_ms: u64) -> String {
        self.date(self.window(Period::Day, unix_ms).start_ms).to_string()
    }

    /// A moment for people, as `Mon 23 Nov 2026, 09:05`.
    pub fn moment_text(&self, unix_ms: u64) -> String {
        self.datetime(unix_ms).strftime("%a %-d %b %Y, %H:%M").to_string()
    }

    fn date(&self, unix_ms: u64) -> civil::Date {
        self.datetime(unix_ms).date()
    }

    fn datetime(&self, unix_ms: u64) -> civil::DateTime {
        let moment = Timestamp::from_millisecond(i64::try_from(unix_ms).unwrap_or(i64::MAX));
        self.zone.to_datetime(moment.unwrap_or(Timestamp::MAX))
    }

    /// The first moment of a date, in ms of Unix time.
    fn start_ms(&self, date: civil::Date) -> u64 {
        let start = self.zone.to_ambiguous_timestamp(date.at(0, 0, 0, 0)).compatible();
        u64::try_from(start.unwrap_or(Timestamp::MAX).as_millisecond()).unwrap_or(0)
    }
}

/// Moments after this one, the end of the year 9000, are treated as it: dates end at 9999-12-31.
const LATEST_MS: u64 = Day(2_567_918).start_unix_ms();

fn first_date(period: Period, date: civil::Date) -> civil::Date {
    match period {
        Period::Day => date,
        Period::Week => date.saturating_sub(i32::from(date.weekday().to_monday_zero_offset()).days()),
        Period::Month => date.first_of_month(),
    }
}

fn next_date(period: Period, first: civil::Date) -> civil::Date {
    match period {
        Period::Day => first.saturating_add(1.day()),
        Period::Week => first.saturating_add(1.week()),
        Period::Month => first.saturating_add(1.month()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: u64 = 3_600_000;

    fn ms(text: &str) -> u64 {
        text.parse::<Timestamp>().unwrap().as_millisecond() as u64
    }

    /// The start, the end and the hours of the window that a moment lies in.
    fn window(zone: &str, period: Period, at: &str) -> (String, String, u64) {
        let CalendarWindow { start_ms, end_ms } = Calendar::new(zone).unwrap().window(period, ms(at));
        let text = |ms: u64| Timestamp::from_millisecond(ms as i64).unwrap().to_string();
        (text(start_ms), text(end_ms), (end_ms - start_ms) / HOUR_MS)
    }

    fn of(start: &str, end: &str, hours: u64) -> (String, String, u64) {
        (start.to_owned(), end.to_owned(), hours)
    }

    #[test]
    fn weeks_begin_on_monday_and_months_know_leap_days() {
        let day = window("UTC", Period::Day, "2026-11-30T12:00:00Z");
        assert_eq!(day, of("2026-11-30T00:00:00Z", "2026-12-01T00:00:00Z", 24));
        let week = window("UTC", Period::Week, "2027-01-03T23:59:59.999Z");
        assert_eq!(week, of("2026-12-28T00:00:00Z", "2027-01-04T00:00:00Z", 168));
        let february = window("UTC", Period::Month, "2028-02-29T23:59:59Z");
        assert_eq!(february, of("2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z", 29 * 24));
    }

    #[test]
    fn days_have_23_or_25_hours_where_clocks_change() {
        let spring = window("Europe/Berlin", Period::Day, "2026-03-29T12:00:00Z");
        assert_eq!(spring, of("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z", 23));
        let autumn = window("Europe/Berlin", Period::Day, "2026-10-25T01:30:00Z");
        assert_eq!(autumn, of("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z", 25));
        let month = window("Europe/Berlin", Period::Month, "2026-10-25T01:30:00Z");
        assert_eq!(month.2, 31 * 24 + 1);
    }

    #[test]
    fn a_day_without_midnight_begins_after_the_gap() {
        // In Beirut the clocks went from 00:00 to 01:00.
        let day = window("Asia/Beirut", Period::Day, "2022-03-27T00:00:00Z");
        assert_eq!(day, of("2022-03-26T22:00:00Z", "2022-03-27T21:00:00Z", 23));
    }

    #[test]
    fn a_day_with_two_midnights_begins_at_the_first() {
        // In Havana the clocks went from 01:00 back to 00:00.
        let day = window("America/Havana", Period::Day, "2025-11-02T05:30:00Z");
        assert_eq!(day, of("2025-11-02T04:00:00Z", "2025-11-03T05:00:00Z", 25));
    }

    #[test]
    fn a_clock_that_is_set_back_across_midnight_does_not_reopen_the_day() {
        // In St. John's the clocks went from 00:01 back to 23:01, so the date was first 7 November, then 6 November.
        let before = window("America/St_Johns", Period::Day, "2010-11-07T02:29:59Z");
        assert_eq!(before.1, "2010-11-07T02:30:00Z");
        for at in ["2010-11-07T02:30:30Z", "2010-11-07T03:00:00Z", "2010-11-07T12:00:00Z"] {
            assert_eq!(window("America/St_Johns", Period::Day, at).0, before.1, "{at}");
        }
    }

    #[test]
    fn a_date_that_a_zone_left_out_has_no_window() {
        // Samoa had no 30 December 2011.
        let day = window("Pacific/Apia", Period::Day, "2011-12-30T09:00:00Z");
        assert_eq!(day, of("2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z", 24));
        assert_eq!(window("Pacific/Apia", Period::Day, "2011-12-30T10:00:00Z").0, day.1);
    }

    #[test]
    fn windows_follow_each_other_without_gaps() {
        let zones =
            ["UTC", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns", "Pacific/Apia"];
        for zone in zones {
            let calendar = Calendar::new(zone).unwrap();
            for period in Period::ALL {
                let mut at = ms("2010-10-01T00:00:00Z");
                while at < ms("2012-02-01T00:00:00Z") {
                    let window = calendar.window(period, at);
                    assert!(window.contains(at), "{zone} {period:?} {at}");
                    assert_eq!(calendar.window(period, window.end_ms - 1), window, "{zone} {period:?} {at}");
                    assert_eq!(
                        calendar.window(period, window.end_ms).start_ms,
                        window.end_ms,
                        "{zone} {period:?} {at}"
                    );
                    at = window.end_ms;
                }
            }
        }
    }

    #[test]
    fn every_moment_has_windows_and_names_are_checked() {
        for unix_ms in [0, 1, LATEST_MS - 1, LATEST_MS, u64::MAX] {
            for zone in ["UTC", "Pacific/Kiritimati", "Pacific/Niue"] {
                let windows = Calendar::new(zone).unwrap().windows(unix_ms);
                assert!(windows.day.start_ms < windows.day.end_ms && windows.month.start_ms < windows.month.end_ms);
            }
        }
        for unknown in ["", "Europe/Atlantis", "+02:00", "../etc/passwd", "Europe/Berlin "] {
            assert_eq!(Calendar::new(unknown).map(|calendar| calendar.name), Err(UnknownZone), "{unknown:?}");
        }
        assert_eq!(Calendar::new("europe/berlin").unwrap().name(), "Europe/Berlin");
        assert_eq!(Calendar::new("utc").unwrap(), Calendar::default());
        assert_eq!(Calendar::new("Europe/Berlin").unwrap().date_text(ms("2026-11-30T23:30:00Z")), "2026-12-01");
    }

    #[test]
    fn moments_are_shown_in_the_zone() {
        let berlin = Calendar::new("Europe/Berlin").unwrap();
        assert_eq!(berlin.moment_text(ms("2026-11-30T23:05:59Z")), "Tue 1 Dec 2026, 00:05");
        assert!(berlin.moment_text(u64::MAX).contains("9999"));
    }
}
