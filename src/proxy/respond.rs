//! Builds responses: a stored head with its time-dependent fields filled in, and the body.
//!
//! The proxy's own error responses are in `error`.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AGE, CONTENT_LENGTH, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version, response};

use super::body::{Body, Content, Report};
use super::error::CACHE_STATUS;
use super::request::ClientRequest;
use super::view::{Selected, set_skipped};
use crate::cache::{self, Representation};
use crate::coding;
use crate::label::Label as _;
use crate::outcome::{CACHE_NAME, Forward, Level, Member, Outcome, ServedStale};
use crate::policy::{self, Condition, Moment, NotStored};
use crate::telemetry::RequestId;
use crate::upstream::{ResponseStream, headers};

/// The head of a representation, from the [storable](policy::storable) fields.
///
/// It already contains the time-dependent fields, so that setting them in a copy does not reallocate.
/// `Content-Length` is left to hyper, which derives it from the body that is sent.
///
/// If the body or a view of it is worth compressing, `Vary` names `Accept-Encoding` from the first
/// response on: other clients may get it compressed (RFC 9110 §12.5.5).
#[must_use]
pub fn prepare(mut fields: HeaderMap, received: Version, size: usize) -> HeaderMap {
    headers::add_via(&mut fields, received);
    fields.insert(AGE, HeaderValue::from_static("0"));
    fields
        .entry(CACHE_STATUS)
        .or_insert(HeaderValue::from_static(CACHE_NAME));
    fields
        .entry(RequestId::FIELD)
        .or_insert(HeaderValue::from_static(""));
    fields.remove(CONTENT_LENGTH);
    if coding::is_worth(&fields, size) {
        vary_by_coding(&mut fields);
    }
    fields
}

fn vary_by_coding(fields: &mut HeaderMap) {
    let names_it = |line: &HeaderValue| {
        let mut members = line
            .as_bytes()
            .split(|&b| b == b',')
            .map(<[u8]>::trim_ascii);
        members.any(|name| name == b"*" || name.eq_ignore_ascii_case(b"accept-encoding"))
    };
    if !fields.get_all(VARY).iter().any(names_it) {
        fields.append(VARY, HeaderValue::from_static("accept-encoding"));
    }
}

/// The fields of a response with a stored body, except `Content-Length`.
#[must_use]
pub fn head(
    entry: &cache::Entry,
    representation: &Representation,
    outcome: Outcome,
    id: &RequestId,
    now: Moment,
) -> HeaderMap {
    let mut headers = representation.headers.clone();
    stamp(
        &mut headers,
        entry.freshness.age(now).as_secs(),
        outcome,
        id,
    );
    // Age implies that the origin did not generate the response for this request (RFC 9111 §5.1).
    if matches!(outcome, Outcome::Fetched { .. }) && !entry.came_with_age {
        headers.remove(AGE);
    }
    if let Some(max_age) = policy::view_max_age(&entry.freshness, representation.limits, now) {
        policy::lower_lifetime(&mut headers, max_age, now.wall);
    }
    headers
}

/// A response with a stored body; 304 if the client has it already.
pub(super) fn stored(
    request: &ClientRequest<'_>,
    selected: &Selected,
    outcome: Outcome,
    now: Moment,
) -> Response<Body> {
    let Selected {
        entry,
        representation,
    } = selected;
    let headers = head(entry, representation, outcome, request.id, now);
    let report = request.report(outcome);
    if request.call.conditional
        && let Condition::NotModified(client_tag) = condition(request, entry, representation)
    {
        return not_modified(headers, client_tag, report);
    }
    let mut response = Response::new(Body::whole(Bytes::clone(&representation.body), report));
    *response.status_mut() = representation.status;
    *response.headers_mut() = headers;
    response
}

/// A stored response that is fresh for `ttl`.
pub(super) fn hit(
    request: &ClientRequest<'_>,
    selected: &Selected,
    level: Level,
    ttl: Duration,
    now: Moment,
) -> Response<Body> {
    let ttl = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
    stored(request, selected, Outcome::Hit { ttl, level }, now)
}

/// A stored response that is no longer fresh.
pub(super) fn stale(
    request: &ClientRequest<'_>,
    selected: &Selected,
    why: ServedStale,
    now: Moment,
) -> Response<Body> {
    let (freshness, limits) = (&selected.entry.freshness, selected.representation.limits);
    let ttl = policy::ttl_seconds(freshness, limits, now);
    stored(request, selected, Outcome::Stale { ttl, why }, now)
}

