//! The settings: every key, declared once.
//!
//! A key is a row of its section: its meaning, name, type and default, and a rule about its value
//! where its type allows too much. The default is TOML, as an operator writes it.
//!
//! ```text
//! /// Open client connections at once; further ones wait in the backlog.
//! max_connections: usize = 10000 where between::<1, MANY>;
//! ```
//!
//! The row is all that a new key needs. The shipped file, the README's table, the effective
//! configuration, variables, flags and the nearest known key follow from it (`UPDATE=1 cargo test
//! shipped` writes the first two). The types are in `scalar`, `values` and `collections`, the
//! rules about one value in `setting`, those between keys in `cross_checks`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;

use super::collections::{NamedScope, NamedView, Route};
use super::findings::Findings;
use super::raw::RawValue;
use super::scalar::{
    CallStatus, ClientDirectives, LogFormat, LogLevel, OriginRule, PrivateRule, ScopeMode,
};
use super::setting::{
    self, Rendered, Setting as _, between, option_name, positive, settings, sized, without_tls,
};
use super::values::{ByteSize, OriginUrl, Token};

/// The whole configuration. [`Config::default`] is a working proxy.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "each section has its own")]
pub struct Config {
    pub server: Server,
    pub admin: Admin,
    pub upstream: Upstream,
    pub cache: Cache,
    pub freshness: Freshness,
    pub scope: Scope,
    pub views: Views,
    pub limits: Limits,
    pub log: Log,
    pub trace: Trace,
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    /// Its full name: `server.listen`.
    pub(super) name: &'static str,
    /// Its meaning, in one line.
    pub(super) meaning: &'static str,
    pub(super) apply: fn(&mut Config, &RawValue, &mut Findings),
    pub(super) rendered: fn(&Config) -> Rendered,
}

impl Key {
    /// The part before the last dot: `server`, `freshness.status`.
    pub(super) fn section(&self) -> &'static str {
        self.name
            .rsplit_once('.')
            .map_or("", |(section, _)| section)
    }

    /// The part after the last dot: `listen`.
    pub(super) fn short(&self) -> &'static str {
        &self.name[self.section().len() + 1..]
    }
}

/// The most connections, and requests, that are counted.
const MANY: usize = 1_000_000;
/// The most fields that a header map holds.
const FIELDS: usize = 32_768;
/// The longest target that `http` parses.
const TARGET: u64 = (64 << 10) - 2;
/// The smallest buffer that hyper reads a head into.
const HEAD: u64 = 8 << 10;

