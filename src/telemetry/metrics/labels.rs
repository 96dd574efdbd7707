//! The label values that belong to no other module.

use crate::coding::Coding;
use crate::label::labels;

labels! {
    /// Why the store dropped a response.
    pub enum Eviction {
        /// Space was needed.
        Size => "size",
        /// It outlived `freshness.hard_limit`.
        Expired => "expired",
        /// A newer response replaced it.
        Replaced => "replaced",
        /// It was invalidated.
        Invalidated => "invalidated",
    }
}

labels! {
    /// Why stored responses were invalidated.
    pub enum Invalidation {
        /// A successful unsafe request (RFC 9111 §4.4), or one whose end is unknown.
        Write => "write",
        /// The origin refused a token.
        Refusal => "refusal",
        /// An operator purged a call.
        PurgeCall => "purge_call",
        /// An operator purged a scope.
        PurgeScope => "purge_scope",
        /// An operator purged everything.
        PurgeAll => "purge_all",
    }
}

labels! {
    /// How a view was served.
    pub enum ViewResult {
        /// Derived from the stored body now.
        Derived => "derived",
        /// Memoised by an earlier request.
        Memoised => "memoised",
        /// Nothing to remove: the stored body itself.
        Whole => "whole",
        /// Not JSON: served whole.
        NotJson => "skipped_not_json",
        /// Nested too deeply: served whole.
        TooDeep => "skipped_too_deep",
        /// Not declared as JSON: served whole.
        NotDeclared => "skipped_not_declared_json",
        /// Encoded, `no-transform`, or not a 200: served whole.
        NotACall => "skipped_not_a_call",
    }
}

labels! {
    /// The content coding of a response from the store.
    pub enum SentCoding {
        /// [`Coding::Zstd`].
        Zstd => "zstd",
        /// [`Coding::Brotli`].
        Brotli => "br",
        /// [`Coding::Gzip`].
        Gzip => "gzip",
        /// None.
        Identity => "identity",
    }
}

impl From<Coding> for SentCoding {
    fn from(coding: Coding) -> Self {
        match coding {
            Coding::Zstd => Self::Zstd,
            Coding::Brotli => Self::Brotli,
            Coding::Gzip => Self::Gzip,
        }
    }
}

labels! {
    /// Why a request to the origin is retried.
    pub enum Retry {
        /// A reused connection ended before the first byte of a response.
        Pooled => "pooled",
        /// So did a new one.
        Closed => "closed",
        /// No connection: the origin refuses them.
        Connect => "connect",
    }
}

labels! {
    /// Why a request is not sent to the origin.
    pub enum Shed {
        /// `limits.in_flight` requests wait for it.
        InFlight => "in_flight",
        /// One token has its share of them.
        Share => "share",
        /// The circuit breaker is open.
        Breaker => "breaker",
        /// The origin sent this token `Retry-After`.
        RetryAfter => "retry_after",
    }
}

labels! {
    /// The bound that ended a client connection.
    pub enum ConnectionBound {
        /// No complete request head within `server.header_timeout`.
        HeaderTimeout => "header_timeout",
        /// No request within `server.idle_timeout`.
        IdleTimeout => "idle_timeout",
        /// For `server.idle_timeout` the client did not read a response, or went on sending a
        /// request body after its response.
        Stalled => "stalled",
        /// Still active at the end of `server.drain_timeout`.
        DrainTimeout => "drain_timeout",
        /// The TLS handshake failed: another protocol, no common version, no certificate that we
        /// accept, or not completed within `server.header_timeout`.
        TlsHandshake => "tls_handshake",
        /// hyper could not parse a request, and responded itself. Ambiguous framing is refused
        /// before hyper sees it.
        Malformed => "malformed",
        /// Invalid HTTP/2, or HTTP/2 whose only effect is cost.
        ProtocolError => "protocol_error",
        /// More of an unread request body arrived than is drained.
        Unread => "unread",
    }
}

labels! {
    /// The result of reloading settings or files.
    pub enum Reload {
        /// They are in use.
        Applied => "applied",
        /// They are invalid; the old ones stay.
        Refused => "refused",
    }
}

labels! {
    /// The result of exporting a span.
    pub enum SpanResult {
        /// The collector has it.
        Exported => "exported",
        /// The queue was full.
        QueueFull => "queue_full",
        /// The collector refused it.
        Refused => "refused",
        /// The collector could not be reached, or did not respond.
        Unreachable => "unreachable",
    }
}
