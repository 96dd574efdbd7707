//! Lists, and tables whose names the operator chooses.
//!
//! A list replaces the previous list. A table adds to the previous table and replaces an entry of
//! the same name; `"off"` removes an entry. An entry is replaced as a whole: a view that is
//! written again is not merged with the previous one.

use std::time::Duration;

use http::HeaderName;

use super::address_range::AddressRange;
use super::engine::EngineUrl;
use super::findings::{Findings, Problems};
use super::raw::RawValue;
use super::scalar::Scalar;
use super::setting::{Rendered, Setting};
use super::values::{CookieName, RoutePattern, TokenDigest};
use super::wording::{bare_or_quoted, quoted};

/// One item of `cache.routes`: a pattern, or `{ path = "...", ttl = "..." }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The path pattern.
    pub path: RoutePattern,
    /// Lifetime where no other rule applies; `freshness.default` when absent.
    pub ttl: Option<Duration>,
}

/// Tokens that share stored responses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedScope {
    /// Its name in the file.
    pub name: String,
    /// Its tokens.
    pub tokens: Vec<TokenDigest>,
}

/// The name of a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerName {
    /// The scope of its token: the eight hex digits of the access log.
    pub scope: String,
    /// Its name; several scopes may have the same.
    pub name: String,
}

/// One configured view: the lists that `?view=name` selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedView {
    /// Its name in the query option.
    pub name: String,
    /// Its `fields` list, in the grammar of the query option.
    pub fields: Option<String>,
    /// Its `strip` list, in the grammar of the query option.
    pub strip: Option<String>,
}

// === lists ===

/// Lists of scalars: what each is called where something else is written.
macro_rules! lists {
    ($($item:ty: $expected:literal;)+) => {$(
        impl Setting for Vec<$item> {
            fn read(raw: &RawValue, key: &str, problems: &mut Problems) -> Option<Self> {
                scalars(raw, key, $expected, problems)
            }

            fn toml(&self) -> String {
                list(self)
            }
        }
    )+};
}

lists! {
    HeaderName: "a list of field names such as [\"x-tenant\"]";
    CookieName: "a list of cookie names such as [\"AWSALB\"]";
    EngineUrl: "a list of URLs such as [\"redis://cache:6379\"]";
    AddressRange: "a list of addresses such as [\"10.0.0.0/8\"]";
}

impl Setting for Vec<Route> {
    fn read(raw: &RawValue, key: &str, problems: &mut Problems) -> Option<Self> {
        let expected = "a list of routes such as [\"/v1/calls/{call_id}\"]";
        let items = problems.ok_or_add(&raw.place, key, raw.list(expected))?;
        let before = problems.len();
        // One router for all, so that no two routes, with lifetimes of their own, match the same
        // path.
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

    fn toml(&self) -> String {
        list(self)
    }
}

fn conflict(path: &RoutePattern, error: &matchit::InsertError) -> String {
    let path = path.toml();
    match error {
        matchit::InsertError::Conflict { with } if quoted(with) == path => {
            format!("{path} is listed twice; keep one of the two")
        }
        matchit::InsertError::Conflict { with } => {
            let with = quoted(with);
            format!("{path} matches the same paths as {with}; keep one of the two")
        }
        other => format!("{path} is not a route: {other}"),
    }
}

impl Setting for Route {
    fn read(raw: &RawValue, key: &str, problems: &mut Problems) -> Option<Self> {
        // In a variable, too, a brace opens a table; no path begins with one.
        if let Some(text) = raw.text().filter(|text| !text.starts_with('{')) {
            let path = problems.ok_or_add(&raw.place, key, RoutePattern::parse(text))?;
            return Some(Self { path, ttl: None });
        }
        let expected =
            "a route such as \"/v1/calls/{call_id}\" or { path = \"/v1/x\", ttl = \"30s\" }";
        let before = problems.len();
        let [path, ttl] = raw.fields(["path", "ttl"], key, expected, problems)?;
        if path.is_none() {
            let message = "a route needs a path; write { path = \"/v1/x\", ttl = \"30s\" }";
            problems.add(&raw.place, key, message);
        }
        let path = path.and_then(|(key, path)| Setting::read(&path, &key, problems));
        let ttl = ttl.and_then(|(key, ttl)| Setting::read(&ttl, &key, problems));
        let path = path?;
        (problems.len() == before).then_some(Self { path, ttl })
    }

