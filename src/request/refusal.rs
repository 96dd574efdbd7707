//! Refusals: why a request is rejected before it is routed, and how framing passes one to hyper.

use http::Method;
use http::request::Parts;

use crate::label::{Label as _, labels};

labels! {
    /// Why a request is refused.
    #[expect(clippy::doc_markdown, reason = "the sentences are for clients, too")]
    pub enum Refusal {
        // RFC 9112 §3
        RequestLine => "request-line": "the request line is not a method, a target and a version",
        Version => "http-version": "only HTTP/1.0, HTTP/1.1 and HTTP/2 are supported",
        // RFC 9112 §5
        FieldLine => "field-line": "a field line is not a name, a colon and a value",
        // RFC 9112 §2.2
        LineEnd => "line-end": "a line of the request head does not end with CR LF",
        ControlCharacter => "control-character": "the request head contains a control character",
        // RFC 9112 §6.2
        ContentLength => "content-length": "Content-Length is not exactly one number",
        // RFC 9112 §6.1
        LengthAndCoding => "length-and-coding": "both Content-Length and Transfer-Encoding; send only one of them",
        HostMissing => "host-missing": "an HTTP/1.1 request needs a Host field",
        HostRepeated => "host-repeated": "more than one Host field; send one",
        HostInvalid => "host-invalid": "the Host field is not a host and port",
        HostContradicts => "host-contradicts": "the Host field and the absolute request target name different hosts",
        AuthorizationRepeated => "authorization-repeated": "more than one Authorization field; send one",
        UriTooLong => "uri-too-long": "the request target is longer than limits.uri",
        HeadTooLarge => "head-too-large": "the request head is larger than limits.headers or limits.header_bytes allows",
        BodyTooLarge => "body-too-large": "the request body is larger than limits.request_body",
        // RFC 9112 §6.1
        TransferCoding => "transfer-coding": "the body has a transfer coding other than chunked; send it without",
        Connect => "connect": "CONNECT is not supported",
        Trace => "trace": "TRACE is not supported; it would echo the credential",
        // RFC 9209 §2.3.15
        Loop => "proxy_loop_detected": "the request has passed this proxy before, or seven others like it: is upstream.url the address of a proxy?",
        // RFC 9110 §7.6.2
        LastHop => "last-hop": "Max-Forwards is 0: the request is not forwarded",
        View => "view": "a view option is invalid",
        Wait => "wait": "a wait option is invalid",
        Waiting => "waiting": "too many requests wait for a change: limits.waiting, or this token's share of it, is reached",
    }
}

/// The refusal of a request, with a sentence for the client.
#[derive(Debug)]
pub struct Refused {
    /// The reason as a value.
    pub why: Refusal,
    /// The reason in words, with the position of the fault if there is one.
    pub sentence: String,
}

impl From<Refusal> for Refused {
    fn from(why: Refusal) -> Self {
        Self {
            why,
            sentence: why.sentence().to_owned(),
        }
    }
}

/// A valid method to hyper, but not to [`Framing`](super::Framing).
const METHOD: &str = "!";

/// The head that hyper gets instead of one that framing has refused.
///
/// So a refusal is handled like any request: it is answered in order, counted and logged, with the
/// same problem document. No HTTP/1.1 client can send this head: its method is invalid.
#[must_use]
pub fn rejection(why: Refusal) -> Vec<u8> {
    format!("{METHOD} /{} HTTP/1.1\r\nhost: -\r\n\r\n", why.as_str()).into_bytes()
}

/// Whether a request of this method is a [`rejection`].
#[must_use]
pub fn is_rejection(method: &Method) -> bool {
    method.as_str() == METHOD
}

/// The refusal in a [`rejection`]. An HTTP/2 client can send one, and is refused as well.
pub(super) fn rejected(head: &Parts) -> Option<Refusal> {
    if !is_rejection(&head.method) {
        return None;
    }
    let slug = head.uri.path().trim_start_matches('/');
    let why = Refusal::ALL.iter().find(|why| why.as_str() == slug);
    Some(*why.unwrap_or(&Refusal::RequestLine))
}
