//! The credential of a request: what its `Authorization` fields amount to, and how they are spelt.

use std::fmt;

use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderValue};

/// Longest credential that is cached for; a longer one is forwarded without being stored.
const MAX_CREDENTIAL: usize = 8 << 10;

/// In lower case, with its one blank.
const SCHEME: &[u8] = b"bearer ";

/// How a client writes what stands before its token: the case of each letter of `Bearer`, and how
/// many blanks follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spelling {
    /// A bit for each letter that is one.
    capitals: u8,
    blanks: u16,
}

/// What the `Authorization` fields of a request amount to.
#[derive(PartialEq, Eq)]
pub enum Credential<'a> {
    /// One bearer token of RFC 6750 form.
    Bearer(&'a HeaderValue),
    /// None, another scheme, or a form that RFC 6750 does not know: the origin's to judge.
    Other,
    /// More than one field line: two readers could pick different ones.
    Repeated,
}

impl<'a> Credential<'a> {
    /// Reads the `Authorization` field.
    #[must_use]
    pub fn read(headers: &'a HeaderMap) -> Self {
        let mut lines = headers.get_all(AUTHORIZATION).iter();
        match (lines.next(), lines.next()) {
            (Some(_), Some(_)) => Self::Repeated,
            (Some(value), None) if is_bearer(value.as_bytes()) => Self::Bearer(value),
            (Some(_) | None, _) => Self::Other,
        }
    }

    /// Marks whatever may be a credential, so that no `Debug` shows it and HTTP/2 keeps it in no
    /// table of compression (RFC 7541 §7.1.3).
    pub fn hide(headers: &mut HeaderMap) {
        // A pass over the few fields there are: three look-ups by name cost a hit more.
        for (name, value) in headers {
            if [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE].contains(name) {
                value.set_sensitive(true);
            }
        }
    }
}

impl Spelling {
    /// `Bearer`, and one blank.
    pub const USUAL: Self = Self {
        capitals: 1,
        blanks: 1,
    };

    /// How this credential is spelt.
    #[must_use]
    pub fn of(credential: &[u8]) -> Self {
        if credential.starts_with(b"Bearer ") && credential.get(SCHEME.len()) != Some(&b' ') {
            return Self::USUAL;
        }
        let (scheme, rest) = credential.split_at(credential.len().min(SCHEME.len() - 1));
        let capitals = scheme.iter().enumerate().fold(0, |capitals, (at, letter)| {
            capitals | u8::from(letter.is_ascii_uppercase()) << at
        });
        let blanks = rest.iter().take_while(|&&b| b == b' ').count();
        Self {
            capitals,
            blanks: u16::try_from(blanks).unwrap_or(u16::MAX), // MAX_CREDENTIAL is less
        }
    }
}

/// What stands behind the last blank.
pub(super) fn token(credential: &[u8]) -> &[u8] {
    let start = credential.iter().rposition(|&b| b == b' ');
    start.map_or(credential, |blank| &credential[blank + 1..])
}

/// `Bearer` 1*SP b64token (RFC 6750 §2.1); the scheme in any case (RFC 9110 §11.1).
pub(super) fn is_bearer(credential: &[u8]) -> bool {
    if credential.len() > MAX_CREDENTIAL || credential.len() < SCHEME.len() {
        return false;
    }
    let (scheme, rest) = credential.split_at(SCHEME.len());
    scheme.eq_ignore_ascii_case(SCHEME) && is_b64token(after_blanks(rest))
}

/// `1*SP`: blanks alone, no tab.
fn after_blanks(rest: &[u8]) -> &[u8] {
    let blanks = rest.iter().take_while(|&&b| b == b' ').count();
    &rest[blanks..]
}

/// Whether this is a token of RFC 6750 §2.1:
/// `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`
#[must_use]
pub fn is_b64token(token: &[u8]) -> bool {
    let padding = token.iter().rev().take_while(|&&b| b == b'=').count();
    let (body, _) = token.split_at(token.len() - padding);
    // A token that is signed has a thousand bytes, and every request brings it: no early end, so
    // that many are looked at at once.
    !body.is_empty() && body.iter().fold(true, |all, &b| all & is_token(b))
}

fn is_token(b: u8) -> bool {
    // A hyphen, a full stop, a slash and the digits stand in a row.
    let in_a_row = (b'-'..=b'9').contains(&b);
    b.is_ascii_alphabetic() || in_a_row || b == b'+' || b == b'_' || b == b'~'
}

/// Which kind, not which one.
impl fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bearer(_) => "Bearer(***)",
            Self::Other => "Other",
            Self::Repeated => "Repeated",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(lines: &[&str]) -> &'static str {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(
                AUTHORIZATION,
                HeaderValue::from_bytes(line.as_bytes()).expect("a field value"),
            );
        }
        match Credential::read(&headers) {
            Credential::Bearer(_) => "bearer",
            Credential::Other => "other",
            Credential::Repeated => "repeated",
        }
    }

    #[test]
    fn only_one_line_with_one_token_of_rfc_6750_form_is_a_bearer_credential() {
        let long = format!("Bearer {}", "a".repeat(16 << 10));
        let cases: &[(&[&str], &str)] = &[
            (&["Bearer abc"], "bearer"),
            (&["bearer abc"], "bearer"),
            (&["BEARER   abc=="], "bearer"),
            (&["Bearer a-._~+/1"], "bearer"),
            (&[], "other"),
            (&[""], "other"),
            (&["Bearer"], "other"),
            (&["Bearer "], "other"),
            (&["Bearer =="], "other"),
            (&["Bearer a=b"], "other"),
            (&["Bearer a b"], "other"),
            (&["Bearer a, Bearer b"], "other"),
            (&["Bearer a,b"], "other"),
            (&["Bearer\tabc"], "other"),
            (&["Bearer \tabc"], "other"),
            (&["Bearer zażółć"], "other"),
            (&["Basic dXNlcjpwYXNz"], "other"),
            (&["Bearerabc"], "other"),
            (&[&long], "other"),
            (&["Bearer a", "Bearer a"], "repeated"),
            (&["Bearer a", "Basic b"], "repeated"),
        ];
        for (lines, expected) in cases {
            assert_eq!(credential(lines), *expected, "{lines:?}");
        }
    }
}
