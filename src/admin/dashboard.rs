//! The dashboard: a page with its scripts and style sheet, from the folder `dashboard`.
//!
//! The page polls `GET /stats` once a second, and sends `POST /purge` on request. Its content
//! security policy allows only requests to this listener and its own scripts.

use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, StatusCode};

use super::{AdminResponse, typed};

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'";

const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

const PAGE: &str = include_str!("dashboard/index.html");
const SCRIPT: &str = include_str!("dashboard/dashboard.js");
const API: &str = include_str!("dashboard/api.js");
const CHARTS: &str = include_str!("dashboard/charts.js");
const EXPLAIN: &str = include_str!("dashboard/explain.js");
const FORMAT: &str = include_str!("dashboard/format.js");
const PURGE: &str = include_str!("dashboard/purge.js");
const STYLE: &str = include_str!("dashboard/dashboard.css");
const ICON: &str = include_str!("dashboard/dashboard.svg");

/// The dashboard's file at this path.
pub(super) fn file(path: &str) -> Option<AdminResponse> {
    let (content_type, text) = match path {
        "/" => ("text/html; charset=utf-8", PAGE),
        "/dashboard.js" => (JAVASCRIPT, SCRIPT),
        "/api.js" => (JAVASCRIPT, API),
        "/charts.js" => (JAVASCRIPT, CHARTS),
        "/explain.js" => (JAVASCRIPT, EXPLAIN),
        "/format.js" => (JAVASCRIPT, FORMAT),
        "/purge.js" => (JAVASCRIPT, PURGE),
        "/dashboard.css" => ("text/css; charset=utf-8", STYLE),
        "/dashboard.svg" => ("image/svg+xml", ICON),
        _ => return None,
    };
    let body = Bytes::from_static(text.as_bytes());
    let mut response = typed(StatusCode::OK, content_type, body);
    let fields = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (OPENER_POLICY, "same-origin"),
        (RESOURCE_POLICY, "same-origin"),
    ];
    let fields = fields.map(|(name, value)| (name, HeaderValue::from_static(value)));
    response.headers_mut().extend(fields);
    Some(response)
}