settings! {
    /// `[server]`: the listener that services talk to.
    struct Server [server] {
        /// Address that services talk to.
        listen: SocketAddr = "127.0.0.1:8080";
        /// Worker threads; 0 means one a core.
        workers: usize = 0 where between::<0, 1024>;
        /// Open client connections at once; further ones wait in the backlog.
        max_connections: usize = 10000 where between::<1, MANY>;
        /// Time a client has to send a request head.
        header_timeout: Duration = "10s" where positive;
        /// Time a connection may stay open without a request.
        idle_timeout: Duration = "75s" where positive;
        /// Time that requests in flight have to finish after SIGTERM.
        drain_timeout: Duration = "30s";
    } and {
        /// `[server.tls]`
        tls: Tls;
    }

    /// `[server.tls]`: TLS with clients, where a certificate is given.
    struct Tls [server.tls] {
        /// PEM file of the certificate chain, the server's own first; with it, only TLS is spoken.
        /// Read again when it changes.
        cert: Option<PathBuf> = "";
        /// PEM file of its private key.
        key: Option<PathBuf> = "";
        /// PEM file of the CA bundle used to verify client certificates (mTLS); without it, no
        /// certificate is requested.
        client_ca: Option<PathBuf> = "";
    }

    /// `[admin]`: the listener for operators.
    struct Admin [admin] {
        /// Address of metrics, health, status and purge.
        listen: SocketAddr = "127.0.0.1:9090";
        /// File whose first line is the token a purge needs; without it only a loopback address
        /// takes purges. Read again on SIGHUP.
        token_file: Option<PathBuf> = "";
    } and {
        /// The token in `token_file`. Without one, only a loopback listener accepts purges.
        token: Option<Token>;
    }

    /// `[upstream]`: the origin server.
    struct Upstream [upstream] {
        /// The origin server: scheme, host and port.
        url: OriginUrl = "https://api.stuut.ai";
        /// Time to connect, TLS included.
        connect_timeout: Duration = "3s" where positive;
        /// Time from the end of a request to the response head.
        response_timeout: Duration = "10s" where positive;
        /// Time a cacheable fetch may take in all; on a streamed exchange, the longest silence.
        total_timeout: Duration = "30s" where positive;
        /// GETs and HEADs that may be retried when their connection dies unanswered, in
        /// percent of all, beyond a few; 0 disables retries, connection retries included.
        retries: usize = 20 where between::<0, 100>;
        /// After this many failed connections in a row (DNS, TCP, TLS) the circuit breaker opens; 0
        /// disables it.
        breaker_failures: usize = 5 where between::<0, 1000>;
        /// How long the circuit breaker stays open before one request probes over a new connection;
        /// meanwhile stale is served, or 503.
        breaker_pause: Duration = "1s" where positive;
        /// Longest Retry-After that is honoured. Until then all calls for the token (429), or that
        /// call only (503), are served stale or get the same status; "0s" honours none.
        max_retry_after: Duration = "5s";
        /// PEM file of certificate authorities to trust beside the system's.
        ca_file: Option<PathBuf> = "";
        /// Request fields sent on for cacheable requests, beside the built-in list.
        forward_headers: Vec<HeaderName> = [];
    }

    /// `[cache]`: the store and its size.
    struct Cache [cache] {
        /// Cacheable paths; an item may be { path = "...", ttl = "30s" }, with its own
        /// freshness.default.
        routes: Vec<Route> = ["/v1/calls/{call_id}"];
        /// Memory for stored responses, overhead included.
        capacity: ByteSize = "256MiB";
        /// Largest body that is stored; a larger one is streamed.
        max_entry: ByteSize = "8MiB";
        /// Memory for bodies that are being read to be stored, all together; one that does not fit
        /// is streamed.
        max_filling: ByteSize = "256MiB";
    }

    /// `[freshness]`: how long a stored response is used.
    struct Freshness [freshness] {
        /// Lifetime where no other rule applies.
        default: Duration = "1m";
        /// "obey": the origin's Cache-Control and Expires decide; "override": these rules do,
        /// except for no-store.
        origin: OriginRule = "obey";
        /// Meaning of private: "token" stores for the one token it was fetched with, "refuse" does
        /// not store.
        private: PrivateRule = "token";
        /// Lifetime of a 404 or 410 that says nothing about itself.
        not_found: Duration = "5s";
        /// How long an ended call is served past its lifetime while it is refreshed.
        stale_while_revalidate: Duration = "5s";
        /// How long a response is served past its lifetime when the origin fails.
        stale_if_error: Duration = "5m";
        /// Nothing is used longer than this.
        hard_limit: Duration = "24h" where positive;
        /// How long before its expiry a pre-signed URL is no longer served.
        signed_url_margin: Duration = "30s";
        /// Whether clients' Cache-Control is honoured: "obey" or "ignore".
        client_directives: ClientDirectives = "obey";
        /// Lifetime of a call that has just ended.
        settling: Duration = "10s";
        /// How long after its end a call is still settling.
        settling_window: Duration = "10m";
        /// Fields that change on their own, and the longest lifetime of a view that shows one;
        /// "off" takes a field away.
        live: Vec<(String, Duration)> = {
            approver = "1m", classifications = "1m", invoices = "1m", partner = "1m", workflow = "1m"
        };
    } and {
        /// `[freshness.status]`
        status: StatusLifetimes;
    }

    /// `[freshness.status]`: lifetime of a call by its status. A call that moves changes often; one
    /// that has ended changes no more.
    struct StatusLifetimes [freshness.status] {
        /// Lifetime of a call that waits for approval.
        pending_approval: Duration = "15s";
        /// Lifetime of a call that waits for its turn.
        queued: Duration = "15s";
        /// Lifetime of a call that has been registered.
        registered: Duration = "2s";
        /// Lifetime of a call that is being set up.
        initiated: Duration = "2s";
        /// Lifetime of a call that rings.
        ringing: Duration = "2s";
        /// Lifetime of a call that was canceled.
        canceled: Duration = "10m";
        /// Lifetime of a call that goes on.
        in_progress: Duration = "2s";
        /// Lifetime of a call that is completed, and settled.
        completed: Duration = "10m";
        /// Lifetime of a call that found the line busy.
        busy: Duration = "10m";
        /// Lifetime of a call that was not answered.
        no_answer: Duration = "10m";
        /// Lifetime of a call that failed.
        failed: Duration = "10m";
    }

    /// `[scope]`: which tokens share a stored response.
    struct Scope [scope] {
        /// Sharing of stored responses: "token": none; "named": among the tokens of a named scope.
        mode: ScopeMode = "token";
        /// How long a token is served a shared call after the origin has answered that very token
        /// for it.
        admission_ttl: Duration = "1m" where positive;
        /// Scopes by name: a list of token digests, as "stuut-cache digest" prints them.
        named: Vec<NamedScope> = {};
    }

    /// `[views]`: the query options that select a part of a response.
    struct Views [views] {
        /// Query option that removes fields.
        strip_option: String = "strip" where option_name;
        /// Query option that keeps fields.
        fields_option: String = "fields" where option_name;
        /// Query option that asks for a view by name.
        view_option: String = "view" where option_name;
        /// Views by name: { strip = "...", fields = "..." }; "off" takes a view away.
        named: Vec<NamedView> = {
            light = { strip = "approver,classifications.tasks,invoices,partner.ap_portals,partner.contacts,**.linked_integration,workflow" }
        };
    }

    /// `[limits]`: bounds of one request.
    struct Limits [limits] {
        /// Requests that may wait for the origin at once: for a head, a body to be stored, or the
        /// end of an upload; one token holds at most the number that is free. Further ones are served
        /// stale, or get 503.
        in_flight: usize = 1024 where between::<1, MANY>;
        /// Longest request target; a longer one gets 414.
        uri: ByteSize = "8KiB" where sized::<1, TARGET>;
        /// Largest request head; a larger one gets 431.
        header_bytes: ByteSize = "64KiB" where sized::<HEAD, { 16 << 20 }>;
        /// Fields in a request head; more get 431.
        headers: usize = 100 where between::<1, FIELDS>;
        /// Largest request body; a larger one gets 413.
        request_body: ByteSize = "1GiB";
    }

    /// `[log]`: the lines on standard output.
    struct Log [log] {
        /// "json": one object a line; "text": for a terminal.
        format: LogFormat = "json";
        /// The least severe level of events that is written: "error", "warn", "info", "debug" or
        /// "trace".
        level: LogLevel = "info";
        /// One line a request, at every log.level.
        access: bool = true;
    }

    /// `[trace]`: the export of spans.
    struct Trace [trace] {
        /// Collector of traces, http://host:port, spoken to in OTLP over HTTP; empty: none. Needs a
        /// program built with the feature otlp.
        otlp_url: Option<OriginUrl> = "" where without_tls;
        /// Of 100 requests that come without a traceparent, how many begin a trace; with one, the
        /// caller has decided.
        sample: usize = 100 where between::<0, 100>;
    }
}

impl StatusLifetimes {
    /// The lifetime of a call in this status.
    #[must_use]
    pub fn of(&self, status: CallStatus) -> Duration {
        match status {
            CallStatus::PendingApproval => self.pending_approval,
            CallStatus::Queued => self.queued,
            CallStatus::Registered => self.registered,
            CallStatus::Initiated => self.initiated,
            CallStatus::Ringing => self.ringing,
            CallStatus::Canceled => self.canceled,
            CallStatus::InProgress => self.in_progress,
            CallStatus::Completed => self.completed,
            CallStatus::Busy => self.busy,
            CallStatus::NoAnswer => self.no_answer,
            CallStatus::Failed => self.failed,
        }
    }
}
