//! HTTP dates: the three forms of RFC 9110 §5.6.7, parsed strictly.
//!
//! The `httpdate` crate formats our dates, but does not parse any: its pivot for two-digit years
//! is fixed at 1970, it rejects earlier dates, and it is case-sensitive, contrary to RFC 9111 §4.2.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName};
use jiff::Timestamp;
use jiff::civil::{Date, date};
use jiff::tz::Offset;

const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// A field whose value is one date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DateField {
    /// The field is absent.
    Absent,
    /// Not a valid date, or several lines.
    Invalid,
    /// A valid date.
    At(SystemTime),
}

impl DateField {
    /// Reads a field of `head`.
    pub(super) fn read(head: &HeaderMap, name: &HeaderName, now: SystemTime) -> Self {
        let mut lines = head.get_all(name).iter();
        match (lines.next(), lines.next()) {
            (None, _) => Self::Absent,
            (Some(line), None) => http_date(line.as_bytes(), now).map_or(Self::Invalid, Self::At),
            (Some(_), Some(_)) => Self::Invalid,
        }
    }

    /// The date, if valid.
    pub(super) fn valid(self) -> Option<SystemTime> {
        match self {
            Self::At(date) => Some(date),
            Self::Absent | Self::Invalid => None,
        }
    }
}

/// Parses an HTTP date: IMF-fixdate, RFC 850 or asctime form (RFC 9110 §5.6.7).
///
/// `now` determines the century of a two-digit year. Letter case is ignored (RFC 9111 §4.2);
/// everything else must be exact: digits, spaces, the weekday of the date, and `GMT`. `UTC` is
/// not in the grammar, and accepting it would only prolong a lifetime.
pub fn http_date(written: &[u8], now: SystemTime) -> Option<SystemTime> {
    let seconds = imf_fixdate(written)
        .or_else(|| asctime(written))
        .or_else(|| rfc850(written, now))?;
    let distance = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 {
        UNIX_EPOCH.checked_sub(distance)
    } else {
        UNIX_EPOCH.checked_add(distance)
    }
}

/// Parses `Sun, 06 Nov 1994 08:49:37 GMT`.
fn imf_fixdate(text: &[u8]) -> Option<i64> {
    let text: &[u8; 29] = text.try_into().ok()?;
    layout(text, "???, ?? ??? ???? ??:??:?? GMT")?;
    let day = day(year(&text[12..16])?, month(&text[8..11])?, &text[5..7])?;
    check_weekday(&text[..3], day, 3)?;
    Some(start(day) + time(&text[17..25])?)
}

/// Parses `Sun Nov  6 08:49:37 1994`.
fn asctime(text: &[u8]) -> Option<i64> {
    let text: &[u8; 24] = text.try_into().ok()?;
    layout(text, "??? ??? ?? ??:??:?? ????")?;
    // A one-digit day is padded with a space, never with a zero.
    let mut digits = [text[8], text[9]];
    match digits[0] {
        b' ' => digits[0] = b'0',
        b'0' => return None,
        _ => {}
    }
    let day = day(year(&text[20..])?, month(&text[4..7])?, &digits)?;
    check_weekday(&text[..3], day, 3)?;
    Some(start(day) + time(&text[11..19])?)
}

/// Parses `Sunday, 06-Nov-94 08:49:37 GMT`.
fn rfc850(text: &[u8], now: SystemTime) -> Option<i64> {
    let comma = text.iter().position(|&byte| byte == b',')?;
    let (weekday, rest) = text.split_at(comma);
    let rest: &[u8; 24] = rest.try_into().ok()?;
    layout(rest, ", ??-???-?? ??:??:?? GMT")?;
    let (digits, month, time) = (&rest[2..4], month(&rest[5..8])?, time(&rest[12..20])?);
    let two_digits = i16::from(two(&rest[9..11])?);

    // A date more than 50 years ahead means the most recent past year with these two digits
    // (RFC 9110 §5.6.7): take the latest of three candidates that is not so far ahead.
    let now = Timestamp::try_from(now.max(UNIX_EPOCH)).ok()?;
    let century = Offset::UTC.to_datetime(now).year() / 100 * 100;
    let year = [century + 100, century, century - 100]
        .into_iter()
        .map(|century| century + two_digits)
        .find(|&year| {
            // The year fifty years before a leap year is not a leap year.
            let before = day(year - 50, month, digits).or_else(|| day(year - 50, month, b"28"));
            before.is_some_and(|before| start(before) + time <= now.as_second())
        })?;
    let day = day(year, month, digits)?;
    check_weekday(weekday, day, usize::MAX)?;
    Some(start(day) + time)
}

/// Checks a text against `pattern`: `?` matches any byte, letter case is ignored.
fn layout(text: &[u8], pattern: &str) -> Option<()> {
    let fits =
        |(&byte, expected): (&u8, u8)| expected == b'?' || byte.eq_ignore_ascii_case(&expected);
    (text.len() == pattern.len() && text.iter().zip(pattern.bytes()).all(fits)).then_some(())
}

/// Checks that `name` is the day's weekday, of which at most `letters` letters are written.
fn check_weekday(name: &[u8], day: Date, letters: usize) -> Option<()> {
    let index = usize::try_from(day.weekday().to_sunday_zero_offset()).expect("0 to 6");
    let weekday = WEEKDAYS[index].as_bytes();
    let expected = &weekday[..weekday.len().min(letters)];
    name.eq_ignore_ascii_case(expected).then_some(())
}