    fn toml(&self) -> String {
        let path = self.path.toml();
        match &self.ttl {
            Some(ttl) => format!("{{ path = {path}, ttl = {} }}", ttl.toml()),
            None => path,
        }
    }
}

/// A list of scalars; every faulty one is reported.
fn scalars<T: Scalar>(
    raw: &RawValue,
    key: &str,
    expected: &str,
    problems: &mut Problems,
) -> Option<Vec<T>> {
    let items = problems.ok_or_add(&raw.place, key, raw.list(expected))?;
    let before = problems.len();
    let values = items
        .iter()
        .enumerate()
        .filter_map(|(i, item)| T::read(item, &format!("{key}[{i}]"), problems))
        .collect();
    (problems.len() == before).then_some(values)
}

fn list<T: Setting>(items: &[T]) -> String {
    let items: Vec<_> = items.iter().map(Setting::toml).collect();
    format!("[{}]", items.join(", "))
}

// === tables ===

const OFF: &str = "off";

/// One entry of a table whose names the operator chooses.
trait NamedItem: Sized {
    /// For "expected …": the whole table.
    const TABLE: &str;

    fn name(&self) -> &str;

    /// Reads the value of `name`, which is not `"off"`.
    fn read(name: &str, raw: &RawValue, key: &str, problems: &mut Problems) -> Option<Self>;

    /// The value as TOML.
    fn toml(&self) -> String;
}

/// Sorted by name.
impl<T: NamedItem> Setting for Vec<T> {
    fn read(raw: &RawValue, key: &str, problems: &mut Problems) -> Option<Self> {
        let (mut items, before) = (Self::new(), problems.len());
        let mut findings = Findings {
            problems: std::mem::take(problems),
            ..Findings::default()
        };
        items.apply(raw, key, &mut findings);
        *problems = findings.problems;
        (problems.len() == before).then_some(items)
    }

    fn toml(&self) -> String {
        format!("{{ {} }}", self.rendered(self))
    }

    fn apply(&mut self, raw: &RawValue, key: &str, findings: &mut Findings) {
        let Findings { sources, problems } = findings;
        let Some(entries) = problems.ok_or_add(&raw.place, key, raw.table(T::TABLE)) else {
            return;
        };
        for entry in entries.iter() {
            let (name, value) = (&entry.name, &entry.value);
            let key = format!("{key}.{}", bare_or_quoted(name));
            sources.record(&key, &value.place);
            // The lists of a view too, so that a problem found in one later has its own place.
            for part in value.table("").iter().flat_map(|parts| parts.iter()) {
                sources.record(format!("{key}.{}", part.name), &part.value.place);
            }
            let item = match value.text() {
                Some(OFF) => None,
                _ => match T::read(name, value, &key, problems) {
                    Some(item) => Some(item),
                    None => continue,
                },
            };
            self.retain(|old| old.name() != name);
            self.extend(item);
            self.sort_by(|a, b| a.name().cmp(b.name()));
        }
    }

    fn rendered(&self, default: &Self) -> Rendered {
        let is_removed = |old: &&T| !self.iter().any(|item| item.name() == old.name());
        let removed = default.iter().filter(is_removed);
        let mut lines: Vec<_> = removed
            .map(|old| (old.name().to_owned(), quoted(OFF)))
            .chain(
                self.iter()
                    .map(|item| (item.name().to_owned(), item.toml())),
            )
            .collect();
        lines.sort();
        Rendered::Table(lines)
    }
}

/// `[freshness.live]`
impl NamedItem for (String, Duration) {
    const TABLE: &str = "a table such as { invoices = \"1m\" }";

