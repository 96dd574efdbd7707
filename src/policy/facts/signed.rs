//! Pre-signed URLs: when the first of them in a text expires.
//!
//! | signed by | parameters |
//! |---|---|
//! | AWS signature version 4 and 4a, R2, Google, OSS | `X-Amz-Date` + `X-Amz-Expires`, `X-Goog-…`, `X-Oss-…` |
//! | AWS version 2, `CloudFront`, Google version 2 and CDN | `Expires` (a time) |
//! | `CloudFront`, custom policy | `Policy` (base64, `DateLessThan`) |
//! | Azure | `se`, `ske` (times) |
//! | Akamai, Bunny | `exp=` or `expires=` in a value or in the path |
//! | others | `exp`, `expires`, `expiry`, `expires_at` and the like; a JWT (`exp`), also in the path or fragment |
//! | Facebook, Discord, nginx, Tencent, Wowza … | [`SHORT_EXPIRIES`], beside a signature |
//!
//! The text is scanned as it is, whether it is JSON or not: a URL may be within longer text, escaped
//! for JSON (at any depth) or HTML, or percent-encoded as a parameter of another URL. Names are
//! case-insensitive. A URL with a signature but without one of these expiries is counted as
//! [unreadable](Expiries::unreadable).

use std::borrow::Cow;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use memchr::{memchr, memchr_iter, memchr2, memmem, memrchr};

use crate::policy::percent_decoded;

/// The assumed maximum lifetime of a URL signed with session credentials. It expires with them, at a
/// time that the URL does not contain; a session usually lasts an hour.
const SESSION: Duration = Duration::from_hours(1);

/// Finds escapes of `=` and `?`. Made once: that takes as long as to scan a small body.
static ESCAPED: LazyLock<memmem::Finder<'_>> = LazyLock::new(|| memmem::Finder::new(b"\\u003"));

/// The expiries of the pre-signed URLs found so far.
#[derive(Debug)]
pub(super) struct Expiries {
    /// When the origin sent them. It showed those that had expired by then itself: they do not count.
    pub(super) sent: SystemTime,
    pub(super) first: Option<SystemTime>,
    /// The number of signed URLs with an unknown expiry.
    pub(super) unreadable: usize,
}

/// The relevant parameters of one URL.
#[derive(Debug, Default)]
struct Parameters {
    /// `X-…-Date`, and whether and how `X-…-Expires` is given.
    date: Option<SystemTime>,
    is_dated: bool,
    lifetime: Option<Duration>,
    /// The maximum of `lifetime`, with `X-…-Security-Token`.
    session: Option<Duration>,
    signed: bool,
    expiry: Option<SystemTime>,
    /// The last of [`SHORT_EXPIRIES`], and whether there is one of [`SHORT_SIGNATURES`].
    short_expiry: Option<SystemTime>,
    has_hash: bool,
}

/// Names of expiries that have other meanings as well: they only add a deadline, beside a signature.
/// Their values are decimal or hexadecimal Unix times, or dates.
const SHORT_EXPIRIES: [&str; 12] = [
    "e", "ex", "oe", "t", "valid", "validto", "etime", "until", "deadline", "end", "endtime",
    "txtime",
];

/// Names of signatures that have other meanings as well: their values are as long as a hash.
const SHORT_SIGNATURES: [&str; 7] = ["h", "hash", "hm", "oh", "s", "st", "txsecret"];

// === impl Expiries ===

impl Expiries {
    pub(super) fn after(sent: SystemTime) -> Self {
        Self {
            sent,
            first: None,
            unreadable: 0,
        }
    }

    /// All expiries in a text, past ones included.
    pub(super) fn of(text: &[u8]) -> Self {
        let mut expiries = Self::after(UNIX_EPOCH);
        expiries.scan(text);
        expiries.scan_path(text);
        expiries
    }

    /// Records the expiry of a JWT in the path or fragment of a URL that [`scan`](Self::scan) skips.
    pub(super) fn scan_path(&mut self, url: &[u8]) {
        if has_token(url) && memchr(b'=', url).is_none() {
            self.read_urls(&unescaped(url), false);
        }
    }

    /// Records an expiry, unless it was over when the response was sent.
    pub(super) fn record(&mut self, expiry: SystemTime) {
        if expiry > self.sent {
            self.first = Some(self.first.map_or(expiry, |first| first.min(expiry)));
        }
    }

