//! The settings: typed values that are valid by construction.
//!
//! Two steps: what was written (`document`, `outside` → `node`), then what it means
//! (`keys` → this file's types). A default is overridden by the file, the file by a
//! variable, a variable by a flag; everything that is wrong is told at once.
//!
//! ```
//! use stuut_cache::config::{self, Document, Flag};
//!
//! let file = Document { name: "proxy.toml", text: "[cache]\ncapacity = \"64 megs\"\n" };
//! let variables = [("STUUT_CACHE__CACHE__MAX_ENTRY".to_owned(), "1MiB".to_owned())];
//! let flags = [Flag::new("--listen", "server.listen", "8080")];
//!
//! let problems = config::read(Some(file), &variables, &flags).finish().expect_err("two faults");
//! assert_eq!(
//!     problems.to_string(),
//!     "proxy.toml:2:12: cache.capacity: \"64 megs\" is not a size; write a number with B, KiB, \
//!      MiB or GiB, e.g. \"64MiB\"\n\
//!      --listen: server.listen: \"8080\" is not an address; write an IP address and a port, e.g. \
//!      \"127.0.0.1:8080\""
//! );
//! ```

mod checks;
mod defaults;
mod document;
mod files;
mod keys;
mod lists;
mod load;
mod nearest;
mod node;
mod outside;
mod place;
mod problems;
pub mod render;
mod renew;
mod setting;
mod tables;
#[cfg(test)]
mod tests;
mod values;
mod words;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use secrecy::{ExposeSecret, SecretString};

pub use files::token_of;
pub use keys::{KEYS, Key};
pub use load::{Document, Draft, Loaded, draft, load, read};
pub use outside::{Flag, environment};
pub use place::{Place, Sources, VARIABLE_PREFIX, variable};
pub use problems::{Problem, Problems};
pub use renew::Renewed;
pub use values::{ByteSize, CallStatus, OriginUrl, RoutePattern, TokenDigest};

/// Everything that can be set. [`Config::default`] is a working proxy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// `[server]`: the listener that services talk to.
    pub server: Server,
    /// `[admin]`: the listener for the people who operate the proxy.
    pub admin: Admin,
    /// `[upstream]`: the origin server.
    pub upstream: Upstream,
    /// `[cache]`: what is stored and how much of it.
    pub cache: Cache,
    /// `[freshness]`: for how long a stored response is used.
    pub freshness: Freshness,
    /// `[scope]`: who may share a stored response.
    pub scope: Scope,
    /// `[views]`: the query options that ask for a part of a response.
    pub views: Views,
    /// `[limits]`: what one request may weigh.
    pub limits: Limits,
    /// `[log]`: what is written to standard output.
    pub log: Log,
    /// `[trace]`: where spans are collected.
    pub trace: Trace,
}

/// `[server]`
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Address the proxy listens on.
    pub listen: SocketAddr,
    /// Worker threads; 0 means one a core.
    pub workers: usize,
    /// Open client connections at once; further ones wait in the backlog.
    pub max_connections: usize,
    /// Time a client has to send a request head.
    pub header_timeout: Duration,
    /// Time a connection may stay open without a request.
    pub idle_timeout: Duration,
    /// Time that requests in flight have to finish after SIGTERM.
    pub drain_timeout: Duration,
    /// `[server.tls]`: TLS with clients, where a certificate is given.
    pub tls: Tls,
}

/// `[server.tls]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The certificate chain (PEM), the server's own first. With it, only TLS is spoken.
    pub cert: Option<PathBuf>,
    /// Its private key (PEM).
    pub key: Option<PathBuf>,
    /// Authorities (PEM) of which clients must show a certificate; without them, none is asked for.
    pub client_ca: Option<PathBuf>,
}

/// `[admin]`
#[derive(Clone, Debug)]
pub struct Admin {
    /// Address of metrics, health and purge.
    pub listen: SocketAddr,
    /// The token a purge needs, read from `admin.token_file`. Without one, only a
    /// loopback listener accepts purges.
    pub token: Option<SecretString>,
    /// Where the token was read from.
    pub token_file: Option<PathBuf>,
}

/// Two configurations are compared in tests and on a reload, never against what a
/// client presents; that comparison takes constant time and stands where purges arrive.
impl PartialEq for Admin {
    fn eq(&self, other: &Self) -> bool {
        let token = |admin: &Self| admin.token.as_ref().map(|t| t.expose_secret().to_owned());
        self.listen == other.listen
            && self.token_file == other.token_file
            && token(self) == token(other)
    }
}

/// `[upstream]`
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// The origin server: scheme and authority, no path.
    pub url: OriginUrl,
    /// Time to connect, TLS included.
    pub connect_timeout: Duration,
    /// Time from the end of the request to the response head.
    pub response_timeout: Duration,
    /// Time a cacheable fetch may take in all; on a streamed exchange, the longest silence.
    pub total_timeout: Duration,
    /// Requests that may be sent once more, in percent of all; 0 tries nothing twice.
    pub retries: usize,
    /// Requests in a row without an answer after which the origin is left alone; 0 is never.
    pub breaker_failures: usize,
    /// For how long it is, before one request tries it.
    pub breaker_pause: Duration,
    /// The longest `Retry-After` of the origin that is honoured.
    pub max_retry_after: Duration,
    /// Extra certificate authorities (PEM), beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Request fields sent on for cacheable requests, beside the built-in list.
    pub forward_headers: Vec<HeaderName>,
}

