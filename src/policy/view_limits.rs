//! Limits on the lifetime of a view, and the response fields that must not exceed them.
//!
//! The origin's lifetime is for the whole body: with it, a client's own cache would serve a live part
//! for too long, or a pre-signed URL that has expired. So longer lifetimes in the response are lowered,
//! the one change to the origin's fields. Others stay as they are, and no field is added.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::{Deserialize, Serialize};

use super::dates::DateField;
use super::directive::{DeltaSeconds, Directive, LONGEST_NAME};
use super::facts::Facts;
use super::fields::date;
use super::list::{self, Quotes};
use crate::config;

/// How long a view may be served, in addition to the lifetime of the whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewLimits {
    /// The shortest lifetime of its live parts (`freshness.live`).
    pub live: Option<Duration>,
    /// When its first pre-signed URL expires, minus `freshness.signed_url_margin`. From then on the
    /// view must not be served, not even stale.
    pub signed_until: Option<SystemTime>,
}

/// The lifetime of a body with a pre-signed URL whose expiry cannot be read, without live parts
/// configured.
const UNREADABLE_EXPIRY: Duration = Duration::from_mins(1);

impl ViewLimits {
    /// The limits for a whole body or a view of it, from its facts. `is_unknown`: of a call with an
    /// unknown status, which may have any live part anywhere.
    pub fn of(facts: &Facts, settings: &config::Freshness, is_unknown: bool) -> Self {
        let all = settings.live.iter().map(|(_, lifetime)| *lifetime).min();
        let live = match all {
            all if facts.unreadable_expiry => Some(all.unwrap_or(UNREADABLE_EXPIRY)),
            all if is_unknown => all,
            _ => facts.live.shortest(&settings.live),
        };
        Self {
            live,
            signed_until: facts.signed_until.map(|end| {
                end.checked_sub(settings.signed_url_margin)
                    .unwrap_or(SystemTime::UNIX_EPOCH)
            }),
        }
    }
}

/// The fields whose directives are lowered: for all caches, and for CDNs (RFC 9213).
const DIRECTIVES: [HeaderName; 2] = [
    header::CACHE_CONTROL,
    HeaderName::from_static("cdn-cache-control"),
];

/// Whether a field gives clients a lifetime, or is the date from which that counts.
pub fn is_lifetime(name: &HeaderName) -> bool {
    DIRECTIVES.contains(name) || [header::EXPIRES, header::DATE].contains(name)
}

/// A copy of the fields that give clients a lifetime, [lowered](lower_lifetime).
pub fn lowered_lifetime(fields: &HeaderMap, seconds: u64, now: SystemTime) -> HeaderMap {
    let of_lifetime = fields.iter().filter(|(name, _)| is_lifetime(name));
    let copied = of_lifetime.map(|(name, value)| (name.clone(), value.clone()));
    let mut copied: HeaderMap = copied.collect();
    lower_lifetime(&mut copied, seconds, now);
    copied
}

/// Lowers the lifetimes in `fields` to at most `seconds`: `max-age`, `s-maxage`, `Expires`.
///
/// `seconds` count from `Date`, so they include the current age (RFC 9111 §4.2).
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
    let generated = DateField::read(fields, &header::DATE, now).valid();
    let end = generated
        .unwrap_or(now)
        .checked_add(Duration::from_secs(seconds));
    if let Some(end) = end.filter(|end| *end < expires) {
        fields.insert(header::EXPIRES, date(end));
    }
}

/// The directives of a field with lowered lifetimes and without those for stale use; `None` if
/// nothing changes.
fn lowered(fields: &HeaderMap, name: &HeaderName, seconds: u64) -> Option<Vec<u8>> {
    let mut kept = Vec::new();
    let mut differs = false;
    for element in list::elements(fields, name, Quotes::Escaped) {
        let directive = Directive::read(element);
        let mut keep = |parts: [&[u8]; 3]| {
            if !kept.is_empty() {
                kept.extend_from_slice(b", ");
            }
            for part in parts {
                kept.extend_from_slice(part);
            }
        };
        match directive.lower(&mut [0; LONGEST_NAME]) {
            b"stale-while-revalidate" | b"stale-if-error" => differs = true,
            known @ (b"max-age" | b"s-maxage") if exceeds(&directive, seconds) => {
                keep([known, b"=", itoa::Buffer::new().format(seconds).as_bytes()]);
                differs = true;
            }
            _ => keep([element, b"", b""]),
        }
    }
    differs.then_some(kept)
}

fn exceeds(lifetime: &Directive<'_>, seconds: u64) -> bool {
    let sent = DeltaSeconds::read(&lifetime.argument);
    matches!(sent, DeltaSeconds::Seconds(sent) if u64::from(sent) > seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines after lowering to 30 s, at a wall-clock time of 1,000 s.
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
    fn only_lifetimes_above_the_limit_are_lowered() {
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
    fn expires_is_lowered_only_if_beyond_the_limit() {
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

    /// Formatting such a date panicked, and the client got a 500.
    #[test]
    fn lowering_expires_before_1970_does_not_panic() {
        let lines = lowered(&[
            ("date", "Wed, 31 Dec 1969 00:00:00 GMT"),
            ("expires", "Thu, 01 Jan 1970 01:00:00 GMT"),
        ]);
        assert_eq!(lines[1], "expires: Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
