//! Asking a running proxy: what `healthcheck`, `stats`, `purge`, `top` and `doctor` have in common.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use http::header::AUTHORIZATION;
use http::uri::Authority;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use secrecy::{ExposeSecret as _, SecretString};
use thiserror::Error;

use crate::config;

/// What the environment of a proxy says of its admin listener: inside its container, the commands
/// find it without being told.
const LISTEN: &str = "STUUT_CACHE__ADMIN__LISTEN";
const TOKEN_FILE: &str = "STUUT_CACHE__ADMIN__TOKEN_FILE";

/// Time for an answer of the admin listener.
const PATIENCE: Duration = Duration::from_secs(5);

/// More than the listener ever answers.
const MOST: usize = 16 << 20;

/// Exit status where nobody answers (`EX_UNAVAILABLE` of sysexits.h).
const EXIT_UNAVAILABLE: u8 = 69;

/// Exit status where the token is missing or wrong (`EX_NOPERM`).
const EXIT_NOPERM: u8 = 77;

/// Where the admin listener is.
#[derive(Debug, Args)]
pub(super) struct Where {
    #[arg(
        long,
        value_name = "ADDR",
        value_parser = Address::parse,
        help = "Address of the admin listener [default: STUUT_CACHE__ADMIN__LISTEN, else 127.0.0.1:9090]"
    )]
    admin: Option<Address>,
}

/// What is asked of it needs the admin token, where one is configured.
#[derive(Debug, Args)]
pub(super) struct With {
    #[arg(
        long,
        value_name = "FILE",
        help = "File whose first line is the admin token [default: STUUT_CACHE__ADMIN__TOKEN_FILE]"
    )]
    token_file: Option<PathBuf>,
}

/// A host and a port that can be connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address(Authority);

/// A client of one admin listener.
#[derive(Debug)]
pub(super) struct Admin {
    client: Client,
    address: Address,
    token: Option<SecretString>,
}

/// hyper's own client, with connections kept for the next request.
pub(super) type Client = legacy::Client<HttpConnector, Empty<Bytes>>;

/// Why there is no answer to go on with.
#[derive(Debug, Error)]
pub(super) enum Failure {
    /// No connection, or one that broke off.
    #[error("nobody answers at {0}: {1}; is the proxy up, and is this its admin.listen? (--admin)")]
    Unreachable(Address, String),
    /// A connection, and silence.
    #[error("{0} has not answered within {PATIENCE:?}; is this an admin listener? (--admin)")]
    Silent(Address),
    /// The token is missing or wrong.
    #[error("{0} refuses: {1} (--token-file)")]
    Unauthorized(Address, String),
    /// Another answer than expected.
    #[error("{0} answers {1}: {2}")]
    Answered(Address, StatusCode, String),
}

// === impl Where ===

impl Where {
    pub(super) fn address(&self) -> anyhow::Result<Address> {
        if let Some(address) = &self.admin {
            return Ok(address.clone());
        }
        let written = std::env::var(LISTEN).unwrap_or_else(|_| "127.0.0.1:9090".to_owned());
        Address::parse(&written)
            .map_err(anyhow::Error::msg)
            .with_context(|| LISTEN)
    }

    pub(super) fn client(&self) -> anyhow::Result<Admin> {
        Ok(Admin {
            client: client(),
            address: self.address()?,
            token: None,
        })
    }
}

impl With {
    /// The token, if there is a file of it.
    pub(super) fn token(&self) -> anyhow::Result<Option<SecretString>> {
        let named = std::env::var_os(TOKEN_FILE).map(PathBuf::from);
        let Some(path) = self.token_file.clone().or(named) else {
            return Ok(None);
        };
        // The path is not shown: somebody may have written the token itself in its place.
        config::token_of(&path)
            .map(Some)
            .map_err(anyhow::Error::msg)
            .context("--token-file")
    }
}

// === impl Address ===

