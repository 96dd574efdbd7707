//! `/openapi.json`: the requests and responses of the proxy's cached routes, as an `OpenAPI` 3.1
//! document. Generated from the configuration and the proxy's own tables, so that it matches this
//! process.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::config::{CallStatus, Config, Route};
use crate::label::Label as _;
use crate::proxy::problems;

/// The document for this configuration.
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
                            forwarded unchanged, and described by the API's own document.",
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
                    "description": "The token of the API itself. It is forwarded unchanged; a response \
                                    stored for one token is served to no other.",
                },
            },
            "schemas": {
                "Call": call(),
                "Problem": problem(),
                "ApiError": { "type": "object", "description": "An error of the API itself." },
            },
            "headers": headers(),
        },
    });
    document.to_string().into()
}

/// A route in the notation of `OpenAPI`, which has no parameters of several segments.
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
    // An identifier, from which generators make the name of a function.
    let words = template.replace('{', "by_").replace('}', "");
    let words = words.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    let operation = |method: &str, summary: &str| {
        json!({
            "operationId": format!("{method}{words}"),
            "summary": summary,
            "parameters": parameters,
            "responses": responses(method == "get"),
        })
    };
    json!({
        "get": operation("get", "From the cache while fresh, else from the API."),
        "head": operation("head", "The head of the same response, from a stored GET."),
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
            // At most 2,048 bytes, where a schema counts characters, of up to four bytes.
            "schema": {
                "type": "string",
                "minLength": 1,
                "anyOf": [{ "maxLength": 512 }, { "pattern": "^[ -~]{1,2048}$" }],
            },
            "example": example,
        })
    };
    let named: Vec<_> = views.named.iter().map(|view| &view.name).collect();
    let mut options = vec![
        list(
            &views.fields_option,
            "Keeps only these members, with their contents.",
            "id,status,partner(id,name)",
        ),
        list(
            &views.strip_option,
            "Removes these members.",
            "invoices,**.linked_integration",
        ),
    ];
    if !named.is_empty() {
        options.push(json!({
            "name": views.view_option,
            "in": "query",
            "description": "A view by its name in the configuration.",
            "schema": { "type": "string", "enum": named },
        }));
    }
    options
}

/// Request fields that the proxy uses, one per line.
const REQUEST_FIELDS: &str = "\
If-None-Match: 304 if the client has this view in this coding already.
If-Modified-Since: 304 if not modified since; ignored with If-None-Match, or for a view.
Cache-Control: no-cache, no-store, max-age, min-fresh, max-stale and only-if-cached are honoured.
Accept-Encoding: zstd, br and gzip are supported.
X-Request-Id: An id for the request: forwarded, logged and returned.
traceparent: W3C Trace Context: propagated to the API.";

/// Response fields, one per line. All others are forwarded from the API unchanged.
const RESPONSE_FIELDS: &str = "\
Cache-Status: How the cache handled the request (RFC 9211): hit, or fwd= with the reason; ttl=, detail=.
Age: Seconds since the API responded; only on responses from the cache.
Cache-Control: From the API, lowered if the view has a shorter lifetime; no-store on a problem.
Connection: close, if the connection cannot be reused.
Content-Encoding: zstd, br or gzip.
Content-Length: Of this view, in this coding.
Content-Type: From the API, or application/problem+json.
Date: When the API responded, or the proxy itself.
ETag: Of this view, in this coding.
Expires: From the API, lowered if the view has a shorter lifetime.
Last-Modified: From the API.
Proxy-Status: What went wrong between the proxy and the API (RFC 9209).
Retry-After: Seconds; with 429 and 503.
Stuut-Cache-View: What the view did: applied; removed= (bytes), whole, or skipped; reason= (the body is the whole); unmatched= lists its paths that match nothing.
Transfer-Encoding: chunked, if streamed.
Vary: The request fields that it depends on.
Via: The proxy as an intermediary.
X-Request-Id: The client's id or, on a problem, one from the proxy.";

/// The names and descriptions in one of the lists above.
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

/// References to these fields, all of them optional.
fn header_references(names: &mut dyn Iterator<Item = &'static str>) -> Value {
    let header = |name: &'static str| {
        let reference = json!({ "$ref": format!("#/components/headers/{name}") });
        (name.to_owned(), reference)
    };
    // OpenAPI describes the type of a body elsewhere.
    let names = names.filter(|name| *name != "Content-Type");
    names.map(header).collect::<Map<_, _>>().into()
}

/// The responses to a GET, or those to a HEAD, without bodies.
fn responses(has_bodies: bool) -> Value {
    let names = || described(RESPONSE_FIELDS).map(|(name, _)| name);
    let of_a_problem = |name: &&str| !["Age", "ETag", "Expires", "Last-Modified"].contains(name);
    let response = |description: String, names: &mut dyn Iterator<Item = &'static str>| json!({ "description": description, "headers": header_references(names) });
    let mut responses = BTreeMap::new();
    let mut call = response(
        "The call, or the requested view of it.".to_owned(),
        &mut names(),
    );
    let reference = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    if has_bodies {
        call["content"] = json!({ "application/json": { "schema": reference("Call") } });
    }
    responses.insert("200".to_owned(), call);
    let not_modified = "Not modified: the client has it already.".to_owned();
    responses.insert("304".to_owned(), response(not_modified, &mut names()));
    let mut by_status = BTreeMap::<StatusCode, Vec<_>>::new();
    for (slug, status) in problems() {
        by_status.entry(status).or_default().push(urn(slug));
    }
    for (status, types) in by_status {
        let reason = status.canonical_reason().unwrap_or_default();
        let description = format!("{reason}: from the proxy, or the API's own response.");
        let mut error = response(description, &mut names().filter(of_a_problem));
        if has_bodies {
            let problem = json!({
                "allOf": [reference("Problem")],
                "properties": { "type": { "enum": types }, "status": { "const": status.as_u16() } },
            });
            let either = json!({ "anyOf": [problem, reference("ApiError")] });
            error["content"] = json!({
                "application/problem+json": { "schema": either },
                "application/json": { "schema": reference("ApiError") },
            });
        }
        responses.insert(status.as_str().to_owned(), error);
    }
    let other = "Any other response of the API, unchanged.".to_owned();
    responses.insert("default".to_owned(), response(other, &mut names()));
    json!(responses)
}

fn urn(slug: &str) -> String {
    format!("urn:stuut-cache:{slug}")
}

/// A problem document of the proxy (RFC 9457).
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
            "type": { "type": "string", "enum": types, "description": "The kind of error; stable." },
            "title": { "type": "string" },
            "status": { "type": "integer", "enum": statuses },
            "detail": { "type": "string", "description": "An explanation for people." },
            "request_id": { "type": "string", "description": "As in the log." },
        },
    })
}

/// A call, as far as the proxy knows its fields; a view may omit any of them.
fn call() -> Value {
    let statuses: Vec<_> = CallStatus::ALL
        .iter()
        .map(|status| status.as_str())
        .collect();
    json!({
        "type": "object",
        "properties": {
            "id": { "type": "string" },
            // No `enum`, which generated clients close: the API may add a status.
            "status": { "type": "string", "examples": statuses },
        },
        "additionalProperties": true,
    })
}
