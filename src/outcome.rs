//! The outcome of a request, defined once: the `Cache-Status` field (RFC 9211), the metric label and
//! the log field are renderings of it. Status codes are in `proxy/error.rs`.

use std::time::Duration;

use http::HeaderValue;

use crate::label::{Label, labels};
use crate::policy::NotStored;
use crate::request::{Bypass, Refusal};

pub use crate::request::CACHE_NAME;

/// How a request was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// From the store, fresh for another `ttl` seconds.
    Hit {
        /// Seconds of freshness left.
        ttl: i64,
        /// Where the response was found.
        level: Level,
    },
    /// From the store, no longer fresh (RFC 9111 §4.2.4), or its token is overdue for a recheck.
    Stale {
        /// Seconds of freshness left: negative if it is no longer fresh.
        ttl: i64,
        /// Why a stale response was allowed.
        why: ServedStale,
    },
    /// By the origin, in a fetch for the cache.
    Fetched {
        /// Why the request went to the origin.
        why: Forward,
        /// The origin's status.
        status: u16,
        /// Seconds of freshness of the stored response, or why it was not stored.
        stored: Result<i64, NotStored>,
        /// Whether the request waited for another request's fetch.
        collapsed: bool,
    },
    /// By the store or the origin, after it has waited for a state of its call.
    Waited(WaitEnd),
    /// By the origin, past the store.
    Bypassed {
        /// Why the store was bypassed.
        reason: Bypass,
        /// The origin's status.
        status: u16,
    },
    /// By the proxy: the request is malformed or exceeds a limit.
    Refused(Refusal),
    /// By the proxy: the origin could not be reached, or its response was unusable.
    Failed {
        /// Why the request had to go to the origin.
        why: Forward,
        /// The kind of failure.
        fault: Fault,
    },
    /// By the proxy: its own description (`server.openapi_path`).
    OpenApi,
    /// By the proxy: no stored response is usable, and the request forbids a fetch.
    OnlyIfCached,
    /// By the proxy: it panicked, which is a bug.
    Panicked,
    /// Not at all: the client disconnected, or a timeout or the drain closed its connection first.
    Aborted,
}

/// Where a fresh response was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// In the memory of this process.
    Memory,
    /// In the shared level: another replica has fetched it.
    Shared,
}

labels! {
    /// Why a request went to the origin: the `fwd` parameter (RFC 9211 §2.2).
    pub enum Forward {
        /// Nothing is stored.
        Miss => "miss",
        /// A response is stored, but no longer fresh.
        Stale => "stale",
        /// A fresh response is stored, but the request's directives forbid its use.
        Request => "request",
        /// Responses are stored, but for other request fields (RFC 9111 §4.1).
        VaryMiss => "vary-miss",
        /// The method is never answered from the store.
        Method => "method",
        /// The request is not cacheable.
        Bypass => "bypass",
    }

    /// Why a stale response was served.
    pub enum ServedStale {
        Revalidating => "stale-while-revalidate": "While it is refreshed in the background (RFC 5861 §3)",
        OnError => "stale-if-error": "Because the origin failed (RFC 5861 §4)",
        Accepted => "max-stale": "Because the client accepts it (`max-stale`)",
        RecheckFailed => "recheck-failed": "Fresh, but the origin failed when the token was due for a recheck (`scope.recheck`)",
    }

    /// Why a request that waits for a state of its call is answered.
    pub enum WaitEnd {
        Reached => "reached": "The call has one of the statuses",
        Changed => "changed": "The body has changed",
        TimedOut => "timeout": "The time-out has passed",
        Drained => "drained": "The proxy is shutting down",
        Skipped => "skipped": "The response is not one that can be waited for: an error, or not stored",
    }

    /// A fault between proxy and origin: the error types of RFC 9209 §2.3.
    pub enum Fault {
        Dns => "dns_error": "The origin's name has no address",
        Refused => "connection_refused": "The origin's port is closed",
        ConnectTimeout => "connection_timeout": "No connection within `upstream.connect_timeout`",
        Terminated => "connection_terminated": "The connection failed, or ended before the response did",
        Tls => "tls_protocol_error": "The TLS handshake failed",
        Certificate => "tls_certificate_error": "The origin's certificate is not trusted",
        Tunnel => "proxy_configuration_error": "The proxy (`upstream.proxy`) refuses the tunnel to the origin, or breaks it off",
        ResponseTimeout => "http_response_timeout": "No response in time",
        Incomplete => "http_response_incomplete": "The response ended before its length, or its last chunk",
        ContentCoding => "http_response_content_coding": "The response's content coding cannot be decoded",
        Protocol => "http_protocol_error": "The response is not valid HTTP, or its head exceeds the limits",
        RequestBody => "http_request_error": "The client's request body is incomplete, too slow or too large",
        Overload => "connection_limit_reached": "Too many requests are in progress at the origin (`limits.in_flight`, `limits.streams`, `limits.uploads`), in total or with this token",
        Unavailable => "destination_unavailable": "The circuit breaker is open: connections to the origin failed",
        RetryAfter => "http_request_denied": "A `Retry-After` of the origin is in effect for this token (429) or call (503)",
        Internal => "proxy_internal_error": "A bug in the proxy",
    }

    /// The `outcome` label: an [`Outcome`] without its numbers.
    pub enum OutcomeLabel {
        /// [`Outcome::Hit`].
        Hit => "hit",
        /// [`Outcome::Stale`].
        Stale => "stale",
        /// [`Outcome::Fetched`]: nothing was stored.
        Miss => "miss",
        /// [`Outcome::Fetched`]: the stored response was stale, or forbidden by the request.
        Expired => "expired",
        /// [`Outcome::Fetched`] by another request.
        Collapsed => "collapsed",
        /// [`Outcome::Waited`].
        Waited => "waited",
        /// [`Outcome::Bypassed`], [`Outcome::OpenApi`].
        Bypass => "bypass",
        /// [`Outcome::Refused`].
        Refused => "refused",
        /// [`Outcome::Failed`] and [`Outcome::Panicked`].
        Failed => "failed",
        /// [`Outcome::Aborted`].
        Aborted => "aborted",
    }
}

