//! The result of a fetch: for the request that started it, and for those that wait for it.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode, response};

use super::super::span::SpanEnd;
use crate::cache::Entry;
use crate::label::Label as _;
use crate::policy::{self, NotStored};
use crate::upstream::{FetchError, ResponseStream};

/// The result of a fetch, for the request that started it.
#[derive(Debug)]
pub(in super::super) enum FetchResult {
    /// A whole response.
    Whole(Fetched),
    /// A response that cannot be stored, by its head or its size.
    Stream {
        head: Box<response::Parts>,
        body: Box<ResponseStream>,
        reason: NotStored,
        /// Time from the request to the head.
        upstream: Duration,
    },
    /// No response.
    Failed(FetchError),
}

/// A whole response.
#[derive(Clone, Debug)]
pub(in super::super) struct Fetched {
    pub(in super::super) entry: Arc<Entry>,
    pub(in super::super) stored: Result<(), NotStored>,
    /// The origin's status: 304 if the stored response was validated.
    pub(in super::super) status: StatusCode,
    /// Time from the request to the head of the response; `None` if another request led the fetch.
    pub(in super::super) upstream: Option<Duration>,
    /// Whether another request led the fetch.
    pub(in super::super) collapsed: bool,
    /// The ignored cookies that the origin set, for the request that led the fetch.
    pub(in super::super) cookies: Vec<HeaderValue>,
}

/// The result of a fetch, for its waiters; `Ok(None)`: a response of another replica is in the store.
pub(in super::super) type SharedResult = Result<Option<Fetched>, FetchError>;

// === impl Fetched ===

impl Fetched {
    /// Whether it is the response to a request with these fields.
    pub(super) fn answers(&self, sent: &HeaderMap) -> bool {
        self.entry.vary.matches(&self.entry.whole.headers, sent)
    }
}

// === impl FetchResult ===

impl FetchResult {
    /// The status of the response, if there is one; after a 304, that of the stored response.
    fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Whole(fetched) => Some(fetched.entry.whole.status),
            Self::Stream { head, .. } => Some(head.status),
            Self::Failed(_) => None,
        }
    }

    /// Whether the origin failed, in the sense of `stale-if-error` (RFC 5861 §4).
    pub(in super::super) fn is_failure(&self) -> bool {
        self.status().is_none_or(policy::is_failure)
    }

    /// The response, if a request can wait for its next state; and whether it is stored. If not, a write is
    /// pending.
    pub(in super::super) fn waitable(&self) -> Option<(&Arc<Entry>, bool)> {
        let Self::Whole(Fetched { entry, stored, .. }) = self else {
            return None;
        };
        let is_stored = match stored {
            Ok(()) => true,
            Err(NotStored::Fenced) => false,
            Err(_) => return None,
        };
        (entry.whole.status == StatusCode::OK).then_some((entry, is_stored))
    }

    /// Whether the response is stored.
    pub(in super::super) fn is_stored(&self) -> bool {
        matches!(self, Self::Whole(fetched) if fetched.stored.is_ok())
    }

    /// Whether a request was sent, and failed or was answered with a 5xx.
    pub(super) fn is_origin_failure(&self) -> bool {
        match self {
            Self::Failed(error) => !error.fault().is_shed(),
            _ => self.status().is_some_and(|status| status.is_server_error()),
        }
    }

    /// The waiters' result; `None` if the response is not shareable. They share a response that was
    /// stored or only fenced (they too arrived before the purge), and an error: they have the same
    /// token, so their own fetch would fail likewise.
    pub(super) fn shared(&self) -> Option<SharedResult> {
        match self {
            Self::Whole(fetched)
                if matches!(fetched.stored, Ok(()) | Err(NotStored::Fenced))
                    || policy::is_error(fetched.entry.whole.status) =>
            {
                Some(Ok(Some(Fetched {
                    upstream: None,
                    collapsed: true,
                    cookies: Vec::new(),
                    ..fetched.clone()
                })))
            }
            Self::Whole(_) | Self::Stream { .. } => None,
            Self::Failed(error) => Some(Err(error.clone())),
        }
    }

    pub(super) fn span_end(&self) -> SpanEnd {
        let (status, reason) = match self {
            Self::Whole(fetched) => (fetched.status, fetched.stored.err()),
            Self::Stream { head, reason, .. } => (head.status, Some(*reason)),
            Self::Failed(error) => return SpanEnd::Failed(error.fault()),
        };
        SpanEnd::Answered(status, reason.map_or("stored", |reason| reason.as_str()))
    }
}
