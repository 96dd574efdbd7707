//! HTTP/2 requests that would become two requests, or another one, when written as HTTP/1.1.

use std::time::Duration;

use http::Method;

use super::{Origin, Proxy, received};
use crate::support::h2::{self, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM};
use crate::support::{RawOrigin, Reply};

/// The expected result of a request.
#[derive(Debug)]
enum Expected {
    /// The stream is reset or the connection closes; the origin receives no complete request.
    Reset,
    /// A problem document of this type.
    Refused(&'static str),
    /// The origin receives this, in the format of [`super::Expected::Reaches`].
    Reaches(&'static str),
}

use Expected::{Reaches, Refused, Reset};

type Fields = &'static [(&'static str, &'static str)];

const GET: Fields = &[
    (":method", "GET"),
    (":scheme", "http"),
    (":authority", "a"),
    (":path", "/v1/a"),
];
const POST: Fields = &[
    (":method", "POST"),
    (":scheme", "http"),
    (":authority", "a"),
    (":path", "/v1/a"),
];

/// Fields added to those of a GET.
#[rustfmt::skip]
const FIELDS: &[(Fields, Expected)] = &[
    (&[], Reaches("GET /v1/a HTTP/1.1\n\n")),
    (&[("x", "a")], Reaches("GET /v1/a HTTP/1.1\nx: a\n\n")),
    // HTTP/1.1 has a single Cookie line (RFC 9113 §8.2.3).
    (&[("cookie", "a=1"), ("cookie", "b=2")], Reaches("GET /v1/a HTTP/1.1\ncookie: a=1; b=2\n\n")),
    (&[("te", "trailers")], Reaches("GET /v1/a HTTP/1.1\n\n")),
    (&[("host", "a")], Reaches("GET /v1/a HTTP/1.1\n\n")),
    (&[("content-length", "0")], Reaches("GET /v1/a HTTP/1.1\ncontent-length: 0\n\n")),
    (&[("host", "b")], Refused("host-contradicts")),
    (&[("host", "a"), ("host", "a")], Refused("host-repeated")),
    (&[("authorization", "Bearer a"), ("authorization", "Bearer b")], Refused("authorization-repeated")),
    (&[("content-length", "2")], Reset),
    (&[("content-length", "x")], Reset),
    (&[("transfer-encoding", "chunked")], Reset),
    (&[("connection", "close")], Reset),
    (&[("keep-alive", "5")], Reset),
    (&[("proxy-connection", "close")], Reset),
    (&[("upgrade", "h2c")], Reset),
    (&[("te", "gzip")], Reset),
    (&[("x", "a\r\nsmuggled: b")], Reset),
    (&[("x", "a\r\n\r\nGET /v1/smuggled HTTP/1.1\r\nhost: a\r\n\r\n")], Reset),
    (&[("x", "a\nsmuggled: b")], Reset),
    (&[("x", "a\rb")], Reset),
    (&[("x", "a\0")], Reset),
    (&[("x\r\nsmuggled", "a")], Reset),
    (&[("x: a\r\nsmuggled", "a")], Reset),
    (&[("x y", "a")], Reset),
    (&[("x:", "a")], Reset),
    (&[("", "a")], Reset),
    (&[("X", "a")], Reset),
    (&[(":path", "/v1/b")], Reset),
    (&[("x", "a"), (":path", "/v1/b")], Reset),
    (&[(":status", "200")], Reset),
    (&[(":x", "a")], Reset),
    (&[(":protocol", "websocket")], Reset),
];

/// Complete field sections.
#[rustfmt::skip]
const HEADS: &[(Fields, Expected)] = &[
    (&[(":method", "OPTIONS"), (":scheme", "http"), (":authority", "a"), (":path", "*")], Reaches("OPTIONS * HTTP/1.1\n\n")),
    (&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "*")], Refused("request-line")),
    // RFC 9110 §8.6: a POST without a body has a length.
    (&[(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/v1/a")], Reaches("POST /v1/a HTTP/1.1\ncontent-length: 0\n\n")),
    (&[(":method", "DELETE"), (":scheme", "http"), (":authority", "a"), (":path", "/v1/a")], Reaches("DELETE /v1/a HTTP/1.1\n\n")),
    (&[(":method", "GET"), (":scheme", "http"), (":path", "/v1/a"), ("host", "a")], Reaches("GET /v1/a HTTP/1.1\n\n")),
    (&[(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "//b/../v1/a")], Reaches("GET //b/../v1/a HTTP/1.1\n\n")),
    // The parser of `http` removes the fragment, which is never part of a target.
    (&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/v1/a#b")], Reaches("GET /v1/a HTTP/1.1\n\n")),
    (&[(":method", "GET"), (":scheme", "http"), (":path", "/v1/a")], Refused("host-missing")),
    (&[(":method", "GET"), (":scheme", "http"), (":authority", "b@a"), (":path", "/v1/a")], Refused("host-invalid")),
    (&[(":method", "!"), (":scheme", "http"), (":authority", "a"), (":path", "/line-end")], Refused("line-end")),
    (&[(":method", "!"), (":scheme", "http"), (":authority", "a"), (":path", "/v1/a")], Refused("request-line")),
    // As in HTTP/1.1: some parsers take the second byte of these characters for a space, and in the
    // log they are terminal control characters.
    (&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/v1/a\u{a0}HTTP/1.0")], Refused("request-line")),
    (&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/v1/a?\u{85}b")], Refused("request-line")),
    (&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/v1/\u{9b}31m")], Refused("request-line")),
    (&[(":method", "AMETHODTHATISLONGERTHANANYMETHOD"), (":scheme", "http"), (":authority", "a"), (":path", "/v1/a")], Reaches("AMETHODTHATISLONGERTHANANYMETHOD /v1/a HTTP/1.1\n\n")),
    (&[(":method", "AMETHODTHATISLONGERTHANANYMETHODS"), (":scheme", "http"), (":authority", "a"), (":path", "/v1/a")], Refused("request-line")),
    (&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "?a")], Reaches("GET /?a HTTP/1.1\n\n")),
    (&[(":method", "TRACE"), (":scheme", "http"), (":authority", "a"), (":path", "/v1/a")], Refused("trace")),
    (&[(":method", "CONNECT"), (":authority", "a:443")], Refused("connect")),
    (&[(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":authority", "a"), (":path", "/v1/a")], Reset),
    (&[(":method", "GET"), (":scheme", "http"), (":authority", "a b"), (":path", "/v1/a")], Reset),
    (&[(":method", "GET"), (":scheme", "http"), (":authority", "a/v1/b?"), (":path", "/v1/a")], Reset),
    (&[(":method", "GET"), (":scheme", "http"), (":authority", "a")], Reset),
    (&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "")], Reset),
    (&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "v1/a")], Reset),
    (&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "http://b/v1/a")], Reset),
    (&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/v1/a b")], Reset),
    (&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/v1/a HTTP/1.1\r\nsmuggled: b")], Reset),
    (&[(":method", "GET / HTTP/1.1\r\nhost: a\r\n\r\nGET"), (":scheme", "http"), (":authority", "a"), (":path", "/v1/a")], Reset),
    (&[(":method", "GET /v1/b"), (":scheme", "http"), (":authority", "a"), (":path", "/v1/a")], Reset),
    (&[(":scheme", "http"), (":authority", "a"), (":path", "/v1/a")], Reset),
    (&[(":method", "GET"), (":authority", "a"), (":path", "/v1/a")], Reset),
    (&[(":method", "GET"), (":scheme", "http\r\n"), (":authority", "a"), (":path", "/v1/a")], Reset),
    (&[(":method", "GET"), (":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/v1/a")], Reset),
    (&[("x", "a"), (":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/v1/a")], Reset),
];

/// Fields added to those of a POST with the body `{}`.
#[rustfmt::skip]
const LENGTHS: &[(Fields, Expected)] = &[
    (&[], Reaches("POST /v1/a HTTP/1.1\ntransfer-encoding: chunked\n\n{}")),
    (&[("content-length", "2")], Reaches("POST /v1/a HTTP/1.1\ncontent-length: 2\n\n{}")),
    (&[("content-length", "1")], Reset),
    (&[("content-length", "3")], Reset),
    (&[("content-length", "0")], Reset),
    (&[("content-length", "2"), ("content-length", "3")], Reset),
    (&[("content-length", "3"), ("content-length", "2")], Reset),
    (&[("content-length", "2"), ("content-length", "2")], Refused("content-length")),
    (&[("content-length", "2, 2")], Reset),
    (&[("content-length", "+2")], Reset),
    (&[("content-length", "")], Reset),
    (&[("content-length", "18446744073709551618")], Reset),
];

#[tokio::test]
async fn every_http2_request_becomes_one_http1_request_or_none() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let headers = |fields: &[(&str, &str)], end| {
        h2::frame(HEADERS, END_HEADERS | end, 1, &h2::field_block(fields))
    };
    let mut faults = Vec::new();
    let gets = FIELDS
        .iter()
        .map(|(fields, expected)| (headers(&[GET, fields].concat(), END_STREAM), expected));
    let heads = HEADS
        .iter()
        .map(|(fields, expected)| (headers(fields, END_STREAM), expected));
    let posts = LENGTHS.iter().map(|(fields, expected)| {
        let body = h2::frame(DATA, END_STREAM, 1, b"{}");
        (
            [headers(&[POST, fields].concat(), 0), body].concat(),
            expected,
        )
    });
    for (frames, expected) in gets.chain(heads).chain(posts) {
        let before = origin.requests().len();
        let response = send(&proxy, &frames).await;
        let forwarded = origin.requests().split_off(before);
        let fault = match (expected, &response[..], &forwarded[..]) {
            (Reset, "reset", []) => continue,
            (Refused(slug), answer, [])
                if answer.contains(&format!("urn:stuut-cache:{slug}\"")) =>
            {
                continue;
            }
            (Reaches(text), _, [request]) if received(request).as_deref() == Ok(text) => {
                continue;
            }
            _ => String::from_utf8_lossy(&frames[9..]),
        };
        faults.push(format!(
            "{fault:?}: expected {expected:?}, got {response:?}\norigin: {forwarded:?}\n"
        ));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Sends frames on stream 1, and returns its response body or `reset`.
async fn send(proxy: &Proxy, frames: &[u8]) -> String {
    let mut client = proxy.raw_connection().await;
    client.send([&h2::preface(), frames].concat()).await;
    let mut body = Vec::new();
    while let Some(frame) = client.read_frame().await {
        match (frame.kind, frame.stream) {
            (RST_STREAM, 1) | (GOAWAY, _) => return "reset".to_owned(),
            (DATA | HEADERS, 1) => {
                if frame.kind == DATA {
                    body.extend(frame.payload);
                }
                if frame.flags & END_STREAM != 0 {
                    return String::from_utf8_lossy(&body).into_owned();
                }
            }
            _ => {}
        }
    }
    "reset".to_owned()
}

/// Without `END_STREAM` a body is incomplete, even with a reset of `NO_ERROR` (RFC 9113 §8.1).
/// Many rounds on several threads: the fault was a race between body and reset.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_upload_reset_with_no_error_is_not_completed_at_the_origin() {
    const ROUNDS: usize = 60;
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |_| {}).await;
    for round in 0..ROUNDS {
        let mut client = proxy.raw_connection().await;
        let head = h2::frame(HEADERS, END_HEADERS, 1, &h2::field_block(POST));
        let half = h2::frame(DATA, 0, 1, b"{\"amount\":1");
        client.send([h2::preface(), head, half].concat()).await;
        let mut upstream = origin.accept().await;
        upstream.read_until("\"amount\":1\r\n").await;
        client.send(h2::frame(RST_STREAM, 0, 1, &[0; 4])).await;
        assert_eq!(upstream.read_to_end().await, "", "round {round}");
    }
}

