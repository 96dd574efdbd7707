//! Every key, once: its name, its meaning, how it is read and how it is written.
//!
//! The shipped file, the README's table, the effective configuration, the variables and
//! the nearest known key are all made from this table.

use super::node::Node;
use super::setting::{self, Setting, between, in_the_clear, option_name, positive, sized};
use super::{ByteSize, CallStatus, Config, Draft, tables};

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its full name: `server.listen`.
    pub name: &'static str,
    /// What it means, in one line.
    pub meaning: &'static str,
    pub(super) apply: fn(&mut Draft, (&str, &Node)),
    pub(super) written: fn(&Config) -> Lines,
}

/// How a key's value is written in TOML.
#[derive(PartialEq)]
pub(super) enum Lines {
    /// `name = value`
    One(String),
    /// A table of its own, with these `(name, value)`.
    Table(Vec<(String, String)>),
}

impl Key {
    /// The part before the last dot: `server`, `freshness.status`.
    #[must_use]
    pub fn section(&self) -> &'static str {
        self.name
            .rsplit_once('.')
            .map_or("", |(section, _)| section)
    }

    /// The part behind the last dot: `listen`.
    #[must_use]
    pub fn short(&self) -> &'static str {
        last(self.name)
    }
}

/// The part of a name behind its last dot.
pub(super) fn last(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(_, last)| last)
}

/// The key of this full name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// Whether `name` is a section, such as `server` or `freshness.status`.
pub(super) fn is_section(name: &str) -> bool {
    !name.is_empty() && inside(name).next().is_some()
}

/// The names directly in a section, with their full names; the empty section is the file.
pub(super) fn inside(section: &str) -> impl Iterator<Item = &'static str> {
    KEYS.iter().filter_map(move |key| {
        let rest = match section {
            "" => key.name,
            _ => key.name.strip_prefix(section)?.strip_prefix('.')?,
        };
        let end = rest.find('.').unwrap_or(rest.len());
        Some(&key.name[..key.name.len() - rest.len() + end])
    })
}

/// A row of the table. Behind `=>` stand the meaning and what is asked beyond the kind.
macro_rules! key {
    ($section:ident . $field:ident => $meaning:literal $(, $check:expr)*) => {
        key!(@ concat!(stringify!($section), ".", stringify!($field)),
            $section.$field, $meaning, [$($check),*])
    };
    // A number of bytes that is used as a length: written as a size, kept as a `usize`.
    (bytes $section:ident . $field:ident => $meaning:literal $(, $check:expr)*) => {
        Key {
            name: concat!(stringify!($section), ".", stringify!($field)),
            meaning: $meaning,
            apply: |draft, written| {
                let slot = &mut draft.config.$section.$field;
                let mut size = ByteSize(*slot as u64);
                let (problems, sources) = (&mut draft.problems, &mut draft.sources);
                setting::set(&mut size, &[$($check),*], written, problems, sources);
                *slot = usize::try_from(size.0).unwrap_or(usize::MAX);
            },
            written: |config| Lines::One(ByteSize(config.$section.$field as u64).written()),
        }
    };
    // One of the eleven statuses.
    (status $name:literal $status:ident => $meaning:literal) => {
        key!(@ concat!("freshness.status.", $name),
            freshness.status[CallStatus::$status as usize], $meaning, [])
    };
    // A table whose names are the operator's.
    (table $section:ident . $field:ident => $meaning:literal) => {
        Key {
            name: concat!(stringify!($section), ".", stringify!($field)),
            meaning: $meaning,
            apply: |draft, written| {
                let slot = &mut draft.config.$section.$field;
                tables::add(slot, written, &mut draft.problems, &mut draft.sources);
            },
            written: |config| Lines::Table(tables::lines(&config.$section.$field)),
        }
    };
    (@ $name:expr, $section:ident $(.$field:ident)+ $([$index:expr])?, $meaning:literal, [$($check:expr),*]) => {
        Key {
            name: $name,
            meaning: $meaning,
            apply: |draft, written| {
                let slot = &mut draft.config.$section $(.$field)+ $([$index])?;
                let (problems, sources) = (&mut draft.problems, &mut draft.sources);
                setting::set(slot, &[$($check),*], written, problems, sources);
            },
            written: |config| Lines::One(config.$section $(.$field)+ $([$index])?.written()),
        }
    };
}

/// The most connections, and requests, that are counted.
const MANY: usize = 1_000_000;
/// The most fields that a header map holds.
const FIELDS: usize = 32_768;
/// The longest target that `http` parses.
const TARGET: u64 = (64 << 10) - 2;
/// The smallest buffer that hyper reads a head into.
const HEAD: u64 = 8 << 10;

