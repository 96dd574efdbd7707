//! Requests that bypass the cache are forwarded unchanged, and so are their responses.

use http::Method;

use crate::support::{Origin, Proxy, RawOrigin, Reply};

/// A raw request with `connection: close`.
pub(super) fn request(line: &str, fields: &[&str]) -> String {
    let fields: String = fields.iter().flat_map(|field| [field, "\r\n"]).collect();
    format!("{line} HTTP/1.1\r\nhost: proxy.internal\r\nconnection: close\r\n{fields}\r\n")
}

/// Every byte value, twice.
fn every_byte() -> Vec<u8> {
    (0..=255).chain((0..=255).rev()).collect()
}

#[tokio::test]
async fn every_method_is_forwarded_with_fields_and_body_unchanged() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    origin.reply(
        "/v1/other?a=1",
        Reply::new(200)
            .header("content-type", "application/octet-stream")
            .header("x-answer", "odd \u{fc} value;  two  blanks")
            .body(every_byte()),
    );

    for method in [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW",
    ] {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let answer = proxy
            .request(method.clone(), "/v1/other?a=1")
            .bearer("a")
            .header("x-ask", "odd \u{fc} value;  two  blanks")
            .header("cookie", "c=1")
            .header("if-none-match", "\"x\"")
            .header("accept-encoding", "br")
            .body(every_byte())
            .await
            .assert_status(200)
            .assert_header("x-answer", "odd \u{fc} value;  two  blanks")
            .assert_header("content-length", "512")
            .assert_header("content-type", "application/octet-stream");
        if method == Method::HEAD {
            answer.assert_body("");
        } else {
            answer.assert_body(every_byte());
        }

        let forwarded = origin.last_request();
        assert_eq!(forwarded.method(), method.as_str());
        assert_eq!(forwarded.body, every_byte(), "{method}");
        let sent = [
            ("authorization", "Bearer a"),
            ("x-ask", "odd \u{fc} value;  two  blanks"),
            ("cookie", "c=1"),
            ("if-none-match", "\"x\""),
            ("accept-encoding", "br"),
        ];
        for (name, value) in sent {
            let received = forwarded.header(name);
            assert_eq!(received.as_deref(), Some(value), "{method} {name}");
        }
    }
}

#[tokio::test]
async fn a_chunked_body_is_forwarded_with_every_method() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;

    for method in ["GET", "HEAD", "POST", "DELETE", "BREW"] {
        for target in ["/v1/other", "/v1/calls/c1"] {
            let mut bytes = request(
                &format!("{method} {target}"),
                &["authorization: Bearer a", "transfer-encoding: chunked"],
            );
            bytes.push_str("4\r\nsome\r\n5\r\n body\r\n0\r\n\r\n");
            let answer = proxy.raw(bytes).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            assert_eq!(
                origin.last_request().body,
                b"some body",
                "{method} {target}"
            );
        }
    }
}

#[tokio::test]
async fn a_target_is_forwarded_byte_for_byte() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let long = format!("/v1/long?{}", "q=%7E&".repeat(1_300));
    let targets = [
        "/",
        "//",
        "/v1//other",
        "/v1/../other/./x",
        "/..",
        "/v1/a;b=1;c",
        "/v1/a%2Fb",
        "/v1/a%2fb",
        "/v1/%41%7e",
        "/v1/other?",
        "/v1/other?&&a=b&",
        "/v1/other?a=b?c=/d",
        "/v1/other?strip=x&fields=y&view=z",
        "/v1/%F0%9F%A6%80?%E2%82%AC=%e2%82%ac",
        "/v1/a+b%20c?d+e=%20",
        "/v1/a!$&'()*,=:@-._~",
        "/?x",
        long.as_str(),
        // A bypass on a cacheable route.
        "/v1/calls/a%2Fb?x=+",
    ];
    for target in targets {
        let answer = proxy.raw(request(&format!("GET {target}"), &[])).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{target}: {answer}");
        assert_eq!(origin.last_request().target(), target);
    }
}

