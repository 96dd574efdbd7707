//! Pre-signed URLs of storage services: when they expire.
//!
//! | signed by | parameters |
//! |---|---|
//! | AWS signature version 4 and the like | `X-Amz-Date` + `X-Amz-Expires`; also `X-Goog-…`, `X-Oss-…` |
//! | AWS version 2, `CloudFront`, Google version 2 | `Expires` (Unix seconds) with `Signature` |
//! | Azure | `se` (a time) with `sig` |
//!
//! Names are case-insensitive. A signed URL without an expiry, or with one of another form (a
//! `CloudFront` policy, an Azure stored access policy), is [`Signed::Unreadable`].

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::json;

/// The expiry of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signed {
    /// Not a pre-signed URL.
    No,
    /// Expires at this time.
    Until(SystemTime),
    /// Signed, with an unknown expiry.
    Unreadable,
}

/// The assumed maximum lifetime of a URL signed with session credentials. It expires with them, at a
/// time that the URL does not contain; a session usually lasts an hour.
const SESSION: Duration = Duration::from_hours(1);

/// The relevant parameters, as sent.
#[derive(Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is the presence of a parameter"
)]
struct Parameters<'a> {
    /// `X-…-Date`, `X-…-Expires`, and whether there is an `X-…-Signature`.
    date: Option<&'a str>,
    lifetime: Option<&'a str>,
    signed: bool,
    /// `X-…-Security-Token`
    session: bool,
    /// `Expires`, `Signature`, and one of the parameters that come with it.
    expires: Option<&'a str>,
    signature: bool,
    key: bool,
    /// `se`, `sig`, and one of the parameters that come with it.
    se: Option<&'a str>,
    sig: bool,
    azure: bool,
}

/// Whether a JSON value may be a string with a URL, which may begin with an escape. A quick test:
/// nearly no value is one.
#[inline]
pub(super) fn may_be_url(value: &[u8]) -> bool {
    matches!(value, [b'"', b'h' | b'H' | b'\\', _, _, _, _, _, _, ..])
}

/// The expiry of a JSON value, if it is a string with a URL and a query.
pub(super) fn read(value: &[u8]) -> Signed {
    if may_be_url(value) {
        read_url(value)
    } else {
        Signed::No
    }
}

fn read_url(value: &[u8]) -> Signed {
    let Some(text) = json::text(value) else {
        return Signed::No;
    };
    let is_http = ["http://", "https://"].iter().any(|scheme| {
        text.get(..scheme.len())
            .is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))
    });
    let url = cut(&text, b'#').map_or(&*text, |(url, _)| url);
    match cut(url, b'?') {
        Some((_, query)) if is_http => Parameters::of(query).until(),
        _ => Signed::No,
    }
}

/// Like `split_once`, which is slow on short texts.
fn cut(text: &str, at: u8) -> Option<(&str, &str)> {
    let (before, rest) = text.split_at(memchr::memchr(at, text.as_bytes())?);
    Some((before, &rest[1..]))
}

// === impl Parameters ===

impl<'a> Parameters<'a> {
    fn of(query: &'a str) -> Self {
        let mut parameters = Self::default();
        let mut rest = Some(query);
        while let Some(left) = rest {
            let (piece, after) = cut(left, b'&').map_or((left, None), |(a, b)| (a, Some(b)));
            rest = after;
            let (name, value) = cut(piece, b'=').unwrap_or((piece, ""));
            // In a text escaped for HTML, `&` is `&amp;`.
            let name = name.strip_prefix("amp;").unwrap_or(name);
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            if let Some(rest) = after_vendor(name) {
                let is = |known: &str| rest.eq_ignore_ascii_case(known);
                if is("date") {
                    parameters.date = Some(value);
                } else if is("expires") {
                    parameters.lifetime = Some(value);
                } else if is("signature") {
                    parameters.signed = true;
                } else if is("security-token") {
                    parameters.session = true;
                }
            } else if is("Expires") {
                parameters.expires = Some(value);
            } else if is("Signature") {
                parameters.signature = true;
            } else if is("se") {
                parameters.se = Some(value);
            } else if is("sig") {
                parameters.sig = true;
            } else if is("sv") || is("si") {
                parameters.azure = true;
            } else if ["Policy", "Key-Pair-Id", "AWSAccessKeyId", "GoogleAccessId"]
                .iter()
                .any(|known| is(known))
            {
                parameters.key = true;
            }
        }
        parameters
    }

    fn until(&self) -> Signed {
        let until = if self.lifetime.is_some() || self.signed {
            self.dated()
        } else if self.signature && (self.expires.is_some() || self.key) {
            // Without a date, the expiry of the session credentials is unknown.
            self.expires.filter(|_| !self.session).and_then(unix)
        } else if self.sig && (self.se.is_some() || self.azure) {
            self.se.and_then(|se| time(&decoded(se))).or_else(|| {
                // Azure allows a date without a time: the start of that day.
                time(&(decoded(self.se?) + "T00:00:00"))
            })
        } else {
            return Signed::No;
        };
        until.map_or(Signed::Unreadable, Signed::Until)
    }

    fn dated(&self) -> Option<SystemTime> {
        let date = time(&decoded(self.date?))?;
        let lifetime = Duration::from_secs(self.lifetime?.parse().ok()?);
        let lifetime = if self.session {
            lifetime.min(SESSION)
        } else {
            lifetime
        };
        date.checked_add(lifetime)
    }
}

/// The name after `X-Amz-`, `X-Goog-` and the like.
fn after_vendor(name: &str) -> Option<&str> {
    let rest = name.strip_prefix(['x', 'X'])?.strip_prefix('-')?;
    Some(cut(rest, b'-')?.1)
}

fn unix(seconds: &str) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds.parse().ok()?))
}

/// Parses a time of the API (RFC 3339); without an offset it is UTC.
pub(super) fn time(text: &str) -> Option<SystemTime> {
    let stamp = text
        .parse()
        .or_else(|_| format!("{text}Z").parse::<jiff::Timestamp>());
    stamp.ok()?.try_into().ok()
}

/// Decodes the percent-encodings that occur in a time: `:` and `+`.
fn decoded(value: &str) -> Cow<'_, str> {
    if !value.contains('%') {
        return Cow::Borrowed(value);
    }
    let value = value.replace("%3A", ":").replace("%3a", ":");
    Cow::Owned(value.replace("%2B", "+").replace("%2b", "+"))
}