/// A response that is streamed from the origin, because it cannot be stored whole.
#[expect(
    clippy::boxed_local,
    reason = "boxed, to keep the enum that contains it small"
)]
pub(super) fn streamed(
    request: &ClientRequest<'_>,
    mut head: Box<response::Parts>,
    body: Box<ResponseStream>,
    why: Forward,
    reason: NotStored,
) -> Response<Body> {
    headers::adapt_response(&mut head.headers, head.version);
    let outcome = Outcome::Fetched {
        why,
        status: head.status.as_u16(),
        stored: Err(reason),
        collapsed: false,
    };
    head.headers.append(CACHE_STATUS, outcome.cache_status());
    request.id.complete(&mut head.headers);
    if request.call.view.is_some() {
        set_skipped(&mut head.headers, reason.as_str());
    }
    let body = Body {
        content: Content::Stream(body),
        report: request.report(outcome),
    };
    Response::from_parts(*head, body)
}

/// Sets the fields of one response that [`prepare`] has inserted. The id from the origin finds the fetch
/// in its log, so the client that started it gets that one; for any other it would name another request. Our `Cache-Status` member stays
/// after that of a cache between us and the origin (RFC 9211 §2).
///
/// In one pass over the few fields: two lookups by name would cost a hit more.
fn stamp(headers: &mut HeaderMap, age: u64, outcome: Outcome, id: &RequestId) {
    let is_own = matches!(
        outcome,
        Outcome::Fetched {
            collapsed: false,
            ..
        }
    );
    let mut values = Values::new();
    let age = values.push(itoa::Buffer::new().format(age).as_bytes());
    let status = values.push(outcome.member().text());
    let id = values.push(id.text(&mut [0; 16]));
    let values = Bytes::from_owner(values);
    let value_at = |place| {
        let value = HeaderValue::from_maybe_shared(values.slice(place));
        value.expect("tokens and integers are a field value")
    };
    let mut status = Some(value_at(status));
    for (name, value) in headers.iter_mut() {
        if *name == AGE {
            *value = value_at(age.clone());
        } else if *name == CACHE_STATUS
            && value == CACHE_NAME
            && let Some(status) = status.take()
        {
            *value = status;
        } else if *name == RequestId::FIELD && (!is_own || value.is_empty()) {
            *value = value_at(id.clone());
        }
    }
    if let Some(status) = status {
        headers.append(CACHE_STATUS, status);
    }
}

/// The values of fields of one response, in one allocation.
struct Values {
    text: [u8; 20 + Member::MAX + RequestId::MAX_LENGTH],
    length: usize,
}

impl Values {
    fn new() -> Self {
        let (text, length) = ([0; _], 0);
        Self { text, length }
    }

    /// Adds a value; returns its place.
    fn push(&mut self, value: &[u8]) -> Range<usize> {
        let place = self.length..self.length + value.len();
        self.text[place.clone()].copy_from_slice(value);
        self.length = place.end;
        place
    }
}

impl AsRef<[u8]> for Values {
    fn as_ref(&self) -> &[u8] {
        &self.text[..self.length]
    }
}

/// Whether the client has the selected representation already.
pub(super) fn is_not_modified(request: &ClientRequest<'_>, selected: &Selected) -> bool {
    request.call.conditional
        && condition(request, &selected.entry, &selected.representation) != Condition::Send
}

/// Evaluates the request's condition (RFC 9110 §13.2.2). `If-Modified-Since` is ignored for a view:
/// the date is the call's, and a reload may have changed the lists of a named view since.
fn condition<'a>(
    request: &ClientRequest<'a>,
    entry: &cache::Entry,
    representation: &Representation,
) -> Condition<'a> {
    if request.call.view.is_some() && !request.head.headers.contains_key(IF_NONE_MATCH) {
        return Condition::Send;
    }
    policy::condition(
        &request.head.headers,
        representation.status,
        representation.headers.get(ETAG),
        &representation.headers,
        entry.freshness.received.wall,
    )
}

/// A 304 (RFC 9110 §15.4.5): without the fields about the content, with those that update the
/// client's stored response. Its tag is the one that the client sent: the same response in another
/// content coding has another tag (RFC 9111 §4.3.4).
fn not_modified(
    mut headers: HeaderMap,
    client_tag: Option<&[u8]>,
    report: Report,
) -> Response<Body> {
    if let (Some(client_tag), Some(etag)) = (client_tag, headers.get_mut(ETAG)) {
        policy::rename_tag(etag, client_tag);
    }
    policy::strip_for_304(&mut headers);
    let mut response = Response::new(Body::whole(Bytes::new(), report));
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    *response.headers_mut() = headers;
    response
}
