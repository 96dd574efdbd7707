//! What can go wrong between proxy and origin.

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use hyper_util::client::legacy;
use thiserror::Error;

use super::body::UploadError;
use super::connector::ConnectTimeout;
use super::line::Traffic;
use super::retry::Lost;
use crate::coding::InvalidGzip;
use crate::config;
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

/// A request to the origin that failed. Cheap to clone: all who waited for it get one.
#[derive(Clone, Debug, Error)]
#[error("upstream: {sentence}")]
pub struct FetchError {
    fault: Fault,
    sentence: String,
    source: Option<Arc<dyn StdError + Send + Sync>>,
    too_large: bool,
    /// How the request died, where it did so before the first byte of an answer.
    lost: Option<Lost>,
    /// When it is worth another try, where that is known.
    retry_after: Option<Duration>,
    /// What the origin has said to those that it asked to wait.
    said: Option<StatusCode>,
}

impl From<InvalidGzip> for FetchError {
    fn from(broken: InvalidGzip) -> Self {
        Self {
            source: Some(Arc::new(broken)),
            ..Self::new(
                Fault::ContentCoding,
                "the origin's body is in a content coding that cannot be undone",
            )
        }
    }
}

impl FetchError {
    /// What kind of failure this is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        self.fault
    }

    /// Whether the failure is that the client's body is beyond `limits.request_body`.
    #[must_use]
    pub fn is_upload_too_large(&self) -> bool {
        self.too_large
    }

    /// The task that fetched ended without an answer: a bug.
    #[must_use]
    pub fn lost() -> Self {
        Self::new(Fault::Internal, "the fetch ended without an answer")
    }

    /// This waiter has waited for as long as a fetch may take.
    #[must_use]
    pub fn waited(settings: &config::Upstream) -> Self {
        Self::no_end(settings)
    }

    /// A 304 to a request without a condition, or about another response than the stored one.
    #[must_use]
    pub fn unasked_not_modified() -> Self {
        Self::new(Fault::Protocol, "the origin answers 304 to what nobody has")
    }

    pub(super) fn overload() -> Self {
        Self::new(
            Fault::Overload,
            "as many requests as limits.in_flight wait for the origin already",
        )
    }

    pub(super) fn unfair() -> Self {
        Self::new(
            Fault::Overload,
            "as many requests of this token wait for the origin as limits.in_flight leaves free",
        )
    }

    /// The breaker is open.
    pub(super) fn unavailable(wait: Duration) -> Self {
        Self {
            retry_after: Some(wait),
            ..Self::new(
                Fault::Unavailable,
                "the circuit breaker is open since connections failed (upstream.breaker_pause)",
            )
        }
    }

    /// The origin has answered with `said`, and asked to wait.
    pub(super) fn held(said: StatusCode, wait: Duration) -> Self {
        Self {
            retry_after: Some(wait),
            said: Some(said),
            ..Self::new(
                Fault::Held,
                "the origin has asked to wait (Retry-After, upstream.max_retry_after at most)",
            )
        }
    }

    /// Whether the origin was not asked at all, on purpose.
    #[must_use]
    pub fn is_shed(&self) -> bool {
        matches!(
            self.fault,
            Fault::Overload | Fault::Unavailable | Fault::Held
        )
    }

    /// When it is worth another try, where that is known.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// What the origin has said to those that it asked to wait.
    #[must_use]
    pub fn said(&self) -> Option<StatusCode> {
        self.said
    }

    pub(super) fn protocol(sentence: &str) -> Self {
        Self::new(Fault::Protocol, sentence)
    }

    pub(super) fn no_head(settings: &config::Upstream) -> Self {
        let limit = humantime::format_duration(settings.response_timeout);
        Self::new(
            Fault::ResponseTimeout,
            &format!("no response head within {limit} (upstream.response_timeout)"),
        )
    }

    pub(super) fn not_taken(settings: &config::Upstream) -> Self {
        let limit = humantime::format_duration(settings.total_timeout);
        Self::new(
            Fault::ResponseTimeout,
            &format!("no more of the request body taken within {limit} (upstream.total_timeout)"),
        )
    }

    pub(super) fn no_end(settings: &config::Upstream) -> Self {
        let limit = humantime::format_duration(settings.total_timeout);
        Self::new(
            Fault::ResponseTimeout,
            &format!("no whole response within {limit} (upstream.total_timeout)"),
        )
    }

    pub(super) fn from_client(error: legacy::Error) -> Self {
        if let Some(upload) = find::<UploadError>(&error) {
            return Self::from_upload(upload);
        }
        let fault = if error.is_connect() {
            connect_fault(&error)
        } else {
            exchange_fault(&error)
        };
        let sentence = match fault {
            Fault::Dns => "the origin's name cannot be resolved",
            Fault::Refused => "the origin refuses connections",
            Fault::ConnectTimeout => "no connection within upstream.connect_timeout",
            Fault::Certificate => "the origin's certificate is not trusted",
            Fault::Tls => "the TLS handshake with the origin failed",
            Fault::Protocol => "the origin's response is not valid HTTP",
            _ => "the connection to the origin broke off",
        };
        Self {
            lost: lost(&error).filter(|_| fault == Fault::Terminated),
            source: Some(Arc::new(error)),
            ..Self::new(fault, sentence)
        }
    }

    /// How the request died, if it did so before the first byte of an answer.
    pub(super) fn how_lost(&self) -> Option<Lost> {
        self.lost
    }

    pub(super) fn from_upload(error: &UploadError) -> Self {
        let broken = match error {
            UploadError::TooLarge | UploadError::Slow => None,
            UploadError::Broken(source) => source.clone(),
        };
        Self {
            too_large: matches!(error, UploadError::TooLarge),
            source: broken.map(|error| error as _),
            ..Self::new(Fault::RequestBody, &error.to_string())
        }
    }

    pub(super) fn from_body(error: hyper::Error) -> Self {
        let is_nonsense = find::<io::Error>(&error).is_some_and(|error| {
            // What hyper's decoder of chunks says.
            matches!(
                error.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData
            )
        });
        let kind = if error.is_parse() || is_nonsense {
            Self::protocol("the origin's response body is not valid HTTP")
        } else {
            Self::new(Fault::Incomplete, "the origin's response body broke off")
        };
        Self {
            source: Some(Arc::new(error)),
            ..kind
        }
    }

    pub(super) fn new(fault: Fault, sentence: &str) -> Self {
        Self {
            fault,
            sentence: sentence.to_owned(),
            source: None,
            too_large: false,
            lost: None,
            retry_after: None,
            said: None,
        }
    }
}