/// With all declared bytes read, the end of the upload was missed: the client was blamed for a
/// stalled upload when the origin was slow.
#[tokio::test]
async fn an_empty_end_stream_frame_completes_an_upload() {
    for (length, body) in [("0", ""), ("2", "{}")] {
        let origin = Origin::start().await;
        let proxy = Proxy::with(&origin, |config| {
            config.upstream.connect_timeout = Duration::from_hours(1);
            config.upstream.total_timeout = Duration::from_hours(2);
        })
        .await;
        let _gate = origin.hold("/v1/a");
        let mut client = proxy.raw_connection().await;
        let head = [POST, &[("content-length", length)]].concat();
        let mut frames = [
            h2::preface(),
            h2::frame(HEADERS, END_HEADERS, 1, &h2::field_block(&head)),
        ]
        .concat();
        let end = h2::frame(DATA, END_STREAM, 1, b"");
        if body.is_empty() {
            // The proxy waits for END_STREAM: DATA after `content-length: 0` is malformed.
            client.send([frames, end].concat()).await;
            origin.wait_for_requests(1).await;
        } else {
            frames.extend(h2::frame(DATA, 0, 1, body.as_bytes()));
            client.send(frames).await;
            origin.wait_for_requests(1).await;
            client.send(end).await;
        }
        proxy.advance_waiters(61);
        let timeouts = "stuut_cache_upstream_requests_total{result=\"http_response_timeout\"}";
        proxy.wait_for_metric(timeouts, 1).await;
    }
}

