//! Values that are valid by construction: sizes, the origin's URL, route patterns, secrets.

use std::fmt;

use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// More than any machine has; the bound keeps sums of sizes from overflowing.
    pub const MAX: Self = Self(1 << 60);

    /// The number, for a length in memory.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// Reads a number with its unit: `64MiB`, `512 KiB`, `1.5GB`, `100B`.
    ///
    /// A number without a unit is refused: it may mean bytes or MiB.
    ///
    /// # Errors
    ///
    /// A message with the fault and its remedy.
    pub fn parse(written: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{written:?} is not a size; write a number with B, KiB, MiB or GiB, e.g. \"64MiB\""
            )
        };
        // The crate also takes `64M` and `64Mb`, which read as something else.
        if !written.ends_with('B') {
            return Err(wrong());
        }
        let size = written.parse::<bytesize::ByteSize>();
        let size = Self(size.map_err(|_| wrong())?.0);
        if size > Self::MAX {
            return Err(format!(
                "{written:?} is too large; write at most {}",
                Self::MAX
            ));
        }
        Ok(size)
    }
}

/// The shortest spelling that [`ByteSize::parse`] reads back exactly: `64MiB`, `1025B`.
impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [
            (60, "EiB"),
            (50, "PiB"),
            (40, "TiB"),
            (30, "GiB"),
            (20, "MiB"),
            (10, "KiB"),
        ];
        let exact = units
            .into_iter()
            .find(|(shift, _)| self.0 != 0 && self.0.trailing_zeros() >= *shift);
        match exact {
            Some((shift, unit)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}B", self.0),
        }
    }
}

/// URL of an origin server: `http` or `https`, host and port, without a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginUrl {
    scheme: http::uri::Scheme,
    authority: http::uri::Authority,
}

impl OriginUrl {
    /// Reads `https://host[:port]`.
    ///
    /// # Errors
    ///
    /// A message with the fault and its remedy.
    pub fn parse(written: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{written:?} is not an origin; write https://host or http://host:port, without a path"
            )
        };
        // The part before the @ is a secret, so the message does not repeat it.
        if written.contains('@') {
            return Err(
                "an origin has no user name or password; write https://host or http://host:port"
                    .to_owned(),
            );
        }
        let uri = written.parse::<http::Uri>();
        let parts = uri.map_err(|_| wrong())?.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(wrong());
        };
        let bare = parts
            .path_and_query
            .is_none_or(|rest| rest.as_str() == "/" || rest.as_str().is_empty());
        let known = scheme == http::uri::Scheme::HTTP || scheme == http::uri::Scheme::HTTPS;
        // `http` drops a fragment silently.
        let bare = bare && !written.contains('#');
        // `http` accepts any digits as a port, and `https://host:` too; nothing listens on port 0.
        let port = authority.as_str().len() == authority.host().len()
            || authority.port_u16().is_some_and(|port| port > 0);
        if !bare || !known || !port || authority.host().is_empty() {
            return Err(wrong());
        }
        Ok(Self { scheme, authority })
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &http::uri::Scheme {
        &self.scheme
    }

    /// Host, and port where one was written.
    pub fn authority(&self) -> &http::uri::Authority {
        &self.authority
    }
}

/// Without a slash at the end: `https://api.stuut.ai`.
impl fmt::Display for OriginUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}

/// A `matchit` pattern: `/v1/calls/{call_id}` or `/x/{*rest}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutePattern(String);

