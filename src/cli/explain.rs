//! `explain`: the document of `GET /explain` in sentences, or as JSON.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use serde_json::Value;

use super::admin_client::{AdminAccess, checked, path};
use super::print;
use super::serve::run_to_end;
use crate::label::Label as _;
use crate::policy::Rule;
use crate::units::{bytes, count, printable, span};

#[derive(Debug, Args)]
pub(super) struct ExplainArguments {
    #[arg(value_parser = path, help = "Path as in a request, without the query: /v1/calls/call_123")]
    path: String,
    /// Only for one token: the digest is the scope in the access log
    #[arg(long, value_name = "DIGEST", value_parser = |value: &str| checked("scope", value))]
    scope: Option<String>,
    /// Print the JSON document of GET /explain
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    access: AdminAccess,
}

pub(super) fn run(arguments: &ExplainArguments) -> anyhow::Result<ExitCode> {
    let path = &arguments.path;
    let mut target = format!("/explain?path={path}");
    if let Some(scope) = &arguments.scope {
        target.extend(["&scope=", scope]);
    }
    let admin = arguments.access.client()?;
    let body = run_to_end(1, async { Ok(admin.get(&target).await?) })?;
    let document: Value = serde_json::from_slice(&body)
        .with_context(|| format!("{} is not an admin listener", admin.address))?;
    print(printable(if arguments.json {
        format!("{document}\n")
    } else {
        prose(path, &document)
    }))?;
    Ok(ExitCode::SUCCESS)
}

fn prose(path: &str, document: &Value) -> String {
    let mut lines = vec![path.to_owned()];
    if let Some(route) = document["route"].as_str() {
        lines.push(format!("  route {route}"));
    }
    lines.push(format!("  {}", text(&document["summary"])));
    match document["waiting"].as_u64() {
        None | Some(0) => {}
        Some(1) => lines.push("  1 request waits for it (?wait=)".to_owned()),
        Some(waiting) => lines.push(format!("  {waiting} requests wait for it (?wait=)")),
    }
    for stored in items(&document["stored"]) {
        lines.push(String::new());
        describe_stored(stored, &mut lines);
    }
    for last in items(&document["last"]) {
        lines.push(String::new());
        lines.push(match last["scope"].as_str() {
            Some(scope) => format!("last of scope {scope}"),
            None => "last without a single bearer token".to_owned(),
        });
        for (name, what) in [
            ("last_miss", "request that was not a hit"),
            ("last_not_stored", "response that was not stored"),
        ] {
            let reason = &last[name];
            if let Some(ago) = reason["seconds_ago"].as_u64() {
                let (meaning, name) = (text(&reason["meaning"]), text(&reason["reason"]));
                let ago = span(ago);
                lines.push(format!("  {what}, {ago} ago: {meaning} ({name})"));
            }
        }
    }
    let left_out = document["fields_left_out"].as_object();
    if let Some(fields) = left_out.filter(|fields| !fields.is_empty()) {
        let fields = fields.iter();
        let fields = fields.map(|(name, times)| format!("{name} ({})", count(number(times))));
        let fields: Vec<_> = fields.collect();
        lines.push(String::new());
        lines.push("request fields that fetches leave out; if a response depends on one, add it to upstream.forward_headers".to_owned());
        lines.push(format!("  {}", fields.join(", ")));
    }
    lines.push(String::new());
    // Field names in some sentences are written for Markdown.
    lines.join("\n").replace('`', "")
}

