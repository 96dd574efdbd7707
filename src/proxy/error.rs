//! Error responses of the proxy itself: the only file that chooses status codes.
//!
//! The client gets a problem document (RFC 9457) with a stable `type`, and a `Proxy-Status` field
//! (RFC 9209); the log gets the whole chain of causes, once.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use thiserror::Error;

use super::body::{Body, Report};
use crate::label::Label as _;
use crate::outcome::{CACHE_NAME, Fault, Forward, Outcome};
use crate::request::{Refusal, Refused, RouteId, ScopeId};
use crate::telemetry::RequestId;
use crate::upstream::FetchError;

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
pub(super) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// The default `Retry-After` of a response without a known wait.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(1);

/// A request that the proxy answers with an error.
#[derive(Debug, Error)]
pub enum Error {
    /// The request is refused when it is parsed.
    #[error("{}", .0.sentence)]
    Refused(Refused),
    /// The origin could not be reached, or its response was unusable.
    #[error("{source}")]
    Fetch {
        /// The failure.
        source: FetchError,
        /// Why the request had to go to the origin.
        why: Forward,
    },
    /// `only-if-cached`, and no stored response is usable (RFC 9111 §5.2.1.7).
    #[error("the request has only-if-cached, and no stored response is usable")]
    OnlyIfCached,
    /// A bug.
    #[error("the proxy failed on this request; see its log")]
    Panicked,
}