impl RoutePattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// A message with the fault and its remedy.
    pub fn parse(written: &str) -> Result<Self, String> {
        if !written.starts_with('/') {
            return Err(format!(
                "{written:?} is not a route; a route begins with /, e.g. \"/v1/calls/{{call_id}}\""
            ));
        }
        // A request path has none of these, so such a route would never match.
        if written.contains(|c: char| !c.is_ascii_graphic() || c == '?' || c == '#') {
            return Err(format!(
                "{written:?} is not a route; a route is a path in ASCII, without query, fragment or blanks"
            ));
        }
        matchit::Router::new()
            .insert(written, ())
            .map_err(|error| {
                format!(
                    "{written:?} is not a route ({error}); write one such as \"/v1/calls/{{call_id}}\""
                )
            })?;
        Ok(Self(written.to_owned()))
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoutePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a cookie; with `*` at the end, the beginning of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieName(String);

impl CookieName {
    /// Reads a name, or its beginning and `*`.
    ///
    /// # Errors
    ///
    /// A message with the fault and its remedy.
    pub fn parse(text: &str) -> Result<Self, String> {
        let name = text.strip_suffix('*').unwrap_or(text);
        let is_token = |name: &str| {
            name.bytes()
                .all(|b| b.is_ascii_graphic() && !b"=;,\"*".contains(&b))
        };
        if name.is_empty() || !is_token(name) {
            return Err(format!(
                "{text:?} is not the name of a cookie; write one such as \"AWSALB\", or its beginning and *"
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// Whether a `Set-Cookie` line sets this cookie.
    pub fn is_set_by(&self, line: &[u8]) -> bool {
        let name = line
            .iter()
            .position(|b| b"=;".contains(b))
            .filter(|&at| line[at] == b'=');
        let name = name.map_or(&b""[..], |end| line[..end].trim_ascii());
        match self.0.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning.as_bytes()),
            None => name == self.0.as_bytes(),
        }
    }
}

impl fmt::Display for CookieName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A secret, such as a bearer token; `Debug` does not print it.
#[derive(Clone, Debug)]
pub struct Secret(pub SecretString);

/// For reloads and tests only: the admin listener compares a client's token in constant time.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }
}

/// The key of scope digests. With it and a log, guesses of a token can be tested, so it is a secret:
/// `Debug` does not print it, and it is erased on drop.
#[derive(Clone, PartialEq)]
pub struct ScopeKey(Zeroizing<[u8; 32]>);

impl ScopeKey {
    /// Creates a random key.
    ///
    /// # Panics
    ///
    /// If the system has no source of randomness.
    pub fn random() -> Self {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *key).expect("the system has a source of randomness");
        Self(key)
    }

    /// Reads lines of 64 hex digits: the key, and possibly a second one, which only opens what other
    /// replicas have written.
    ///
    /// # Errors
    ///
    /// A message with the remedy, without the text.
    pub fn parse(written: &str) -> Result<(Self, Option<Self>), String> {
        let key = |line: &str| {
            let key = blake3::Hash::from_hex(line.trim()).ok()?;
            Some(Self(Zeroizing::new(key.into())))
        };
        let mut keys = written.trim().lines().map(key);
        match (keys.next().flatten(), keys.next(), keys.next()) {
            (Some(key), None, None) => Ok((key, None)),
            (Some(key), Some(Some(second)), None) if key != second => Ok((key, Some(second))),
            _ => Err(
                "the file is not one key, or two different ones; write for each the line of \
                      64 hex digits that \"stuut-cache key\" prints"
                    .to_owned(),
            ),
        }
    }

    /// A line that [`ScopeKey::parse`] reads.
    pub fn hex(&self) -> Zeroizing<String> {
        let digits = blake3::Hash::from_bytes(*self.0).to_hex();
        Zeroizing::new(digits.as_str().to_owned())
    }

    /// The key itself, to hash with.
    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for ScopeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScopeKey(***)")
    }
}

/// Whether this is a token of RFC 6750 §2.1:
/// `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`
pub fn is_b64token(token: &[u8]) -> bool {
    let padding = token.iter().rev().take_while(|&&b| b == b'=').count();
    let (body, _) = token.split_at(token.len() - padding);
    // A signed token has a thousand bytes, and every request has one. Without an early return, the
    // loop checks many bytes at once (SIMD).
    !body.is_empty() && body.iter().fold(true, |all, &b| all & is_b64(b))
}

fn is_b64(b: u8) -> bool {
    // `-`, `.`, `/` and the digits are consecutive in ASCII.
    let consecutive = (b'-'..=b'9').contains(&b);
    b.is_ascii_alphabetic() || consecutive || b == b'+' || b == b'_' || b == b'~'
}

/// Digest of a token, for `scope.named`; `stuut-cache digest` prints it.
///
/// A token has the same digest on every machine, and cannot be derived from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenDigest(blake3::Hash);

impl TokenDigest {
    /// Separates token digests from any other use of the same hash function.
    const CONTEXT: &str = "stuut-cache scope.named 2026-11 digest of a bearer token";

    /// The digest of a token, without the scheme before it.
    pub fn of(token: &[u8]) -> Self {
        Self(blake3::derive_key(Self::CONTEXT, token).into())
    }

    /// Reads 64 hex digits.
    ///
    /// # Errors
    ///
    /// A message with the remedy.
    pub fn parse(written: &str) -> Result<Self, String> {
        blake3::Hash::from_hex(written).map(Self).map_err(|_| {
            // Not repeated: it may be the token itself.
            "this is not the digest of a token; write the 64 hex digits that \"stuut-cache digest\" prints".to_owned()
        })
    }
}

/// 64 hex digits.
impl fmt::Display for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_known_by_its_name_or_its_beginning() {
        for (written, line, expected) in [
            ("AWSALB", "AWSALB=x; Path=/", true),
            ("AWSALB", " AWSALB = x", true),
            ("AWSALB", "awsalb=x", false),
            ("AWSALB", "AWSALBCORS=x", false),
            ("AWSALB*", "AWSALBCORS=x", true),
            ("AWSALB", "x; AWSALB=y", false),
            ("AWSALB", "AWSALB", false),
            ("AWSALB", "=AWSALB", false),
        ] {
            let name = CookieName::parse(written).expect("a name");
            assert_eq!(
                name.is_set_by(line.as_bytes()),
                expected,
                "{written} {line}"
            );
        }
        for faulty in ["", "*", "a=b", "a b", "a*b", "a;"] {
            assert!(CookieName::parse(faulty).is_err(), "{faulty}");
        }
    }
}
