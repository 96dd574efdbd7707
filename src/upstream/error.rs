//! What can go wrong between proxy and origin.

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use humantime::format_duration;
use hyper_util::client::legacy;
use thiserror::Error;

use super::traffic::{Traffic, Unanswered};
use crate::coding::InvalidGzip;
use crate::outcome::Fault;

/// A client that cannot be set up.
#[derive(Debug, Error)]
pub enum SetupError {
    /// The system's trust store cannot be used.
    #[error(
        "the trust store for TLS to the origin cannot be used; install the system's certificates \
         (package ca-certificates), or set upstream.ca_file"
    )]
    Trust(#[from] rustls::Error),
    /// `upstream.ca_file` cannot be read.
    #[error(
        "upstream.ca_file {path}: cannot be read; write the path of a PEM file with certificates"
    )]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
}

/// No connection in time: the connector's error, which hyper hands back as a source.
#[derive(Debug, Error)]
#[error("no connection within {}", format_duration(*.0))]
pub(super) struct ConnectTimeout(pub(super) Duration);

/// The error below, shared by all clients that waited for the request.
type Source = Arc<dyn StdError + Send + Sync>;

type Cause = dyn StdError + 'static;

/// A request to the origin that failed.
#[derive(Clone, Debug, Error)]
pub enum FetchError {
    /// Not sent: all places are taken.
    #[error("upstream: limits.in_flight requests wait for the origin already")]
    Overload,
    /// Not sent: the token has its share of the places.
    #[error("upstream: this token has its share of limits.in_flight: as many as are free")]
    ShareExceeded,
    /// Not sent: the origin has answered with this status and `Retry-After`.
    #[error("upstream: the origin asked to wait (Retry-After, upstream.max_retry_after at most)")]
    RetryAfter {
        /// 429 or 503.
        status: StatusCode,
        /// The time left.
        wait: Duration,
    },
    /// Not sent: connections to the origin have failed.
    #[error("upstream: connections failed, the circuit breaker is open (upstream.breaker_pause)")]
    BreakerOpen {
        /// The time until the next probe.
        wait: Duration,
    },
    /// The origin's name has no address.
    #[error("upstream: the origin's name cannot be resolved")]
    Dns(#[source] Source),
    /// The origin does not listen.
    #[error("upstream: the origin refuses connections")]
    Refused(#[source] Source),
    /// No connection in time.
    #[error("upstream: no connection within upstream.connect_timeout")]
    ConnectTimeout(#[source] Source),
    /// The TLS handshake failed.
    #[error("upstream: the TLS handshake with the origin failed")]
    Tls(#[source] Source),
    /// The origin's certificate is not trusted (`upstream.ca_file`).
    #[error("upstream: the origin's certificate is not trusted")]
    Certificate(#[source] Source),
    /// The connection failed before the response head was there.
    #[error("upstream: the connection to the origin broke off")]
    Terminated {
        /// Whether no byte of a response had arrived, on which kind of connection.
        unanswered: Option<Unanswered>,
        /// Why.
        source: Source,
    },
    /// No response head in time.
    #[error("upstream: no response head within {} (upstream.response_timeout)", format_duration(*.0))]
    HeadTimeout(Duration),
    /// The fetch took too long in all.
    #[error("upstream: no whole response within {} (upstream.total_timeout)", format_duration(*.0))]
    TotalTimeout(Duration),
    /// The fetch that this client waited for took too long.
    #[error("upstream: no response by the fetch in flight within {} (upstream.total_timeout)", format_duration(*.0))]
    WaitTimeout(Duration),
    /// The origin takes no more of the request body.
    #[error("upstream: no more of the request body taken within {} (upstream.total_timeout)", format_duration(*.0))]
    UploadStalled(Duration),
    /// The origin sends no more of a streamed response.
    #[error("upstream: not a byte within {} (upstream.total_timeout)", format_duration(*.0))]
    Silent(Duration),
    /// The response head is not HTTP, or beyond the limits.
    #[error("upstream: the origin's response is not valid HTTP")]
    InvalidHead(#[source] Source),
    /// The response head cannot be used.
    #[error("upstream: the origin sent {0}")]
    Protocol(&'static str),
    /// The chunks of the response body are not valid.
    #[error("upstream: the origin's response body is not valid HTTP")]
    InvalidBody(#[source] Source),
    /// The response body ended before its length or last chunk.
    #[error("upstream: the origin's response body broke off")]
    Incomplete(#[source] Source),
    /// The response body's content coding is broken.
    #[error("upstream: the origin's body is in a content coding that cannot be undone")]
    ContentCoding(#[from] InvalidGzip),
    /// The client's body is too large.
    #[error("upstream: the request body is larger than limits.request_body")]
    UploadTooLarge,
    /// The client's body comes below the least pace, or not at all.
    #[error("upstream: the client's request body comes too slowly")]
    UploadSlow,
    /// The client's body ended early.
    #[error("upstream: the client's request body broke off")]
    UploadBroken(#[source] Option<Arc<hyper::Error>>),
    /// A bug: the task that fetched ended without a result.
    #[error("upstream: the fetch ended without an answer")]
    Panicked,
}

impl FetchError {
    /// The kind of failure.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Overload | Self::ShareExceeded => Fault::Overload,
            Self::RetryAfter { .. } => Fault::Held,
            Self::BreakerOpen { .. } => Fault::Unavailable,
            Self::Dns(_) => Fault::Dns,
            Self::Refused(_) => Fault::Refused,
            Self::ConnectTimeout(_) => Fault::ConnectTimeout,
            Self::Tls(_) => Fault::Tls,
            Self::Certificate(_) => Fault::Certificate,
            Self::Terminated { .. } => Fault::Terminated,
            Self::HeadTimeout(_)
            | Self::TotalTimeout(_)
            | Self::WaitTimeout(_)
            | Self::UploadStalled(_)
            | Self::Silent(_) => Fault::ResponseTimeout,
            Self::InvalidHead(_) | Self::Protocol(_) | Self::InvalidBody(_) => Fault::Protocol,
            Self::Incomplete(_) => Fault::Incomplete,
            Self::ContentCoding(_) => Fault::ContentCoding,
            Self::UploadTooLarge | Self::UploadSlow | Self::UploadBroken(_) => Fault::RequestBody,
            Self::Panicked => Fault::Internal,
        }
    }

    /// The failure of a request as hyper's client reports it.
    pub(super) fn from_client(error: legacy::Error) -> Self {
        if let Some(upload) = find::<Self>(&error) {
            return upload.clone();
        }
        let variant = if error.is_connect() {
            connect_variant(&error)
        } else if find::<hyper::Error>(&error).is_some_and(hyper::Error::is_parse) {
            Self::InvalidHead
        } else {
            let unanswered = unanswered(&error);
            let source = Arc::new(error);
            return Self::Terminated { unanswered, source };
        };
        variant(Arc::new(error))
    }

    /// The failure of a response body as hyper reports it.
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

/// Whether this failure happened before the origin can have acted on the request.
#[must_use]
pub fn not_sent(fault: Fault) -> bool {
    let not_connected = matches!(
        fault,
        Fault::Dns | Fault::Refused | Fault::ConnectTimeout | Fault::Tls | Fault::Certificate
    );
    not_connected || fault.is_shed()
}

/// Whether a connection failed because the origin does not listen just now.
pub(super) fn is_refusal(error: &Cause) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, UnexpectedEof};
    find::<io::Error>(error).is_some_and(|error| {
        // The last three: it went away in the middle of the handshake.
        matches!(
            error.kind(),
            ConnectionRefused | ConnectionReset | ConnectionAborted | UnexpectedEof
        )
    })
}

fn unanswered(error: &legacy::Error) -> Option<Unanswered> {
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
        // hyper-util does not export the type of its resolver's error.
        _ if chain(error).any(|cause| cause.to_string().contains("dns error")) => FetchError::Dns,
        _ => |source| FetchError::Terminated {
            unanswered: None,
            source,
        },
    }
}

fn chain(error: &Cause) -> impl Iterator<Item = &Cause> {
    std::iter::successors(Some(error), |&error| {
        // An io::Error hands out what it wraps only this way.
        let wrapped = error.downcast_ref().and_then(io::Error::get_ref);
        wrapped.map(|cause| cause as &Cause).or(error.source())
    })
}

fn find<E: StdError + 'static>(error: &Cause) -> Option<&E> {
    chain(error).find_map(|cause| cause.downcast_ref())
}