    /// Records the expiries of all pre-signed URLs in a text.
    ///
    /// A query has an equals sign, which is rare elsewhere, so nearly all of the text is skipped:
    /// faster in three passes than in one that stops at every backslash.
    pub(super) fn scan(&mut self, text: &[u8]) {
        self.scan_at(text, |rest| memchr(b'=', rest));
        self.scan_at(text, |rest| {
            memchr_iter(b'%', rest).find(|at| is_encoded_equals(&rest[*at..]))
        });
        self.scan_at(text, |rest| ESCAPED.find(rest));
    }

    /// Reads the words with what is found, each once.
    fn scan_at(&mut self, text: &[u8], find: impl Fn(&[u8]) -> Option<usize>) {
        let ends_word = |byte: &u8| ENDS[usize::from(*byte)] == Ends::Word;
        let mut rest = text;
        while let Some(at) = find(rest) {
            let begin = rest[..at].iter().rposition(ends_word);
            let end = rest[at..].iter().position(ends_word);
            let end = end.map_or(rest.len(), |length| at + length);
            self.read_word(&rest[begin.map_or(0, |before| before + 1)..end]);
            rest = &rest[end..];
        }
    }

    fn read_word(&mut self, word: &[u8]) {
        // `?`, `%3F` or `\u003f`; the latter two may be a URL in a parameter.
        let is_mark = |two: &[u8]| matches!(two, [b'3', b'f' | b'F']);
        let is_encoded = memchr2(b'%', b'\\', word).is_some() && word.windows(2).any(is_mark);
        // A path has no other equals signs that count.
        let has = |mark: &str| memmem::find(word, mark.as_bytes()).is_some();
        let in_path = || has("exp=") || has("xpires=") || has_token(word);
        if memchr2(b'?', b'#', word).is_none() && !is_encoded && !in_path() {
            return;
        }
        let text = unescaped(word);
        self.read_urls(&text, true);
        if is_encoded {
            self.read_urls(&percent_decoded(&text), true);
        }
    }

    /// Reads a URL, or with `within` those within longer text, and those within their parameters that
    /// are not encoded.
    fn read_urls(&mut self, text: &str, within: bool) {
        let (mut parameters, mut begin) = (Parameters::default(), 0);
        for (at, byte) in text.bytes().enumerate() {
            let ends_url = match ENDS[usize::from(byte)] {
                // `&` may be `&amp;` or `&#38;`.
                Ends::Parameter => byte == b'?' || byte == b'#' && at > begin,
                Ends::Url | Ends::Word if within => true,
                _ => continue,
            };
            parameters.read(&text[begin..at]);
            if ends_url {
                self.finish(&std::mem::take(&mut parameters));
            }
            begin = at + 1;
        }
        parameters.read(&text[begin..]);
        self.finish(&parameters);
    }

    fn finish(&mut self, url: &Parameters) {
        let dated = url.dated();
        let expiry = [dated, url.expiry].into_iter().flatten().min();
        let short = url.short_expiry.filter(|_| url.signed || url.has_hash);
        for expiry in [expiry, short].into_iter().flatten() {
            self.record(expiry);
        }
        // Without a date, the expiry of the session credentials is unknown.
        self.unreadable += usize::from(if url.is_dated {
            dated.is_none()
        } else {
            url.session.is_some() || url.signed && expiry.is_none()
        });
    }
}

// === impl Parameters ===

