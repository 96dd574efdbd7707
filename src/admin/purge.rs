//! `POST /purge`: an operator invalidates stored responses.
//!
//! | query | invalidated |
//! |---|---|
//! | `call=ID` | the call, in every scope, with every query |
//! | `path=/v1/calls/ID` | the same by path, and all paths below it |
//! | `scope=1a2b3c4d` | all responses for one token; the digest is the `scope` of the access log |
//! | `all` | everything |
//!
//! Fetches in flight are invalidated too. A purge takes effect immediately; the memory is freed in
//! the background.

use http::header::{AUTHORIZATION, HOST, ORIGIN, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::runtime::Handle;

use super::query::{self, parameters};
use super::{Admin, AdminResponse, json, text};
use crate::cache::{Generation, Invalidation};
use crate::policy::{canonical_path, percent_decoded};
use crate::request::ScopeId;
use crate::telemetry::InvalidationCause;

/// The responses to purge.
#[derive(Debug, PartialEq, Eq)]
enum Purge<'a> {
    Call(&'a str),
    /// In its canonical form, and not `/`.
    Path(String),
    Scope(ScopeId),
    All,
}

impl Admin {
    /// Purges, and responds with the number of stored responses and of fetches in flight that this has
    /// invalidated here; with a shared level, when no other replica uses them any more. Waits for that, so
    /// not on a thread of the runtime.
    pub(super) fn purge(&self, query: Option<&str>) -> AdminResponse {
        let query = query.unwrap_or_default();
        let Some(purge) = Purge::parse(query) else {
            return text(
                StatusCode::BAD_REQUEST,
                "specify one of ?call=ID, ?path=/v1/calls/ID, ?scope=DIGEST (8 hex digits or more) and ?all; write a path or an id as in a request, & as %26, without a query or *: all queries are purged, and all paths below a path\n",
            );
        };
        let in_flight = self.fetches.generations();
        let (invalidation, cause) = match purge {
            Purge::Call(id) => {
                let mut paths = self.routes.paths_of_call(id).peekable();
                if paths.peek().is_none() {
                    return text(
                        StatusCode::BAD_REQUEST,
                        "no item of cache.routes has exactly one parameter, so an id names no path: use ?path=...\n",
                    );
                }
                (Invalidation::of_paths(paths), InvalidationCause::PurgeCall)
            }
            Purge::Path(path) => {
                let paths = std::iter::once(&*path).chain(self.routes.literals_below(&path));
                (Invalidation::of_paths(paths), InvalidationCause::PurgeCall)
            }
            Purge::Scope(id) => (Invalidation::ScopeId(id), InvalidationCause::PurgeScope),
            Purge::All => (Invalidation::All, InvalidationCause::PurgeAll),
        };
        let purged = self.store.purged(&invalidation);
        self.store.invalidate(&invalidation, self.clock.mono());
        self.store.count_invalidation(cause);
        let is_over = |generation: &Generation| !self.store.is_current(generation);
        let in_flight = in_flight.iter().filter(|generation| is_over(generation));
        let (stored, in_flight) = (self.store.found(&[purged])[0], in_flight.count());
        let mut found = serde_json::json!({
            "invalidated": query, "stored": stored, "in_flight": in_flight,
        });
        let announced = self.shared.announce_purge(invalidation);
        if let Some((confirmation, counts)) = Handle::current().block_on(announced) {
            // An engine that is out of reach has not accepted it: it is announced later.
            found["queued"] = confirmation.is_queued.into();
            found["replicas"] = confirmation.replicas.into();
            found["confirmed"] = confirmation.confirmed.into();
            found["ms"] = u64::try_from(confirmation.elapsed.as_millis())
                .unwrap_or(u64::MAX)
                .into();
            let counts = counts.iter();
            found["others"] = counts
                .map(|(id, stored)| (id.to_string(), serde_json::Value::from(*stored)))
                .collect::<serde_json::Map<_, _>>()
                .into();
        }
        tracing::info!(
            invalidated = query,
            stored,
            in_flight,
            "purged by an operator: {query}"
        );
        json(StatusCode::OK, &found)
    }

    /// Whether the request may purge. A configured token is required. Without one, only this machine
    /// may purge; of the pages in a browser here, which send `Origin`, only the dashboard.
    pub(super) fn may_purge(&self, headers: &HeaderMap) -> bool {
        match &self.reloadable.load().token {
            Some(token) => has_token(headers, token),
            None => self.loopback && is_not_from_another_page(headers),
        }
    }
}

/// The response to a request without the admin token that it needs.
pub(super) fn refusal() -> AdminResponse {
    let sentence = "this request needs the token of admin.token_file\n";
    let mut refusal = text(StatusCode::UNAUTHORIZED, sentence);
    let scheme = HeaderValue::from_static("Bearer");
    refusal.headers_mut().insert(WWW_AUTHENTICATE, scheme);
    refusal
}

/// Whether the request is from no web page, or from a page of this listener: its origin is the host
/// of the request, an address or `localhost` (`host.rs`), which is never that of a foreign page.
fn is_not_from_another_page(headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(ORIGIN).iter();
    match (origins.next(), origins.next(), headers.get(HOST)) {
        (None, ..) => true,
        (Some(origin), None, Some(host)) => {
            origin.as_bytes().strip_prefix(b"http://") == Some(host.as_bytes())
        }
        _ => false,
    }
}

/// Whether exactly one `Authorization` field has this token. Compares digests, so that the time depends
/// neither on the difference nor on the length.
fn has_token(headers: &HeaderMap, token: &SecretString) -> bool {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let only = fields.next().filter(|_| fields.next().is_none());
    // The name of a scheme is case-insensitive (RFC 9110 §11.1).
    let Some((scheme, given)) = only.and_then(|field| field.as_bytes().split_first_chunk::<7>())
    else {
        return false;
    };
    scheme.eq_ignore_ascii_case(b"Bearer ")
        && blake3::hash(given) == blake3::hash(token.expose_secret().as_bytes())
}

impl<'a> Purge<'a> {
    fn parse(query: &'a str) -> Option<Self> {
        if query == "all" {
            return Some(Self::All);
        }
        match parameters(query, ["call", "path", "scope"])? {
            [Some(id), None, None] => is_id(id).then_some(Self::Call(id)),
            [None, Some(path), None] => {
                let path = query::path(path)?;
                Some(match canonical_path(&path).into_owned() {
                    path if path == "/" => Self::All,
                    path => Self::Path(path),
                })
            }
            [None, None, Some(digest)] => ScopeId::parse(digest).map(Self::Scope),
            _ => None,
        }
    }
}

/// Whether a text, as sent, is a segment of a path that no origin takes for the path of a collection.
fn is_id(sent: &str) -> bool {
    let is_segment = |segment: &str| {
        let name = segment.split(';').next().unwrap_or_default();
        !matches!(name, "" | "." | "..")
    };
    !sent.contains('/')
        && query::is_literal(sent)
        && percent_decoded(sent).split('/').all(is_segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_queries_are_accepted() {
        let id = ScopeId::parse("1a2b3c4d").expect("eight hex digits");
        let cases = [
            ("call=c1", Some(Purge::Call("c1"))),
            (
                "path=/v1/calls/c1",
                Some(Purge::Path("/v1/calls/c1".to_owned())),
            ),
            (
                "path=%2Fv1%2Fcalls%2Fc1",
                Some(Purge::Path("/v1/calls/c1".to_owned())),
            ),
            ("call=c1&scope=1a2b3c4d", None),
            ("scope=1a2b3c4d", Some(Purge::Scope(id))),
            ("scope=1a2b3c4d5e6f", Some(Purge::Scope(id))),
            ("path=//v1/x/../", Some(Purge::Path("/v1".to_owned()))),
            ("path=/v1/..", Some(Purge::All)),
            ("call=a%2Fb", Some(Purge::Call("a%2Fb"))),
            ("call=c%3F1", Some(Purge::Call("c%3F1"))),
            ("call=c1?x=1", None),
            ("call=*", None),
            ("call=%2e.", None),
            ("call=a%2F..", None),
            ("call=;v=1", None),
            ("all", Some(Purge::All)),
            ("", None),
            ("all=1", None),
            ("call=", None),
            ("call=a/b", None),
            ("call=a&all", None),
            ("path=v1", None),
            ("scope=1a2b", None),
            ("scope=not-hex!", None),
            ("everything", None),
        ];
        for (query, expected) in cases {
            assert_eq!(Purge::parse(query), expected, "{query}");
        }
    }

    #[test]
    fn without_a_token_only_pages_of_this_listener_may_purge() {
        let cases: [(&[&str], &[&str], bool); 9] = [
            (&[], &["127.0.0.1:9090"], true),
            (&[], &[], true),
            (&["http://127.0.0.1:9090"], &["127.0.0.1:9090"], true),
            (&["http://localhost:9090"], &["localhost:9090"], true),
            (&["http://localhost:9090"], &["127.0.0.1:9090"], false),
            (&["http://127.0.0.1:8000"], &["127.0.0.1:9090"], false),
            (&["https://127.0.0.1:9090"], &["127.0.0.1:9090"], false),
            (&["null"], &["127.0.0.1:9090"], false),
            (&["http://a", "http://a"], &["a"], false),
        ];
        for (origins, hosts, expected) in cases {
            let mut headers = HeaderMap::new();
            for origin in origins {
                headers.append(ORIGIN, HeaderValue::from_static(origin));
            }
            for host in hosts {
                headers.append(HOST, HeaderValue::from_static(host));
            }
            assert_eq!(
                is_not_from_another_page(&headers),
                expected,
                "{origins:?} {hosts:?}"
            );
        }
    }

    #[test]
    fn the_whole_token_is_compared() {
        let token = SecretString::from("correct-horse");
        let has = |fields: &[&'static str]| {
            let fields = fields.iter().map(|field| HeaderValue::from_static(field));
            has_token(
                &fields.map(|field| (AUTHORIZATION, field)).collect(),
                &token,
            )
        };
        let is = |given| has(&[given]);
        assert!(is("Bearer correct-horse"));
        assert!(is("bearer correct-horse"));
        assert!(!is("Basic! correct-horse"));
        assert!(!is("Bearer correct-hors"));
        assert!(!is("Bearer correct-horse2"));
        assert!(!is("Bearer "));
        assert!(!is("correct-horse"));
        assert!(!has(&[]));
        assert!(!has(&["Bearer correct-horse"; 2]));
    }
}
