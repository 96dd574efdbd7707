//! How long a view may be served, whatever the lifetime of the whole is, and the fields that say so.
//!
//! The origin's fields speak of the whole: a client's own cache would go on showing a live part, or
//! a signed address that has expired. So fields that promise more than we keep are lowered: the one
//! departure from sending what the origin sent. Fields that promise no more stay as they are, and
//! none is added.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::dates::DateField;
use super::directive::{DeltaSeconds, Directive, LONGEST};
use super::facts::Facts;
use super::fields::date;
use super::list::{self, Quotes};
use crate::config;

/// How long a view may be served, whatever the lifetime of the whole is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ViewLimits {
    /// The lifetime of the liveliest part it shows (`freshness.live`).
    pub live: Option<Duration>,
    /// When the first pre-signed URL it shows is as good as expired
    /// (`freshness.signed_url_margin`). Nothing is served from then on, stale or not.
    pub signed_until: Option<SystemTime>,
}

impl ViewLimits {
    /// The limits for a body, or for the part of it that a view shows.
    #[must_use]
    pub fn of(shown: &Facts, settings: &config::Freshness) -> Self {
        Self {
            live: shown.live.shortest(&settings.live),
            signed_until: shown.signed_until.map(|end| {
                end.checked_sub(settings.signed_url_margin)
                    .unwrap_or(SystemTime::UNIX_EPOCH)
            }),
        }
    }
}

/// Directives of these fields are lowered: for every cache, and for those of RFC 9213.
const DIRECTIVES: [HeaderName; 2] = [
    header::CACHE_CONTROL,
    HeaderName::from_static("cdn-cache-control"),
];

/// Lowers what `fields` promise to a lifetime of `seconds`, which counts from `Date` as theirs
/// does (RFC 9111 §4.2): what is left, and the age it has by now.
pub fn lower_lifetime(fields: &mut HeaderMap, seconds: u64, now: SystemTime) {
    for name in &DIRECTIVES {
        let Some(lowered) = lowered(fields, name, seconds) else {
            continue;
        };
        if lowered.is_empty() {
            fields.remove(name);
        } else if let Ok(value) = HeaderValue::try_from(lowered) {
            fields.insert(name, value);
        }
    }
    let Some(expires) = DateField::read(fields, &header::EXPIRES, now).valid() else {
        return;
    };
    let made = DateField::read(fields, &header::DATE, now).valid();
    let end = made
        .unwrap_or(now)
        .checked_add(Duration::from_secs(seconds));
    if let Some(end) = end.filter(|end| *end < expires) {
        fields.insert(header::EXPIRES, date(end));
    }
}

/// The elements of the field with the lifetimes lowered and without stale use; `None` where that
/// makes no difference.
fn lowered(fields: &HeaderMap, name: &HeaderName, seconds: u64) -> Option<Vec<u8>> {
    let mut kept: Vec<Cow<'_, [u8]>> = Vec::new();
    let mut differs = false;
    for element in list::elements(fields, name, Quotes::Escaped) {
        let directive = Directive::read(element);
        let lowered = match directive.lower(&mut [0; LONGEST]) {
            b"stale-while-revalidate" | b"stale-if-error" => None,
            known @ (b"max-age" | b"s-maxage") => match DeltaSeconds::read(&directive.argument) {
                DeltaSeconds::Seconds(promised) if u64::from(promised) > seconds => {
                    let name = String::from_utf8_lossy(known);
                    Some(format!("{name}={seconds}").into_bytes().into())
                }
                DeltaSeconds::Seconds(_) | DeltaSeconds::Invalid => Some(element.into()),
            },
            _ => Some(element.into()),
        };
        differs |= lowered.as_deref() != Some(element);
        kept.extend(lowered);
    }
    differs.then(|| kept.join(&b", "[..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines, lowered to 30 s at 1,000 s.
    fn lowered(lines: &[(&'static str, &str)]) -> Vec<String> {
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            fields.append(*name, value.parse().expect("a value"));
        }
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        lower_lifetime(&mut fields, 30, now);
        fields
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")))
            .collect()
    }

    #[test]
    fn what_promises_more_is_lowered_and_the_rest_stays_as_it_is() {
        let table: &[(&[&str], &[&str])] = &[
            (&[], &[]),
            (&["max-age=600"], &["max-age=30"]),
            (&["max-age=\"600\""], &["max-age=30"]),
            (&["max-age=20"], &["max-age=20"]),
            (&["max-age=x"], &["max-age=x"]),
            (&["private ,MAX-AGE=20"], &["private ,MAX-AGE=20"]),
            (
                &["private, Max-Age=99, s-maxage=20", "x=\"a,b\""],
                &["private, max-age=30, s-maxage=20, x=\"a,b\""],
            ),
            (
                &["max-age=5, stale-while-revalidate=9, stale-if-error=9"],
                &["max-age=5"],
            ),
            (&["stale-if-error=9"], &[]),
        ];
        for (before, then) in table {
            for name in ["cache-control", "cdn-cache-control"] {
                let before: Vec<_> = before.iter().map(|line| (name, *line)).collect();
                let then: Vec<_> = then.iter().map(|line| format!("{name}: {line}")).collect();
                assert_eq!(lowered(&before), then, "{before:?}");
            }
        }
    }

    #[test]
    fn expires_is_lowered_as_far_as_it_lies_beyond() {
        const DATE: (&str, &str) = ("date", "Thu, 01 Jan 1970 00:16:30 GMT");
        let table = [
            (
                "Thu, 01 Jan 1970 01:00:00 GMT",
                "Thu, 01 Jan 1970 00:17:00 GMT",
            ),
            (
                "Thu, 01 Jan 1970 00:17:00 GMT",
                "Thu, 01 Jan 1970 00:17:00 GMT",
            ),
            (
                "Thu, 01 Jan 1970 00:16:40 GMT",
                "Thu, 01 Jan 1970 00:16:40 GMT",
            ),
            ("0", "0"),
        ];
        for (before, then) in table {
            let lines = lowered(&[DATE, ("expires", before)]);
            assert_eq!(lines[1], format!("expires: {then}"));
        }
    }

    /// Formatting it panicked, and the client got a 500.
    #[test]
    fn a_date_before_1970_could_not_be_written() {
        let lines = lowered(&[
            ("date", "Wed, 31 Dec 1969 00:00:00 GMT"),
            ("expires", "Thu, 01 Jan 1970 01:00:00 GMT"),
        ]);
        assert_eq!(lines[1], "expires: Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
