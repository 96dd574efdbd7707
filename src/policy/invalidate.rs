//! The stored responses that a write invalidates (RFC 9111 §4.4).

use std::borrow::Cow;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode, Uri, header};

use super::percent::percent_decoded;
use crate::config::OriginUrl;

/// Maximum ancestors of a written path that are invalidated: bounds the cost of one request.
const MAX_ANCESTORS: usize = 16;

/// Whether a method may change state: all except the four safe ones of RFC 9110 §9.2.1, unknown
/// ones included (RFC 9111 §4.4).
pub fn is_unsafe(method: &Method) -> bool {
    ![Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE].contains(method)
}

/// Whether a method only adds resources below its target, and changes none that are already
/// there: calls are created by POST.
pub fn adds_below(method: &Method) -> bool {
    method == Method::POST
}

/// How long after a write nothing is stored for its paths: the origin's own caches and replicas may
/// show the old state. Longer after a 202, which promises the change for later.
pub fn settling(status: StatusCode, write_settling: Duration) -> Duration {
    if status == StatusCode::ACCEPTED {
        write_settling.saturating_mul(10)
    } else {
        write_settling
    }
}

/// The paths that an exchange has written to, in the form of [`canonical_path`].
///
/// For an unsafe method with a 2xx or 3xx: the path of the request, and those of `Location` and
/// `Content-Location` on the same origin (§4.4); otherwise none. Responses stored for these paths
/// and their [ancestors](self_and_ancestors), with any query, must be invalidated; so must those
/// below them, unless the method only [adds](adds_below).
pub fn written_paths(
    method: &Method,
    path: &str,
    status: StatusCode,
    response: &HeaderMap,
    origin: &OriginUrl,
) -> Vec<String> {
    if !is_unsafe(method) || !(status.is_success() || status.is_redirection()) {
        return Vec::new();
    }
    let mut paths = vec![canonical_path(path).into_owned()];
    for name in [header::LOCATION, header::CONTENT_LOCATION] {
        for value in response.get_all(name) {
            let target = value
                .to_str()
                .ok()
                .and_then(|text| resolve(text, path, origin));
            if let Some(target) = target {
                paths.push(canonical_path(&target).into_owned());
            }
        }
    }
    paths
}

/// A path and its ancestors, at most the sixteen nearest the root.
///
/// §4.4 permits further invalidation: `POST /v1/calls/x/approve` changes `/v1/calls/x`, and
/// very likely the list that contains it. So does `POST /v1/calls/x:approve`.
pub fn self_and_ancestors(path: &str) -> impl Iterator<Item = &str> {
    let ancestors = path
        .match_indices(['/', ':'])
        .map(|(at, _)| &path[..at.max(1)])
        .filter(move |ancestor| *ancestor != path);
    std::iter::once(path).chain(ancestors.take(MAX_ANCESTORS))
}

/// One form for all spellings that an origin may take for the same path: every percent-encoding is
/// decoded, empty and dot segments and `;parameters` are removed.
///
/// The cache key has the path as sent. A write may spell the path differently from the reads that
/// it invalidates, so the store finds the latter by this form. If the origin does tell two of these
/// paths apart, a write to one invalidates the other, too.
pub fn canonical_path(path: &str) -> Cow<'_, str> {
    let is_canonical = !path.contains(['%', ';'])
        && !["//", "/."].iter().any(|part| path.contains(part))
        && (path == "/" || !path.ends_with('/'));
    if is_canonical {
        return Cow::Borrowed(path);
    }
    let decoded = percent_decoded(path);
    let mut kept = Vec::new();
    for segment in decoded.split('/') {
        match segment.split(';').next() {
            None | Some("" | ".") => {}
            Some("..") => drop(kept.pop()),
            Some(segment) => kept.push(segment),
        }
    }
    Cow::Owned(format!("/{}", kept.join("/")))
}

/// The path of a reference, if it is on the same origin (RFC 3986 §5.2).
fn resolve(reference: &str, base: &str, origin: &OriginUrl) -> Option<String> {
    let reference = reference.split(['?', '#']).next().unwrap_or_default();
    if reference.is_empty() {
        return Some(base.to_owned());
    }
    let absolute = match reference.strip_prefix("//") {
        Some(rest) => format!("{}://{rest}", origin.scheme()),
        None => reference.to_owned(),
    };
    // A colon before the first slash: it has a scheme.
    if absolute
        .split('/')
        .next()
        .is_some_and(|first| first.contains(':'))
    {
        let uri: Uri = absolute.parse().ok()?;
        return is_same_origin(&uri, origin).then(|| uri.path().to_owned());
    }
    if absolute.starts_with('/') {
        return Some(absolute);
    }
    let folder = base.rfind('/').map_or("/", |cut| &base[..=cut]);
    Some(format!("{folder}{absolute}"))
}

