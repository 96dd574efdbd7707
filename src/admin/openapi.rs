//! `/openapi.json`: what clients of the proxy can ask for, and what they are answered with, as an
//! `OpenAPI` 3.1 document. Made from the configuration and from the proxy's own tables, so that it
//! says what this process does.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::config::{CallStatus, Config, Route};
use crate::label::Label as _;
use crate::proxy::problems;

/// The document of a proxy with this configuration.
pub(super) fn document(config: &Config) -> Bytes {
    let paths: Map<_, _> = config
        .cache
        .routes
        .iter()
        .map(|route| (template(route), path(config, route)))
        .collect();
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "The Stuut API through stuut-cache",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The cached endpoints. Every other path and method of the API is \
                            forwarded untouched, and described by the API's own document.",
            "license": { "name": env!("CARGO_PKG_LICENSE"), "identifier": env!("CARGO_PKG_LICENSE") },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "bearer": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The token of the API itself. It is forwarded as it is, and what \
                                    is stored for one token is served to no other.",
                },
            },
            "schemas": { "Call": call(), "Problem": problem() },
            "headers": headers(),
        },
    });
    document.to_string().into()
}

/// A route as `OpenAPI` writes it, which has no name for a rest of several segments.
fn template(route: &Route) -> String {
    route.path.as_str().replace("{*", "{")
}

fn path(config: &Config, route: &Route) -> Value {
    let template = template(route);
    let names = template.split('{').skip(1);
    let names = names.filter_map(|rest| Some(rest.split_once('}')?.0));
    let mut parameters: Vec<_> = names
        .map(|name| {
            json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })
        })
        .collect();
    parameters.extend(view_options(config));
    parameters.extend(request_fields());
    let operation = |method: &str, summary: &str| {
        json!({
            "operationId": format!("{method} {template}"),
            "summary": summary,
            "parameters": parameters,
            "responses": responses(),
        })
    };
    json!({
        "get": operation("get", "From memory where it is fresh, else from the API."),
        "head": operation("head", "The head of the same, answered from a stored GET."),
    })
}

fn view_options(config: &Config) -> Vec<Value> {
    let views = &config.views;
    let list = |name: &str, does: &str, example: &str| {
        let grammar = "A list of paths such as a.b, a(b,c), *.b or **.c.";
        json!({
            "name": name,
            "in": "query",
            "description": format!("{does} {grammar} It is not forwarded."),
            "schema": { "type": "string", "maxLength": 2_048 },
            "example": example,
        })
    };
    let named: Vec<_> = views.named.iter().map(|view| &view.name).collect();
    let mut options = vec![
        list(
            &views.fields_option,
            "Only these members, and what they hold.",
            "id,status,partner(id,name)",
        ),
        list(
            &views.strip_option,
            "All but these members.",
            "invoices,**.linked_integration",
        ),
    ];
    if !named.is_empty() {
        options.push(json!({
            "name": views.view_option,
            "in": "query",
            "description": "A view that the proxy is configured with.",
            "schema": { "type": "string", "enum": named },
        }));
    }
    options
}

/// Request fields that mean something to the proxy, a line each.
const REQUEST_FIELDS: &str = "\
If-None-Match: 304 where the client has this very view and coding already.
If-Modified-Since: 304 where it has not changed since; without If-None-Match, and not where a view is asked for.
Cache-Control: no-cache, no-store, max-age, min-fresh, max-stale and only-if-cached are honoured.
Accept-Encoding: zstd, br and gzip are offered.
X-Request-Id: A name for the request: forwarded, logged, and sent back.
traceparent: W3C Trace Context: the trace goes on to the API.";

/// Response fields, a line each. Others are the API's own, as it sent them.
const RESPONSE_FIELDS: &str = "\
Cache-Status: How it was answered (RFC 9211): hit, or fwd= with the reason; ttl=, detail=.
Age: Seconds since the API answered; on what comes from memory.
Cache-Control: The API's, lowered where a view holds for less; no-store on a problem.
Connection: close, where the connection cannot be used again.
Content-Encoding: zstd, br or gzip.
Content-Length: Of this view, in this coding.
Content-Type: As the API sent it, or application/problem+json.
Date: When the API answered, or the proxy for itself.
ETag: Of this view, in this coding.
Expires: The API's, lowered where a view holds for less.
Last-Modified: As the API sent it.
Proxy-Status: What went wrong between the proxy and the API (RFC 9209).
Retry-After: Seconds; with 429 and 503.
Stuut-Cache-View: skipped; reason=: the view was not applied, and this is the whole.
Transfer-Encoding: chunked, where it is streamed.
Vary: Which request fields it depends on.
Via: That the proxy stands in between.
X-Request-Id: The name that the client gave, or with a problem the proxy's own.";