impl Parameters {
    fn read(&mut self, parameter: &str) {
        // `split_once` is slow on short texts.
        if has_token(parameter.as_bytes()) {
            self.read_tokens(parameter);
        }
        let Some(equals) = memchr(b'=', parameter.as_bytes()) else {
            return;
        };
        let (path, sent) = (&parameter[..equals], &parameter[equals + 1..]);
        let name = &path[memrchr(b'/', path.as_bytes()).map_or(0, |slash| slash + 1)..];
        let value = percent_decoded(sent);
        let value = value.trim_end_matches(['.', ',', ':', '!', '*', '\\']);
        let mut lower = [0; LONGEST_NAME];
        let name = lower_case(name, &mut lower);
        let name = name.strip_prefix("wowzatoken").unwrap_or(name);
        let vendor = name.strip_prefix("x-");
        let vendor = vendor.and_then(|rest| rest.split_once('-'));
        match vendor.map_or(name, |(_, rest)| rest) {
            "date" if vendor.is_some() => self.date = time(value),
            "expires" if vendor.is_some() => {
                self.is_dated = true;
                self.lifetime = value.parse().ok().map(Duration::from_secs);
            }
            "security-token" if vendor.is_some() => self.session = Some(SESSION),
            "se" | "ske" => self.expires(time_or_day(value)),
            "policy" => {
                self.signed = true;
                self.expires(number_after(&base64_decoded(value), "EpochTime").and_then(unix));
            }
            other if is_expiry(other) => {
                let number = leading_number(value).and_then(unix);
                self.expires(number.or_else(|| time_or_day(value)));
            }
            other if SHORT_EXPIRIES.contains(&other) => {
                self.short_expiry = short_time(value).or(self.short_expiry);
            }
            other => {
                self.signed |= is_signature(other);
                self.has_hash |= value.len() >= 16 && SHORT_SIGNATURES.contains(&other);
            }
        }
        if memchr(b'=', sent.as_bytes()).is_none() {
            return;
        }
        // A value with members of its own.
        let mut before = "";
        for part in sent.split(['~', ':', '/', '=']) {
            if matches!(before, "exp" | "Expires") {
                self.signed = true;
                self.expires(leading_number(part).and_then(unix));
            }
            before = part;
        }
    }

    /// Reads the JWTs in a value, a path or a fragment.
    #[inline(never)]
    fn read_tokens(&mut self, parameter: &str) {
        for claims in parameter.split(['/', '=']).filter_map(claims) {
            self.signed = true;
            self.expires(number_after(&base64_decoded(claims), "\"exp\"").and_then(unix));
        }
    }

    fn expires(&mut self, at: Option<SystemTime>) {
        self.expiry = [self.expiry, at].into_iter().flatten().min();
    }

    fn dated(&self) -> Option<SystemTime> {
        let limit = self.session.unwrap_or(Duration::MAX);
        self.date?.checked_add(self.lifetime?.min(limit))
    }
}

/// The longest name of a parameter that is known; only the end of a longer one is read.
const LONGEST_NAME: usize = 32;

fn lower_case<'a>(name: &str, buffer: &'a mut [u8; LONGEST_NAME]) -> &'a str {
    let end = name.as_bytes();
    let end = &end[end.len().saturating_sub(LONGEST_NAME)..];
    let lower = &mut buffer[..end.len()];
    lower.copy_from_slice(end);
    lower.make_ascii_lowercase();
    std::str::from_utf8(lower).unwrap_or_default()
}

/// Whether a name is `exp`, `exp_time`, `expires`, `expiry` and the like; not `export` or `expand`.
fn is_expiry(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("exp") else {
        return false;
    };
    matches!(rest, "" | "at" | "date" | "time" | "ts") || rest.starts_with(['_', '-', 'i'])
}

/// Whether a name is that of a signature, or of another secret that may expire.
fn is_signature(name: &str) -> bool {
    let last_word = name.rsplit(|c: char| !c.is_ascii_alphanumeric()).next();
    let is_word = [
        "sig", "sign", "auth", "md5", "jwt", "hdnts", "hdnea", "hdntl", "verify",
    ]
    .contains(&last_word.unwrap_or_default());
    let is_end = ["signature", "signed", "token", "hmac"];
    // The time in `auth_key` (Alibaba) is that of signing.
    let is_name = matches!(name, "key-pair-id" | "auth_key");
    is_word || is_name || is_end.iter().any(|end| name.ends_with(end))
}

/// Whether a text may have a JWT. A quick test: J is rare.
fn has_token(text: &[u8]) -> bool {
    memchr_iter(b'J', text).any(|at| text[..at].ends_with(b"ey"))
}

/// The claims of a JWT, in base64. Its header is a JSON object: `eyJohn.call.mp3` has none.
fn claims(value: &str) -> Option<&str> {
    let (header, rest) = value.split_once('.')?;
    let is_object = header.starts_with("eyJ") && base64_decoded(header).trim_end().ends_with('}');
    rest.split_once('.')
        .filter(|_| is_object)
        .map(|(claims, _)| claims)
}

/// Whether a text begins with an equals sign, percent-encoded any number of times.
fn is_encoded_equals(text: &[u8]) -> bool {
    let mut hex = &text[1..];
    while let Some(rest) = hex.strip_prefix(b"25") {
        hex = rest;
    }
    matches!(hex, [b'3', b'd' | b'D', ..])
}

