//! The settings: every key, declared once.
//!
//! A key is a row of its section: its meaning, name, type and default, and a check of its value
//! where the type allows invalid ones. The default is TOML, as an operator writes it.
//!
//! ```text
//! /// Maximum number of open client connections; at the limit, new ones wait in the listen backlog.
//! max_connections: usize = 10000 where between::<1, MAX_COUNT>;
//! ```
//!
//! A new key needs only its row. The shipped file, the tables of docs/configuration.md, the effective
//! configuration, variables, flags and "did you mean" are derived from it (`UPDATE=1 cargo test
//! shipped` writes the first two). The types are in `scalar`, `values` and `collections`, the checks
//! of one value in `setting`, those between keys in `cross_checks`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use http::uri::Authority;

use super::address_range::AddressRange;
use super::collections::{CallerName, NamedScope, NamedView, Route};
use super::engine::EngineUrl;
use super::findings::Findings;
use super::forward_proxy::ForwardProxy;
use super::raw::RawValue;
use super::scalar::{
    Alone, CacheMode, CallStatus, ClientDirectives, Interval, LogFormat, LogLevel, OriginRule,
    PrivateRule, ScopeMode, TokenFor,
};
use super::setting::{
    self, Rendered, Setting as _, between, key_prefix, lasting, option_name, positive, same_scheme,
    settings, sized, without_parameters,
};
use super::values::{ByteSize, CookieName, OriginUrl, RoutePattern, ScopeKey, Secret};

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
    pub shared: Shared,
    pub views: Views,
    pub limits: Limits,
    pub log: Log,
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

/// Upper bound of counts of connections and requests.
const MAX_COUNT: usize = 1_000_000;
/// Maximum number of fields in an `http::HeaderMap`.
const MAX_FIELDS: usize = 32_768;
/// Longest request target that `http` parses.
const MAX_TARGET: u64 = (64 << 10) - 2;
/// Smallest read buffer that hyper allows.
const MIN_HEAD: u64 = 8 << 10;

