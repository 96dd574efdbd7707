//! The credential of a request: the form of a bearer token, and how its line is spelt.

use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};

use crate::config::is_b64token;

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

/// Marks the fields that may hold a credential, so that no `Debug` shows them and HTTP/2 keeps them
/// out of its compression tables (RFC 7541 §7.1.3).
pub fn hide_credentials(headers: &mut HeaderMap) {
    // A pass over the few fields there are: three look-ups by name cost a hit more.
    for (name, value) in headers {
        if [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE].contains(name) {
            value.set_sensitive(true);
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

/// The token: all after the last blank.
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
    // `1*SP`: blanks alone, no tab.
    let blanks = rest.iter().take_while(|&&b| b == b' ').count();
    scheme.eq_ignore_ascii_case(SCHEME) && is_b64token(&rest[blanks..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_token_of_rfc_6750_form_is_a_bearer_credential() {
        let long = format!("Bearer {}", "a".repeat(16 << 10));
        let cases: &[(&str, bool)] = &[
            ("Bearer abc", true),
            ("bearer abc", true),
            ("BEARER   abc==", true),
            ("Bearer a-._~+/1", true),
            ("", false),
            ("Bearer", false),
            ("Bearer ", false),
            ("Bearer ==", false),
            ("Bearer a=b", false),
            ("Bearer a b", false),
            ("Bearer a, Bearer b", false),
            ("Bearer a,b", false),
            ("Bearer\tabc", false),
            ("Bearer \tabc", false),
            ("Bearer zażółć", false),
            ("Basic dXNlcjpwYXNz", false),
            ("Bearerabc", false),
            (&long, false),
        ];
        for (line, expected) in cases {
            assert_eq!(is_bearer(line.as_bytes()), *expected, "{line:?}");
        }
    }
}