fn month(name: &[u8]) -> Option<i8> {
    let index = MONTHS
        .iter()
        .position(|month| name.eq_ignore_ascii_case(month.as_bytes()))?;
    Some(i8::try_from(index).expect("0 to 11") + 1)
}

fn year(digits: &[u8]) -> Option<i16> {
    Some(i16::from(two(&digits[..2])?) * 100 + i16::from(two(&digits[2..])?))
}

fn two(digits: &[u8]) -> Option<i8> {
    match digits {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => {
            i8::try_from((tens - b'0') * 10 + (ones - b'0')).ok()
        }
        _ => None,
    }
}

/// Parses `08:49:37` into seconds. A leap second is valid only at the end of a day.
fn time(text: &[u8]) -> Option<i64> {
    let (hour, minute, second) = (two(&text[..2])?, two(&text[3..5])?, two(&text[6..])?);
    let leap = (hour, minute, second) == (23, 59, 60);
    (hour < 24 && minute < 60 && (second < 60 || leap))
        .then(|| i64::from(hour) * 3_600 + i64::from(minute) * 60 + i64::from(second))
}

/// A day of the Gregorian calendar; `None` if the month does not have it.
fn day(year: i16, month: i8, digits: &[u8]) -> Option<Date> {
    Date::new(year, month, two(digits)?).ok()
}

/// The first second of a day, as a Unix time.
fn start(day: Date) -> i64 {
    day.duration_since(date(1970, 1, 1)).as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// 6 November 1994, 08:49:37.
    const EXAMPLE: u64 = 784_111_777;
    /// 2026-01-01.
    const NOW: u64 = 1_767_225_600;

    #[test]
    fn all_three_date_forms_are_parsed() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            // RFC 9111 §4.2: letter case is ignored.
            "sun, 06 nov 1994 08:49:37 gmt",
            "SUNDAY, 06-NOV-94 08:49:37 Gmt",
        ] {
            assert_eq!(
                http_date(text.as_bytes(), at(NOW)),
                Some(at(EXAMPLE)),
                "{text}"
            );
        }
    }

    #[test]
    fn other_date_formats_are_rejected() {
        for text in [
            "",
            "0",
            "-1",
            "now",
            "784111777",
            "1994-11-06T08:49:37Z",
            "Mon, 06 Nov 1994 08:49:37 GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun,  6 Nov 1994 08:49:37 GMT",
            "Sun 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 08:49:37 AEST",
            "Sun, 06 Nov 1994 08:49:37 +0000",
            "Sun, 06 Nov 1994 08:49:37 GMT ",
            " Sun, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT, x",
            "Sun, 06  Nov 1994 08:49:37 GMT",
            "Sun, 06-Nov-1994 08:49:37 GMT",
            "Sun, 06 Nov 94 08:49:37 GMT",
            "Sun, 06 Nov 1994 8:49:37 GMT",
            "Sun, 06 Nov 1994 08.49.37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1994 08:60:37 GMT",
            "Sun, 06 Nov 1994 08:49:60 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Thu, 31 Nov 1994 08:49:37 GMT",
            "Wed, 29 Feb 1995 08:49:37 GMT",
            "Sun, 06 Non 1994 08:49:37 GMT",
            "Sun, 06 Nov +994 08:49:37 GMT",
            "Sun, 06-Nov-94 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 UTC",
            "Saturday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov 06 08:49:37 1994",
            "Sun Nov 6 08:49:37 1994",
            "Sun Nov  6 08:49:37 1994 GMT",
        ] {
            assert_eq!(http_date(text.as_bytes(), at(NOW)), None, "{text}");
        }
    }

    #[test]
    fn every_formatted_date_parses_to_itself() {
        for day in (0..100_000).step_by(13) {
            let date = at(day * 86_400 + day % 86_400);
            let text = httpdate::fmt_http_date(date);
            assert_eq!(http_date(text.as_bytes(), at(NOW)), Some(date), "{text}");
        }
    }

    #[test]
    fn a_two_digit_year_is_at_most_fifty_years_ahead() {
        let year = |text: &str, now| {
            let date = http_date(text.as_bytes(), at(now)).expect("a valid date");
            let stamp = Timestamp::try_from(date).expect("a date that jiff can hold");
            Offset::UTC.to_datetime(stamp).year()
        };
        assert_eq!(year("Wednesday, 01-Jan-76 00:00:00 GMT", NOW), 2076);
        assert_eq!(year("Friday, 02-Jan-76 00:00:00 GMT", NOW), 1976);
        assert_eq!(year("Tuesday, 29-Feb-00 00:00:00 GMT", NOW), 2000);
        assert_eq!(year("Thursday, 01-Jan-26 00:00:00 GMT", NOW), 2026);
        // In 2095, the year 10 is in the next century.
        assert_eq!(
            year("Wednesday, 01-Jan-10 00:00:00 GMT", 3_944_678_400),
            2110
        );
    }

    #[test]
    fn dates_before_1970_and_leap_seconds_are_parsed() {
        let old = http_date(b"Mon, 01 Jan 1900 00:00:00 GMT", at(NOW));
        assert_eq!(
            old,
            UNIX_EPOCH.checked_sub(Duration::from_hours(25_567 * 24))
        );
        let leap = http_date(b"Sat, 31 Dec 2016 23:59:60 GMT", at(NOW));
        assert_eq!(leap, Some(at(1_483_228_800)));
    }
}
