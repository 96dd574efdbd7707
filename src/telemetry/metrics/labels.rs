//! Labels that belong to no other module.

use crate::coding::Coding;
use crate::label::labels;

labels! {
    /// Why a response was removed from the store.
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

    /// Why stored responses were invalidated.
    pub enum InvalidationCause {
        /// A successful unsafe request (RFC 9111 §4.4), or one whose result is unknown.
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

    /// The result of a lookup in the shared level.
    pub enum SharedLookup {
        /// An entry was found, fresh or stale.
        Entry => "entry",
        /// No entry, and the fetch is this replica's.
        Miss => "miss",
        /// No entry, and another replica is fetching it.
        Wait => "wait",
        /// The last response could not be shared.
        Unshareable => "unshareable",
        /// The entry may have been invalidated.
        Outdated => "outdated",
        /// The entry cannot be opened.
        Unsealed => "unsealed",
        /// The engine did not answer in time, or with an error.
        Failed => "failed",
        /// No lookup was made.
        Skipped => "skipped",
    }

    /// Why an entry or item in the engine cannot be opened or used.
    pub enum Unsealed {
        Format => "format": "It is too short, or has the format of another version",
        Tag => "tag": "It was sealed with another key, for another token or under another name, or was changed",
        Codec => "codec": "The content is invalid",
        Size => "size": "The content is larger than `cache.max_entry`",
        InTransit => "in-transit": "`limits.in_transit` has no bytes left for the content",
        Expired => "expired": "It is older than its hard limit",
    }

    /// The fate of a response for the shared level.
    pub enum SharedStore {
        /// It is in the engine.
        Stored => "stored",
        /// The engine has a newer one.
        Older => "older",
        /// It is larger than `shared.max_entry`.
        TooLarge => "too_large",
        /// No memory to seal it.
        Busy => "busy",
        /// The engine did not answer in time, or with an error.
        Failed => "failed",
    }

    /// The result of a request to the origin.
    pub enum OriginResult {
        /// A response with a status below 500.
        Good => "good",
        /// A 5xx response, or none.
        Failed => "failed",
    }

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
        /// No place to derive it within 250 ms: served whole.
        Busy => "skipped_busy",
    }

    /// The content coding of a response from the store.
    pub enum SentCoding {
        /// [`Coding::Zstd`].
        Zstd => "zstd",
        /// [`Coding::Brotli`].
        Brotli => "br",
        /// [`Coding::Gzip`].
        Gzip => "gzip",
        /// Uncompressed.
        Identity => "identity",
    }

    /// The bounded pools of exchanges with the origin: what holds the slots of one cannot exhaust the
    /// others.
    pub enum Pool {
        /// `limits.in_flight`: fetches for the cache.
        Fetches => "fetches",
        /// `limits.streams`: forwarded requests, and fetches whose response is streamed.
        Streams => "streams",
        /// `limits.uploads`: forwarded requests with a body.
        Uploads => "uploads",
    }

    /// The state of a connection to the origin.
    pub enum OriginConnection {
        /// A request is on it, or its response is being read.
        InUse => "in_use",
        /// It is kept for the next request.
        Idle => "idle",
    }

    /// The result of opening a connection to the origin.
    pub enum Connect {
        /// It is open, TLS included.
        Connected => "connected",
        /// It failed, retries of refused connections included.
        Failed => "failed",
    }

    /// The holder of bytes in transit: a connection or an exchange.
    pub enum Holder {
        /// Its token is one that the origin has lately accepted.
        Accepted => "accepted",
        /// All others, and responses being shared; together they hold at most half of `limits.in_transit`.
        Other => "other",
    }

    /// Why a request to the origin is retried.
    pub enum Retry {
        /// A reused connection closed before the first byte of a response.
        Pooled => "pooled",
        /// A new connection closed before the first byte of a response.
        Closed => "closed",
        /// The origin refused the connection.
        Connect => "connect",
    }

    /// Why a request is not sent to the origin.
    pub enum Shed {
        /// All slots of [`Pool::Fetches`] are taken.
        InFlight => "in_flight",
        /// All slots of [`Pool::Streams`] are taken.
        Streams => "streams",
        /// All slots of [`Pool::Uploads`] are taken.
        Uploads => "uploads",
        /// One token has used its share of a pool.
        Share => "share",
        /// The circuit breaker is open.
        Breaker => "breaker",
        /// The origin sent `Retry-After` for this token or call.
        RetryAfter => "retry_after",
    }

    /// Why the proxy closed a client connection.
    pub enum CloseReason {
        /// No first byte, or no complete request head, within `server.header_timeout`.
        HeaderTimeout => "header_timeout",
        /// No request within `server.idle_timeout`.
        IdleTimeout => "idle_timeout",
        /// For `server.idle_timeout`, the client did not read its response, or did not complete its
        /// request body after the response.
        Stalled => "stalled",
        /// The client closed its sending side, and its request had no response 2 s later.
        HalfClosed => "half_closed",
        /// Still active at the end of `server.drain_timeout`.
        DrainTimeout => "drain_timeout",
        /// The TLS handshake failed: another protocol, no common version, no acceptable client
        /// certificate, or not completed within `server.header_timeout`.
        TlsHandshake => "tls_handshake",
        /// hyper could not parse a request, and responded itself. Ambiguous framing is rejected
        /// before hyper sees it.
        Malformed => "malformed",
        /// Invalid HTTP/2, or abuse such as a flood of resets.
        ProtocolError => "protocol_error",
        /// More HTTP/2 control frames than a client has a use for.
        ControlFrames => "control_frames",
        /// More bytes are in transit than `limits.in_transit`, and it has held many for long.
        Memory => "memory",
        /// More of an unread request body arrived than a lingering close discards.
        Unread => "unread",
    }

    /// The result of reloading settings or files.
    pub enum Reload {
        /// The new ones are in use.
        Applied => "applied",
        /// The new ones are invalid; the old ones stay in use.
        Refused => "refused",
    }

    /// The result of exporting a span.
    pub enum SpanResult {
        /// The collector has it.
        Exported => "exported",
        /// The queue was full.
        QueueFull => "queue_full",
        /// The collector refused it, or could not be reached.
        Failed => "failed",
    }

    /// The responses that an invalidation in the log concerns.
    pub enum Concern {
        /// Paths, in every scope.
        Paths => "paths",
        /// A path, for one token.
        Resource => "resource",
        /// One scope.
        Scope => "scope",
        /// Every scope with an id.
        ScopeId => "scope_id",
        /// Everything, or an item that cannot be read.
        All => "all",
    }

    /// Why a replica invalidates everything that it has stored.
    pub enum Reset {
        /// It has started.
        Start => "start",
        /// It has begun an era.
        Begun => "begun",
        /// Another replica has begun an era.
        Era => "era",
        /// The log has lost items that it had not applied.
        Gap => "gap",
    }

    /// Why an operation on the engine of the shared level failed.
    pub enum EngineFault {
        /// No answer in time.
        Timeout => "timeout",
        /// There is no connection.
        Connection => "connection",
        /// The engine refused the operation.
        Refused => "refused",
        /// The answer is not of the expected form.
        Unexpected => "unexpected",
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

impl Pool {
    /// The key of its size.
    pub fn key(self) -> &'static str {
        match self {
            Self::Fetches => "limits.in_flight",
            Self::Streams => "limits.streams",
            Self::Uploads => "limits.uploads",
        }
    }
}
