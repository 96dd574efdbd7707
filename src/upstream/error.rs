//! Errors between proxy and origin, and their classification from hyper's errors. Their status codes
//! are in `proxy/error.rs`.

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use humantime::format_duration;
use hyper_util::client::legacy;
use thiserror::Error;

use super::traffic::Traffic;
use super::transport::TunnelRefused;
use crate::coding::InvalidGzip;
use crate::config;
use crate::outcome::Fault;
use crate::telemetry::{Pool, Retry};

/// The client for the origin cannot be set up.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum SetupError {
    #[error(
        "the trust store for TLS to the origin cannot be used; install the system's certificates \
         (package ca-certificates), or set upstream.ca_file"
    )]
    Trust(#[from] rustls::Error),
    #[error(
        "upstream.ca_file {path}: cannot be read; write the path of a PEM file with certificates"
    )]
    CaFile {
        path: PathBuf,
        source: rustls::pki_types::pem::Error,
    },
}

/// No connection in time: an error of the connector, which hyper wraps as a source.
#[derive(Debug, Error)]
#[error("no connection within {}", format_duration(*.0))]
pub(super) struct ConnectTimeout(pub(super) Duration);

/// The underlying error, shared by all waiters of a fetch.
type Source = Arc<dyn StdError + Send + Sync>;

type Cause = dyn StdError + 'static;

