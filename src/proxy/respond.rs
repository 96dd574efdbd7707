//! Builds responses: a stored head with its time-dependent fields filled in, and the body.
//!
//! The proxy's own error responses are in `error`.

use std::ops::Range;

use bytes::Bytes;
use http::header::{AGE, CONTENT_LENGTH, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version, response};
use http_body::Body as _;

use super::body::{Body, Content, Report};
use super::error::CACHE_STATUS;
use super::request::ClientRequest;
use super::view::{Selected, set_skipped};
use crate::cache::{self, Representation};
use crate::coding;
use crate::label::Label as _;
use crate::outcome::{CACHE_NAME, Forward, Member, Outcome};
use crate::policy::{self, Condition, Moment, NotStored, ViewLimits};
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

/// The same in HTTP/1.1: the head as hyper would send it, added to `text`, except for the order of its fields; and
/// the response without fields.
pub(super) fn written(
    request: &ClientRequest<'_>,
    selected: &Selected,
    outcome: Outcome,
    now: Moment,
    text: &mut Vec<u8>,
) -> Response<Body> {
    let Selected {
        entry,
        representation,
    } = selected;
    if is_not_modified(request, selected) {
        let mut response = stored(request, selected, outcome, now);
        let fields = std::mem::take(response.headers_mut());
        let length = response.body().content.size_hint().exact();
        write_head(text, response.status(), length, &fields, |_, _| true);
        text.extend_from_slice(b"\r\n");
        return response;
    }
    text.extend_from_slice(representation.ready(ready));
    if let Some(max_age) = policy::view_max_age(&entry.freshness, representation.limits, now) {
        for (name, value) in &policy::lowered_lifetime(&representation.headers, max_age, now.wall) {
            write_field(text, name, value.as_bytes());
        }
    }
    let age = entry.freshness.age(now).as_secs();
    for (name, value) in [
        (&AGE, itoa::Buffer::new().format(age).as_bytes()),
        (&CACHE_STATUS, outcome.member().text()),
        (&RequestId::FIELD, request.id.text(&mut [0; 16])),
    ] {
        write_field(text, name, value);
    }
    text.extend_from_slice(b"\r\n");
    let body = Bytes::clone(&representation.body);
    let mut response = Response::new(Body::whole(body, request.report(outcome)));
    *response.status_mut() = representation.status;
    response
}

/// The head of a representation without the fields that [`stamp`] sets, and those that its limits lower.
fn ready(representation: &Representation) -> Box<[u8]> {
    let Representation {
        status,
        headers,
        body,
        limits,
        ..
    } = representation;
    let has_limits = *limits != ViewLimits::default();
    let mut text = Vec::new();
    let mut is_stamped = false;
    let length = Some(body.len() as u64);
    write_head(&mut text, *status, length, headers, |name, value| {
        let is_member =
            !is_stamped && *name == CACHE_STATUS && value.as_bytes() == CACHE_NAME.as_bytes();
        is_stamped |= is_member;
        let is_lowered = has_limits && policy::is_lifetime(name);
        !is_member && !is_lowered && *name != AGE && *name != RequestId::FIELD
    });
    text.into()
}

/// Writes a status line, and the fields that `is_written` selects.
fn write_head(
    text: &mut Vec<u8>,
    status: StatusCode,
    length: Option<u64>,
    fields: &HeaderMap,
    mut is_written: impl FnMut(&HeaderName, &HeaderValue) -> bool,
) {
    let reason = status.canonical_reason().unwrap_or("<none>"); // as hyper
    for part in ["HTTP/1.1 ", status.as_str(), " ", reason, "\r\n"] {
        text.extend_from_slice(part.as_bytes());
    }
    for (name, value) in fields {
        if is_written(name, value) {
            write_field(text, name, value.as_bytes());
        }
    }
    if let Some(length) = length
        && has_length(status)
    {
        write_field(
            text,
            &CONTENT_LENGTH,
            itoa::Buffer::new().format(length).as_bytes(),
        );
    }
}

fn write_field(text: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    for part in [name.as_str().as_bytes(), b": ", value, b"\r\n"] {
        text.extend_from_slice(part);
    }
}

/// Whether a response with this status has a `Content-Length`, 0 included (RFC 9110 §8.6).
#[must_use]
pub fn has_length(status: StatusCode) -> bool {
    ![StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status)
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
