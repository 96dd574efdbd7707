//! The stored responses that a write invalidates (RFC 9111 §4.4).

use std::borrow::Cow;

use http::{HeaderMap, Method, StatusCode, Uri, header};

use crate::config::OriginUrl;

/// Paths above a written one that count. It bounds what one request can cost; a path that is
/// written and is deeper counts itself.
const MOST_ABOVE: usize = 16;

/// Whether a method may change something: all but the four safe ones of RFC 9110 §9.2.1,
/// so unknown ones too (RFC 9111 §4.4).
#[must_use]
pub fn is_unsafe(method: &Method) -> bool {
    ![Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE].contains(method)
}

/// Whether a method adds to what lies below its target, and changes nothing that does already:
/// POST is how calls are made.
#[must_use]
pub fn adds_below(method: &Method) -> bool {
    method == Method::POST
}

/// The paths that an exchange has written to, in the form of [`canonical_path`].
///
/// Only an unsafe method that succeeded, with 2xx or 3xx, has. It touches the request's path
/// and those of `Location` and `Content-Location` on the origin itself; a host has no say
/// over others (§4.4). What is stored under any query of these paths, and of those
/// [above](self_and_above) them, must be dropped; and unless it only [adds](adds_below), what is
/// a part of them.
#[must_use]
pub fn invalidated(
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

/// A path and those that lie above it, segment by segment, as far as sixteen deep.
///
/// §4.4 leaves further invalidation to the cache: `POST /v1/calls/x/approve` changes
/// `/v1/calls/x`, and very likely the list it stands in.
pub fn self_and_above(path: &str) -> impl Iterator<Item = &str> {
    let above = path
        .match_indices('/')
        .map(|(at, _)| &path[..at.max(1)])
        .filter(move |above| *above != path);
    std::iter::once(path).chain(above.take(MOST_ABOVE))
}

/// One spelling for all equivalent ones of a path (RFC 3986 §6.2.2): percent-encodings of
/// plain characters decoded, the others in capitals, dot segments removed.
///
/// The cache key keeps the spelling that was sent. A write may be spelt otherwise than the
/// reads it makes wrong, so the store finds what to drop by this form.
#[must_use]
pub fn canonical_path(path: &str) -> Cow<'_, str> {
    if !path.contains('%') && !path.contains("/.") {
        return Cow::Borrowed(path);
    }
    Cow::Owned(without_dot_segments(&decoded(path)))
}

/// The path of a reference, if it leads to the same origin (RFC 3986 §5.2).
fn resolve(reference: &str, base: &str, origin: &OriginUrl) -> Option<String> {
    let reference = reference.split(['?', '#']).next().unwrap_or_default();
    if reference.is_empty() {
        return Some(base.to_owned());
    }
    let absolute = match reference.strip_prefix("//") {
        Some(rest) => format!("{}://{rest}", origin.scheme()),
        None => reference.to_owned(),
    };
    // A scheme: a colon before the first slash.
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
    Some(without_dot_segments(&format!("{folder}{absolute}")))
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

fn decoded(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(cut) = rest.find('%') {
        out.push_str(&rest[..cut]);
        rest = &rest[cut..];
        let byte = rest.get(1..3).and_then(|hex| {
            let hex_only = hex.bytes().all(|digit| digit.is_ascii_hexdigit());
            hex_only.then(|| u8::from_str_radix(hex, 16).ok()).flatten()
        });
        match byte {
            Some(plain) if plain.is_ascii_alphanumeric() || b"-._~".contains(&plain) => {
                out.push(char::from(plain));
                rest = &rest[3..];
            }
            Some(_) => {
                out.push_str(&rest[..3].to_ascii_uppercase());
                rest = &rest[3..];
            }
            None => {
                // A bare sign, written as what it stands for: left as it is, it could make
                // an encoding of what follows.
                out.push_str("%25");
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// RFC 3986 §5.2.4.
fn without_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    for (index, segment) in segments.iter().enumerate() {
        let last = index + 1 == segments.len();
        match *segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            other => {
                kept.push(other);
                continue;
            }
        }
        if last {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
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
        invalidated(&method, path, status, &response, &origin)
    }

    #[test]
    fn a_write_touches_its_path_and_what_lies_above() {
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
            ("/a/", &["/a/", "/", "/a"]),
            ("/", &["/"]),
            ("*", &["*"]),
        ];
        for (path, then) in table {
            assert_eq!(paths("POST", path, 204, ""), [*path]);
            assert_eq!(self_and_above(path).collect::<Vec<_>>(), *then);
        }
    }

    #[test]
    fn a_path_without_end_costs_no_more_than_another() {
        assert_eq!(self_and_above(&"/a".repeat(4_000)).count(), 1 + MOST_ABOVE);
    }

    #[test]
    fn only_a_successful_unsafe_method_touches_anything() {
        for method in ["PUT", "POST", "DELETE", "PATCH", "M-SEARCH", "get"] {
            for (status, touched) in [
                (200, true),
                (303, true),
                (404, false),
                (500, false),
                (100, false),
            ] {
                assert_eq!(
                    !paths(method, "/a", status, "").is_empty(),
                    touched,
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
    fn locations_count_on_the_same_origin_only() {
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
    fn spellings_of_one_path_have_one_form() {
        let table = [
            ("/v1/calls/x", "/v1/calls/x"),
            ("/v1/calls/%78", "/v1/calls/x"),
            ("/v1/%2e%2E/calls", "/calls"),
            ("/a%2fb", "/a%2Fb"),
            ("/a/./b/../c", "/a/c"),
            ("/a/..", "/"),
            ("/a/b/.", "/a/b/"),
            ("/a//b", "/a//b"),
            ("/a%", "/a%25"),
            ("/a%4", "/a%254"),
            ("/a%zz%+1", "/a%25zz%25+1"),
            ("/%%37%38", "/%2578"),
            ("/.well-known", "/.well-known"),
        ];
        for (path, then) in table {
            assert_eq!(canonical_path(path), then, "{path}");
        }
    }
}
