//! An answer before it is sent: a response, how long it takes, whether it arrives whole.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::Value;

use super::Outcome;
use super::object::object;

/// What a request is answered with.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status, fields and body; the body of a HEAD is empty, its `Content-Length` is not.
    pub response: Response<Bytes>,
    /// How long the origin takes before it answers.
    pub delay: Duration,
    /// `Torn`: the connection breaks in the middle of the body.
    pub outcome: Outcome,
}

/// Why a request is not answered with what it asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No token, or one that nobody has.
    Token,
    /// No such call, or somebody else's: nobody can tell which.
    NotFound,
    /// Another method would do.
    Method { allowed: &'static str },
    /// Something in the request, said in a sentence.
    Malformed(String),
    /// The call is not waiting for an approval.
    NotPending,
    /// More body than anybody needs to edit a call.
    TooLarge,
    /// A fault: the origin broke.
    Broken,
    /// A fault: the origin has had enough of this client.
    Throttled,
    /// A fault: the origin has had enough of everybody.
    Unavailable,
}

// === impl Refusal ===

impl Refusal {
    /// The response of a refusal; `retry_after` is said where trying again makes sense.
    pub(super) fn respond(self, retry_after: Duration) -> Response<Bytes> {
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
        let mut response = json(status, &object! { "detail": detail });
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
pub(super) fn json(status: StatusCode, body: &Value) -> Response<Bytes> {
    whole(status, Bytes::from(body.to_string()))
}

/// A response of this status with these bytes of JSON.
pub(super) fn whole(status: StatusCode, body: Bytes) -> Response<Bytes> {
    let length = HeaderValue::from(body.len());
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    fields.insert(CONTENT_LENGTH, length);
    response
}