/// Whether a connection failed because there is nobody at the origin's end just now.
pub(super) fn is_refusal(error: &(dyn StdError + 'static)) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, UnexpectedEof};
    find::<io::Error>(error).is_some_and(|error| {
        // The last three: it went away in the middle of the handshake.
        matches!(
            error.kind(),
            ConnectionRefused | ConnectionReset | ConnectionAborted | UnexpectedEof
        )
    })
}

fn lost(error: &legacy::Error) -> Option<Lost> {
    let connected = error.connect_info()?;
    let mut extras = http::Extensions::new();
    connected.get_extras(&mut extras);
    let traffic = extras.get::<Traffic>()?;
    if traffic.is_heard() {
        None
    } else if traffic.is_reused() {
        Some(Lost::Pooled)
    } else {
        Some(Lost::Fresh)
    }
}

fn connect_fault(error: &legacy::Error) -> Fault {
    if find::<ConnectTimeout>(error).is_some() {
        return Fault::ConnectTimeout;
    }
    match find::<rustls::Error>(error) {
        Some(rustls::Error::InvalidCertificate(_)) => return Fault::Certificate,
        Some(_) => return Fault::Tls,
        None => {}
    }
    match find::<io::Error>(error).map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused) => Fault::Refused,
        Some(io::ErrorKind::TimedOut) => Fault::ConnectTimeout,
        // hyper-util keeps the type of its resolver's error to itself; its words are the sign.
        _ if chain(error).any(|cause| cause.to_string().contains("dns error")) => Fault::Dns,
        _ => Fault::Terminated,
    }
}

fn exchange_fault(error: &legacy::Error) -> Fault {
    match find::<hyper::Error>(error) {
        Some(error) if error.is_parse() => Fault::Protocol,
        _ => Fault::Terminated,
    }
}

fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn StdError + 'static)| {
        let error: &'a (dyn StdError + 'static) = *error;
        // An io::Error keeps what it wraps to itself unless it is asked this way.
        match error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(inner) => Some(inner as &(dyn StdError + 'static)),
            None => error.source(),
        }
    })
}

fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    chain(error).find_map(|cause| cause.downcast_ref())
}
