//! Response fields that would lead a client past the proxy: most clients then drop the token.
//!
//! Targets in `Location`, `Content-Location` and `Link` that name the origin become relative; fields
//! about the origin's host are removed.

use http::header::{
    ALT_SVC, CONTENT_LOCATION, LINK, LOCATION, PUBLIC_KEY_PINS, PUBLIC_KEY_PINS_REPORT_ONLY,
    STRICT_TRANSPORT_SECURITY,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::OriginUrl;

/// Fields about the host that a client has connected to, not about the response. That host is the proxy's:
/// the origin does not know its other addresses, its keys, its use of TLS, or where to report its failures.
/// `Clear-Site-Data` stays: what it clears came from the origin.
const OF_HOST: [HeaderName; 6] = [
    ALT_SVC,
    STRICT_TRANSPORT_SECURITY,
    PUBLIC_KEY_PINS,
    PUBLIC_KEY_PINS_REPORT_ONLY,
    HeaderName::from_static("nel"),
    HeaderName::from_static("report-to"),
];

/// Makes the targets that name the origin relative (path, query and fragment), and removes the fields
/// about its host.
pub(super) fn localise(fields: &mut HeaderMap, origin: &OriginUrl) {
    for name in &OF_HOST {
        fields.remove(name);
    }
    for (name, value) in fields.iter_mut() {
        let local = match name {
            name if *name == LOCATION || *name == CONTENT_LOCATION => {
                value.to_str().ok().and_then(|target| local(target, origin))
            }
            name if *name == LINK => value.to_str().ok().map(|link| local_link(link, origin)),
            _ => None,
        };
        if let Some(local) = local.and_then(|local| HeaderValue::try_from(local).ok()) {
            *value = local;
        }
    }
}

/// A target without scheme and authority, if they are the origin's.
fn local(target: &str, origin: &OriginUrl) -> Option<String> {
    let (scheme, rest) = target.split_once("//")?;
    let scheme = match scheme {
        "" => origin.scheme().as_str(),
        named => named.strip_suffix(':')?,
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    // The origin may not see that TLS ends in front of it: the scheme may differ.
    let own = without_default_port(origin.authority().as_str(), origin.scheme().as_str());
    let is_own = without_default_port(authority, scheme).eq_ignore_ascii_case(own)
        && ["http", "https"]
            .iter()
            .any(|known| known.eq_ignore_ascii_case(scheme));
    // `//host` would be another host; browsers read `\` as `/`.
    let is_path =
        !path.starts_with("//") && path.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    let slash = if path.starts_with('/') { "" } else { "/" };
    (is_own && is_path).then(|| format!("{slash}{path}"))
}

fn without_default_port<'a>(authority: &'a str, scheme: &str) -> &'a str {
    let port = if scheme.eq_ignore_ascii_case("https") {
        ":443"
    } else {
        ":80"
    };
    authority.strip_suffix(port).unwrap_or(authority)
}

/// A `Link` (RFC 8288 §3): a list of targets in `<>`, each with parameters, which may be quoted.
fn local_link(link: &str, origin: &OriginUrl) -> String {
    let (mut out, mut rest) = (String::with_capacity(link.len()), link);
    while let Some(at) = rest.find(['<', '"']) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let end = if from.starts_with('"') {
            end_of_quotes(from)
        } else {
            from.find('>').unwrap_or(from.len() - 1)
        };
        let (part, after) = from.split_at(end + 1);
        let target = part
            .strip_prefix('<')
            .and_then(|part| part.strip_suffix('>'));
        match target.and_then(|target| local(target, origin)) {
            Some(local) => out.extend(["<", &local, ">"]),
            None => out.push_str(part),
        }
        rest = after;
    }
    out + rest
}

/// The position of the closing quote of a quoted string, or of its last byte without one.
fn end_of_quotes(quoted: &str) -> usize {
    let mut is_escaped = false;
    let closing = quoted.bytes().skip(1).position(|byte| {
        let closes = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        closes
    });
    closing.map_or(quoted.len() - 1, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn localised(name: &'static str, value: &str) -> String {
        let origin = OriginUrl::parse("https://api.stuut.ai").expect("an origin");
        let mut fields = HeaderMap::new();
        fields.insert(name, HeaderValue::try_from(value).expect("a value"));
        localise(&mut fields, &origin);
        fields[name].to_str().expect("text").to_owned()
    }

    #[test]
    fn targets_that_name_the_origin_become_relative() {
        for (target, local) in [
            (
                "https://api.stuut.ai/v1/calls/c2?x=1#y",
                "/v1/calls/c2?x=1#y",
            ),
            ("http://api.stuut.ai/v1", "/v1"),
            ("HTTPS://API.stuut.ai:443/v1//a", "/v1//a"),
            ("//api.stuut.ai/v1", "/v1"),
            ("https://api.stuut.ai", "/"),
            ("https://api.stuut.ai?x=//y", "/?x=//y"),
        ] {
            assert_eq!(localised("location", target), local, "{target}");
            assert_eq!(localised("content-location", target), local, "{target}");
        }
        for other in [
            "/v1/calls/c2",
            "//cdn.example/x",
            "https://api.stuut.ai.evil.example/",
            "https://user@api.stuut.ai/",
            "https://api.stuut.ai:8443/",
            "ftp://api.stuut.ai/",
            "https://cdn.example/?u=https://api.stuut.ai/",
            // They would become another host.
            "https://api.stuut.ai//evil.example/",
            "https://api.stuut.ai/\\evil.example/",
            "https://api.stuut.ai/\t/evil.example/",
            "",
        ] {
            assert_eq!(localised("location", other), other);
        }
    }

    #[test]
    fn the_targets_of_links_become_relative_and_the_rest_stays() {
        for (link, local) in [
            (
                r#"<https://api.stuut.ai/v1/calls?page=2>; rel="next", </x>; rel=prev"#,
                r#"</v1/calls?page=2>; rel="next", </x>; rel=prev"#,
            ),
            (
                r#"</a>; title="<https://api.stuut.ai/b> \"", <http://api.stuut.ai/c>"#,
                r#"</a>; title="<https://api.stuut.ai/b> \"", </c>"#,
            ),
            ("<https://cdn.example/a>", "<https://cdn.example/a>"),
            ("<https://api.stuut.ai/a", "<https://api.stuut.ai/a"),
            (r#"<a>; title="open"#, r#"<a>; title="open"#),
        ] {
            assert_eq!(localised("link", link), local, "{link}");
        }
    }
}