impl Address {
    fn parse(written: &str) -> Result<Self, String> {
        let reach = |address: SocketAddr| match address {
            // What listens everywhere is asked here.
            SocketAddr::V4(any) if any.ip().is_unspecified() => format!("127.0.0.1:{}", any.port()),
            SocketAddr::V6(any) if any.ip().is_unspecified() => format!("[::1]:{}", any.port()),
            one => one.to_string(),
        };
        let reached = written.parse().map_or_else(|_| written.to_owned(), reach);
        reached
            .parse::<Authority>()
            .ok()
            .filter(|authority| authority.port_u16().is_some() && !reached.contains('@'))
            .map(Self)
            .ok_or_else(|| {
                "not an address to connect to; write a host and a port, e.g. 127.0.0.1:9090".into()
            })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

// === impl Admin ===

impl Admin {
    #[must_use]
    pub(super) fn with(self, token: Option<SecretString>) -> Self {
        Self { token, ..self }
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// The body of a 200.
    pub(super) async fn get(&self, target: &str) -> Result<Bytes, Failure> {
        self.ask(Method::GET, target).await
    }

    pub(super) async fn post(&self, target: &str) -> Result<Bytes, Failure> {
        self.ask(Method::POST, target).await
    }

    async fn ask(&self, method: Method, target: &str) -> Result<Bytes, Failure> {
        let address = || self.address.clone();
        let unreachable = |reason: String| Failure::Unreachable(address(), reason);
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{target}", self.address));
        if let Some(token) = &self.token {
            let value = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()));
            let mut value = value.expect("a bearer token is a field value");
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let request = request
            .body(Empty::new())
            .map_err(|error| unreachable(error.to_string()))?;
        let asked = tokio::time::timeout(PATIENCE, whole(&self.client, request)).await;
        let answer = asked
            .map_err(|_| Failure::Silent(address()))?
            .map_err(|reason| unreachable(reason.to_string()))?;
        let said = || {
            let text = String::from_utf8_lossy(answer.body());
            text.lines().next().unwrap_or_default().to_owned()
        };
        match answer.status() {
            StatusCode::OK => Ok(answer.into_body()),
            StatusCode::UNAUTHORIZED => Err(Failure::Unauthorized(address(), said())),
            status => Err(Failure::Answered(address(), status, said())),
        }
    }
}

// === impl Failure ===

impl Failure {
    /// Says it, and answers the exit status for it.
    pub(super) fn tell(&self) -> ExitCode {
        eprintln!("stuut-cache: {self}");
        ExitCode::from(match self {
            Self::Unreachable(..) | Self::Silent(_) => EXIT_UNAVAILABLE,
            Self::Unauthorized(..) => EXIT_NOPERM,
            Self::Answered(..) => 1,
        })
    }
}

pub(super) fn client() -> Client {
    legacy::Client::builder(TokioExecutor::new()).build_http()
}

/// Sends a request, and reads its answer to the end.
pub(super) async fn whole(
    client: &Client,
    request: Request<Empty<Bytes>>,
) -> Result<Response<Bytes>, Broken> {
    let answer = client.request(request).await;
    let (head, body) = answer.map_err(|error| broken(&error))?.into_parts();
    let body = Limited::new(body, MOST).collect().await.map_err(Broken)?;
    Ok(Response::from_parts(head, body.to_bytes()))
}

/// A connection that did not come about, or broke off.
#[derive(Debug, Error)]
#[error("{0}")]
pub(super) struct Broken(Box<dyn std::error::Error + Send + Sync>);

/// What is at the bottom of it: "client error (Connect)" tells nobody anything.
fn broken(error: &legacy::Error) -> Broken {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    Broken(deepest.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_to_connect_to() {
        for (written, expected) in [
            ("127.0.0.1:9090", Some("127.0.0.1:9090")),
            ("0.0.0.0:9090", Some("127.0.0.1:9090")),
            ("[::]:9090", Some("[::1]:9090")),
            ("[::1]:9090", Some("[::1]:9090")),
            ("localhost:9090", Some("localhost:9090")),
            ("cache.internal:9090", Some("cache.internal:9090")),
            ("9090", None),
            ("127.0.0.1", None),
            ("http://127.0.0.1:9090", None),
            ("a@127.0.0.1:9090", None),
            ("", None),
        ] {
            let found = Address::parse(written).ok().map(|found| found.to_string());
            assert_eq!(found.as_deref(), expected, "{written}");
        }
    }
}
