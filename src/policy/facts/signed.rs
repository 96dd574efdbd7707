//! Pre-signed URLs: until when the links work that a storage service has signed.
//!
//! | signed by | its parameters |
//! |---|---|
//! | AWS signature version 4 and its like | `X-Amz-Date` + `X-Amz-Expires`; also `X-Goog-…`, `X-Oss-…` |
//! | AWS version 2, `CloudFront`, Google version 2 | `Expires` (Unix seconds) with `Signature` |
//! | Azure | `se` (a time) with `sig` |
//!
//! Names are compared in any case. What is signed and does not say until when, or says it in
//! another way (a `CloudFront` policy, an Azure stored access policy), is [`Signed::Unreadable`].

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::json;

/// The expiry of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signed {
    /// It is no pre-signed URL.
    No,
    /// It works until then.
    Until(SystemTime),
    /// It is signed, and its expiry is unknown.
    Unreadable,
}

/// How long a URL is trusted that was signed with the credentials of a session. They end at a
/// time of their own that the URL does not show, and the URL with them; an hour is the usual
/// length of a session.
const SESSION: Duration = Duration::from_hours(1);

/// The parameters that matter, as sent.
#[derive(Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a parameter that is there or not"
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

/// Whether a value may be a string that is a URL: nearly none are. A URL may begin with an escape,
/// if it insists.
#[inline]
pub(super) fn may_be(value: &[u8]) -> bool {
    matches!(value, [b'"', b'h' | b'H' | b'\\', _, _, _, _, _, _, ..])
}

/// The expiry of a value that is a string with a URL and its query.
pub(super) fn read(value: &[u8]) -> Signed {
    if may_be(value) {
        read_url(value)
    } else {
        Signed::No
    }
}

fn read_url(value: &[u8]) -> Signed {
    let Some(text) = json::text(value) else {
        return Signed::No;
    };
    let web = ["http://", "https://"].iter().any(|scheme| {
        text.get(..scheme.len())
            .is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))
    });
    let url = cut(&text, b'#').map_or(&*text, |(url, _)| url);
    match cut(url, b'?') {
        Some((_, query)) if web => Parameters::of(query).until(),
        _ => Signed::No,
    }
}

/// As `split_once`, which is slow to find what is near.
fn cut(text: &str, at: u8) -> Option<(&str, &str)> {
    let (before, rest) = text.split_at(memchr::memchr(at, text.as_bytes())?);
    Some((before, &rest[1..]))
}

// === impl Parameters ===

impl<'a> Parameters<'a> {
    fn of(query: &'a str) -> Self {
        let mut found = Self::default();
        let mut rest = Some(query);
        while let Some(left) = rest {
            let (piece, behind) = cut(left, b'&').map_or((left, None), |(a, b)| (a, Some(b)));
            rest = behind;
            let (name, value) = cut(piece, b'=').unwrap_or((piece, ""));
            // Where the text was meant for HTML, `&` is `&amp;`.
            let name = name.strip_prefix("amp;").unwrap_or(name);
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            if let Some(rest) = after_vendor(name) {
                let is = |known: &str| rest.eq_ignore_ascii_case(known);
                if is("date") {
                    found.date = Some(value);
                } else if is("expires") {
                    found.lifetime = Some(value);
                } else if is("signature") {
                    found.signed = true;
                } else if is("security-token") {
                    found.session = true;
                }
            } else if is("Expires") {
                found.expires = Some(value);
            } else if is("Signature") {
                found.signature = true;
            } else if is("se") {
                found.se = Some(value);
            } else if is("sig") {
                found.sig = true;
            } else if is("sv") || is("si") {
                found.azure = true;
            } else if ["Policy", "Key-Pair-Id", "AWSAccessKeyId", "GoogleAccessId"]
                .iter()
                .any(|known| is(known))
            {
                found.key = true;
            }
        }
        found
    }

    fn until(&self) -> Signed {
        let until = if self.lifetime.is_some() || self.signed {
            self.dated()
        } else if self.signature && (self.expires.is_some() || self.key) {
            // The end of the session's credentials is unknown without a date.
            self.expires.filter(|_| !self.session).and_then(unix)
        } else if self.sig && (self.se.is_some() || self.azure) {
            self.se.and_then(|se| time(&decoded(se))).or_else(|| {
                // Azure allows a date alone: its first moment.
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

/// The name after `X-Amz-`, `X-Goog-` and their like.
fn after_vendor(name: &str) -> Option<&str> {
    let rest = name.strip_prefix(['x', 'X'])?.strip_prefix('-')?;
    Some(cut(rest, b'-')?.1)
}

fn unix(seconds: &str) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds.parse().ok()?))
}

/// A time as the API writes it (RFC 3339); without an offset it is taken for UTC.
pub(super) fn time(text: &str) -> Option<SystemTime> {
    let stamp = text
        .parse()
        .or_else(|_| format!("{text}Z").parse::<jiff::Timestamp>());
    stamp.ok()?.try_into().ok()
}

/// Resolves the percent-encodings a time may have: `:` and `+`.
fn decoded(value: &str) -> Cow<'_, str> {
    if !value.contains('%') {
        return Cow::Borrowed(value);
    }
    let value = value.replace("%3A", ":").replace("%3a", ":");
    Cow::Owned(value.replace("%2B", "+").replace("%2b", "+"))
}