/// The names and descriptions of such a list.
fn described(fields: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    fields.lines().filter_map(|line| line.split_once(": "))
}

fn request_fields() -> impl Iterator<Item = Value> {
    described(REQUEST_FIELDS).map(|(name, description)| {
        json!({
            "name": name, "in": "header", "description": description, "schema": { "type": "string" },
        })
    })
}

fn headers() -> Value {
    let header = |(name, description): (&str, &str)| {
        let header = json!({ "description": description, "schema": { "type": "string" } });
        (name.to_owned(), header)
    };
    let headers = described(RESPONSE_FIELDS).map(header);
    headers.collect::<Map<_, _>>().into()
}

/// References to these fields; all of them may be missing.
fn with(names: impl Iterator<Item = &'static str>) -> Value {
    let header = |name: &'static str| {
        let reference = json!({ "$ref": format!("#/components/headers/{name}") });
        (name.to_owned(), reference)
    };
    // OpenAPI describes the type of a body elsewhere.
    let names = names.filter(|name| *name != "Content-Type");
    names.map(header).collect::<Map<_, _>>().into()
}

fn responses() -> Value {
    let names = || described(RESPONSE_FIELDS).map(|(name, _)| name);
    let of_own = |name: &&str| !["Age", "ETag", "Expires", "Last-Modified"].contains(name);
    let mut responses = Map::new();
    responses.insert(
        "200".to_owned(),
        json!({
            "description": "The call, or the part of it that was asked for.",
            "headers": with(names()),
            "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Call" } } },
        }),
    );
    responses.insert(
        "304".to_owned(),
        json!({ "description": "The client has it already.", "headers": with(names()) }),
    );
    let mut by_status = BTreeMap::<StatusCode, Vec<_>>::new();
    for (slug, status) in problems() {
        by_status.entry(status).or_default().push(urn(slug));
    }
    for (status, types) in by_status {
        let reason = status.canonical_reason().unwrap_or_default();
        let schema = json!({
            "allOf": [{ "$ref": "#/components/schemas/Problem" }],
            "properties": { "type": { "enum": types }, "status": { "const": status.as_u16() } },
        });
        responses.insert(
            status.as_str().to_owned(),
            json!({
                "description": format!("{reason}: by the proxy itself, or the API's own answer."),
                "headers": with(names().filter(of_own)),
                "content": { "application/problem+json": { "schema": schema } },
            }),
        );
    }
    responses.insert(
        "default".to_owned(),
        json!({
            "description": "Whatever else the API answers, as it is.",
            "headers": with(names()),
        }),
    );
    responses.into()
}

fn urn(slug: &str) -> String {
    format!("urn:stuut-cache:{slug}")
}

/// A problem of the proxy's own (RFC 9457).
fn problem() -> Value {
    let mut types: Vec<_> = problems().map(|(slug, _)| urn(slug)).collect();
    types.dedup();
    let mut statuses: Vec<_> = problems().map(|(_, status)| status.as_u16()).collect();
    statuses.sort_unstable();
    statuses.dedup();
    json!({
        "type": "object",
        "required": ["type", "title", "status", "detail", "request_id"],
        "additionalProperties": false,
        "properties": {
            "type": { "type": "string", "enum": types, "description": "What went wrong; stable." },
            "title": { "type": "string" },
            "status": { "type": "integer", "enum": statuses },
            "detail": { "type": "string", "description": "A sentence for people." },
            "request_id": { "type": "string", "description": "As it stands in the log." },
        },
    })
}

/// A call, as far as the proxy knows what it says; a view may leave anything out.
fn call() -> Value {
    let statuses: Vec<_> = CallStatus::ALL
        .iter()
        .map(|status| status.as_str())
        .collect();
    json!({
        "type": "object",
        "properties": {
            "id": { "type": "string" },
            "status": { "type": "string", "enum": statuses },
        },
        "additionalProperties": true,
    })
}
