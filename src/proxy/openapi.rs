//! The requests and responses of the cached routes, as an `OpenAPI` 3.1 document. Generated from the
//! configuration and the proxy's own tables, so that it matches this process.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use serde_json::{Map, Value, json};

use super::body::Body;
use super::error::{CACHE_STATUS, problems};
use crate::config::{CallStatus, Config, Route, RoutePattern};
use crate::label::Label as _;
use crate::outcome::Outcome;
use crate::telemetry::RequestId;

/// The parts that depend on no setting and no table.
const CONSTANT: &str = include_str!("openapi/document.json");

/// The parameters besides those of the path: the lists of fields and strip, the view, the wait and its
/// time-out, then request fields that the proxy uses.
///
/// A list has at most 2,048 bytes; a schema counts characters, of up to four bytes.
const PARAMETERS: &str = include_str!("openapi/parameters.json");

/// The document on the proxy's own port, at `server.openapi_path`.
#[derive(Clone, Debug)]
pub(super) struct OpenApi {
    path: RoutePattern,
    document: Bytes,
}

impl OpenApi {
    /// `None` if no path is configured.
    pub(super) fn of(config: &Config) -> Option<Self> {
        let path = config.server.openapi_path.clone()?;
        let document = document(config);
        Some(Self { path, document })
    }

    /// The response to a request for the document, with or without a token.
    pub(super) fn answer(&self, head: &Parts, id: &RequestId) -> Option<Response<Body>> {
        let is_read = matches!(head.method, Method::GET | Method::HEAD);
        if !is_read || head.uri.path() != self.path.as_str() {
            return None;
        }
        let outcome = Outcome::OpenApi;
        let mut response = Response::new(Body::whole(self.document.clone(), outcome.into()));
        let fields = response.headers_mut();
        let media = HeaderValue::from_static("application/json");
        fields.insert(CONTENT_TYPE, media);
        // A reload changes it.
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        fields.insert(CACHE_STATUS, outcome.cache_status());
        fields.insert(RequestId::FIELD, id.to_header());
        Some(response)
    }
}

/// The document for this configuration.
pub fn document(config: &Config) -> Bytes {
    let mut document: Value = serde_json::from_str(CONSTANT).expect("the file is JSON");
    let license = env!("CARGO_PKG_LICENSE");
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    document["info"]["license"] = json!({ "name": license, "identifier": license });
    let schemas = &mut document["components"]["schemas"];
    // No `enum`, which generated clients close: the API may add a status.
    let statuses = CallStatus::ALL.iter().map(|status| status.as_str());
    schemas["Call"]["properties"]["status"]["examples"] = statuses.collect();
    let problem = &mut schemas["Problem"]["properties"];
    let mut types: Vec<_> = problems().map(|(slug, _)| urn(slug)).collect();
    types.dedup();
    problem["type"]["enum"] = json!(types);
    let statuses = problems().map(|(_, status)| status.as_u16());
    problem["status"]["enum"] = json!(statuses.collect::<BTreeSet<_>>());
    let fields = document["components"]["headers"].as_object();
    let fields = fields.into_iter().flat_map(Map::keys);
    let fields: Vec<_> = fields.map(String::as_str).collect();
    let parameters = parameters(config);
    let operations = |route| (template(route), path(route, &parameters, &fields));
    let paths: Map<_, _> = config.cache.routes.iter().map(operations).collect();
    document["paths"] = paths.into();
    document.to_string().into()
}

/// A route in the notation of `OpenAPI`, which has no parameters of several segments.
fn template(route: &Route) -> String {
    route.path.as_str().replace("{*", "{")
}

fn path(route: &Route, common: &[Value], fields: &[&str]) -> Value {
    let template = template(route);
    let names = template.split('{').skip(1);
    let names = names.filter_map(|rest| Some(rest.split_once('}')?.0));
    let mut parameters: Vec<_> = names
        .map(|name| {
            json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })
        })
        .collect();
    parameters.extend_from_slice(common);
    // An identifier, from which generators make the name of a function.
    let words = template.replace('{', "by_").replace('}', "");
    let words = words.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    let operation = |method: &str, summary: &str| {
        json!({
            "operationId": format!("{method}{words}"),
            "summary": summary,
            "parameters": parameters,
            "responses": responses(method == "get", fields),
        })
    };
    json!({
        "get": operation("get", "From the cache while fresh, else from the API."),
        "head": operation("head", "The head of the same response, from a stored GET."),
    })
}

fn parameters(config: &Config) -> Vec<Value> {
    let mut parameters: Vec<Value> = serde_json::from_str(PARAMETERS).expect("the file is JSON");
    let views = &config.views;
    let options = [
        &views.fields_option,
        &views.strip_option,
        &views.view_option,
        &views.wait_option,
        &views.wait_timeout_option,
    ];
    for (parameter, name) in parameters.iter_mut().zip(options) {
        parameter["name"] = name.as_str().into();
    }
    if views.named.is_empty() {
        parameters.remove(2);
    } else {
        let named = views.named.iter().map(|view| view.name.as_str());
        parameters[2]["schema"]["enum"] = named.collect();
    }
    parameters
}

/// References to these fields, all of them optional.
fn references<'a>(fields: impl Iterator<Item = &'a &'a str>) -> Value {
    // OpenAPI describes the type of a body elsewhere.
    let fields = fields.filter(|name| **name != "Content-Type");
    let reference = |name| json!({ "$ref": format!("#/components/headers/{name}") });
    let references = fields.map(|name| ((*name).to_owned(), reference(*name)));
    references.collect::<Map<_, _>>().into()
}

/// The responses to a GET, or those to a HEAD, without bodies.
fn responses(has_bodies: bool, fields: &[&str]) -> Value {
    let all = references(fields.iter());
    let of_a_problem = |name: &&&str| !["Age", "ETag", "Expires", "Last-Modified"].contains(*name);
    let of_a_problem = references(fields.iter().filter(of_a_problem));
    let response = |description: &str, headers: &Value| json!({ "description": description, "headers": headers });
    let mut responses = BTreeMap::new();
    let mut call = response("The call, or the requested view of it.", &all);
    let reference = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    if has_bodies {
        call["content"] = json!({ "application/json": { "schema": reference("Call") } });
    }
    responses.insert("200".to_owned(), call);
    let not_modified = response("Not modified: the client has it already.", &all);
    responses.insert("304".to_owned(), not_modified);
    let mut by_status = BTreeMap::<StatusCode, Vec<_>>::new();
    for (slug, status) in problems() {
        by_status.entry(status).or_default().push(urn(slug));
    }
    for (status, types) in by_status {
        let reason = status.canonical_reason().unwrap_or_default();
        let description = format!("{reason}: from the proxy, or the API's own response.");
        let mut error = response(&description, &of_a_problem);
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
    let other = response("Any other response of the API, unchanged.", &all);
    responses.insert("default".to_owned(), other);
    json!(responses)
}

fn urn(slug: &str) -> String {
    format!("urn:stuut-cache:{slug}")
}
