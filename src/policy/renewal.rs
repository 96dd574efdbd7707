//! Validating a stored response with the origin, and what the answer means for it
//! (RFC 9111 §4.3).

use std::time::SystemTime;

use http::{HeaderMap, StatusCode, header};

use super::dates::DateField;
use super::fields;
use super::validators::{self, EntityTag, origin_tag};

/// The meaning of the origin's answer to a refresh for the stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// A 304 that means this response: update its fields and assess it anew.
    Renewed,
    /// A 304 that means some other response: fetch again, without conditions.
    Mistaken,
    /// A new response, which replaces it.
    Replaced,
    /// The origin refuses or knows it no more: nothing may be served from it again, and the
    /// answer goes to the client.
    Ended,
    /// The origin failed: the stored response may serve, where its stale use allows.
    Failed,
}

/// Reads the answer to a refresh of a stored response.
///
/// 401, 403, 404 and 410 end it. A [failure](is_failure) leaves it, as does no answer at all.
/// Anything else is news.
#[must_use]
pub fn renewal(
    stored: &HeaderMap,
    status: StatusCode,
    answer: &HeaderMap,
    now: SystemTime,
) -> Renewal {
    match status.as_u16() {
        304 if selects(stored, answer, now) => Renewal::Renewed,
        304 => Renewal::Mistaken,
        401 | 403 => Renewal::Ended,
        _ if is_gone(status) => Renewal::Ended,
        _ if is_failure(status) => Renewal::Failed,
        _ => Renewal::Replaced,
    }
}

/// Whether the origin failed: the errors of RFC 5861 §4, and those that say "not now" (408, 425,
/// 429). They tell of this request and this moment, and nothing of what is stored.
///
/// So do unregistered ones, such as the 52x of a network in front of the origin: an
/// unknown status counts as the 500 of its class (RFC 9110 §15).
#[must_use]
pub fn is_failure(status: StatusCode) -> bool {
    match status.as_u16() {
        408 | 425 | 429 | 500 | 502 | 503 | 504 => true,
        501 | 505..=508 | 510 | 511 => false,
        _ => status.is_server_error(),
    }
}

/// Whether the origin says that there is nothing (any more): that ends every variant of it.
#[must_use]
pub fn is_gone(status: StatusCode) -> bool {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE)
}

/// Whether the origin refuses the token itself.
#[must_use]
pub fn refuses_token(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

/// Replaces the conditions of `request` by those that validate `stored`, and answers whether
/// there are any (RFC 9111 §4.3.1).
///
/// The client's own conditions go: the origin would answer them about a response that we may
/// not have.
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

/// Replaces the conditions of `request` by one that only this very response meets: its strong
/// entity tag. Answers whether it has one. A weak tag or a date may stand for other bytes
/// (RFC 9110 §8.8.1).
pub fn make_conditional_on_bytes(stored: &HeaderMap, request: &mut HeaderMap) -> bool {
    remove_conditions(request);
    let is_strong = EntityTag::of(stored).is_some_and(|tag| !tag.is_weak());
    if is_strong {
        request.insert(header::IF_NONE_MATCH, origin_tag(&stored[header::ETAG]));
    }
    is_strong
}

/// Removes every condition from a request, so that the origin sends the whole.
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
/// Each field in the answer replaces the stored ones of its name. Left as stored are
/// `Content-Length` and what is never stored (§3.1), and, because we keep bodies decoded and
/// whole, `Content-Encoding` and `Content-Range`, as §3.2 permits for what the stored body
/// depends on. `Age` and `Date` belong to a message: without them in the answer the old ones
/// would make the renewed response as old as before.
pub fn update(stored: &mut HeaderMap, answer: &HeaderMap, received: SystemTime) {
    let mut news = fields::storable(answer, received);
    for name in [
        header::CONTENT_LENGTH,
        header::CONTENT_ENCODING,
        header::CONTENT_RANGE,
        // A response with this one would not have been stored.
        header::SET_COOKIE,
    ] {
        news.remove(name);
    }
    // Where the coding of the stored body was undone, these are gone, and the answer speaks of the
    // bytes that the origin would have sent: it may replace them, not bring them back.
    for name in &fields::OF_THE_BYTES {
        if !stored.contains_key(name) {
            news.remove(name);
        }
    }
    if validators::is_marked_decoded(stored) {
        validators::mark_decoded(&mut news);
    }
    stored.remove(header::AGE);
    for name in news.keys() {
        stored.remove(name);
    }
    for (name, value) in &news {
        stored.append(name, value.clone());
    }
    // One allocation again: what was replaced must not stay with what was not.
    fields::own(stored);
}

/// Whether the origin can be asked if this response still holds.
pub(super) fn has_validator(stored: &HeaderMap) -> bool {
    EntityTag::of(stored).is_some() || has_last_modified(stored)
}

/// Whether a 304 means this stored response (RFC 9111 §4.3.4): a strong tag has to match
/// strongly, a weak one weakly, and without a tag the date has to be the same.
///
/// Without any validator §4.3.4 accepts it only for a stored response that has none either.
/// We ask about exactly one stored response, with its own validators, so the answer can mean
/// no other; origins that leave the tag out of a 304 are common.
fn selects(stored: &HeaderMap, answer: &HeaderMap, now: SystemTime) -> bool {
    let ours = EntityTag::of(stored).map(EntityTag::uncoded);
    match (EntityTag::of(answer), ours) {
        (Some(theirs), Some(ours)) if theirs.is_weak() => theirs.equals_weakly(ours),
        (Some(theirs), Some(ours)) => theirs.equals_strongly(ours),
        (Some(_), None) => false,
        // An unreadable tag selects nothing.
        (None, Some(_)) if answer.contains_key(header::ETAG) => false,
        (None, _) => match DateField::read(answer, &header::LAST_MODIFIED, now) {
            DateField::Absent => true,
            DateField::Invalid => false,
            date @ DateField::At(_) => date == DateField::read(stored, &header::LAST_MODIFIED, now),
        },
    }
}

fn has_last_modified(stored: &HeaderMap) -> bool {
    // Only a two-digit year needs a present to be read in, and any one does to be sent back.
    DateField::read(stored, &header::LAST_MODIFIED, SystemTime::UNIX_EPOCH)
        .valid()
        .is_some()
}