impl Fault {
    /// Whether the request was shed: not admitted, and so not sent to the origin.
    pub fn is_shed(self) -> bool {
        matches!(self, Self::Overload | Self::Unavailable | Self::RetryAfter)
    }

    /// Whether the origin failed, or the connection to it: the request was sent, and the client did its
    /// part.
    pub fn is_of_origin(self) -> bool {
        !self.is_shed() && self != Self::RequestBody
    }
}

impl From<Bypass> for Forward {
    fn from(reason: Bypass) -> Self {
        match reason {
            Bypass::Method => Self::Method,
            _ => Self::Bypass,
        }
    }
}

impl Outcome {
    /// A stored response that is fresh for this long.
    #[must_use]
    pub fn hit(ttl: Duration, level: Level) -> Self {
        let ttl = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
        Self::Hit { ttl, level }
    }

    /// The metric label, and the log field `outcome`.
    pub fn label(&self) -> OutcomeLabel {
        match self {
            Self::Hit { .. } => OutcomeLabel::Hit,
            Self::Stale { .. } => OutcomeLabel::Stale,
            Self::Fetched {
                collapsed: true, ..
            } => OutcomeLabel::Collapsed,
            Self::Fetched {
                why: Forward::Miss | Forward::VaryMiss,
                ..
            } => OutcomeLabel::Miss,
            Self::Fetched { .. } => OutcomeLabel::Expired,
            Self::Waited(_) => OutcomeLabel::Waited,
            Self::Bypassed { .. } | Self::OpenApi => OutcomeLabel::Bypass,
            Self::Refused(_) | Self::OnlyIfCached => OutcomeLabel::Refused,
            Self::Failed { .. } | Self::Panicked => OutcomeLabel::Failed,
            Self::Aborted => OutcomeLabel::Aborted,
        }
    }