/// All keys, in the order of the shipped file: a section's plain keys before its tables.
pub static KEYS: &[Key] = &[
    key!(server.listen => "Address that services talk to."),
    key!(server.workers => "Worker threads; 0 means one a core.", between::<0, 1024>),
    key!(server.max_connections => "Open client connections at once; further ones wait in the backlog.", between::<1, MANY>),
    key!(server.header_timeout => "Time a client has to send a request head.", positive),
    key!(server.idle_timeout => "Time a connection may stay open without a request.", positive),
    key!(server.drain_timeout => "Time that requests in flight have to finish after SIGTERM."),
    key!(@ "server.tls.cert", server.tls.cert, "PEM file of the certificate chain, the server's own first; with it, only TLS is spoken. Read again when it changes.", []),
    key!(@ "server.tls.key", server.tls.key, "PEM file of its private key.", []),
    key!(@ "server.tls.client_ca", server.tls.client_ca, "PEM file of authorities of which clients must show a certificate; without it, none is asked for.", []),
    key!(admin.listen => "Address of metrics, health, status and purge."),
    key!(admin.token_file => "File whose first line is the token a purge needs; without it only a loopback address takes purges. Read again on SIGHUP."),
    key!(upstream.url => "The origin server: scheme, host and port."),
    key!(upstream.connect_timeout => "Time to connect, TLS included.", positive),
    key!(upstream.response_timeout => "Time from the end of a request to the response head.", positive),
    key!(upstream.total_timeout => "Time a cacheable fetch may take in all; on a streamed exchange, the longest silence.", positive),
    key!(upstream.retries => "GETs and HEADs that may be sent once more when their connection dies unanswered, in percent of all, beyond a few; 0 tries nothing twice, not even to connect.", between::<0, 100>),
    key!(upstream.breaker_failures => "Requests in a row without a connection, or calls without an answer, after which the origin is left alone; 0 never does.", between::<0, 1000>),
    key!(upstream.breaker_pause => "How long it is left alone before one request tries it; meanwhile stale is served, or 503.", positive),
    key!(upstream.max_retry_after => "Longest Retry-After of a 429 or 503 that is honoured: until then calls for that token are served stale, or get the same status; \"0s\" honours none."),
    key!(upstream.ca_file => "PEM file of certificate authorities to trust beside the system's."),
    key!(upstream.forward_headers => "Request fields sent on for cacheable requests, beside the built-in list."),
    key!(cache.routes => "Cacheable paths; an item may be { path = \"...\", ttl = \"30s\" }, with its own freshness.default."),
    key!(cache.capacity => "Memory for stored responses, overhead included."),
    key!(cache.max_entry => "Largest body that is stored; a larger one is streamed."),
    key!(cache.max_filling => "Memory for bodies that are being read to be stored, all together; one that does not fit is streamed."),
    key!(freshness.default => "Lifetime where no other rule speaks."),
    key!(freshness.origin => "\"obey\": the origin's Cache-Control and Expires decide; \"override\": these rules do, except for no-store."),
    key!(freshness.private => "What private means: \"token\" stores for the one token it was fetched with, \"refuse\" does not store."),
    key!(freshness.not_found => "Lifetime of a 404 or 410 that says nothing about itself."),
    key!(freshness.stale_while_revalidate => "How long an ended call is served past its lifetime while it is refreshed."),
    key!(freshness.stale_if_error => "How long a response is served past its lifetime when the origin fails."),
    key!(freshness.hard_limit => "Nothing is used longer than this.", positive),
    key!(freshness.signed_url_margin => "How long before its expiry a pre-signed URL is no longer served."),
    key!(freshness.client_directives => "Whether clients' Cache-Control is honoured: \"obey\" or \"ignore\"."),
    key!(freshness.settling => "Lifetime of a call that has just ended."),
    key!(freshness.settling_window => "How long after its end a call is still settling."),
    key!(status "pending_approval" PendingApproval => "Lifetime of a call that waits for approval."),
    key!(status "queued" Queued => "Lifetime of a call that waits for its turn."),
    key!(status "registered" Registered => "Lifetime of a call that has been registered."),
    key!(status "initiated" Initiated => "Lifetime of a call that is being set up."),
    key!(status "ringing" Ringing => "Lifetime of a call that rings."),
    key!(status "canceled" Canceled => "Lifetime of a call that was canceled."),
    key!(status "in_progress" InProgress => "Lifetime of a call that goes on."),
    key!(status "completed" Completed => "Lifetime of a call that is completed, and settled."),
    key!(status "busy" Busy => "Lifetime of a call that found the line busy."),
    key!(status "no_answer" NoAnswer => "Lifetime of a call that nobody answered."),
    key!(status "failed" Failed => "Lifetime of a call that failed."),
    key!(table freshness.live => "Fields that change on their own, and the longest lifetime of a view that shows one; \"off\" takes a field away."),
    key!(scope.mode => "Who may share a stored response: \"token\": nobody; \"named\": the tokens of a named scope."),
    key!(scope.admission_ttl => "How long a token is served a shared call after the origin has answered that very token for it.", positive),
    key!(table scope.named => "Scopes by name: a list of token digests, as \"stuut-cache digest\" prints them."),
    key!(views.strip_option => "Query option that removes fields.", |name| option_name(name)),
    key!(views.fields_option => "Query option that keeps fields.", |name| option_name(name)),
    key!(views.view_option => "Query option that asks for a view by name.", |name| option_name(name)),
    key!(table views.named => "Views by name: { strip = \"...\", fields = \"...\" }; \"off\" takes a view away."),
    key!(limits.in_flight => "Requests that may wait for the origin at once: for a head, a body to be stored, or the end of an upload; one token holds at most as many as are free. Further ones are served stale, or get 503.", between::<1, MANY>),
    key!(bytes limits.uri => "Longest request target; a longer one gets 414.", sized::<1, TARGET>),
    key!(bytes limits.header_bytes => "Largest request head; a larger one gets 431.", sized::<HEAD, { 16 << 20 }>),
    key!(limits.headers => "Fields in a request head; more get 431.", between::<1, FIELDS>),
    key!(limits.request_body => "Largest request body; a larger one gets 413."),
    key!(log.format => "\"json\": one object a line; \"text\": for a terminal."),
    key!(log.level => "The least severe level of events that is written: \"error\", \"warn\", \"info\", \"debug\" or \"trace\"."),
    key!(log.access => "One line a request, at every log.level."),
    key!(trace.otlp_url => "Collector of traces, http://host:port, spoken to in OTLP over HTTP; empty: none. Needs a program built with the feature otlp.", |url| in_the_clear(url)),
    key!(trace.sample => "Of 100 requests that come without a traceparent, how many begin a trace; with one, the caller has decided.", between::<0, 100>),
];