    fn name(&self) -> &str {
        &self.0
    }

    fn read(name: &str, raw: &RawValue, key: &str, problems: &mut Problems) -> Option<Self> {
        Some((name.to_owned(), Setting::read(raw, key, problems)?))
    }

    fn toml(&self) -> String {
        self.1.toml()
    }
}

/// `[scope.named]`
impl NamedItem for NamedScope {
    const TABLE: &str = "a table such as { billing = [\"DIGEST\", \"DIGEST\"] }";

    fn name(&self) -> &str {
        &self.name
    }

    fn read(name: &str, raw: &RawValue, key: &str, problems: &mut Problems) -> Option<Self> {
        let tokens: Vec<_> = scalars(raw, key, "a list of token digests", problems)?;
        if tokens.len() < 2 {
            let message = "a scope is for tokens that share; write the digests of two or more";
            problems.add(&raw.place, key, message);
            return None;
        }
        Some(Self {
            name: name.to_owned(),
            tokens,
        })
    }

    fn toml(&self) -> String {
        list(&self.tokens)
    }
}

/// `[scope.names]`
impl NamedItem for CallerName {
    const TABLE: &str = "a table such as { 1a2b3c4d = \"billing\" }";

    #[expect(clippy::misnamed_getters, reason = "the name of the entry")]
    fn name(&self) -> &str {
        &self.scope
    }

    fn read(scope: &str, raw: &RawValue, key: &str, problems: &mut Problems) -> Option<Self> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if scope.len() != 8 || !scope.bytes().all(is_digit) {
            let message = format!(
                "{} is not a scope; write the 8 hex digits, in lower case, that the access log shows as \"scope\"",
                quoted(scope)
            );
            problems.add(&raw.place, key, message);
            return None;
        }
        let name = String::read(raw, key, problems)?;
        if !is_plain_name(&name) {
            let message = format!(
                "{} is not the name of a caller; write up to 64 letters, digits, - or _",
                quoted(&name)
            );
            problems.add(&raw.place, key, message);
            return None;
        }
        let scope = scope.to_owned();
        Some(Self { scope, name })
    }

    fn toml(&self) -> String {
        quoted(&self.name)
    }
}

/// Whether a name is suitable for queries, labels and logs.
fn is_plain_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (1..=64).contains(&name.len()) && name.chars().all(is_plain)
}

/// `[views.named]`
impl NamedItem for NamedView {
    const TABLE: &str = "a table such as { light = { strip = \"invoices\" } }";

    fn name(&self) -> &str {
        &self.name
    }

    fn read(name: &str, raw: &RawValue, key: &str, problems: &mut Problems) -> Option<Self> {
        let before = problems.len();
        if !is_plain_name(name) {
            let message = format!(
                "{} is not the name of a view; write up to 64 letters, digits, - or _",
                quoted(name)
            );
            problems.add(&raw.place, key, message);
        }
        let expected = "a view such as { strip = \"invoices\" }, or \"off\"";
        let known = problems.len();
        let lists = raw.fields(["fields", "strip"], key, expected, problems)?;
        if lists.iter().all(Option::is_none) && problems.len() == known {
            let message = "a view without fields and strip removes nothing; write one of them, or \
                           \"off\" to have no view of this name";
            problems.add(&raw.place, key, message);
        }
        let [fields, strip] =
            lists.map(|list| list.and_then(|(key, list)| String::read(&list, &key, problems)));
        (problems.len() == before).then(|| Self {
            name: name.to_owned(),
            fields,
            strip,
        })
    }

    fn toml(&self) -> String {
        let parts = [("fields", &self.fields), ("strip", &self.strip)];
        let parts: Vec<_> = parts
            .into_iter()
            .filter_map(|(name, list)| Some(format!("{name} = {}", quoted(list.as_deref()?))))
            .collect();
        format!("{{ {} }}", parts.join(", "))
    }
}