fn is_same_origin(uri: &Uri, origin: &OriginUrl) -> bool {
    let default = |scheme: &str| if scheme == "https" { 443 } else { 80 };
    let ours = origin.authority();
    let (Some(scheme), Some(theirs)) = (uri.scheme(), uri.authority()) else {
        return false;
    };
    scheme == origin.scheme()
        && theirs.host().eq_ignore_ascii_case(ours.host())
        && theirs
            .port_u16()
            .unwrap_or_else(|| default(scheme.as_str()))
            == ours.port_u16().unwrap_or_else(|| default(scheme.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(method: &str, path: &str, status: u16, location: &'static str) -> Vec<String> {
        let origin = OriginUrl::parse("https://api.stuut.ai").expect("an origin");
        let mut response = HeaderMap::new();
        if !location.is_empty() {
            response.insert(header::LOCATION, header::HeaderValue::from_static(location));
        }
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let status = StatusCode::from_u16(status).expect("a status");
        written_paths(&method, path, status, &response, &origin)
    }

    #[test]
    fn a_write_invalidates_its_path_and_the_ancestors() {
        let table: &[(&str, &[&str])] = &[
            (
                "/v1/calls/x/approve",
                &[
                    "/v1/calls/x/approve",
                    "/",
                    "/v1",
                    "/v1/calls",
                    "/v1/calls/x",
                ],
            ),
            (
                "/v1/calls/x:approve",
                &[
                    "/v1/calls/x:approve",
                    "/",
                    "/v1",
                    "/v1/calls",
                    "/v1/calls/x",
                ],
            ),
            ("/", &["/"]),
            ("*", &["*"]),
        ];
        for (path, then) in table {
            assert_eq!(paths("POST", path, 204, ""), [*path]);
            assert_eq!(self_and_ancestors(path).collect::<Vec<_>>(), *then);
        }
    }

    #[test]
    fn the_ancestors_of_a_very_deep_path_are_limited() {
        assert_eq!(
            self_and_ancestors(&"/a".repeat(4_000)).count(),
            1 + MAX_ANCESTORS
        );
    }

    #[test]
    fn only_a_successful_unsafe_method_invalidates() {
        for method in ["PUT", "POST", "DELETE", "PATCH", "M-SEARCH", "get"] {
            for (status, invalidates) in [
                (200, true),
                (303, true),
                (404, false),
                (500, false),
                (100, false),
            ] {
                assert_eq!(
                    !paths(method, "/a", status, "").is_empty(),
                    invalidates,
                    "{method} {status}"
                );
            }
        }
        for method in ["GET", "HEAD", "OPTIONS", "TRACE"] {
            assert_eq!(
                paths(method, "/a", 200, "/b"),
                Vec::<String>::new(),
                "{method}"
            );
        }
    }

    #[test]
    fn only_locations_on_the_same_origin_count() {
        let table: &[(&'static str, &[&str])] = &[
            ("/c", &["/c"]),
            ("/c?x#y", &["/c"]),
            ("c", &["/a/c"]),
            ("./c", &["/a/c"]),
            ("../c", &["/c"]),
            ("../../../c", &["/c"]),
            ("?x", &["/a/b"]),
            ("https://api.stuut.ai/c", &["/c"]),
            ("HTTPS://API.Stuut.AI:443/c", &["/c"]),
            ("//api.stuut.ai/c", &["/c"]),
            ("http://api.stuut.ai/c", &[]),
            ("https://api.stuut.ai:8443/c", &[]),
            ("https://stuut.ai/c", &[]),
            ("//stuut.ai/c", &[]),
            ("https:///c", &[]),
            ("mailto:x", &[]),
        ];
        for (location, then) in table {
            let all = paths("POST", "/a/b", 201, location);
            assert_eq!(all[0], "/a/b", "{location}");
            assert_eq!(all[1..], **then, "{location}");
        }
    }

    #[test]
    fn equivalent_paths_have_one_canonical_form() {
        let table = [
            ("/v1/calls/x", "/v1/calls/x"),
            ("/v1/calls/%78", "/v1/calls/x"),
            ("/v1/%2e%2E/calls", "/calls"),
            ("/v1/calls%2fx", "/v1/calls/x"),
            ("/v1/calls/c%3A1", "/v1/calls/c:1"),
            ("//v1///calls/x/", "/v1/calls/x"),
            ("/v1;a=1/calls/x;v=2", "/v1/calls/x"),
            ("/v1/x/..;/calls", "/v1/calls"),
            ("/a/./b/../c", "/a/c"),
            ("/a/..", "/"),
            ("/a/b/.", "/a/b"),
            ("/a%", "/a%"),
            ("/a%4", "/a%4"),
            ("/a%zz%+1", "/a%zz%+1"),
            ("/%2541", "/A"),
            ("/.well-known", "/.well-known"),
            ("/", "/"),
        ];
        for (path, then) in table {
            assert_eq!(canonical_path(path), then, "{path}");
        }
    }
}
