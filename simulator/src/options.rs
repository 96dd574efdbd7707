//! Options of a simulator: latency, faults, size, organisations.
//!
//! | option | flag of `stuut-cache simulate` | default |
//! |---|---|---|
//! | [`Options::latency`] | `--latency 80ms` | none |
//! | [`Options::jitter`] | `--jitter 20ms` | none |
//! | [`Options::slow`] | `--slow 5s` | 5 s |
//! | [`Options::fault_rate`] | `--fault-rate 0.01` | 0 |
//! | [`Options::calls`] | `--calls 1000` | 50 |
//! | [`Options::cache_control`] | `--cache-control max-age=10` | no such field |
//! | [`Options::etag`] | `--no-etag` | on |
//! | [`Options::signed_for`] | `--signed-for 15m` | 15 min |
//! | [`Options::retry_after`] | `--retry-after 1s` | 1 s |
//! | [`Options::fixtures`] | `--fixtures folder` | none |
//! | [`Options::organisations`] | `--organisation acme=token,token` | acme, globex, initech |

use std::time::Duration;

use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

use crate::Fixtures;

/// Options of a simulator; the default is a fast origin without faults.
#[derive(Clone, Debug)]
pub struct Options {
    /// Delay of every response.
    pub latency: Duration,
    /// Maximum addition to the latency; the number of the request decides how much.
    pub jitter: Duration,
    /// Addition to the latency of a `call_slow_…`.
    pub slow: Duration,
    /// Share of requests with a valid token that fail: 500, 503, 429 or a truncated body.
    pub fault_rate: f64,
    /// Number of ordinary calls of each organisation, and of calls of each kind.
    pub calls: u32,
    /// `Cache-Control` of a successful GET; the real API sends none.
    pub cache_control: Option<HeaderValue>,
    /// Whether a successful GET has an `ETag`, and a matching `If-None-Match` gets 304.
    pub etag: bool,
    /// Lifetime of a pre-signed URL; a new one is signed three times in that time.
    pub signed_for: Duration,
    /// `Retry-After` of a 429 or 503, in whole seconds.
    pub retry_after: Duration,
    /// Responses from files; they replace calls of the same id.
    pub fixtures: Fixtures,
    /// The organisations and their tokens.
    pub organisations: Vec<Organisation>,
}

/// An organisation and the tokens with access to its calls.
#[derive(Clone, Debug)]
pub struct Organisation {
    name: String,
    // Secret although most are invented: `simulate` may be given real ones.
    tokens: Vec<SecretString>,
}

/// An invalid [`Organisation`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The name does not fit into a call id.
    #[error(
        "{0:?} cannot name a simulated organisation; write 1 to 9 lower-case letters or digits that no kind of call begins with"
    )]
    Name(String),
    /// A token that is not valid in an `Authorization` field.
    #[error("a token of organisation {0:?} is empty or has bytes that a bearer token cannot have")]
    Token(String),
}

/// Prefixes of kinds: `call_live_0001` must not be a call of an organisation `live`.
const RESERVED: [&str; 10] = [
    "small", "large", "live", "pending", "busy", "no", "failed", "canceled", "slow", "fault",
];

// === impl Options ===

impl Default for Options {
    fn default() -> Self {
        let built_in = [
            ("acme", &["demo-acme-1", "demo-acme-2"][..]),
            ("globex", &["demo-globex-1"]),
            ("initech", &["demo-initech-1"]),
        ];
        Self {
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
            slow: Duration::from_secs(5),
            fault_rate: 0.0,
            calls: 50,
            cache_control: None,
            etag: true,
            signed_for: Duration::from_mins(15),
            retry_after: Duration::from_secs(1),
            fixtures: Fixtures::default(),
            organisations: built_in
                .into_iter()
                .map(|(name, tokens)| {
                    Organisation::new(name, tokens.iter().copied())
                        .expect("the built-in organisations are well formed")
                })
                .collect(),
        }
    }
}

// === impl Organisation ===

impl Organisation {
    /// An organisation of this name, with these tokens.
    ///
    /// # Errors
    ///
    /// [`Error::Name`] if the name is not 1 to 9 lower-case letters or digits, or is the prefix of a
    /// kind of call; [`Error::Token`] if a token is not of the form of RFC 6750 §2.1.
    pub fn new<T>(name: &str, tokens: impl IntoIterator<Item = T>) -> Result<Self, Error>
    where
        T: Into<String>,
    {
        let plain = name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        // Ten more bytes would make `call_fault_reset_<name>_0001` longer than the API's ids.
        if !plain || !(1..=9).contains(&name.len()) || RESERVED.contains(&name) {
            return Err(Error::Name(name.to_owned()));
        }
        let tokens = tokens
            .into_iter()
            .map(|token| {
                let token = token.into();
                if is_token(&token) {
                    Ok(SecretString::from(token))
                } else {
                    Err(Error::Token(name.to_owned()))
                }
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            name: name.to_owned(),
            tokens,
        })
    }

    /// The name in the organisation's call ids.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether this token has access to the organisation's calls: one of its tokens, or a temporary one,
    /// which is one of these, `~` and anything.
    pub(crate) fn admits(&self, token: &str) -> bool {
        let permanent = token.split_once('~').map_or(token, |(own, _)| own);
        let mut tokens = self.tokens.iter().map(SecretString::expose_secret);
        tokens.any(|own| own == token || own == permanent)
    }
}

fn is_token(written: &str) -> bool {
    let body = written.trim_end_matches('=');
    !body.is_empty()
        && body
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_does_not_fit_into_a_call_id_is_refused() {
        for name in ["", "Acme", "a_b", "live", "longerthan9"] {
            let refused = Organisation::new(name, ["t"]).map(|_| ());
            assert_eq!(refused, Err(Error::Name(name.to_owned())));
        }
    }

    #[test]
    fn a_token_that_is_invalid_in_a_field_is_refused() {
        for token in ["", "a b", "a\n", "=="] {
            let refused = Organisation::new("hooli", [token]).map(|_| ());
            assert_eq!(refused, Err(Error::Token("hooli".to_owned())));
        }
    }

    #[test]
    fn tokens_are_not_printed() {
        let printed = format!("{:?}", Options::default());
        assert!(!printed.contains("demo-acme"), "{printed}");
    }
}
