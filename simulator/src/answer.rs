//! An answer before it is sent: the response, its delay, and whether it is truncated.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::Value;

use crate::Outcome;
use crate::json_object::json_object;

/// The answer to a request.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status, fields and body; the body of a HEAD is empty, its `Content-Length` is not.
    pub response: Response<Bytes>,
    /// Time before the response is sent.
    pub delay: Duration,
    /// `Torn`: the connection is closed in the middle of the body.
    pub outcome: Outcome,
}

/// The reason for an error response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No token, or an unknown one.
    Token,
    /// No such call, or another organisation's: the response is the same for both.
    NotFound,
    /// A method that the resource does not support.
    Method { allowed: &'static str },
    /// A fault in the request, as a sentence.
    Malformed(String),
    /// The call is not waiting for an approval.
    NotPending,
    /// The body of an edit exceeds the limit.
    TooLarge,
    /// An injected fault: 500.
    Broken,
    /// An injected fault: 429.
    Throttled,
    /// An injected fault: 503.
    Unavailable,
}

// === impl Refusal ===

impl Refusal {
    /// The error response, with `Retry-After` where a retry makes sense.
    pub(crate) fn respond(self, retry_after: Duration) -> Response<Bytes> {
        let (status, detail) = match &self {
            Self::Token => (StatusCode::UNAUTHORIZED, "Invalid authentication token"),
            Self::NotFound => (StatusCode::NOT_FOUND, "Not found"),
            Self::Method { .. } => (StatusCode::METHOD_NOT_ALLOWED, "Method not allowed"),
            Self::Malformed(sentence) => (StatusCode::BAD_REQUEST, sentence.as_str()),
            Self::NotPending => (StatusCode::CONFLICT, "The call is not pending approval"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "The body is too large"),
            Self::Broken => (StatusCode::INTERNAL_SERVER_ERROR, "Internal server error"),
            Self::Throttled => (StatusCode::TOO_MANY_REQUESTS, "Too many requests"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "Service unavailable"),
        };
        let mut response = json(status, &json_object! { "detail": detail });
        let fields = response.headers_mut();
        match self {
            Self::Token => {
                fields.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::Method { allowed } => {
                fields.insert(ALLOW, HeaderValue::from_static(allowed));
            }
            Self::Throttled | Self::Unavailable => {
                fields.insert(RETRY_AFTER, HeaderValue::from(retry_after.as_secs()));
            }
            _ => {}
        }
        response
    }
}

/// A response of this status with a JSON body.
pub(crate) fn json(status: StatusCode, body: &Value) -> Response<Bytes> {
    whole(status, Bytes::from(body.to_string()))
}

/// A response of this status with these bytes of JSON.
pub(crate) fn whole(status: StatusCode, body: Bytes) -> Response<Bytes> {
    let length = HeaderValue::from(body.len());
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    fields.insert(CONTENT_LENGTH, length);
    response
}
