//! The client of the admin listener, for the commands that inspect or change a running proxy.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use http::header::AUTHORIZATION;
use http::uri::Authority;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::TokioExecutor;
use secrecy::{ExposeSecret as _, SecretString};
use thiserror::Error;

use crate::telemetry::TailFilter;
use crate::{admin, config};

/// Settings of the proxy, read from its environment: inside its container, the commands need no
/// arguments.
const LISTEN: &str = "STUUT_CACHE__ADMIN__LISTEN";
const TOKEN_FILE: &str = "STUUT_CACHE__ADMIN__TOKEN_FILE";

/// Time to wait for a response of the admin listener.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The same for a purge, which can wait for the longest `shared.lease` (a minute).
const PURGE_TIMEOUT: Duration = Duration::from_secs(65);

/// Maximum body size, above any that the listener sends.
pub(super) const MAX_BODY: usize = 16 << 20;

/// Exit status if there is no response (`EX_UNAVAILABLE` of sysexits.h).
const EXIT_UNAVAILABLE: u8 = 69;

/// Exit status if the token is missing or wrong (`EX_NOPERM`).
const EXIT_NOPERM: u8 = 77;

/// The address of the admin listener.
#[derive(Debug, Args)]
pub(super) struct AdminAddress {
    #[arg(
        long,
        value_name = "ADDR",
        value_parser = address,
        help = "Address of the admin listener [default: STUUT_CACHE__ADMIN__LISTEN, else 127.0.0.1:9090]"
    )]
    pub(super) admin: Option<Authority>,
}

/// The admin token, for requests that need one.
#[derive(Debug, Args)]
pub(super) struct AdminToken {
    #[arg(
        long,
        value_name = "FILE",
        help = "File whose first line is the admin token [default: STUUT_CACHE__ADMIN__TOKEN_FILE]"
    )]
    token_file: Option<PathBuf>,
}

/// An admin listener and the token for it.
#[derive(Debug, Args)]
pub(super) struct AdminAccess {
    #[command(flatten)]
    listener: AdminAddress,
    #[command(flatten)]
    token: AdminToken,
}

/// A client without TLS, with a pool of connections.
pub(super) type HttpClient = legacy::Client<HttpConnector, Full<Bytes>>;

/// A client of one admin listener.
#[derive(Debug)]
pub(super) struct AdminClient {
    client: HttpClient,
    pub(super) address: Authority,
    token: Option<SecretString>,
}

/// Why a request did not get a 200.
#[derive(Debug, Error)]
pub(super) enum AdminError {
    /// No connection, or it closed before the response.
    #[error("cannot reach {0}: {1}; is the proxy up, and is this its admin.listen? (--admin)")]
    Unreachable(Authority, String),
    #[error("no response from {0} within {1:?}; is this an admin listener? (--admin)")]
    TimedOut(Authority, Duration),
    #[error("{0} refused the request: {1} (--token-file)")]
    Unauthorized(Authority, String),
    #[error("{0} responded with {1}: {2}")]
    Status(Authority, StatusCode, String),
}

// === impl AdminAccess ===

impl AdminAccess {
    /// # Errors
    ///
    /// The token cannot be read, or no address is given and the variable for it is invalid.
    pub(super) fn client(&self) -> anyhow::Result<AdminClient> {
        self.listener.client(self.token.read()?)
    }
}

// === impl AdminAddress ===

impl AdminAddress {
    /// A client of this listener, with the token if a request needs one.
    pub(super) fn client(&self, token: Option<SecretString>) -> anyhow::Result<AdminClient> {
        let configured = || std::env::var(LISTEN).unwrap_or_else(|_| "127.0.0.1:9090".to_owned());
        let address = match &self.admin {
            Some(address) => address.clone(),
            None => address(&configured())
                .map_err(anyhow::Error::msg)
                .context(LISTEN)?,
        };
        Ok(AdminClient {
            client: http_client(),
            address,
            token,
        })
    }
}

// === impl AdminToken ===

impl AdminToken {
    /// The token, if a file is given.
    pub(super) fn read(&self) -> anyhow::Result<Option<SecretString>> {
        let named = || std::env::var_os(TOKEN_FILE).map(PathBuf::from);
        let file = self.token_file.clone().or_else(named);
        file.map(|path| token_from(&path, "--token-file"))
            .transpose()
    }
}

// === impl AdminClient ===

impl AdminClient {
    /// Sends a GET and returns the body of a 200.
    pub(super) async fn get(&self, target: &str) -> Result<Bytes, AdminError> {
        self.send(Method::GET, target).await
    }

    pub(super) async fn post(&self, target: &str) -> Result<Bytes, AdminError> {
        self.send(Method::POST, target).await
    }

