//! Validation of a stored response: the conditional request, and the effect of its response
//! (RFC 9111 §4.3).

use std::time::SystemTime;

use http::{HeaderMap, Method, StatusCode, header};

use super::dates::DateField;
use super::fields;
use super::validators::{self, EntityTag, origin_tag};

/// Whether the origin failed: the errors of RFC 5861 §4, and temporary refusals (408, 425, 429),
/// which concern this one request and not the stored response.
///
/// An unregistered 5xx, such as the 52x of a CDN in front of the origin, counts as a 500
/// (RFC 9110 §15).
pub fn is_failure(status: StatusCode) -> bool {
    match status.as_u16() {
        408 | 425 | 429 | 500 | 502 | 503 | 504 => true,
        501 | 505..=508 | 510 | 511 => false,
        _ => status.is_server_error(),
    }
}

/// Whether the resource does not exist (any more): all its variants are invalid.
pub fn is_gone(status: StatusCode) -> bool {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE)
}

/// The effect of the origin's response on the token of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenStatus {
    /// 2xx: the token is valid.
    Accepted,
    /// 401: the token is invalid, for every resource.
    Refused,
    /// 403: the token is refused this resource only (RFC 6750 §3.1, `insufficient_scope`).
    ResourceRefused,
    /// None: it proves neither.
    Unknown,
}

/// Classifies a response by its effect on the token. A 304 has none here: only one to our own
/// validator is proof of acceptance.
pub fn token_status(method: &Method, status: StatusCode) -> TokenStatus {
    match status {
        StatusCode::UNAUTHORIZED => TokenStatus::Refused,
        StatusCode::FORBIDDEN => TokenStatus::ResourceRefused,
        // Servers respond to OPTIONS without looking at the credential (CORS preflight).
        _ if status.is_success() && method != Method::OPTIONS => TokenStatus::Accepted,
        _ => TokenStatus::Unknown,
    }
}

/// Replaces the conditions of `request` with those that validate `stored`. Returns whether there
/// are any (RFC 9111 §4.3.1).
///
/// The client's own conditions are removed: they may concern a response that we do not have.
pub fn make_conditional(stored: &HeaderMap, request: &mut HeaderMap) -> bool {
    remove_conditions(request);
    if EntityTag::of(stored).is_some() {
        request.insert(header::IF_NONE_MATCH, origin_tag(&stored[header::ETAG]));
    }
    if has_last_modified(stored) {
        request.insert(
            header::IF_MODIFIED_SINCE,
            stored[header::LAST_MODIFIED].clone(),
        );
    }
    request.contains_key(header::IF_NONE_MATCH) || request.contains_key(header::IF_MODIFIED_SINCE)
}

/// Replaces the conditions of `request` with the strong entity tag of `stored`. Returns whether it
/// has one. A weak tag or a date may be equal for different bytes (RFC 9110 §8.8.1).
pub fn make_conditional_on_bytes(stored: &HeaderMap, request: &mut HeaderMap) -> bool {
    remove_conditions(request);
    let is_strong = EntityTag::of(stored).is_some_and(|tag| !tag.is_weak());
    if is_strong {
        request.insert(header::IF_NONE_MATCH, origin_tag(&stored[header::ETAG]));
    }
    is_strong
}

/// Removes all conditions from a request, so that the origin sends the full response.
fn remove_conditions(request: &mut HeaderMap) {
    for name in [
        header::IF_NONE_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_MATCH,
        header::IF_UNMODIFIED_SINCE,
        header::IF_RANGE,
    ] {
        request.remove(name);
    }
}

/// Updates the fields of a stored response from the 304 that selected it (RFC 9111 §3.2).
///
/// Each field of the 304 replaces the stored fields of its name, except `Content-Length`, fields
/// that are never stored (§3.1), and, because stored bodies are decoded and complete,
/// `Content-Encoding` and `Content-Range`, as §3.2 permits for fields that the stored body depends
/// on. The stored `Age` and `Date` are dropped even if the 304 has none: they would make the
/// renewed response as old as before.
pub fn update(stored: &mut HeaderMap, response: &HeaderMap, received: SystemTime) {
    let mut updates = fields::storable(response, received);
    for name in [
        header::CONTENT_LENGTH,
        header::CONTENT_ENCODING,
        header::CONTENT_RANGE,
        // A response with this field would not have been stored.
        header::SET_COOKIE,
    ] {
        updates.remove(name);
    }
    // If the stored body was decoded, these fields were removed. In the 304 they describe the
    // encoded bytes: they may be replaced, not added.
    fields::remove_if(&mut updates, |name| {
        fields::is_of_bytes(name) && !stored.contains_key(name)
    });
    if validators::is_marked_decoded(stored) {
        validators::mark_decoded(&mut updates);
    }
    stored.remove(header::AGE);
    for name in updates.keys() {
        stored.remove(name);
    }
    for (name, value) in &updates {
        stored.append(name, value.clone());
    }
    // One allocation again: the old one would keep the replaced values alive.
    fields::compact(stored);
}

/// Whether the response can be validated with the origin.
pub(super) fn has_validator(stored: &HeaderMap) -> bool {
    EntityTag::of(stored).is_some() || has_last_modified(stored)
}

/// Whether a 304 validates this stored response (RFC 9111 §4.3.4): a strong tag must match strongly, a
/// weak one weakly; without a tag the dates must be equal.
///
/// §4.3.4 accepts a 304 without validators only if the stored response has none either. We depart
/// from it: we validate exactly one stored response, so the 304 cannot mean another, and many
/// origins send 304 without the tag.
pub fn is_validated(stored: &HeaderMap, response: &HeaderMap, now: SystemTime) -> bool {
    let ours = EntityTag::of(stored).map(EntityTag::uncoded);
    match (EntityTag::of(response), ours) {
        (Some(theirs), Some(ours)) if theirs.is_weak() => theirs.equals_weakly(ours),
        (Some(theirs), Some(ours)) => theirs.equals_strongly(ours),
        (Some(_), None) => false,
        // An invalid tag selects nothing.
        (None, Some(_)) if response.contains_key(header::ETAG) => false,
        (None, _) => match DateField::read(response, &header::LAST_MODIFIED, now) {
            DateField::Absent => true,
            DateField::Invalid => false,
            date @ DateField::At(_) => date == DateField::read(stored, &header::LAST_MODIFIED, now),
        },
    }
}

fn has_last_modified(stored: &HeaderMap) -> bool {
    // `now` only affects two-digit years, and the date is sent back as it was received.
    DateField::read(stored, &header::LAST_MODIFIED, SystemTime::UNIX_EPOCH)
        .valid()
        .is_some()
}
