//! Options of a simulator: latency, faults, size, organisations.

use std::time::Duration;

use clap::{ArgAction, Args};
use http::HeaderValue;
use humantime::parse_duration;
use secrecy::{ExposeSecret, SecretString};

use crate::Fixtures;

/// Options of a simulator; the default is a fast origin without faults. Most are also flags.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Latency of every response.
    #[arg(long, value_name = "DURATION", default_value = "80ms", value_parser = parse_duration)]
    pub latency: Duration,
    /// Maximum additional latency, which varies by request.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = parse_duration)]
    pub jitter: Duration,
    /// Additional latency of a `call_slow_…`.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    pub slow: Duration,
    // Only with a valid token: 500, 503, 429 or a truncated body.
    /// Share of requests that fail, from 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    pub fault_rate: f64,
    /// Number of calls of each organisation.
    #[arg(long, value_name = "COUNT", default_value_t = 50)]
    pub calls: u32,
    /// Cache-Control of every call [default: none, as the real API].
    #[arg(long, value_name = "VALUE", value_parser = HeaderValue::from_str)]
    pub cache_control: Option<HeaderValue>,
    /// Whether a successful GET has an `ETag`, and a matching `If-None-Match` gets 304.
    #[arg(long = "no-etag", action = ArgAction::SetFalse, help = "Send no entity tags")]
    pub etag: bool,
    // A new one is signed three times in that time.
    /// Lifetime of pre-signed URLs.
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = parse_duration)]
    pub signed_for: Duration,
    // In whole seconds.
    /// Retry-After of 429 and 503 responses.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_duration)]
    pub retry_after: Duration,
    /// Responses from files; they replace calls of the same id.
    #[arg(skip)]
    pub fixtures: Fixtures,
    /// The organisations and their tokens.
    #[arg(skip = Organisation::built_in())]
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
            organisations: Organisation::built_in(),
        }
    }
}

// === impl Organisation ===

impl Organisation {
    fn built_in() -> Vec<Self> {
        let built_in = [
            ("acme", &["demo-acme-1", "demo-acme-2"][..]),
            ("globex", &["demo-globex-1"]),
            ("initech", &["demo-initech-1"]),
        ];
        built_in
            .into_iter()
            .map(|(name, tokens)| {
                Self::new(name, tokens.iter().copied())
                    .expect("the built-in organisations are well formed")
            })
            .collect()
    }

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

fn share(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| "write a number from 0 to 1, e.g. 0.05".to_owned())
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