    /// Sends a GET, and calls `each` for each part of the response as it arrives.
    pub(super) async fn stream(
        &self,
        target: &str,
        each: impl Fn(Bytes) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let unreachable = |reason| AdminError::Unreachable(self.address.clone(), reason);
        let response = self.client.request(self.request(Method::GET, target)?);
        let response = tokio::time::timeout(TIMEOUT, response).await;
        let response = response.map_err(|_| AdminError::TimedOut(self.address.clone(), TIMEOUT))?;
        let (head, mut body) = response
            .map_err(|error| unreachable(cause(&error)))?
            .into_parts();
        if head.status != StatusCode::OK {
            let body = Limited::new(body, MAX_BODY).collect().await;
            let body = body
                .map_err(|error| unreachable(cause(&*error)))?
                .to_bytes();
            return Ok(self.checked(Response::from_parts(head, body)).map(drop)?);
        }
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| unreachable(cause(&error)))?;
            frame.into_data().map_or(Ok(()), &each)?;
        }
        Err(unreachable("the connection was closed".to_owned()).into())
    }

    async fn send(&self, method: Method, target: &str) -> Result<Bytes, AdminError> {
        let address = || self.address.clone();
        let timeout = match method {
            Method::POST => PURGE_TIMEOUT,
            _ => TIMEOUT,
        };
        let request = self.request(method, target)?;
        let response = tokio::time::timeout(timeout, send(&self.client, request, MAX_BODY))
            .await
            .map_err(|_| AdminError::TimedOut(address(), timeout))?
            .map_err(|reason| AdminError::Unreachable(address(), reason))?;
        self.checked(response)
    }

    fn request(&self, method: Method, target: &str) -> Result<Request<Full<Bytes>>, AdminError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{target}", self.address));
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, bearer(token));
        }
        let invalid =
            |error: http::Error| AdminError::Unreachable(self.address.clone(), error.to_string());
        request.body(Full::default()).map_err(invalid)
    }

    /// The body of a 200.
    fn checked(&self, response: Response<Bytes>) -> Result<Bytes, AdminError> {
        let address = || self.address.clone();
        let first_line = || {
            let text = String::from_utf8_lossy(response.body());
            text.lines().next().unwrap_or_default().to_owned()
        };
        match response.status() {
            StatusCode::OK => Ok(response.into_body()),
            StatusCode::UNAUTHORIZED => Err(AdminError::Unauthorized(address(), first_line())),
            status => Err(AdminError::Status(address(), status, first_line())),
        }
    }
}

// === impl AdminError ===

impl AdminError {
    /// Prints the error, and returns its exit status.
    pub(super) fn report(&self) -> ExitCode {
        eprintln!("stuut-cache: {self}");
        ExitCode::from(match self {
            Self::Unreachable(..) | Self::TimedOut(..) => EXIT_UNAVAILABLE,
            Self::Unauthorized(..) => EXIT_NOPERM,
            Self::Status(..) => 1,
        })
    }
}

/// A value of a query of the admin listener: other bytes are invalid in a request target, or would end it
/// or change its meaning.
pub(super) fn plain(value: &str) -> Result<String, &'static str> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"#&?\"<>\\^`{|}".contains(&byte);
    if value.is_empty() || !value.bytes().all(is_plain) {
        return Err("write it as in a request, without the query, percent-encoded where needed");
    }
    Ok(value.to_owned())
}

/// The path of `/explain`.
pub(super) fn path(value: &str) -> Result<String, &'static str> {
    let hint = "write a path as in a request, without the query: /v1/calls/ID";
    admin::path(value).ok_or(hint)?;
    plain(value)
}

/// A condition that `/tail` accepts: its own error would name a parameter of a query instead of the option.
pub(super) fn checked(name: &str, value: &str) -> Result<String, &'static str> {
    admin::select(&mut TailFilter::default(), name, value)?;
    plain(value)
}

/// Parses a host and a port to connect to.
pub(super) fn address(text: &str) -> Result<Authority, String> {
    let reachable = |address: SocketAddr| match address {
        // An unspecified address is reached through loopback.
        SocketAddr::V4(any) if any.ip().is_unspecified() => format!("127.0.0.1:{}", any.port()),
        SocketAddr::V6(any) if any.ip().is_unspecified() => format!("[::1]:{}", any.port()),
        specific => specific.to_string(),
    };
    let target = text.parse().map_or_else(|_| text.to_owned(), reachable);
    let authority = target
        .parse()
        .ok()
        .filter(|authority: &Authority| authority.port_u16().is_some() && !target.contains('@'));
    authority.ok_or_else(|| {
        "not an address to connect to; write a host and a port, e.g. 127.0.0.1:9090".to_owned()
    })
}

pub(super) fn http_client() -> HttpClient {
    legacy::Client::builder(TokioExecutor::new()).build_http()
}

/// Sends a request, and reads the response to its end.
///
/// # Errors
///
/// The root cause: hyper's own "client error (Connect)" explains nothing.
pub(super) async fn send<C: Connect + Clone + Send + Sync + 'static>(
    client: &legacy::Client<C, Full<Bytes>>,
    request: Request<Full<Bytes>>,
    max_body: usize,
) -> Result<Response<Bytes>, String> {
    let response = client.request(request).await;
    let (head, body) = response.map_err(|error| cause(&error))?.into_parts();
    let body = Limited::new(body, max_body).collect().await;
    let body = body.map_err(|error| cause(&*error))?;
    Ok(Response::from_parts(head, body.to_bytes()))
}

fn cause(mut error: &dyn std::error::Error) -> String {
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// The `Authorization` value for a token.
pub(super) fn bearer(token: &SecretString) -> HeaderValue {
    let value = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()));
    let mut value = value.expect("a bearer token is a field value");
    value.set_sensitive(true);
    value
}

/// The first line of the file that an option names. The error omits the path, which may be the
/// token itself, given by mistake.
pub(super) fn token_from(path: &Path, option: &'static str) -> anyhow::Result<SecretString> {
    config::token_of(path)
        .map_err(anyhow::Error::msg)
        .context(option)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_host_with_a_port_is_an_address() {
        for (text, expected) in [
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
            let parsed = address(text).ok().map(|address| address.to_string());
            assert_eq!(parsed.as_deref(), expected, "{text}");
        }
    }
}