impl Error {
    fn status(&self) -> StatusCode {
        match self {
            Self::Refused(refused) => refusal_status(refused.why),
            Self::Fetch { source, .. } => match source {
                FetchError::UploadTooLarge => refusal_status(Refusal::BodyTooLarge),
                // The status of the origin's own response.
                FetchError::RetryAfter { status, .. } => *status,
                other => fault_status(other.fault()),
            },
            Self::OnlyIfCached => StatusCode::GATEWAY_TIMEOUT,
            Self::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The last part of the problem's `type`.
    pub fn slug(&self) -> &'static str {
        self.outcome().detail().expect("each problem has a reason")
    }

    fn outcome(&self) -> Outcome {
        match self {
            Self::Refused(refused) => Outcome::Refused(refused.why),
            Self::Fetch {
                source: FetchError::UploadTooLarge,
                ..
            } => Outcome::Refused(Refusal::BodyTooLarge),
            Self::Fetch { source, why } => Outcome::Failed {
                why: *why,
                fault: source.fault(),
            },
            Self::OnlyIfCached => Outcome::OnlyIfCached,
            Self::Panicked => Outcome::Panicked,
        }
    }

    /// Whether the connection must be closed: after an ambiguous request, the start of the next one
    /// is not known (request smuggling).
    fn closes_connection(&self) -> bool {
        match self {
            Self::Refused(refused) => !matches!(
                refused.why,
                Refusal::View | Refusal::Wait | Refusal::Waiting | Refusal::LastHop
            ),
            Self::Fetch { source, .. } => source.fault() == Fault::RequestBody,
            Self::OnlyIfCached | Self::Panicked => false,
        }
    }

    /// `Retry-After` in whole seconds, rounded up: a client that retries too early is refused again.
    fn retry_after(&self) -> HeaderValue {
        let wait = match self {
            Self::Fetch {
                source: FetchError::RetryAfter { wait, .. } | FetchError::BreakerOpen { wait },
                ..
            } => *wait,
            _ => DEFAULT_RETRY_AFTER,
        };
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        HeaderValue::from(seconds.max(1))
    }

    /// The problem document (RFC 9457).
    fn document(&self, id: &RequestId) -> Bytes {
        let status = self.status();
        let document = serde_json::json!({
            "type": format!("urn:stuut-cache:{}", self.slug()),
            "title": status.canonical_reason().unwrap_or_default(),
            "status": status.as_u16(),
            "detail": self.to_string(),
            "request_id": id.to_string(),
        });
        Bytes::from(document.to_string())
    }

    /// `stuut-cache; error=connection_refused; details="..."` (RFC 9209 §2.3)
    fn proxy_status(&self) -> HeaderValue {
        let error = match self {
            Self::Refused(refused) if refused.why == Refusal::Loop => refused.why.as_str(),
            Self::Refused(refused) if refused.why == Refusal::Waiting => Fault::Overload.as_str(),
            Self::Refused(_) => "http_request_error",
            Self::Fetch { source, .. } => source.fault().as_str(),
            Self::OnlyIfCached => "proxy_internal_response",
            Self::Panicked => Fault::Internal.as_str(),
        };
        let mut text = format!("{CACHE_NAME}; error={error}");
        // A name in it may not be ASCII; the document has it.
        if let Ok(details) = sfv::StringRef::from_str(&self.to_string()) {
            text.push_str("; details=");
            text.push_str(&sfv::ItemSerializer::new().bare_item(details).finish());
        }
        HeaderValue::try_from(text).expect("a structured field is a field value")
    }

    /// The response, and its report.
    pub fn into_response(
        self,
        id: &RequestId,
        route: Option<RouteId>,
        scope: Option<ScopeId>,
    ) -> Response<Body> {
        let status = self.status();
        let outcome = self.outcome();
        // The response to an OPTIONS at its last hop is not a problem.
        let is_problem = !status.is_success();
        let document = if is_problem {
            self.document(id)
        } else {
            Bytes::new()
        };
        let is_refused = matches!(self, Self::Refused(_));
        let report = Report {
            route,
            scope,
            error: is_refused.then(|| self.to_string().into()),
            ..outcome.into()
        };
        let mut response = Response::new(Body::whole(document, report));
        *response.status_mut() = status;
        let fields = response.headers_mut();
        if is_problem {
            let media = HeaderValue::from_static("application/problem+json");
            fields.insert(CONTENT_TYPE, media);
            fields.insert(PROXY_STATUS, self.proxy_status());
        }
        // An error describes the present moment: no downstream cache may store it.
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        fields.insert(CACHE_STATUS, outcome.cache_status());
        fields.insert(RequestId::FIELD, id.to_header());
        if matches!(
            status,
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
        ) {
            fields.insert(RETRY_AFTER, self.retry_after());
        }
        if status == StatusCode::METHOD_NOT_ALLOWED || !is_problem {
            fields.insert(
                ALLOW,
                HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
            );
        }
        if self.closes_connection() {
            fields.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Every problem document: the last part of its `type`, and its status. A document with two statuses
/// is listed twice.
pub fn problems() -> impl Iterator<Item = (&'static str, StatusCode)> {
    let refusals = Refusal::ALL
        .iter()
        .map(|refusal| (refusal.as_str(), refusal_status(*refusal)));
    let faults = Fault::ALL.iter().flat_map(|fault| {
        // During a `Retry-After`, the status is that of the origin's own response: 429 or 503.
        let other = (*fault == Fault::RetryAfter).then_some(StatusCode::TOO_MANY_REQUESTS);
        let statuses = other.into_iter().chain([fault_status(*fault)]);
        statuses.map(|status| (fault.as_str(), status))
    });
    let own = [Error::OnlyIfCached, Error::Panicked].map(|error| (error.slug(), error.status()));
    // The 200 to an OPTIONS at its last hop (`Max-Forwards: 0`) is not an error.
    let is_problem = |(_, status): &(_, StatusCode)| !status.is_success();
    refusals.chain(faults).chain(own).filter(is_problem)
}

fn refusal_status(refusal: Refusal) -> StatusCode {
    match refusal {
        Refusal::RequestLine
        | Refusal::FieldLine
        | Refusal::LineEnd
        | Refusal::ControlCharacter
        | Refusal::ContentLength
        | Refusal::LengthAndCoding
        | Refusal::HostMissing
        | Refusal::HostRepeated
        | Refusal::HostInvalid
        | Refusal::HostContradicts
        | Refusal::AuthorizationRepeated
        | Refusal::TransferCoding
        | Refusal::View
        | Refusal::Wait => StatusCode::BAD_REQUEST,
        Refusal::Waiting => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        Refusal::UriTooLong => StatusCode::URI_TOO_LONG,
        Refusal::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Refusal::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::Connect | Refusal::Trace => StatusCode::METHOD_NOT_ALLOWED,
        Refusal::LastHop => StatusCode::OK,
        Refusal::Loop => StatusCode::BAD_GATEWAY,
    }
}

fn fault_status(fault: Fault) -> StatusCode {
    match fault {
        Fault::Dns
        | Fault::Refused
        | Fault::Terminated
        | Fault::Tls
        | Fault::Certificate
        | Fault::Tunnel
        | Fault::Incomplete
        | Fault::Protocol
        | Fault::ContentCoding => StatusCode::BAD_GATEWAY,
        Fault::ConnectTimeout | Fault::ResponseTimeout => StatusCode::GATEWAY_TIMEOUT,
        Fault::RequestBody => StatusCode::BAD_REQUEST,
        Fault::Overload | Fault::Unavailable | Fault::RetryAfter => StatusCode::SERVICE_UNAVAILABLE,
        Fault::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Logs a failure, once. Shed requests are logged at debug level: `upstream` counts them, and logs
/// when the circuit breaker opens.
pub(super) fn log_failure(id: &RequestId, source: &FetchError) {
    let fault = source.fault().as_str();
    if source.fault().is_shed() {
        tracing::debug!(request_id = %id, fault, "{source}");
    } else {
        tracing::warn!(request_id = %id, fault, "{}", chain(source));
    }
}

/// An error and its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}