/// The origin must receive the target that is in the cache key.
#[tokio::test]
async fn a_fetch_sends_its_target_byte_for_byte() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let targets = [
        ("/v1/calls/a%2Fb", "/v1/calls/a%2Fb"),
        ("/v1/calls/a%2fb", "/v1/calls/a%2fb"),
        ("/v1/calls/..", "/v1/calls/.."),
        ("/v1/calls/a;b", "/v1/calls/a;b"),
        ("/v1/calls/a?", "/v1/calls/a?"),
        ("/v1/calls/a?&&b=%7e&", "/v1/calls/a?&&b=%7e&"),
        ("/v1/calls/%F0%9F%A6%80", "/v1/calls/%F0%9F%A6%80"),
        (
            "/v1/calls/a?x=1&strip=number&y=%20",
            "/v1/calls/a?x=1&y=%20",
        ),
    ];
    for (target, sent) in targets {
        let line = format!("GET {target}");
        let answer = proxy
            .raw(request(&line, &["authorization: Bearer a"]))
            .await;
        assert!(answer.contains("fwd=miss"), "{target}: {answer}");
        assert_eq!(origin.last_request().target(), sent);
    }
    origin.assert_requests(targets.len());
}

#[tokio::test]
async fn requests_to_the_origin_have_its_own_host() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;

    for target in ["/v1/other", "/v1/calls/c1"] {
        proxy
            .get(target)
            .bearer("a")
            .header("x-forwarded-host", "elsewhere")
            .await
            .assert_status(200);
        assert_eq!(
            origin.last_request().header("host"),
            Some(origin.address().to_string()),
            "{target}"
        );
    }
}

#[tokio::test]
async fn an_absolute_target_has_the_cache_key_of_its_path() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;

    let bearer = ["authorization: Bearer a"];
    let line = "GET http://proxy.internal/v1/calls/c1";
    assert!(proxy.raw(request(line, &bearer)).await.contains("fwd=miss"));
    proxy.get("/v1/calls/c1").bearer("a").await.assert_hit();
}

#[tokio::test]
async fn trace_and_connect_are_405_and_list_the_allowed_methods() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;

    for (line, slug) in [("TRACE /v1/other", "trace"), ("CONNECT a:443", "connect")] {
        let answer = proxy.raw(request(line, &[])).await;
        assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
        assert!(
            answer.contains(&format!("urn:stuut-cache:{slug}")),
            "{answer}"
        );
        assert!(
            answer.contains("allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"),
            "{answer}"
        );
    }
    origin.assert_requests(0);
}

#[tokio::test]
async fn every_status_is_forwarded() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;

    for status in [
        201, 202, 206, 301, 302, 307, 400, 404, 418, 429, 451, 500, 502, 503, 599,
    ] {
        origin.reply(
            "/v1/other",
            Reply::new(status)
                .header("location", "/elsewhere")
                .header("retry-after", "7")
                .body("from the origin"),
        );
        proxy
            .request(Method::POST, "/v1/other")
            .await
            .assert_status(status)
            .assert_header("location", "/elsewhere")
            .assert_header("retry-after", "7")
            .assert_no_header("proxy-status")
            .assert_body("from the origin");
    }

    origin.reply("/v1/other", Reply::new(204).header("x-end", "1"));
    proxy
        .request(Method::DELETE, "/v1/other")
        .await
        .assert_status(204)
        .assert_header("x-end", "1")
        .assert_no_header("content-length")
        .assert_body("");

    origin.reply("/v1/other", Reply::new(304).header("etag", "\"x\""));
    proxy
        .get("/v1/other")
        .header("if-none-match", "\"x\"")
        .await
        .assert_status(304)
        .assert_header("etag", "\"x\"")
        .assert_cache_status("stuut-cache; fwd=bypass; fwd-status=304; detail=route")
        .assert_body("");
    assert_eq!(
        origin.last_request().header("if-none-match").as_deref(),
        Some("\"x\"")
    );
}

const EXPECTING: &str =
    "POST /v1/other HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";

#[tokio::test]
async fn a_100_of_the_origin_invites_the_upload() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |_| {}).await;
    for interim in ["HTTP/1.1 100 Continue\r\n\r\n", ""] {
        let mut client = proxy.raw_connection().await;
        client.send(EXPECTING).await;
        let mut upstream = origin.accept().await;
        upstream.read_head().await;
        upstream.send(interim).await;
        if interim.is_empty() {
            // An origin that sends no interim response.
            proxy.advance_waiters(1);
        }
        assert_eq!(client.read_head().await, "HTTP/1.1 100 Continue\r\n\r\n");
        client.send("body").await;
        upstream.read_until("body").await;
        upstream
            .send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .await;
        let answer = client.read_head().await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

/// Where the response ended before the upload was polled, the permitted body was cut.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_response_without_a_100_invites_the_upload_too() {
    let origin = RawOrigin::start().await;
    for _ in 0..200 {
        // A new one: the next request must not take a connection that is about to close.
        let proxy = Proxy::in_front_of(&origin.url(), |_| {}).await;
        let mut client = proxy.raw_connection().await;
        client.send(EXPECTING).await;
        let mut upstream = origin.accept().await;
        upstream.read_head().await;
        upstream
            .send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nearl")
            .await;
        // A 100 comes only if it is earlier than the response.
        let first = client.read_head().await;
        client.send("body").await;
        upstream.read_until("body").await;
        if first.contains(" 100 ") {
            client.read_head().await;
        }
        client.read_exact(4).await;
    }
}

