//! How a request was answered: defined once; the `Cache-Status` field (RFC 9211), the metric
//! label and the log field are its renderings.

use http::HeaderValue;

use crate::label::{Label, labels};
use crate::policy::NotStored;
use crate::request::{Bypass, Refusal};

/// The name of this cache in `Cache-Status`, `Proxy-Status` and `Via`.
pub const CACHE_NAME: &str = "stuut-cache";

/// How a request was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// From the store, fresh for another `ttl` seconds.
    Hit {
        /// Seconds of freshness left.
        ttl: i64,
    },
    /// From the store, no longer fresh (RFC 9111 §4.2.4).
    Stale {
        /// Seconds of freshness left: negative.
        ttl: i64,
        /// Why stale was good enough.
        why: ServedStale,
    },
    /// By the origin, which was asked because of `why`.
    Fetched {
        /// Why the store could not answer.
        why: Forward,
        /// The origin's status.
        status: u16,
        /// Whether the response was stored, and how fresh it is, or why it was not.
        stored: Result<i64, NotStored>,
        /// Whether another request's fetch answered this one too.
        collapsed: bool,
    },
    /// By the origin, without asking the store.
    Bypassed {
        /// Why the store was not asked.
        reason: Bypass,
        /// The origin's status.
        status: u16,
    },
    /// By the proxy: the request is malformed or beyond a limit.
    Refused(Refusal),
    /// By the proxy: the origin could not be asked, or its answer not used.
    Failed {
        /// Why the origin was asked.
        why: Forward,
        /// The fault.
        fault: Fault,
    },
    /// By the proxy: no stored response is usable, and the request forbids a fetch.
    OnlyIfCached,
    /// By the proxy: it panicked, which is a bug.
    Panicked,
    /// Not at all: the client went away, or a bound or the drain ended its connection, first.
    Aborted,
}

labels! {
    /// Why a request went to the origin: the `fwd` parameter (RFC 9211 §2.2).
    pub enum Forward {
        /// Nothing stored.
        Miss => "miss",
        /// Stored, no longer fresh.
        Stale => "stale",
        /// Stored and fresh, but the request asks for more.
        Request => "request",
        /// Stored, but for other request fields (RFC 9111 §4.1).
        VaryMiss => "vary-miss",
        /// The method is never answered from the store.
        Method => "method",
        /// The request is not one that the cache handles.
        Bypass => "bypass",
    }
}

labels! {
    /// Why a stale response was served.
    pub enum ServedStale {
        /// While it is refreshed in the background (RFC 5861 §3).
        Revalidating => "stale-while-revalidate",
        /// Because the origin failed (RFC 5861 §4).
        OnError => "stale-if-error",
        /// Because the client accepts it (`max-stale`).
        Accepted => "max-stale",
    }
}

labels! {
    /// A fault between proxy and origin: the error types of RFC 9209 §2.3.
    pub enum Fault {
        /// The origin's name has no address.
        Dns => "dns_error",
        /// The origin's port is closed.
        Refused => "connection_refused",
        /// No connection within `upstream.connect_timeout`.
        ConnectTimeout => "connection_timeout",
        /// The connection failed, or ended before the response did.
        Terminated => "connection_terminated",
        /// The TLS handshake failed.
        Tls => "tls_protocol_error",
        /// The origin's certificate is not trusted.
        Certificate => "tls_certificate_error",
        /// No response in time.
        ResponseTimeout => "http_response_timeout",
        /// The response ended before its length, or its last chunk.
        Incomplete => "http_response_incomplete",
        /// The response's content coding cannot be undone.
        ContentCoding => "http_response_content_coding",
        /// The response is not HTTP, or a head beyond the limits.
        Protocol => "http_protocol_error",
        /// The client's request body broke off.
        RequestBody => "http_request_error",
        /// Too many requests wait for the origin already (`limits.in_flight`), of all or of this
        /// token.
        Overload => "connection_limit_reached",
        /// The circuit breaker is open: connections to the origin failed.
        Unavailable => "destination_unavailable",
        /// The origin has asked this token (429) or call (503) to wait (`Retry-After`).
        Held => "http_request_denied",
        /// The proxy is at fault.
        Internal => "proxy_internal_error",
    }
}