    /// The reason for the outcome, if it has one.
    pub fn detail(&self) -> Option<&'static str> {
        match self {
            Self::Hit {
                level: Level::Shared,
                ..
            } => Some("shared"),
            Self::Hit { .. } | Self::Fetched { stored: Ok(_), .. } | Self::Aborted => None,
            Self::Stale { why, .. } => Some(why.as_str()),
            Self::Waited(end) => Some(end.as_str()),
            Self::Fetched {
                stored: Err(reason),
                ..
            } => Some(reason.as_str()),
            Self::Bypassed { reason, .. } => Some(reason.as_str()),
            Self::Refused(refusal) => Some(refusal.as_str()),
            Self::Failed { fault, .. } => Some(fault.as_str()),
            Self::OpenApi => Some("openapi"),
            Self::OnlyIfCached => Some("only-if-cached"),
            Self::Panicked => Some("panic"),
        }
    }

    /// The `Cache-Status` field (RFC 9211 §2).
    pub fn cache_status(&self) -> HeaderValue {
        HeaderValue::from_bytes(self.member().text())
            .expect("tokens and integers are a field value")
    }

    /// Our member of the list in `Cache-Status`.
    pub fn member(&self) -> Member {
        let mut member = Member::new();
        match *self {
            Self::Hit { ttl, .. } | Self::Stale { ttl, .. } => {
                member.push("; hit; ttl=");
                member.push(itoa::Buffer::new().format(ttl));
            }
            Self::Fetched {
                why,
                status,
                stored,
                collapsed,
            } => {
                member.token("fwd", why.as_str());
                member.number("fwd-status", status.into());
                if let Ok(ttl) = stored {
                    member.push("; stored");
                    member.number("ttl", ttl);
                }
                if collapsed {
                    member.push("; collapsed");
                }
            }
            Self::Bypassed { reason, status } => {
                member.token("fwd", Forward::from(reason).as_str());
                member.number("fwd-status", status.into());
            }
            Self::Failed { why, .. } => member.token("fwd", why.as_str()),
            // Its field is that of the response before.
            Self::Waited(_)
            | Self::Aborted
            | Self::Refused(_)
            | Self::OpenApi
            | Self::OnlyIfCached
            | Self::Panicked => {}
        }
        if let Some(detail) = self.detail() {
            member.token("detail", detail);
        }
        member
    }
}

/// Our member of the list in `Cache-Status`.
///
/// On the stack, and not by `format!`: it would cost a hit more than the lookup in the store.
#[derive(Debug)]
pub struct Member {
    text: [u8; Self::MAX],
    length: usize,
}

impl Member {
    /// Maximum bytes.
    pub const MAX: usize = 160;

    fn new() -> Self {
        let (text, length) = ([0; Self::MAX], 0);
        let mut member = Self { text, length };
        member.push(CACHE_NAME);
        member
    }

    /// Does not overflow: all names and numbers together are shorter than the buffer.
    fn push(&mut self, text: &str) {
        let end = self.length + text.len();
        self.text[self.length..end].copy_from_slice(text.as_bytes());
        self.length = end;
    }

    fn token(&mut self, parameter: &str, value: &str) {
        for text in ["; ", parameter, "=", value] {
            self.push(text);
        }
    }

    fn number(&mut self, parameter: &str, value: i64) {
        self.token(parameter, itoa::Buffer::new().format(value));
    }

    /// Its text.
    pub fn text(&self) -> &[u8] {
        &self.text[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_outcome_has_three_renderings() {
        let cases = [
            (
                Outcome::Hit {
                    ttl: 37,
                    level: Level::Memory,
                },
                "stuut-cache; hit; ttl=37",
                "hit",
            ),
            (
                Outcome::Hit {
                    ttl: 37,
                    level: Level::Shared,
                },
                "stuut-cache; hit; ttl=37; detail=shared",
                "hit",
            ),
            (
                Outcome::Stale {
                    ttl: -3,
                    why: ServedStale::OnError,
                },
                "stuut-cache; hit; ttl=-3; detail=stale-if-error",
                "stale",
            ),
            (
                Outcome::Fetched {
                    why: Forward::Miss,
                    status: 200,
                    stored: Ok(60),
                    collapsed: false,
                },
                "stuut-cache; fwd=miss; fwd-status=200; stored; ttl=60",
                "miss",
            ),
            (
                Outcome::Fetched {
                    why: Forward::Stale,
                    status: 200,
                    stored: Ok(60),
                    collapsed: true,
                },
                "stuut-cache; fwd=stale; fwd-status=200; stored; ttl=60; collapsed",
                "collapsed",
            ),
            (
                Outcome::Fetched {
                    why: Forward::Stale,
                    status: 200,
                    stored: Err(NotStored::NoStore),
                    collapsed: false,
                },
                "stuut-cache; fwd=stale; fwd-status=200; detail=no-store",
                "expired",
            ),
            (
                Outcome::Bypassed {
                    reason: Bypass::Method,
                    status: 204,
                },
                "stuut-cache; fwd=method; fwd-status=204; detail=method",
                "bypass",
            ),
            (
                Outcome::Failed {
                    why: Forward::Miss,
                    fault: Fault::Refused,
                },
                "stuut-cache; fwd=miss; detail=connection_refused",
                "failed",
            ),
            (Outcome::Panicked, "stuut-cache; detail=panic", "failed"),
        ];
        for (outcome, field, label) in cases {
            assert_eq!(outcome.cache_status(), field);
            assert_eq!(outcome.label().as_str(), label);
        }
    }
}