/// The part of a text that a byte ends.
#[derive(Clone, Copy, PartialEq)]
enum Ends {
    Nothing,
    Parameter,
    /// A URL within longer text.
    Url,
    /// A word, escaped or not, and a URL.
    Word,
}

/// As a lookup table: it is read for every byte of a word with a URL.
const ENDS: [Ends; 256] = {
    let (mut table, mut byte) = ([Ends::Nothing; 256], 0_u8);
    while byte < 128 {
        table[byte as usize] = match byte {
            b'?' | b'#' | b'&' | b';' => Ends::Parameter,
            0..=b' ' | b'"' | b'<' | b'>' => Ends::Word,
            b'\'' | b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'|' | b'^' | b'`' => Ends::Url,
            _ => Ends::Nothing,
        };
        byte += 1;
    }
    table
};

/// Resolves the escapes of JSON strings, however often they are escaped.
fn unescaped(word: &[u8]) -> Cow<'_, str> {
    if memchr(b'\\', word).is_none() {
        return match std::str::from_utf8(word) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => String::from_utf8_lossy(word),
        };
    }
    let (mut out, mut rest) = (Vec::with_capacity(word.len()), word);
    while let Some(cut) = memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..cut]);
        let backslashes = rest[cut..].iter().take_while(|byte| **byte == b'\\');
        rest = &rest[cut + backslashes.count()..];
        match rest {
            [b'u', b'0', b'0', high, low, after @ ..] => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16).unwrap_or(0);
                let code = u8::try_from(digit(high) << 4 | digit(low)).ok();
                // Other characters than ASCII are in no parameter that counts.
                out.push(code.filter(u8::is_ascii).unwrap_or(b'_'));
                rest = after;
            }
            [b'b' | b'f' | b'n' | b'r' | b't', after @ ..] => {
                out.push(b' ');
                rest = after;
            }
            _ => {}
        }
    }
    out.extend_from_slice(rest);
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

/// Decodes base64 in the alphabets of RFC 4648 and of `CloudFront`, up to the first other byte.
fn base64_decoded(text: &str) -> String {
    let (mut out, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for byte in text.bytes() {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' | b'~' => 63,
            _ => break,
        };
        bits = bits << 6 | u32::from(digit);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count).to_le_bytes()[0]);
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The number after a key, with only a quote, a colon and spaces between.
fn number_after(text: &str, key: &str) -> Option<u64> {
    let (_, rest) = text.split_once(key)?;
    leading_number(rest.trim_start_matches(['"', ':', ' ']))
}

fn leading_number(text: &str) -> Option<u64> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text[..end].parse().ok()
}

/// A Unix time in seconds, milliseconds or microseconds. A small number is no time: it may be a
/// lifetime.
pub(super) fn unix(number: u64) -> Option<SystemTime> {
    let since = match number {
        0..1_000_000_000 => return None,
        1_000_000_000..100_000_000_000 => Duration::from_secs(number),
        100_000_000_000..100_000_000_000_000 => Duration::from_millis(number),
        _ => Duration::from_micros(number),
    };
    UNIX_EPOCH.checked_add(since)
}

/// Parses a time of the API (RFC 3339); without an offset it is UTC.
pub(super) fn time(text: &str) -> Option<SystemTime> {
    let stamp = text
        .parse()
        .or_else(|_| format!("{text}Z").parse::<jiff::Timestamp>());
    stamp.ok()?.try_into().ok()
}

/// The value of one of [`SHORT_EXPIRIES`].
fn short_time(value: &str) -> Option<SystemTime> {
    let decimal = leading_number(value).and_then(unix);
    let hex = || u64::from_str_radix(value, 16).ok().and_then(unix);
    decimal.or_else(hex).or_else(|| time_or_day(value))
}

/// The expiry in a member beside a URL: a date or a Unix time; with `since`, a number of seconds.
pub(super) fn expiry_beside(text: &str, since: Option<SystemTime>) -> Option<SystemTime> {
    let number = || Duration::try_from_secs_f64(text.parse().ok()?).ok();
    if let Some(since) = since {
        return since.checked_add(number()?);
    }
    let date = time(text).or_else(|| httpdate::parse_http_date(text).ok());
    date.or_else(|| unix(number()?.as_secs()))
}

/// Azure allows a date without a time: the start of that day.
fn time_or_day(text: &str) -> Option<SystemTime> {
    time(text).or_else(|| time(&format!("{text}T00:00:00")))
}