/// A request to the origin that failed.
#[derive(Clone, Debug, Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum FetchError {
    /// Not sent, or not streamed: all slots of the pool are taken.
    #[error("upstream: {} requests are in progress at the origin already", .0.key())]
    Overload(Pool),
    /// Not sent, or not streamed: the token holds its share of the pool.
    #[error("upstream: this token holds its share of {} already", .0.key())]
    ShareExceeded(Pool),
    /// Not sent: the origin has answered with this status and `Retry-After`.
    #[error("upstream: backing off after the origin's Retry-After (upstream.max_retry_after)")]
    RetryAfter {
        /// 429 or 503.
        status: StatusCode,
        /// The remaining time.
        wait: Duration,
    },
    /// Not sent: connections to the origin have failed.
    #[error("upstream: the circuit breaker is open: connections failed (upstream.breaker_pause)")]
    BreakerOpen {
        /// The time until the next probe.
        wait: Duration,
    },
    #[error("upstream: the origin's name cannot be resolved")]
    Dns(#[source] Source),
    #[error("upstream: the origin refuses connections")]
    Refused(#[source] Source),
    #[error("upstream: no connection within upstream.connect_timeout")]
    ConnectTimeout(#[source] Source),
    #[error("upstream: the TLS handshake with the origin failed")]
    Tls(#[source] Source),
    #[error("upstream: the origin's certificate is not trusted")]
    Certificate(#[source] Source),
    #[error("upstream: {why} (upstream.proxy)")]
    Proxy {
        fault: Fault,
        why: String,
        source: Source,
    },
    #[error("upstream: the connection to the origin failed before the response")]
    Terminated {
        /// Why it may be retried, if no response byte had been received.
        unanswered: Option<Retry>,
        source: Source,
    },
    #[error("upstream: no response head within {} (upstream.response_timeout)", format_duration(*.0))]
    HeadTimeout(Duration),
    #[error("upstream: no response head within {} (upstream.forward_timeout)", format_duration(*.0))]
    ForwardTimeout(Duration),
    #[error("upstream: no complete response within {} (upstream.total_timeout)", format_duration(*.0))]
    TotalTimeout(Duration),
    #[error("upstream: the shared fetch did not complete within {} (upstream.total_timeout)", format_duration(*.0))]
    WaitTimeout(Duration),
    #[error("upstream: the origin read no more of the request body within {} (upstream.total_timeout)", format_duration(*.0))]
    UploadStalled(Duration),
    #[error("upstream: the origin sent no more of the body within {} (upstream.total_timeout)", format_duration(*.0))]
    IdleTimeout(Duration),
    /// The response head is not valid HTTP, or exceeds the limits.
    #[error("upstream: the origin's response is not valid HTTP")]
    InvalidHead(#[source] Source),
    #[error("upstream: the origin sent {0}")]
    Protocol(&'static str),
    #[error("upstream: the origin's response body is not valid HTTP")]
    InvalidBody(#[source] Source),
    #[error("upstream: the origin's response body is incomplete")]
    Incomplete(#[source] Source),
    #[error("upstream: the origin's response body cannot be decoded")]
    ContentCoding(#[from] InvalidGzip),
    #[error("upstream: the request body is larger than limits.request_body")]
    UploadTooLarge,
    /// The client sends its body below the minimum rate, or not at all.
    #[error("upstream: the client sends the request body too slowly")]
    UploadSlow,
    #[error("upstream: the client's request body is incomplete")]
    UploadIncomplete(#[source] Option<Arc<hyper::Error>>),
    /// A bug: the task of a write, or a fetch, has panicked.
    #[error("upstream: the request ended without a result")]
    Panicked,
}

impl FetchError {
    /// The kind of failure.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Overload(_) | Self::ShareExceeded(_) => Fault::Overload,
            Self::RetryAfter { .. } => Fault::RetryAfter,
            Self::BreakerOpen { .. } => Fault::Unavailable,
            Self::Dns(_) => Fault::Dns,
            Self::Refused(_) => Fault::Refused,
            Self::ConnectTimeout(_) => Fault::ConnectTimeout,
            Self::Tls(_) => Fault::Tls,
            Self::Certificate(_) => Fault::Certificate,
            Self::Terminated { .. } => Fault::Terminated,
            Self::Proxy { fault, .. } => *fault,
            Self::HeadTimeout(_)
            | Self::ForwardTimeout(_)
            | Self::TotalTimeout(_)
            | Self::WaitTimeout(_)
            | Self::UploadStalled(_)
            | Self::IdleTimeout(_) => Fault::ResponseTimeout,
            Self::InvalidHead(_) | Self::Protocol(_) | Self::InvalidBody(_) => Fault::Protocol,
            Self::Incomplete(_) => Fault::Incomplete,
            Self::ContentCoding(_) => Fault::ContentCoding,
            Self::UploadTooLarge | Self::UploadSlow | Self::UploadIncomplete(_) => {
                Fault::RequestBody
            }
            Self::Panicked => Fault::Internal,
        }
    }

    /// Classifies a failed request from the error of hyper's client.
    pub(super) fn from_client(error: legacy::Error, settings: &config::Upstream) -> Self {
        if let Some(upload) = find::<Self>(&error) {
            return upload.clone();
        }
        if error.is_connect() {
            let error = connect_variant(&error)(Arc::new(error));
            return match settings.forward_proxy() {
                Some(_) => error.through_proxy(),
                None => error,
            };
        }
        if find::<hyper::Error>(&error).is_some_and(hyper::Error::is_parse) {
            return Self::InvalidHead(Arc::new(error));
        }
        let unanswered = unanswered(&error);
        let source = Arc::new(error);
        Self::Terminated { unanswered, source }
    }

    /// A failed connection through the proxy. TLS is the origin's: it is inside the tunnel.
    fn through_proxy(self) -> Self {
        let fault = match self.fault() {
            Fault::Terminated => Fault::Tunnel,
            fault => fault,
        };
        let (Self::Dns(source)
        | Self::Refused(source)
        | Self::ConnectTimeout(source)
        | Self::Terminated { source, .. }) = self
        else {
            return self;
        };
        let refused = find::<TunnelRefused>(&*source).map(ToString::to_string);
        let why = refused.unwrap_or_else(|| "no connection through the proxy".to_owned());
        Self::Proxy { fault, why, source }
    }

    /// Classifies a failed response body from hyper's error.
    pub(super) fn from_body(error: hyper::Error) -> Self {
        let is_invalid_chunk = find::<io::Error>(&error).is_some_and(|error| {
            matches!(
                error.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData
            )
        });
        if error.is_parse() || is_invalid_chunk {
            Self::InvalidBody(Arc::new(error))
        } else {
            Self::Incomplete(Arc::new(error))
        }
    }
}

/// Whether the origin cannot have received the request.
pub fn not_sent(fault: Fault) -> bool {
    let not_connected = matches!(
        fault,
        Fault::Dns
            | Fault::Refused
            | Fault::ConnectTimeout
            | Fault::Tls
            | Fault::Certificate
            | Fault::Tunnel
    );
    not_connected || fault.is_shed()
}

/// Whether the connection was refused, which may be temporary: the origin restarts.
pub(super) fn is_refusal(error: &Cause) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, UnexpectedEof};
    find::<io::Error>(error).is_some_and(|error| {
        // The last three: the origin stopped during the handshake.
        matches!(
            error.kind(),
            ConnectionRefused | ConnectionReset | ConnectionAborted | UnexpectedEof
        )
    })
}

fn unanswered(error: &legacy::Error) -> Option<Retry> {
    let mut extras = http::Extensions::new();
    error.connect_info()?.get_extras(&mut extras);
    extras.get::<Traffic>()?.unanswered()
}

fn connect_variant(error: &legacy::Error) -> fn(Source) -> FetchError {
    if find::<ConnectTimeout>(error).is_some() {
        return FetchError::ConnectTimeout;
    }
    match find::<rustls::Error>(error) {
        Some(rustls::Error::InvalidCertificate(_)) => return FetchError::Certificate,
        Some(_) => return FetchError::Tls,
        None => {}
    }
    match find::<io::Error>(error).map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused) => FetchError::Refused,
        Some(io::ErrorKind::TimedOut) => FetchError::ConnectTimeout,
        // hyper-util does not export its resolver's error type.
        _ if chain(error).any(|cause| cause.to_string().contains("dns error")) => FetchError::Dns,
        _ => |source| FetchError::Terminated {
            unanswered: None,
            source,
        },
    }
}

fn chain(error: &Cause) -> impl Iterator<Item = &Cause> {
    std::iter::successors(Some(error), |&error| {
        // `source()` of an io::Error skips the error that it wraps.
        let wrapped = error.downcast_ref().and_then(io::Error::get_ref);
        wrapped.map(|cause| cause as &Cause).or(error.source())
    })
}

fn find<E: StdError + 'static>(error: &Cause) -> Option<&E> {
    chain(error).find_map(|cause| cause.downcast_ref())
}
