//! Stored responses that are sent without hyper: the same as by hyper, which gets every request that is not
//! plain.

use std::collections::BTreeSet;
use std::time::UNIX_EPOCH;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::server::CALL;
use crate::support::{Origin, Proxy, Reply};

const DIRECT: bool = true;
const HYPER: bool = false;

/// Request lines with further fields, and whether hyper does not see the request. `@` stands for the call, `!` for
/// the usual fields.
#[rustfmt::skip]
const REQUESTS: [(&str, bool); 41] = [
    ("GET @ HTTP/1.1\r\n!", DIRECT),
    ("GET @ HTTP/1.1\r\nHOST: a\r\nAuthorization:Bearer a \r\nUSER-AGENT: \t curl/8 ", DIRECT),
    ("GET @ HTTP/1.1\r\n!\r\nuser-agent: b\r\naccept: */*\r\naccept-encoding: identity", DIRECT),
    ("GET @ HTTP/1.1\r\n!\r\nconnection: keep-alive", DIRECT),
    ("GET @ HTTP/1.1\r\n!\r\nConnection: Keep-Alive", DIRECT),
    ("GET @ HTTP/1.1\r\n!\r\nx-request-id: given", DIRECT),
    ("GET @ HTTP/1.1\r\n!\r\nx-request-id: given\r\nx-request-id: twice", DIRECT),
    ("GET @ HTTP/1.1\r\n!\r\nx-request-id: not one word", DIRECT),
    ("GET @ HTTP/1.1\r\n!\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", DIRECT),
    ("GET @ HTTP/1.1\r\n!\r\nte: trailers", DIRECT),
    ("GET @ HTTP/1.1\r\n!\r\nvia: 1.1 other", DIRECT),
    ("GET @ HTTP/1.1\r\n!\r\nx: \u{e9}", DIRECT),
    ("GET @ HTTP/1.1\r\n!\r\naccept: application/json", DIRECT),
    ("GET @ HTTP/1.1\r\n!\r\ncache-control: max-stale=5", DIRECT),
    ("GET @ HTTP/1.1\r\n!\r\nif-none-match: \"other\"", DIRECT),
    ("GET @?fields=id HTTP/1.1\r\n!", DIRECT),
    ("GET /v1/calls/none HTTP/1.1\r\n!", DIRECT),
    ("GET /v1/calls/signed HTTP/1.1\r\n!", DIRECT),
    ("GET /v1/calls/lines HTTP/1.1\r\n!", DIRECT),
    ("GET /v1/calls/short HTTP/1.1\r\n!", DIRECT),
    ("GET @ HTTP/1.1\r\n!\r\nif-none-match: \"tag\"", HYPER),
    ("GET @ HTTP/1.1\r\n!\r\nif-none-match: *", HYPER),
    ("HEAD @ HTTP/1.1\r\n!", HYPER),
    ("GET @ HTTP/1.0\r\n!", HYPER),
    ("GET http://a@ HTTP/1.1\r\n!", HYPER),
    ("GET @ HTTP/1.1\r\n!\r\nconnection: close", HYPER),
    ("GET @ HTTP/1.1\r\n!\r\nconnection: keep-alive, close", HYPER),
    ("GET @ HTTP/1.1\r\n!\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AA", HYPER),
    ("GET @ HTTP/1.1\r\n!\r\nexpect: 100-continue", HYPER),
    ("GET @ HTTP/1.1\r\n!\r\ncontent-length: 0", HYPER),
    ("GET @?fields= HTTP/1.1\r\n!", HYPER),
    ("GET @ HTTP/1.1\r\nhost: a", HYPER),
    ("GET @ HTTP/1.1\r\nhost: a\r\nauthorization: Basic Yg==", HYPER),
    ("GET @ HTTP/1.1\r\n!\r\nauthorization: Bearer b", HYPER),
    ("GET @ HTTP/1.1\r\nauthorization: Bearer a", HYPER),
    ("GET @ HTTP/1.1\r\n!\r\nhost: b", HYPER),
    ("GET @ HTTP/1.1\r\n!\r\nrange: bytes=0-1", HYPER),
    ("GET /v1/other HTTP/1.1\r\n!", HYPER),
    ("GET @ HTTP/1.1\r\n!\r\ncache-control: no-cache", HYPER),
    ("GET /v1/calls/c2 HTTP/1.1\r\n!\r\ncache-control: only-if-cached", HYPER),
    ("GET @ HTTP/1.2\r\n!", HYPER),
];

/// A response without the fields that differ between any two; the order of fields with different names means
/// nothing (RFC 9110 §5.3).
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    status: String,
    fields: BTreeSet<String>,
    body: String,
}

