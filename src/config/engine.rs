//! URLs of the shared level's engine, Redis or Valkey.

use std::fmt;

use http::Uri;
use http::uri::Authority;

use super::wording::quoted;

/// `redis://host:6379`, or `rediss://` for TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineUrl {
    is_tls: bool,
    authority: Authority,
}

impl EngineUrl {
    /// Reads a URL of a host and a port, 6379 where none is written.
    ///
    /// # Errors
    ///
    /// A message with the fault and its remedy.
    pub fn parse(written: &str) -> Result<Self, String> {
        // The part before the @ is a secret, so the message does not repeat it.
        if written.contains('@') {
            return Err(
                "a password does not belong here; write it in a file, and its path as \
                 shared.password_file"
                    .to_owned(),
            );
        }
        let wrong = || {
            format!(
                "{} is not the URL of an engine; write redis://host:6379, or rediss:// for TLS, \
                 without a path",
                quoted(written)
            )
        };
        let parts = written.parse::<Uri>().map_err(|_| wrong())?.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(wrong());
        };
        let is_tls = match scheme.as_str() {
            "redis" => false,
            "rediss" => true,
            _ => return Err(wrong()),
        };
        let rest = parts.path_and_query;
        let is_bare = rest.is_none_or(|rest| matches!(rest.as_str(), "" | "/"))
            // `http` drops a fragment silently; it could turn the verification off.
            && !written.contains('#');
        let has_port = authority.as_str().len() == authority.host().len()
            || authority.port_u16().is_some_and(|port| port > 0);
        if !is_bare || !has_port || authority.host().is_empty() {
            return Err(wrong());
        }
        Ok(Self { is_tls, authority })
    }

    /// Whether connections use TLS.
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// The host, an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        let host = self.authority.host();
        let inner = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        inner.unwrap_or(host)
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or(6379)
    }
}

impl fmt::Display for EngineUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "rediss" } else { "redis" };
        write!(f, "{scheme}://{}", self.authority)
    }
}