fn describe_stored(stored: &Value, lines: &mut Vec<String>) {
    let query = stored["query"].as_str();
    let query = query.map_or_else(
        || "without a query".to_owned(),
        |query| format!("query {query}"),
    );
    let (scope, status, whole) = (text(&stored["scope"]), &stored["status"], &stored["whole"]);
    let (size, age) = (
        bytes(number(&whole["body_bytes"])),
        seconds(&stored["age_seconds"]),
    );
    lines.push(format!(
        "stored for scope {scope}, {query}: {status}, {size}, {age} old"
    ));
    let rule = text(&stored["rule"]);
    let known = Rule::ALL.iter().find(|known| known.as_str() == rule);
    let meaning = known.map_or("", |rule| rule.sentence());
    let lifetime = seconds(&whole["lifetime_seconds"]);
    let by_rule = format!("by the rule {rule}: {meaning}");
    lines.push(match whole["limited_by"].as_str() {
        Some(limit) => {
            let without = seconds(&stored["rule_lifetime_seconds"]);
            format!("  lifetime {lifetime}, limited by {limit}; else {without}, {by_rule}")
        }
        None => format!("  lifetime {lifetime}, {by_rule}"),
    });
    let stale = [
        ("while_revalidate_seconds", "while it is revalidated"),
        ("if_error_seconds", "if the origin fails"),
    ];
    let stale = stale.map(|(name, when)| (number(&stored["stale"][name]), when));
    let stale = stale.iter().filter(|(time, _)| *time > 0);
    let stale = stale.map(|(time, when)| format!("for {} {when}", span(*time)));
    lines.push(match stale.collect::<Vec<_>>().join(", ") {
        stale if stale.is_empty() => "  never served stale".to_owned(),
        stale => format!("  served stale {stale}"),
    });
    if let Some(ago) = stored["accepted_seconds_ago"].as_u64() {
        lines.push(format!("  the origin accepted the token {} ago", span(ago)));
    }
    let fields = items(&stored["varies_by"]).map(text).collect::<Vec<_>>();
    if !fields.is_empty() {
        lines.push(format!("  only for the same {}", fields.join(", ")));
    }
    if let Some(shared) = stored["shared"].as_str() {
        lines.push(format!("  shared level: {shared}"));
    }
    lines.push(format!("  next request: {}", representation(whole)));
    match &stored["views"] {
        Value::Object(views) => {
            for (view, described) in views {
                let size = bytes(number(&described["body_bytes"]));
                let next = representation(described);
                let lifetime = &described["lifetime_seconds"];
                let lifetime = (*lifetime != whole["lifetime_seconds"]).then(|| seconds(lifetime));
                let lifetime = lifetime.map(|lifetime| format!("; lifetime {lifetime}"));
                let lifetime = lifetime.unwrap_or_default();
                lines.push(format!("  view {view}, {size}: {next}{lifetime}"));
                for path in items(&described["unmatched"]) {
                    let nearest = path["nearest"].as_str();
                    let hint = nearest.map(|nearest| format!("; did you mean {nearest}?"));
                    let hint = hint.unwrap_or_default();
                    lines.push(format!("    {} matches nothing{hint}", text(&path["path"])));
                }
            }
        }
        hidden => lines.push(format!("  views: {}", text(hidden))),
    }
}

/// The outcome of the next request for it.
fn representation(described: &Value) -> String {
    let next = text(&described["next_request"]);
    let ttl = described["ttl_seconds"].as_u64().filter(|_| next == "hit");
    let until = described["signed_until"].as_str();
    let parts = [
        Some(next.to_owned()),
        ttl.map(|ttl| format!(", for another {}", span(ttl))),
        until.map(|until| format!("; a pre-signed URL in it expires at {until}")),
    ];
    parts.into_iter().flatten().collect()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn seconds(value: &Value) -> String {
    span(number(value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_in_sentences() {
        let document = json!({
            "summary": "the stored responses are listed below; any other request is a miss",
            "waiting": 2,
            "route": "/v1/calls/{call_id}",
            "stored": [{
                "scope": "f7a604d1", "query": null, "varies_by": ["accept"], "status": 200,
                "invalidated": false, "age_seconds": 12, "accepted_seconds_ago": 5,
                "rule": "status", "rule_lifetime_seconds": 600, "weight_bytes": 46_000,
                "stale": { "while_revalidate_seconds": 0, "if_error_seconds": 300 },
                "shared": "stored there",
                "whole": {
                    "next_request": "hit", "ttl_seconds": 48, "lifetime_seconds": 60,
                    "limited_by": "live parts (freshness.live)",
                    "signed_until": "2027-01-15T09:00:00Z", "body_bytes": 41_573, "coded_bytes": {},
                },
                "views": { "strip=invoice": {
                    "next_request": "hit", "ttl_seconds": 588, "lifetime_seconds": 600,
                    "limited_by": null, "signed_until": null, "body_bytes": 41_573,
                    "unmatched": [{ "path": "invoice", "nearest": "invoices" }],
                }},
            }, {
                "scope": "0b5e1a20", "query": "expand=1", "varies_by": [], "status": 404,
                "age_seconds": 400, "rule": "not-found", "rule_lifetime_seconds": 5, "stale": "forbidden",
                "whole": {
                    "next_request": "miss: invalidated by a purge, a write or a refused token",
                    "body_bytes": 44, "lifetime_seconds": 5, "limited_by": null,
                },
                "views": "hidden: needs the admin token",
            }],
            "last": [{
                "scope": "f7a604d1",
                "last_miss": { "reason": "absent", "meaning": "nothing was stored for it", "seconds_ago": 13 },
                "last_not_stored": null,
            }, {
                "scope": null,
                "last_miss": {
                    "reason": "credential", "meaning": "No single valid bearer token, so no scope",
                    "seconds_ago": 4_000,
                },
                "last_not_stored": {
                    "reason": "set-cookie", "meaning": "It sets a cookie (`cache.ignore_set_cookie`)",
                    "seconds_ago": 3,
                },
            }],
            "fields_left_out": { "cookie": 1_200, "x-tenant": 3 },
        });
        insta::assert_snapshot!(prose("/v1/calls/call_acme_0001", &document));
    }

    #[test]
    fn a_path_that_is_never_cached_in_sentences() {
        let summary = "no cacheable route matches: every request for it is forwarded";
        let document = json!({
            "summary": summary, "route": null, "stored": [], "last": [], "fields_left_out": {},
        });
        assert_eq!(prose("/v1/me", &document), format!("/v1/me\n  {summary}\n"));
    }
}
