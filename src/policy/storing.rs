//! Whether a response may be stored (RFC 9111 §3).

use http::{HeaderMap, StatusCode, header};

use super::directives::{RequestDirectives, ResponseDirectives};
use super::exchange::Exchange;
use super::freshness::{Freshness, StaleUse};
use super::lifetime::Rule;
use super::renewal;
use super::vary;
use crate::coding::media_type;
use crate::config::PrivateRule;
use crate::label::labels;

/// Which tokens a stored response may be served to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// The one token it was fetched with.
    ///
    /// RFC 9111 §3.5 forbids a shared cache to reuse a response to a request with
    /// `Authorization`, because another user could get it. Here no other user does, so we depart
    /// from §3.5 and store.
    OneToken,
    /// Several tokens, each only after the origin has sent it a 2xx for that key.
    ///
    /// This departs from §3.5 as well: the origin has authorised each token, as it would have on
    /// forwarding; only the body is shared, not the authorisation.
    Admitted,
}

labels! {
    /// Why a response is not stored. The last four come from the store and the fetch, the others
    /// from [`may_store`].
    pub enum NotStored {
        RequestNoStore => "request-no-store": "The request has `no-store` (RFC 9111 §5.2.1.5)",
        NoStore => "no-store": "The response has `no-store` (RFC 9111 §5.2.2.5)",
        NotUnderstood => "not-understood": "`must-understand`, with a status that we do not understand (RFC 9111 §5.2.2.3)",
        Private => "private": "`private`, where several tokens share or `freshness.private` is `refuse` (RFC 9111 §5.2.2.7)",
        Status => "status": "A status that is never stored",
        SetCookie => "set-cookie": "It sets a cookie, which is meant for one client and must not be replayed (`cache.ignore_set_cookie`)",
        Vary => "vary": "`Vary` has a member that no later request can match (RFC 9111 §4.1)",
        EventStream => "event-stream": "`text/event-stream`, which ends when the server stops sending",
        NoFreshness => "no-freshness": "A response with this status is stored only with an explicit lifetime",
        Useless => "useless": "It is stale, has no validator, and must not be served stale",
        OriginFailed => "origin-failed": "The origin failed; the stored response may still be served stale",
        TooLarge => "too-large": "The body is larger than `cache.max_entry`",
        CloseDelimited => "close-delimited": "The body is delimited by the end of the connection, so it may be incomplete",
        Fenced => "fenced": "A purge, a write, a refusal or a newer response superseded it during the fetch, or a pending write may still change it",
    }
}

/// Decides whether a complete response may be stored, given its [assessed](super::assess)
/// freshness.
///
/// # Errors
///
/// The first reason not to store it.
pub fn may_store(
    exchange: &Exchange<'_>,
    request: &RequestDirectives,
    freshness: &Freshness,
    sharing: Sharing,
    private: PrivateRule,
) -> Result<(), NotStored> {
    let directives = &exchange.directives;
    let shared = sharing == Sharing::Admitted;
    let reasons = [
        (request.no_store, NotStored::RequestNoStore),
        (never_stored(exchange), NotStored::Status),
        // A refusal of one token must not be shared with others.
        (shared && !exchange.status.is_success(), NotStored::Status),
        (
            directives.must_understand && !understood(exchange.status),
            NotStored::NotUnderstood,
        ),
        (
            forbids_storing(directives, exchange.status),
            NotStored::NoStore,
        ),
        (
            directives.private && (shared || private == PrivateRule::Refuse),
            NotStored::Private,
        ),
        (
            exchange.response.contains_key(header::SET_COOKIE),
            NotStored::SetCookie,
        ),
        (
            vary::is_unmatchable(exchange.response, shared),
            NotStored::Vary,
        ),
        (is_event_stream(exchange.response), NotStored::EventStream),
        (
            freshness.lifetime.rule == Rule::Silent
                || is_error(exchange.status) && !has_time_left(freshness),
            NotStored::NoFreshness,
        ),
        (is_useless(exchange, freshness), NotStored::Useless),
    ];
    reasons
        .into_iter()
        .find_map(|(applies, reason)| applies.then_some(reason))
        .map_or(Ok(()), Err)
}

/// Why the head alone forbids to store a response: it is for one request only, has no end, or is a
/// part. Such a response is streamed as it arrives, and is not shared with coalesced requests.
pub fn forbidden_by_head(
    status: StatusCode,
    response: &HeaderMap,
    sharing: Sharing,
) -> Option<NotStored> {
    if forbids_storing(&ResponseDirectives::read(response), status) {
        Some(NotStored::NoStore)
    } else if status == StatusCode::PARTIAL_CONTENT {
        Some(NotStored::Status)
    } else if vary::is_unmatchable(response, sharing == Sharing::Admitted) {
        Some(NotStored::Vary)
    } else {
        is_event_stream(response).then_some(NotStored::EventStream)
    }
}

/// Whether a response has `no-store`. With `must-understand`, that is ignored if the status is
/// understood (§5.2.2.3).
fn forbids_storing(directives: &ResponseDirectives, status: StatusCode) -> bool {
    directives.no_store && !(directives.must_understand && understood(status))
}

fn is_event_stream(response: &HeaderMap) -> bool {
    media_type(response).eq_ignore_ascii_case(b"text/event-stream")
}

/// Whether a response is never stored by its status. Refusals are for one token, and temporary
/// failures soon obsolete. 1xx, 206 and 304 are not complete responses (§3.3: we do not combine
/// parts); nor is a 204 that declares a body, which has none (RFC 9110 §8.6). 600 and above mean
/// nothing.
fn never_stored(exchange: &Exchange<'_>) -> bool {
    match exchange.status.as_u16() {
        204 => declares_body(exchange.response),
        206 | 304 | 401 | 403 | 407 | 408 | 425 | 429 => true,
        status => !(200..600).contains(&status),
    }
}

fn declares_body(response: &HeaderMap) -> bool {
    let length = response.get(header::CONTENT_LENGTH);
    length.is_some_and(|length| length != "0") || response.contains_key(header::TRANSFER_ENCODING)
}

/// Whether a status is a final one of RFC 9110 whose caching requirements we meet: all except those of
/// range requests.
fn understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200..=205 | 300..=303 | 305 | 307 | 308 | 400..=415 | 417 | 421 | 422 | 426 | 500..=505
    )
}

/// Whether a status is a client or server error.
pub fn is_error(status: StatusCode) -> bool {
    status.as_u16() >= 400
}

fn has_time_left(freshness: &Freshness) -> bool {
    freshness.lifetime.length > freshness.initial_age
}

/// Whether a stored response could never be served, not even after validation.
fn is_useless(exchange: &Exchange<'_>, freshness: &Freshness) -> bool {
    let only_by_validation =
        freshness.stale_use == StaleUse::Forbidden && !has_time_left(freshness);
    freshness.initial_age >= freshness.hard_limit
        || only_by_validation && !renewal::has_validator(exchange.response)
}
