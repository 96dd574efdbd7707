//! Lists: cacheable routes, request fields that are sent on, tokens that share.

use http::HeaderName;

use super::nearest::nearest;
use super::node::{Entry, Node};
use super::render::{bare_or_quoted, quoted};
use super::setting::{Setting, Word};
use super::{Problems, Route, RoutePattern, TokenDigest};

impl Setting for Vec<Route> {
    fn expected() -> String {
        "a list of routes such as [\"/v1/calls/{call_id}\"]".to_owned()
    }

    fn read(node: &Node, key: &str, problems: &mut Problems) -> Option<Self> {
        let items = items::<Self>(node, key, problems)?;
        let before = problems.len();
        // Two routes that match the same path would make it a matter of luck
        // which lifetime counts, so all of them go into one router.
        let mut all = matchit::Router::new();
        let mut routes = Vec::new();
        for (i, item) in items.iter().enumerate() {
            let key = format!("{key}[{i}]");
            let Some(route) = Route::read(item, &key, problems) else {
                continue;
            };
            if let Err(error) = all.insert(route.path.as_str(), ()) {
                problems.add(&item.place, &key, conflict(&route.path, &error));
            }
            routes.push(route);
        }
        (problems.len() == before).then_some(routes)
    }

    fn written(&self) -> String {
        list(self.iter().map(Setting::written))
    }
}

fn conflict(path: &RoutePattern, error: &matchit::InsertError) -> String {
    let path = quoted(path.as_str());
    match error {
        matchit::InsertError::Conflict { with } if quoted(with) == path => {
            format!("{path} is listed twice; keep one of the two")
        }
        matchit::InsertError::Conflict { with } => {
            format!(
                "{path} matches the same paths as {}; keep one of the two",
                quoted(with)
            )
        }
        other => format!("{path} is not a route: {other}"),
    }
}

impl Setting for Route {
    fn expected() -> String {
        "a route such as \"/v1/calls/{call_id}\" or { path = \"/v1/x\", ttl = \"30s\" }".to_owned()
    }

    fn read(node: &Node, key: &str, problems: &mut Problems) -> Option<Self> {
        // A brace opens a table in a variable too, and no path begins with one.
        if let Some(text) = node.text().filter(|text| !text.starts_with('{')) {
            return RoutePattern::parse(text)
                .map_err(|message| problems.add(&node.place, key, message))
                .map(|path| Self { path, ttl: None })
                .ok();
        }
        let entries = node
            .table(&Self::expected())
            .map_err(|message| problems.add(&node.place, key, message))
            .ok()?;
        let before = problems.len();
        let (mut path, mut ttl) = (None, None);
        for Entry {
            name,
            place,
            node: value,
        } in entries.iter()
        {
            let key = format!("{key}.{}", bare_or_quoted(name));
            match name.as_str() {
                "path" => path = RoutePattern::read(value, &key, problems),
                "ttl" => ttl = Setting::read(value, &key, problems),
                _ => problems.add(place, &key, unknown(name, &["path", "ttl"])),
            }
        }
        if !entries.iter().any(|entry| entry.name == "path") {
            let message = "a route needs a path; write { path = \"/v1/x\", ttl = \"30s\" }";
            problems.add(&node.place, key, message);
        }
        let path = path?;
        (problems.len() == before).then_some(Self { path, ttl })
    }

    fn written(&self) -> String {
        let path = quoted(self.path.as_str());
        match &self.ttl {
            Some(ttl) => format!("{{ path = {path}, ttl = {} }}", ttl.written()),
            None => path,
        }
    }
}

impl Word for RoutePattern {
    fn expected() -> String {
        "a route such as \"/v1/calls/{call_id}\"".to_owned()
    }

    fn parse(written: &str) -> Result<Self, String> {
        Self::parse(written)
    }

    fn word(&self) -> String {
        self.as_str().to_owned()
    }
}

impl Setting for Vec<HeaderName> {
    fn expected() -> String {
        "a list of field names such as [\"x-tenant\"]".to_owned()
    }

    fn read(node: &Node, key: &str, problems: &mut Problems) -> Option<Self> {
        words(node, key, problems)
    }

    fn written(&self) -> String {
        list(self.iter().map(Setting::written))
    }
}

impl Setting for Vec<TokenDigest> {
    fn expected() -> String {
        "a list of token digests".to_owned()
    }

    fn read(node: &Node, key: &str, problems: &mut Problems) -> Option<Self> {
        words(node, key, problems)
    }

    fn written(&self) -> String {
        list(self.iter().map(Setting::written))
    }
}

impl Word for TokenDigest {
    fn expected() -> String {
        "the digest of a token".to_owned()
    }

    fn parse(written: &str) -> Result<Self, String> {
        Self::parse(written)
    }

    fn word(&self) -> String {
        self.to_string()
    }
}

/// Fields that concern one connection or one body (RFC 9110 §7.6.1), and fields that
/// the proxy writes itself: sent on, they would break framing, or ask the origin for
/// something else than what is stored.
const NEVER_FORWARDED: [&str; 18] = [
    "accept-encoding",
    "authorization",
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "max-forwards",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "te",
    "trailer",
    "trailers",
    "transfer-encoding",
    "upgrade",
    "via",
];

impl Word for HeaderName {
    fn expected() -> String {
        "a field name such as \"x-tenant\"".to_owned()
    }

    fn parse(written: &str) -> Result<Self, String> {
        let name = Self::from_bytes(written.as_bytes()).map_err(|_| {
            format!(
                "{} is not a field name; write one such as \"x-tenant\"",
                quoted(written)
            )
        })?;
        if NEVER_FORWARDED.contains(&name.as_str()) || name.as_str().starts_with("if-") {
            return Err(format!(
                "{} is the proxy's own to send or to remove; leave it out",
                quoted(name.as_str())
            ));
        }
        Ok(name)
    }

    fn word(&self) -> String {
        self.as_str().to_owned()
    }
}

// === parts ===

fn items<'a, T: Setting>(
    node: &'a Node,
    key: &str,
    problems: &mut Problems,
) -> Option<std::borrow::Cow<'a, [Node]>> {
    node.list(&T::expected())
        .map_err(|message| problems.add(&node.place, key, message))
        .ok()
}

/// A list of words, every faulty one told.
fn words<T: Word>(node: &Node, key: &str, problems: &mut Problems) -> Option<Vec<T>>
where
    Vec<T>: Setting,
{
    let items = items::<Vec<T>>(node, key, problems)?;
    let before = problems.len();
    let words = items
        .iter()
        .enumerate()
        .filter_map(|(i, item)| T::read(item, &format!("{key}[{i}]"), problems))
        .collect();
    (problems.len() == before).then_some(words)
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

/// The sentence for a name that a small table does not have.
pub(super) fn unknown(name: &str, known: &[&str]) -> String {
    match nearest(name, known.iter().copied()) {
        Some(near) => format!("unknown key; did you mean {near}?"),
        None => format!("unknown key; known here: {}", known.join(", ")),
    }
}