labels! {
    /// The `outcome` label: an [`Outcome`] without its numbers.
    pub enum OutcomeLabel {
        /// [`Outcome::Hit`].
        Hit => "hit",
        /// [`Outcome::Stale`].
        Stale => "stale",
        /// [`Outcome::Fetched`], nothing stored.
        Miss => "miss",
        /// [`Outcome::Fetched`], stored but not fresh, or not wanted.
        Expired => "expired",
        /// [`Outcome::Fetched`] on another request's fetch.
        Collapsed => "collapsed",
        /// [`Outcome::Bypassed`].
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
    /// Whether the origin was not asked at all, on purpose.
    #[must_use]
    pub fn is_shed(self) -> bool {
        matches!(self, Self::Overload | Self::Unavailable | Self::Held)
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
    /// The metric label and log field.
    #[must_use]
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
            Self::Bypassed { .. } => OutcomeLabel::Bypass,
            Self::Refused(_) | Self::OnlyIfCached => OutcomeLabel::Refused,
            Self::Failed { .. } | Self::Panicked => OutcomeLabel::Failed,
            Self::Aborted => OutcomeLabel::Aborted,
        }
    }

    /// The reason behind the outcome, where there is one to name.
    #[must_use]
    pub fn detail(&self) -> Option<&'static str> {
        match self {
            Self::Hit { .. } | Self::Fetched { stored: Ok(_), .. } | Self::Aborted => None,
            Self::Stale { why, .. } => Some(why.as_str()),
            Self::Fetched {
                stored: Err(reason),
                ..
            } => Some(reason.as_str()),
            Self::Bypassed { reason, .. } => Some(reason.as_str()),
            Self::Refused(refusal) => Some(refusal.as_str()),
            Self::Failed { fault, .. } => Some(fault.as_str()),
            Self::OnlyIfCached => Some("only-if-cached"),
            Self::Panicked => Some("panic"),
        }
    }

    /// The `Cache-Status` field (RFC 9211 §2).
    #[must_use]
    pub fn cache_status(&self) -> HeaderValue {
        let mut member = Member::new();
        match *self {
            Self::Hit { ttl } | Self::Stale { ttl, .. } => {
                member.add("; hit");
                member.number("ttl", ttl);
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
                    member.add("; stored");
                    member.number("ttl", ttl);
                }
                if collapsed {
                    member.add("; collapsed");
                }
            }
            Self::Bypassed { reason, status } => {
                member.token("fwd", Forward::from(reason).as_str());
                member.number("fwd-status", status.into());
            }
            Self::Failed { why, .. } => member.token("fwd", why.as_str()),
            Self::Aborted | Self::Refused(_) | Self::OnlyIfCached | Self::Panicked => {}
        }
        if let Some(detail) = self.detail() {
            member.token("detail", detail);
        }
        member.finish()
    }
}

/// Our member of the list in `Cache-Status`, in the making.
///
/// On the stack, so that the value gets one allocation of its own size; and by hand, since the
/// formatting machinery would cost a hit more than finding what it answers.
struct Member {
    text: [u8; 160],
    length: usize,
}

impl Member {
    fn new() -> Self {
        let (text, length) = ([0; 160], 0);
        let mut member = Self { text, length };
        member.add(CACHE_NAME);
        member
    }

    /// Names and numbers are shorter than the room.
    fn add(&mut self, text: &str) {
        let end = self.length + text.len();
        self.text[self.length..end].copy_from_slice(text.as_bytes());
        self.length = end;
    }

    fn token(&mut self, parameter: &str, value: &str) {
        for text in ["; ", parameter, "=", value] {
            self.add(text);
        }
    }

    fn number(&mut self, parameter: &str, value: i64) {
        self.token(parameter, itoa::Buffer::new().format(value));
    }

    fn finish(&self) -> HeaderValue {
        HeaderValue::from_bytes(&self.text[..self.length])
            .expect("tokens and integers are a field value")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_outcome_has_three_renderings() {
        let cases = [
            (Outcome::Hit { ttl: 37 }, "stuut-cache; hit; ttl=37", "hit"),
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
