//! A token that the doctor asks with.

use std::path::Path;

use http::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};

use crate::config;

/// A bearer token; it can be sent, and looked for where it must not be.
#[derive(Clone, Debug)]
pub(super) struct Token(SecretString);

impl Token {
    /// The first line of a file.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        config::token_of(path).map(Self).map_err(anyhow::Error::msg)
    }

    pub(super) fn of_the_simulator(token: &str) -> Self {
        Self(token.to_owned().into())
    }

    /// A token that nobody has given out.
    pub(super) fn invented(nonce: &str) -> Self {
        Self(format!("stuut-cache-doctor-{nonce}").into())
    }

    pub(super) fn to_field(&self) -> HeaderValue {
        let value = HeaderValue::try_from(format!("Bearer {}", self.0.expose_secret()));
        let mut value = value.expect("a bearer token is a field value");
        value.set_sensitive(true);
        value
    }

    /// Whether a text has it in it.
    pub(super) fn is_in(&self, text: &[u8]) -> bool {
        memchr::memmem::find(text, self.0.expose_secret().as_bytes()).is_some()
    }
}
