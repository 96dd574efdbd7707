//! The dashboard: one page with its scripts and its style, as they lie in the folder beside this
//! file.
//!
//! The page asks `GET /stats` once a second, and `POST /purge` when it is told to. Its policy
//! lets it load and ask nothing but this listener, and run no code that is not in its scripts.

use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, StatusCode};

use super::{Answer, typed};

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'";

const PAGE: &str = include_str!("dashboard/index.html");
const SCRIPT: &str = include_str!("dashboard/dashboard.js");
const CHARTS: &str = include_str!("dashboard/charts.js");
const FORMAT: &str = include_str!("dashboard/format.js");
const PURGE: &str = include_str!("dashboard/purge.js");
const STYLE: &str = include_str!("dashboard/dashboard.css");
const ICON: &str = include_str!("dashboard/dashboard.svg");

/// The file at this path, if it is one of the dashboard's.
pub(super) fn file(path: &str) -> Option<Answer> {
    let (content_type, text) = match path {
        "/" => ("text/html; charset=utf-8", PAGE),
        "/dashboard.js" => (JAVASCRIPT, SCRIPT),
        "/charts.js" => (JAVASCRIPT, CHARTS),
        "/format.js" => (JAVASCRIPT, FORMAT),
        "/purge.js" => (JAVASCRIPT, PURGE),
        "/dashboard.css" => ("text/css; charset=utf-8", STYLE),
        "/dashboard.svg" => ("image/svg+xml", ICON),
        _ => return None,
    };
    let mut answer = typed(
        StatusCode::OK,
        content_type,
        Bytes::from_static(text.as_bytes()),
    );
    let fields = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ];
    for (name, value) in fields {
        answer
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    Some(answer)
}