settings! {
    /// `[server]`: the listener for clients.
    struct Server [server] {
        /// Address and port that clients connect to.
        listen: SocketAddr = "127.0.0.1:8080";
        /// Worker threads; 0 means one per CPU.
        workers: usize = 0 where between::<0, 1024>;
        /// Maximum number of open client connections; at the limit, new ones wait in the listen
        /// backlog.
        max_connections: usize = 10000 where between::<1, MAX_COUNT>;
        /// Addresses and ranges (CIDR) of proxies in front of this one, whose X-Forwarded-For has the
        /// client's address for the access log; a reload applies to new connections.
        trusted_proxies: Vec<AddressRange> = [];
        /// Timeout for a TLS handshake, for the first byte of a new connection, and for a request
        /// head to arrive; the connection is then closed.
        header_timeout: Duration = "10s" where positive;
        /// Timeout for an idle connection: without a request, or whose client does not read its
        /// response; it is then closed.
        idle_timeout: Duration = "75s" where positive;
        /// Time that requests in flight have to finish after SIGTERM; the rest are aborted.
        drain_timeout: Duration = "30s";
        /// Path at which GET and HEAD return openapi.json, which describes the cached endpoints, without
        /// a token, e.g. "/openapi.json"; empty: the path is forwarded like any other.
        openapi_path: Option<RoutePattern> = "" where without_parameters;
    } and {
        /// `[server.tls]`
        tls: Tls;
    }

    /// `[server.tls]`: TLS with clients, if a certificate is set.
    struct Tls [server.tls] {
        /// PEM file of the certificate chain, the server's own certificate first; with it, the
        /// listener accepts only TLS. Reloaded when it changes.
        cert: Option<PathBuf> = "";
        /// PEM file of the certificate's private key.
        key: Option<PathBuf> = "";
        /// PEM file of the CA bundle used to verify client certificates (mTLS); without it, no
        /// certificate is requested.
        client_ca: Option<PathBuf> = "";
    }

    /// `[admin]`: the listener for operators.
    struct Admin [admin] {
        /// Address and port of the dashboard, metrics, health checks and purge.
        listen: SocketAddr = "127.0.0.1:9090";
        /// File whose first line is the bearer token required to purge; without it, only a loopback
        /// listener accepts purges. Reloaded on SIGHUP.
        token_file: Option<PathBuf> = "";
        /// "purge": the token is required to purge; "all": for everything except /livez, /readyz and the
        /// dashboard's own files, which have no data.
        token_for: TokenFor = "purge";
    } and {
        /// The token in `token_file`. Without one, only a loopback listener accepts purges.
        token: Option<Secret>;
    }

    /// `[upstream]`: the origin server.
    struct Upstream [upstream] {
        /// URL of the origin server: scheme, host and port.
        url: OriginUrl = "https://api.stuut.ai";
        /// URL of an HTTP proxy on the way to the origin, http://host:port: each connection is a
        /// tunnel through it (CONNECT). "off": none. Empty: for an https origin, that of the variables
        /// HTTPS_PROXY and NO_PROXY, also in lower case; no other variable is read.
        proxy: Option<ForwardProxy> = "";
        /// File whose first line is user:password for the proxy, sent to it alone (Basic).
        proxy_credentials_file: Option<PathBuf> = "";
        /// Timeout for connecting to the origin, DNS, TLS and retries included.
        connect_timeout: Duration = "3s" where positive;
        /// Timeout for the response head of a fetch, from the end of the request; then stale is
        /// served, or 504.
        response_timeout: Duration = "10s" where positive;
        /// Timeout for a whole cacheable fetch; where bodies are streamed, the longest time without
        /// progress.
        total_timeout: Duration = "30s" where positive;
        /// Timeout for the response head of a forwarded request, from the end of its body; and for
        /// the rest of a write after its client has disconnected.
        forward_timeout: Duration = "60s" where positive;
        /// Retry budget for GETs and HEADs whose connection closes before a response, in percent of
        /// requests, plus ten per second; 0 disables retries, connection retries included.
        retries: usize = 20 where between::<0, 100>;
        /// Number of requests in a row that cannot connect (DNS, TCP, TLS; each after its retries)
        /// that opens the circuit breaker; 0 disables it.
        breaker_failures: usize = 5 where between::<0, 1000>;
        /// Time the circuit breaker stays open before one request probes with a new connection;
        /// meanwhile, requests for the origin are served stale, or get 503.
        breaker_pause: Duration = "1s" where positive;
        /// Longest Retry-After that is honoured. Until it has passed, all calls of the token (429),
        /// or only that call (503), are served stale or get the same status; "0s" ignores the
        /// field.
        max_retry_after: Duration = "5s";
        /// Age from which a connection to the origin is not reused, ± 10 %, so that requests follow a
        /// DNS name that has moved.
        max_connection_age: Duration = "5m" where positive;
        /// PEM file of CA certificates to trust in addition to the system's.
        ca_file: Option<PathBuf> = "";
        /// Request header fields to forward with cacheable requests, in addition to the built-in
        /// list.
        forward_headers: Vec<HeaderName> = [];
    } and {
        /// The `Proxy-Authorization` of `proxy_credentials_file`, or of the environment's URL.
        proxy_credentials: Option<Secret>;
    }

    /// `[cache]`: the store and its size.
    struct Cache [cache] {
        /// "on": responses are stored and served; "off": every request is forwarded, without lookup,
        /// coalescing or storing: the switch for an incident.
        mode: CacheMode = "on";
        /// Path patterns that are cached; an item may be { path = "...", ttl = "30s" }, whose ttl
        /// replaces freshness.default.
        routes: Vec<Route> = ["/v1/calls/{call_id}"];
        /// Names of cookies, e.g. "AWSALB" or "TS01*", that do not keep a response from being
        /// stored: those of balancers and CDNs, the same for every user. The client that fetched gets
        /// them; they are not stored. All other cookies forbid storing.
        ignore_set_cookie: Vec<CookieName> = [];
        /// Memory for stored responses, overhead included; when it is full, the least used are
        /// evicted.
        capacity: ByteSize = "256MiB";
        /// Largest body that is stored; a larger one is streamed instead.
        max_entry: ByteSize = "8MiB";
    }

    /// `[freshness]`: lifetimes of stored responses, and the use of stale ones.
    struct Freshness [freshness] {
        /// Lifetime of a response to which no other rule applies.
        default: Duration = "1m";
        /// Cache-Control and Expires of the origin: "obey": they take precedence over these rules;
        /// "override": they are ignored, except for no-store, private, public and
        /// must-understand.
        origin: OriginRule = "obey";
        /// Cache-Control: private of the origin: "token": stored for the one token it was fetched
        /// with; "refuse": not stored.
        private: PrivateRule = "token";
        /// Lifetime of a 404 or 410 for which the origin sets none.
        not_found: Duration = "5s";
        /// Time past its lifetime that an ended call is served stale while it is revalidated in the
        /// background.
        stale_while_revalidate: Duration = "5s";
        /// Time past its lifetime that a response is served stale when the origin fails or cannot be
        /// used (circuit breaker, backoff, load shedding).
        stale_if_error: Duration = "5m";
        /// Maximum age of a stored response; it is not served beyond that, not even stale.
        hard_limit: Duration = "24h" where positive;
        /// Time before the expiry of a pre-signed URL from which it is no longer served.
        signed_url_margin: Duration = "30s";
        /// Time after a write for which what it may have changed is not stored; ten times as long
        /// after a 202 (Accepted).
        write_settling: Duration = "1s";
        /// Cache-Control of clients: "obey" or "ignore".
        client_directives: ClientDirectives = "obey";
        /// Lifetime of a call that has just ended, or has ended but is not complete.
        settling: Duration = "10s";
        /// Time after its end that a call counts as just ended.
        settling_window: Duration = "10m";
        /// Fields that change independently of the call, each with the longest lifetime of a view
        /// that shows it; "off" removes a field.
        live: Vec<(String, Duration)> = {
            approver = "1m", classifications = "1m", invoices = "1m", partner = "1m", workflow = "1m"
        };
    } and {
        /// `[freshness.status]`
        status: StatusLifetimes;
    }

    /// `[freshness.status]`: lifetime of a call by its status. A call changes often until it ends.
    struct StatusLifetimes [freshness.status] {
        /// Lifetime of a call pending approval.
        pending_approval: Duration = "15s";
        /// Lifetime of a queued call.
        queued: Duration = "15s";
        /// Lifetime of a registered call.
        registered: Duration = "2s";
        /// Lifetime of an initiated call.
        initiated: Duration = "2s";
        /// Lifetime of a ringing call.
        ringing: Duration = "2s";
        /// Lifetime of a canceled call.
        canceled: Duration = "10m";
        /// Lifetime of a call in progress.
        in_progress: Duration = "2s";
        /// Lifetime of a completed call, after the settling window.
        completed: Duration = "10m";
        /// Lifetime of a call that reached a busy line.
        busy: Duration = "10m";
        /// Lifetime of an unanswered call.
        no_answer: Duration = "10m";
        /// Lifetime of a failed call.
        failed: Duration = "10m";
    }

    /// `[scope]`: which tokens share a stored response.
    struct Scope [scope] {
        /// Sharing of stored responses: "token": none, each token has its own; "named": among the
        /// tokens of a named scope.
        mode: ScopeMode = "token";
        /// Time that a token is served a shared response after the origin has sent or confirmed it
        /// for that token.
        admission_ttl: Duration = "1m" where positive;
        /// Longest time since the origin last accepted a token that stored responses are served to
        /// it; then they are revalidated first. From 0.8 of it on, this is done in the background.
        /// "off": a revoked token reads stored responses until they expire.
        recheck: Interval = "1m";
        /// File with the key of scope digests, as "stuut-cache key" prints it: with the same key, a
        /// scope in logs and purges is the same for every replica and after a restart. Empty: a random
        /// key for each process. A second line is a key for reading only, while keys are changed.
        key_file: Option<PathBuf> = "";
        /// Scopes by name: each a list of token digests, as "stuut-cache digest" prints them.
        named: Vec<NamedScope> = {};
        /// Names of callers, by the scope of their token as in the access log: at most 100. They are
        /// shown in logs, statistics and metrics, and have no other effect. They need `scope.key_file`.
        names: Vec<CallerName> = {};
    } and {
        /// The key in `key_file`.
        key: Option<ScopeKey>;
        /// The second key in it: the first one of other replicas, while keys are changed.
        second_key: Option<ScopeKey>;
    }

    /// `[shared]`: the shared level: replicas with one Redis or Valkey share stored responses and
    /// invalidations.
    struct Shared [shared] {
        /// URLs of the engine, Redis or Valkey: redis://host:port, or rediss:// for TLS; several:
        /// nodes of a cluster. Empty: no shared level, each replica is alone. All replicas need the
        /// same key of scopes, in a file.
        url: Vec<EngineUrl> = [] where same_scheme;
        /// Name under which Sentinels watch the primary; shared.url then has the URLs of the
        /// Sentinels.
        sentinel: Option<String> = "";
        /// User name for the engine (ACL).
        username: Option<String> = "";
        /// File whose first line is the password for the engine. Sentinels that require one get the
        /// same.
        password_file: Option<PathBuf> = "";
        /// PEM file of the CA certificates that the engine's certificate is verified with, instead of
        /// the system's.
        ca_file: Option<PathBuf> = "";
        /// PEM file of the certificate chain that is presented to the engine (mTLS).
        cert: Option<PathBuf> = "";
        /// PEM file of that certificate's private key.
        key: Option<PathBuf> = "";
        /// Beginning of all key names in the engine; replicas with the same one are a group.
        prefix: String = "stuut1" where key_prefix;
        /// Longest time that a request waits for an operation of the engine; without an answer, it
        /// continues as without the shared level.
        timeout: Duration = "50ms" where lasting::<1, 10_000>;
        /// Time that stored responses are used after the engine was last reached; also the longest
        /// time that a purge or a write waits for a replica that does not confirm it.
        lease: Duration = "2s" where lasting::<200, 60_000>;
        /// Use of responses stored while the engine is out of reach: "short": for shared.lease; "own":
        /// for their lifetimes, although another replica may have invalidated them.
        alone: Alone = "short";
        /// Largest entry in the engine, sealed; a larger one stays with the replica that fetched it.
        max_entry: ByteSize = "1MiB" where sized::<1024, { 64 << 20 }>;
    } and {
        /// The password in `password_file`.
        password: Option<Secret>;
    }

    /// `[views]`: the query options that select a part of a response, or wait for one.
    struct Views [views] {
        /// Query option that removes fields.
        strip_option: String = "strip" where option_name;
        /// Query option that selects the fields to keep.
        fields_option: String = "fields" where option_name;
        /// Query option that selects a view by name.
        view_option: String = "view" where option_name;
        /// Query option that waits for a status or a change of a call.
        wait_option: String = "wait" where option_name;
        /// Query option with the longest time to wait.
        wait_timeout_option: String = "wait_timeout" where option_name;
        /// Views by name: { strip = "...", fields = "..." }; "off" removes a view.
        named: Vec<NamedView> = {
            light = { strip = "approver,classifications.tasks,invoices,partner.ap_portals,partner.contacts,**.linked_integration,workflow" }
        };
    }

    /// `[limits]`: bounds of requests.
    struct Limits [limits] {
        /// Maximum number of fetches for the cache in progress; one token may hold at most as many
        /// slots as remain free. Further requests are served stale, or get 503.
        in_flight: usize = 1024 where between::<1, MAX_COUNT>;
        /// Maximum number of responses that are streamed from the origin to clients: to forwarded
        /// requests, and those that cannot be stored by their size or head. Shared by tokens like
        /// fetches; further requests get 503.
        streams: usize = 1024 where between::<1, MAX_COUNT>;
        /// Maximum number of forwarded requests with a body, until body and response have ended.
        /// Shared by tokens like fetches; further requests get 503.
        uploads: usize = 256 where between::<1, MAX_COUNT>;
        /// Maximum number of requests that wait for a status or a change; one token may have at most as
        /// many as remain free. Further ones get 503.
        waiting: usize = 10000 where between::<1, MAX_COUNT>;
        /// Longest time that a request waits for a status or a change; a longer one is shortened.
        wait_timeout: Duration = "1m" where positive;
        /// Memory held on behalf of clients and not owned by the store. At the bound, fetched bodies are
        /// streamed instead of stored, and the connections that have held the most for the longest
        /// are closed.
        in_transit: ByteSize = "256MiB" where sized::<{ 8 << 20 }, { ByteSize::MAX.0 }>;
        /// Longest request target; a longer one gets 414.
        uri: ByteSize = "8KiB" where sized::<1, MAX_TARGET>;
        /// Largest request head; a larger one gets 431.
        header_bytes: ByteSize = "32KiB" where sized::<MIN_HEAD, { 16 << 20 }>;
        /// Maximum number of fields in a request head; more get 431.
        headers: usize = 100 where between::<1, MAX_FIELDS>;
        /// Largest request body; a larger one gets 413.
        request_body: ByteSize = "1GiB";
    }

    /// `[log]`: the log on standard output.
    struct Log [log] {
        /// "json": one object per line; "text": short lines for people; "auto": text if standard output is
        /// a terminal, else json.
        format: LogFormat = "auto";
        /// Least severe level that is logged: "error", "warn", "info", "debug" or "trace".
        level: LogLevel = "info";
        /// Access log: one line per request, at every log.level.
        access: bool = true;
    }
}

impl Upstream {
    /// The host and port of the proxy on the way to the origin.
    pub fn forward_proxy(&self) -> Option<&Authority> {
        self.proxy.as_ref()?.0.as_ref()
    }
}

impl StatusLifetimes {
    /// The lifetime of a call in this status.
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