/// hyper sent the body of a problem document in response to HEAD, a protocol error.
#[tokio::test]
async fn a_response_to_head_has_no_body() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    origin.reply("/v1/calls/gone", Reply::reset());
    for (target, status) in [
        ("/v1/calls/c1?strip=(", 400),
        ("/v1/calls/gone", 502),
        ("/v1/calls/c1", 200),
        ("/v1/calls/c1", 200),
        ("/v1/other", 200),
    ] {
        let head = |http2| {
            let request = proxy.request(Method::HEAD, target).bearer("a");
            if http2 { request.over_http2() } else { request }
        };
        let (one, two) = (head(false).await, head(true).await);
        let (one, two) = (one.assert_status(status), two.assert_status(status));
        assert!(one.header("content-length").is_some(), "{one}");
        assert_eq!(
            one.header("content-length"),
            two.assert_body("").header("content-length")
        );
        one.assert_body("");
    }
}

/// h2's own 431 has neither document nor metric: it is for heads above twice the limit.
#[tokio::test]
async fn a_large_head_is_refused_as_in_http_1_1() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let get = |size: usize| {
        let request = proxy.get("/v1/other").over_http2();
        request.header("x", &"a".repeat(size))
    };
    get(32_000).await.assert_status(200);
    get(40_000)
        .await
        .assert_problem(431, "head-too-large")
        .assert_header("proxy-status", "stuut-cache; error=http_request_error; details=\"the request head is larger than limits.headers or limits.header_bytes allows\"");
    let counted = "stuut_cache_refused_total{reason=\"head-too-large\"}";
    assert_eq!(proxy.metric(counted).await.to_string(), "1");
    get(70_000).await.assert_status(431);
    assert_eq!(proxy.metric(counted).await.to_string(), "1");
    origin.assert_requests(1);
}