/// The proxy answered the expectation itself, and refused uploads were sent whole.
#[tokio::test]
async fn an_upload_that_the_origin_refuses_is_not_sent() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |_| {}).await;
    let mut client = proxy.raw_connection().await;
    client.send(EXPECTING).await;
    let mut upstream = origin.accept().await;
    upstream.read_head().await;
    upstream
        .send("HTTP/1.1 413 Too Large\r\ncontent-length: 4\r\n\r\nlong")
        .await;
    let answer = client.read_until("long").await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert_eq!(upstream.read_to_end().await, "");
    proxy
        .wait_for_metric("stuut_cache_upstream_in_flight", 0)
        .await;
    assert_eq!(client.read_to_end().await, "");
    // The slot was held until the upload was cut off, five seconds later.
    proxy
        .wait_for_metric("stuut_cache_uploads_cut_total", 0)
        .await;
}

/// `100 Continue` would invite an upload that is rejected.
#[tokio::test]
async fn an_upload_over_the_limit_gets_413_instead_of_100_continue() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.limits.request_body = stuut_cache::config::ByteSize(3);
    })
    .await;

    let answer = proxy
        .raw("POST /v1/other HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    origin.assert_requests(0);
}

/// Java's clients offer an upgrade on every request: the cache must not lose them.
#[tokio::test]
async fn an_upgrade_offer_is_ignored() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let jdk = "GET /v1/calls/c1 HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nHost: a\r\n\
               HTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAABgAGAAA\r\nUpgrade: h2c\r\n\
               User-Agent: Java-http-client/21\r\nAuthorization: Bearer t\r\n\r\n";
    let apache = "GET /v1/calls/c1 HTTP/1.1\r\nAccept-Encoding: gzip, x-gzip, deflate\r\nHost: a\r\n\
                  User-Agent: Apache-HttpClient/5.4 (Java/21.0.2)\r\nUpgrade: TLS/1.2\r\n\
                  Connection: Upgrade\r\nAuthorization: Bearer t\r\n\r\n";
    let view = apache.replace("c1", "c1?fields=number");
    let error = apache.replace("c1", "c1?fields=(");
    let last = jdk.replace("Upgrade,", "Upgrade, close,");
    let requests = [jdk, apache, &view, &error, &last];
    let answers = proxy.raw(requests.concat()).await;
    assert_eq!(
        answers.matches("stuut-cache; fwd=miss").count(),
        1,
        "{answers}"
    );
    assert_eq!(answers.matches("stuut-cache; hit").count(), 3, "{answers}");
    assert_eq!(answers.matches("{\"number\":1}").count(), 1, "{answers}");
    assert_eq!(
        answers.matches("urn:stuut-cache:view").count(),
        1,
        "{answers}"
    );
    origin.assert_requests(1);
    assert_eq!(origin.last_request().header("upgrade"), None);
}

#[tokio::test]
async fn every_bypass_reason_is_reported_and_counted() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let call = || proxy.get("/v1/calls/c1").bearer("a");

    let bypasses = [
        (
            "method",
            proxy.request(Method::POST, "/v1/calls/c1").bearer("a"),
        ),
        ("route", proxy.get("/v1/calls/c1/approve").bearer("a")),
        ("credential", proxy.get("/v1/calls/c1")),
        ("body", call().body("x")),
        ("range", call().header("range", "bytes=0-1")),
        ("condition", call().header("if-match", "\"x\"")),
    ];
    for (reason, request) in bypasses {
        let line = format!("stuut_cache_bypass_total{{reason=\"{reason}\"}}");
        let before = proxy.metric(&line).await;
        let fwd = if reason == "method" {
            "method"
        } else {
            "bypass"
        };
        request.await.assert_cache_status(&format!(
            "stuut-cache; fwd={fwd}; fwd-status=200; detail={reason}"
        ));
        let counted = proxy.metric(&line).await - before;
        assert!((counted - 1.0).abs() < f64::EPSILON, "{reason}: {counted}");
    }
    assert_eq!(proxy.metric("stuut_cache_entries").await.to_bits(), 0);
}
