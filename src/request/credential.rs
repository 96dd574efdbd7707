//! The credential of a request: the syntax of a bearer token, and the spelling of its scheme.

use http::HeaderMap;

use crate::config::is_b64token;

/// The longest credential whose responses are cached; longer ones bypass the cache.
const MAX_CREDENTIAL: usize = 8 << 10;

/// The scheme in lower case, with one space.
const SCHEME: &[u8] = b"bearer ";

/// The spelling of the scheme before a token: the case of each letter of `Bearer`, and the number of
/// spaces after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spelling {
    /// One bit per letter: whether it is upper case.
    capitals: u8,
    spaces: u16,
}

/// Marks fields that may contain a credential as sensitive: `Debug` does not show them, and HPACK
/// does not index them (RFC 7541 §7.1.3).
pub fn hide_credentials(headers: &mut HeaderMap) {
    // One pass over the few fields is cheaper than three lookups by name.
    for (name, value) in headers {
        // Comparing text is cheaper than comparing each name with three others.
        if let "authorization" | "proxy-authorization" | "cookie" = name.as_str() {
            value.set_sensitive(true);
        }
    }
}

impl Spelling {
    /// `Bearer` and one space.
    pub const USUAL: Self = Self {
        capitals: 1,
        spaces: 1,
    };

    /// The spelling of this credential.
    #[must_use]
    pub fn of(credential: &[u8]) -> Self {
        if credential.starts_with(b"Bearer ") && credential.get(SCHEME.len()) != Some(&b' ') {
            return Self::USUAL;
        }
        let (scheme, rest) = credential.split_at(credential.len().min(SCHEME.len() - 1));
        let capitals = scheme.iter().enumerate().fold(0, |capitals, (at, letter)| {
            capitals | u8::from(letter.is_ascii_uppercase()) << at
        });
        let spaces = rest.iter().take_while(|&&b| b == b' ').count();
        Self {
            capitals,
            spaces: u16::try_from(spaces).unwrap_or(u16::MAX), // MAX_CREDENTIAL is less
        }
    }

    /// Bytes that differ for each spelling.
    pub(super) fn bytes(self) -> [u8; 3] {
        let [high, low] = self.spaces.to_be_bytes();
        [self.capitals, high, low]
    }
}

/// The token: everything after the last space.
pub(super) fn token(credential: &[u8]) -> &[u8] {
    let start = credential.iter().rposition(|&b| b == b' ');
    start.map_or(credential, |space| &credential[space + 1..])
}

/// Whether a credential is `Bearer` 1*SP b64token (RFC 6750 §2.1), the scheme in any case
/// (RFC 9110 §11.1).
pub(super) fn is_bearer(credential: &[u8]) -> bool {
    if credential.len() > MAX_CREDENTIAL || credential.len() < SCHEME.len() {
        return false;
    }
    let (scheme, rest) = credential.split_at(SCHEME.len());
    // `1*SP`: spaces only, no tab.
    let spaces = rest.iter().take_while(|&&b| b == b' ').count();
    scheme.eq_ignore_ascii_case(SCHEME) && is_b64token(&rest[spaces..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_b64token_is_a_bearer_credential() {
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