/// `[cache]`
#[derive(Clone, Debug, PartialEq)]
pub struct Cache {
    /// Which paths are cacheable.
    pub routes: Vec<Route>,
    /// Bytes of memory for stored responses, overhead included.
    pub capacity: ByteSize,
    /// Largest body that is stored; a larger one is streamed.
    pub max_entry: ByteSize,
    /// Bytes of bodies that are being read for the store at once; what does not fit is streamed.
    pub max_filling: ByteSize,
}

/// One item of `cache.routes`: a pattern, or `{ path = "...", ttl = "..." }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The path pattern.
    pub path: RoutePattern,
    /// Lifetime where no other rule speaks; `freshness.default` when absent.
    pub ttl: Option<Duration>,
}

/// `[freshness]`
#[derive(Clone, Debug, PartialEq)]
pub struct Freshness {
    /// Lifetime where no other rule speaks.
    pub default: Duration,
    /// Whether the origin's `Cache-Control`, `CDN-Cache-Control` and `Expires` decide.
    pub origin: OriginRule,
    /// What `private` means here.
    pub private: PrivateRule,
    /// Lifetime of a 404 or 410 that says nothing about itself.
    pub not_found: Duration,
    /// How long after its lifetime a call in a terminal status is served while it is refreshed.
    pub stale_while_revalidate: Duration,
    /// How long after its lifetime a response is served when the origin fails.
    pub stale_if_error: Duration,
    /// Nothing is used longer than this.
    pub hard_limit: Duration,
    /// How long before its expiry a pre-signed URL is no longer served.
    pub signed_url_margin: Duration,
    /// Whether clients' `Cache-Control` request directives are honoured.
    pub client_directives: ClientDirectives,
    /// `[freshness.status]`: lifetime of a call by its status, indexed by [`CallStatus`].
    pub status: [Duration; CallStatus::ALL.len()],
    /// `[freshness.live]`: top-level fields that change on their own, and how fresh a view that
    /// shows one has to be.
    pub live: Vec<(String, Duration)>,
    /// `freshness.settling`: lifetime of a call that has just ended.
    pub settling: Duration,
    /// `freshness.settling_window`: how long after its end a call is still settling.
    pub settling_window: Duration,
}

/// `freshness.origin`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginRule {
    /// The origin's own word decides.
    Obey,
    /// Our rules decide; `no-store` is still honoured.
    Override,
}

/// `freshness.private`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrivateRule {
    /// Stored for the one token it was fetched with.
    Token,
    /// Not stored, as RFC 9111 has it for a shared cache.
    Refuse,
}

/// `freshness.client_directives`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientDirectives {
    /// Honoured (RFC 9111 §5.2.1).
    Obey,
    /// Read past.
    Ignore,
}

/// `[scope]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Whether tokens may share.
    pub mode: ScopeMode,
    /// How long after the origin has answered a token 2xx for a call, that token is served the
    /// call from a shared store.
    pub admission_ttl: Duration,
    /// `[scope.named]`: which tokens share.
    pub named: Vec<NamedScope>,
}

/// `scope.mode`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScopeMode {
    /// Every token has a store of its own.
    Token,
    /// The tokens of a named scope share one; any other has its own.
    Named,
}

/// Tokens that share a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedScope {
    /// Its name in the file.
    pub name: String,
    /// Its tokens.
    pub tokens: Vec<TokenDigest>,
}

/// `[views]`
#[derive(Clone, Debug, PartialEq)]
pub struct Views {
    /// Query option that removes fields.
    pub strip_option: String,
    /// Query option that keeps fields.
    pub fields_option: String,
    /// Query option that names a configured view.
    pub view_option: String,
    /// `[views.named]`: the configured views.
    pub named: Vec<NamedView>,
}

/// One configured view: what `?view=name` stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedView {
    /// The name clients use.
    pub name: String,
    /// Its `fields` list, in the grammar of the query option.
    pub fields: Option<String>,
    /// Its `strip` list, in the grammar of the query option.
    pub strip: Option<String>,
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Requests waiting for the origin at once: for a head, a body to be stored, or the end of an
    /// upload; further ones get 503.
    pub in_flight: usize,
    /// Bytes of a request target; a longer one gets 414.
    pub uri: usize,
    /// Bytes of a request head; a larger one gets 431.
    pub header_bytes: usize,
    /// Fields in a request head; more get 431.
    pub headers: usize,
    /// Bytes of a request body; a larger one gets 413.
    pub request_body: ByteSize,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// JSON lines, or text for a terminal.
    pub format: LogFormat,
    /// The least severe level of events that is written.
    pub level: LogLevel,
    /// One line a request, at every level.
    pub access: bool,
}

/// `[trace]`
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// The OTLP collector; without one, traces go on to the origin and nothing is recorded here.
    pub otlp_url: Option<OriginUrl>,
    /// Of a hundred requests that come without a trace, how many begin one.
    pub sample: usize,
}

/// `log.format`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For a terminal.
    Text,
}

/// `log.level`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the usual five")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}