#[tokio::test]
async fn a_response_without_hyper_is_that_of_hyper() {
    let origin = Origin::start().await;
    let call = Reply::json(r#"{"id":"c1","status":"completed"}"#)
        .header("cache-control", "max-age=600")
        .header("etag", "\"tag\"");
    origin.reply(CALL, call);
    origin.default_reply(Reply::json("{}"));
    origin.reply(
        "/v1/calls/none",
        Reply::new(404).header("cache-control", "max-age=600"),
    );
    let proxy = Proxy::start(&origin).await;
    // Lifetimes are lowered.
    let expiring = expiring_in(3_600, &proxy);
    let signed = Reply::json(&expiring)
        .header("cache-control", "private, max-age=86400")
        .header("expires", "Fri, 31 Dec 9999 23:59:59 GMT");
    origin.reply("/v1/calls/signed", signed);
    // Several lines, a field that is removed, and lifetimes below the limit.
    let lines = Reply::json(&expiring)
        .header("cache-control", "private")
        .header("cache-control", "max-age=86400, stale-while-revalidate=9")
        .header("cdn-cache-control", "stale-if-error=9");
    let short = Reply::json(&expiring)
        .header("cache-control", "private")
        .header("cache-control", "max-age=600")
        .header("date", &proxy.date(-60));
    origin.reply("/v1/calls/lines", lines);
    origin.reply("/v1/calls/short", short);
    for target in [
        CALL,
        &format!("{CALL}?fields=id"),
        "/v1/calls/none",
        "/v1/calls/signed",
        "/v1/calls/lines",
        "/v1/calls/short",
    ] {
        proxy
            .raw(request(&format!(
                "GET {target} HTTP/1.1\r\n!\r\nconnection: close"
            )))
            .await;
    }
    proxy.advance_seconds(7);
    let many = |fields: usize| {
        (
            format!("GET @ HTTP/1.1\r\n!{}", "\r\nx: y".repeat(fields)),
            HYPER,
        )
    };
    let long = format!("GET @ HTTP/1.1\r\n!\r\nx: {}", "y".repeat(2_000));
    let rows = REQUESTS.map(|(request, way)| (request.to_owned(), way));
    for (text, expected) in rows.into_iter().chain([many(40), (long, DIRECT)]) {
        let request = request(&text);
        let (seen, is_direct) = answer(&proxy, &request).await;
        // The empty line before it is ignored (RFC 9112 §2.2), and is not plain.
        let (by_hyper, other) = answer(&proxy, &format!("\r\n{request}")).await;
        assert_eq!(seen, by_hyper, "{text:?}");
        assert_eq!((is_direct, other), (expected, HYPER), "{text:?}: {seen:?}");
        let lowered = "cache-control: private, max-age=3570";
        let is_lowered = text.contains("/signed") || text.contains("/lines");
        assert_eq!(seen.fields.contains(lowered), is_lowered, "{seen:?}");
    }
}

/// hyper gets a head in pieces, and one with another behind it; the next request is direct again.
#[tokio::test]
async fn a_connection_changes_between_both_ways() {
    let origin = Origin::start().await;
    let call = Reply::json(r#"{"id":"c1"}"#).header("cache-control", "max-age=600");
    origin.reply(CALL, call);
    let proxy = Proxy::start(&origin).await;
    let get = request("GET @ HTTP/1.1\r\n!");
    let mut client = proxy.raw_connection().await;
    let (start, rest) = get.split_at(20);
    for (pieces, ways) in [
        (vec![&*get], &[HYPER][..]), // a miss
        (vec![&*get], &[DIRECT]),
        (vec![start, rest], &[HYPER]),
        (vec![&*get], &[DIRECT]),
        (vec![&*[&*get, &get, &get].concat()], &[HYPER; 3]),
        (vec![&*get], &[DIRECT]),
    ] {
        if let [start, rest] = *pieces {
            client.send(start).await;
            // It has arrived alone: hyper waits for the rest.
            proxy
                .wait_for_metric("stuut_cache_connections_idle", 0)
                .await;
            client.send(rest).await;
        } else {
            client.send(pieces[0]).await;
        }
        for way in ways {
            let head = client.read_head().await;
            assert_eq!(is_direct(&head), *way, "{head}");
            assert_eq!(client.read_exact(11).await, br#"{"id":"c1"}"#);
        }
    }
    origin.assert_requests(1);
}

/// A call with a URL that expires in that many seconds on the test's clock.
fn expiring_in(seconds: u64, proxy: &Proxy) -> String {
    let now = proxy.clock.now().wall.duration_since(UNIX_EPOCH);
    let end = now.expect("a time after 1970").as_secs() + seconds;
    format!(r#"{{"recording_url":"https://a.example/b?Signature=c&Expires={end}"}}"#)
}

fn request(text: &str) -> String {
    let text = text.replace('!', "host: a\r\nauthorization: Bearer a");
    text.replace('@', CALL) + "\r\n\r\n"
}

/// The response on a connection that is known to be HTTP/1, and whether it is direct.
async fn answer(proxy: &Proxy, text: &str) -> (Seen, bool) {
    let mut socket = proxy.connect().await;
    let first = request("HEAD @ HTTP/1.1\r\n!");
    socket
        .write_all(first.as_bytes())
        .await
        .expect("the proxy reads");
    let mut response = Vec::new();
    while !response.ends_with(b"\r\n\r\n") {
        let read = socket.read_buf(&mut response).await;
        assert_ne!(read.expect("the proxy answers"), 0);
    }
    response.clear();
    socket
        .write_all(text.as_bytes())
        .await
        .expect("the proxy reads");
    socket.shutdown().await.expect("the proxy reads");
    let read = socket.read_to_end(&mut response).await;
    read.expect("the proxy closes");
    let response = String::from_utf8_lossy(&response);
    let (head, body) = response.split_once("\r\n\r\n").expect("a head");
    let mut lines = head.lines();
    let status = lines.next().expect("a status line").to_owned();
    let is_given = text.contains("given");
    // Only a hit has a date of the test's clock.
    let is_hit = head.contains("; hit");
    let fields = lines
        .filter(|line| is_given || !line.starts_with("x-request-id"))
        .filter(|line| is_hit || !line.starts_with("date: "));
    // A problem document names its request.
    let body = body.lines().filter(|line| !line.contains("request_id"));
    let seen = Seen {
        status,
        fields: fields.map(str::to_owned).collect(),
        body: body.collect(),
    };
    (seen, is_direct(head))
}

/// hyper adds `Content-Length` after the other fields.
fn is_direct(head: &str) -> bool {
    let last = head.trim_end().lines().last();
    last.is_some_and(|line| line.starts_with("x-request-id"))
}
