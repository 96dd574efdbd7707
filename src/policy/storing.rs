//! Whether a response may be stored (RFC 9111 §3).

use http::{HeaderMap, StatusCode, header};

use super::directives::{RequestDirectives, ResponseDirectives};
use super::exchange::Exchange;
use super::freshness::{Freshness, StaleUse};
use super::lifetime::Rule;
use super::renewal;
use super::vary;
use crate::config::PrivateRule;
use crate::label::labels;

/// Who will be served from a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// The one token it was fetched with.
    ///
    /// RFC 9111 §3.5 keeps a shared cache from reusing responses to requests with
    /// `Authorization`. Its concern is that another user gets them; here none does, so we
    /// depart from it and store.
    OneToken,
    /// Several tokens, each only after the origin itself has answered 2xx to that token for
    /// that key.
    ///
    /// A departure from §3.5 as well: the origin has decided about each of them, as it would
    /// have on forwarding; what is shared is the body, not the decision.
    Admitted,
}

labels! {
    /// Why a response is not stored. [`may_store`] answers the first part of these; the last four
    /// are added by the store and the fetch.
    pub enum NotStored {
        /// The client asked for it: `no-store` (§5.2.1.5).
        RequestNoStore => "request-no-store",
        /// The origin asked for it: `no-store` (§5.2.2.5).
        NoStore => "no-store",
        /// `must-understand`, and a status that we do not (§5.2.2.3).
        NotUnderstood => "not-understood",
        /// `private`, and more than one user (§5.2.2.7).
        Private => "private",
        /// A status that is never stored.
        Status => "status",
        /// It sets a cookie, which is meant for one client and one time.
        SetCookie => "set-cookie",
        /// `Vary` has a member that no later request can match (§4.1).
        Vary => "vary",
        /// Only an explicit lifetime would make a response with this status worth storing.
        NoFreshness => "no-freshness",
        /// It is stale, cannot be validated, and may not be served stale.
        Useless => "useless",
        /// The origin failed; what is stored may serve a while longer.
        OriginFailed => "origin-failed",
        /// The body is larger than `cache.max_entry`.
        TooLarge => "too-large",
        /// The body ends where the connection does, so that its end may be missing.
        CloseDelimited => "close-delimited",
        /// A purge, a write, a refusal or a newer response superseded it during the fetch, or a
        /// write of unknown end may still change it.
        Fenced => "fenced",
    }
}

/// Whether a complete response may be stored, by its heads and the answer of
/// [`assess`](super::assess).
///
/// # Errors
///
/// The first reason that forbids it.
pub fn may_store(
    exchange: &Exchange<'_>,
    request: &RequestDirectives,
    freshness: &Freshness,
    sharing: Sharing,
    private: PrivateRule,
) -> Result<(), NotStored> {
    let said = ResponseDirectives::read(exchange.response);
    let shared = sharing == Sharing::Admitted;
    let reasons = [
        (request.no_store, NotStored::RequestNoStore),
        (never_stored(exchange.status), NotStored::Status),
        // A refusal of one token must not be shared with others.
        (shared && !exchange.status.is_success(), NotStored::Status),
        (
            said.must_understand && !understood(exchange.status),
            NotStored::NotUnderstood,
        ),
        // §5.2.2.3: who understands the status sets the `no-store` beside it aside.
        (said.no_store && !said.must_understand, NotStored::NoStore),
        (
            said.private && (shared || private == PrivateRule::Refuse),
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

/// Whether a response is meant for one request alone, so that it is neither stored nor shared
/// with those who asked at the same time: it says `no-store`, sets a cookie, or has a `Vary` that
/// nothing matches.
#[must_use]
pub fn is_unshareable(status: StatusCode, response: &HeaderMap, sharing: Sharing) -> bool {
    let said = ResponseDirectives::read(response);
    said.no_store && !(said.must_understand && understood(status))
        // Of a 304 a cookie goes no further: what it renews has none.
        || status != StatusCode::NOT_MODIFIED && response.contains_key(header::SET_COOKIE)
        || vary::is_unmatchable(response, sharing == Sharing::Admitted)
}

/// A refusal concerns one token at one time, a failure one moment; parts, informational responses
/// and a 304 are not complete (§3.3: we combine no parts).
fn never_stored(status: StatusCode) -> bool {
    status.is_informational()
        || matches!(
            status.as_u16(),
            206 | 304 | 401 | 403 | 407 | 408 | 425 | 429
        )
}

/// The final statuses of RFC 9110 whose requirements on caches we meet: all but those of
/// range requests.
fn understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200..=205 | 300..=303 | 305 | 307 | 308 | 400..=415 | 417 | 421 | 422 | 426 | 500..=505
    )
}

/// Whether a status says that something went wrong, here or there.
#[must_use]
pub fn is_error(status: StatusCode) -> bool {
    status.as_u16() >= 400
}

fn has_time_left(freshness: &Freshness) -> bool {
    freshness.lifetime.length > freshness.initial_age
}

/// Whether it could never be served or validated.
fn is_useless(exchange: &Exchange<'_>, freshness: &Freshness) -> bool {
    let only_by_validation =
        freshness.stale_use == StaleUse::Forbidden && !has_time_left(freshness);
    freshness.initial_age >= freshness.hard_limit
        || only_by_validation && !renewal::has_validator(exchange.response)
}
