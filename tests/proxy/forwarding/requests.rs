//! What passes the cache by goes on as it came, both ways.

use http::Method;

use crate::support::{Origin, Proxy, Reply};

/// A request by hand, to be answered and closed.
fn request(line: &str, fields: &[&str]) -> String {
    let fields: String = fields.iter().flat_map(|field| [field, "\r\n"]).collect();
    format!("{line} HTTP/1.1\r\nhost: proxy.internal\r\nconnection: close\r\n{fields}\r\n")
}

/// Every byte there is, twice over.
fn every_byte() -> Vec<u8> {
    (0..=255).chain((0..=255).rev()).collect()
}

#[tokio::test]
async fn every_method_goes_on_with_its_body_and_fields_and_so_does_the_answer() {
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

        let seen = origin.last();
        assert_eq!(seen.method(), method.as_str());
        assert_eq!(seen.body, every_byte(), "{method}");
        let sent = [
            ("authorization", "Bearer a"),
            ("x-ask", "odd \u{fc} value;  two  blanks"),
            ("cookie", "c=1"),
            ("if-none-match", "\"x\""),
            ("accept-encoding", "br"),
        ];
        for (name, value) in sent {
            assert_eq!(seen.header(name).as_deref(), Some(value), "{method} {name}");
        }
    }
}

#[tokio::test]
async fn a_body_of_unknown_length_goes_on_with_every_method() {
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
            let seen = origin.last();
            assert_eq!(seen.body, b"some body", "{method} {target}: {}", seen.head);
        }
    }
}

#[tokio::test]
async fn a_target_goes_on_byte_for_byte() {
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
        // The same for what goes past the cache on a cacheable route.
        "/v1/calls/a%2Fb?strip=x",
    ];
    for target in targets {
        let answer = proxy.raw(request(&format!("GET {target}"), &[])).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{target}: {answer}");
        assert_eq!(origin.last().target(), target);
    }
}

/// Forward what was keyed.
#[tokio::test]
async fn a_fetch_for_the_cache_asks_for_the_target_byte_for_byte() {
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
    for (asked, sent) in targets {
        let line = format!("GET {asked}");
        let answer = proxy
            .raw(request(&line, &["authorization: Bearer a"]))
            .await;
        assert!(answer.contains("fwd=miss"), "{asked}: {answer}");
        assert_eq!(origin.last().target(), sent);
    }
    origin.assert_requests(targets.len());
}

#[tokio::test]
async fn the_origin_is_asked_by_its_own_name() {
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
            origin.last().header("host"),
            Some(origin.address().to_string()),
            "{target}"
        );
    }
}

#[tokio::test]
async fn fields_of_a_connection_stay_on_it_both_ways() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    origin.reply(
        "/v1/other",
        Reply::json("{}")
            .header("connection", "keep-alive, X-Hop")
            .header("connection", "x-other-hop")
            .header("keep-alive", "timeout=9")
            .header("proxy-authenticate", "Basic")
            .header("upgrade", "h2c")
            .header("x-hop", "1")
            .header("x-other-hop", "1")
            .header("x-end", "1"),
    );

    proxy
        .get("/v1/other")
        .header("connection", "X-Hop")
        .header("connection", "x-other-hop, ,")
        .header("keep-alive", "timeout=9")
        .header("proxy-connection", "keep-alive")
        .header("proxy-authorization", "Basic eDp5")
        .header("te", "trailers")
        .header("x-hop", "1")
        .header("x-other-hop", "1")
        .header("x-end", "1")
        .await
        .assert_status(200)
        .assert_header("x-end", "1")
        .assert_no_header("keep-alive")
        .assert_no_header("proxy-authenticate")
        .assert_no_header("upgrade")
        .assert_no_header("x-hop")
        .assert_no_header("x-other-hop");
    let seen = origin.last();
    assert_eq!(seen.header("x-end").as_deref(), Some("1"));
    for name in [
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "te",
        "x-hop",
        "x-other-hop",
    ] {
        assert_eq!(seen.header(name), None, "{name}: {}", seen.head);
    }
}

/// It would turn a request with a credential into one without.
#[tokio::test]
async fn connection_does_not_take_the_credential_away() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;

    for target in ["/v1/other", "/v1/calls/c1"] {
        let answer = proxy
            .get(target)
            .bearer("a")
            .header("connection", "Authorization")
            .await;
        assert_eq!(answer.json()["asked_by"], "Bearer a", "{answer}");
    }
}

#[tokio::test]
async fn via_grows_both_ways() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    // A fetch is for whoever asks: it begins here.
    for (target, sent) in [
        ("/v1/other", "1.0 before, 1.1 stuut-cache"),
        ("/v1/calls/c1", "1.1 stuut-cache"),
    ] {
        origin.reply(target, Reply::json("{}").header("via", "1.1 beyond"));
        proxy
            .get(target)
            .bearer("a")
            .header("via", "1.0 before")
            .await
            .assert_header("via", "1.1 beyond, 1.1 stuut-cache");
        assert_eq!(
            origin.last().header("via").as_deref(),
            Some(sent),
            "{target}"
        );
    }

    let answer = proxy.raw("GET /v1/other HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    assert_eq!(
        origin.last().header("via").as_deref(),
        Some("1.0 stuut-cache")
    );
}

#[tokio::test]
async fn max_forwards_counts_down_and_ends_here() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;

    for (sent, received) in [("7", "6"), ("1", "0"), ("many", "many")] {
        proxy
            .request(Method::OPTIONS, "/v1/other")
            .header("max-forwards", sent)
            .await
            .assert_status(200);
        assert_eq!(
            origin.last().header("max-forwards").as_deref(),
            Some(received)
        );
    }
    proxy
        .request(Method::OPTIONS, "/v1/other")
        .header("max-forwards", "0")
        .await
        .assert_problem(200, "last-hop");
    origin.assert_requests(3);
}

#[tokio::test]
async fn an_absolute_target_goes_on_as_its_path() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;

    let asked = [
        (
            "GET http://proxy.internal/v1/other?a=%2f",
            "/v1/other?a=%2f",
        ),
        ("GET http://proxy.internal", "/"),
        ("GET http://PROXY.internal/x", "/x"),
    ];
    for (line, target) in asked {
        let answer = proxy.raw(request(line, &[])).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{line}: {answer}");
        let seen = origin.last();
        assert_eq!(seen.target(), target, "{line}");
        assert_eq!(seen.header("host"), Some(origin.address().to_string()));
    }

    // Both spellings of one call are one key.
    let bearer = ["authorization: Bearer a"];
    let line = "GET http://proxy.internal/v1/calls/c1";
    assert!(proxy.raw(request(line, &bearer)).await.contains("fwd=miss"));
    proxy.get("/v1/calls/c1").bearer("a").await.assert_hit();

    let elsewhere = proxy.raw(request("GET http://elsewhere/x", &[])).await;
    assert!(elsewhere.starts_with("HTTP/1.1 400"), "{elsewhere}");
    assert!(elsewhere.contains("host-contradicts"), "{elsewhere}");
}

#[tokio::test]
async fn options_of_the_server_itself_goes_on() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;

    let answer = proxy.raw(request("OPTIONS *", &[])).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(origin.last().target(), "*");
}

#[tokio::test]
async fn trace_and_connect_end_at_the_door() {
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
async fn a_request_without_one_valid_host_is_refused_and_its_connection_ends() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;

    let cases = [
        ("", "host-missing"),
        ("host: a\r\nhost: a\r\n", "host-repeated"),
        ("host: a\r\nhost: b\r\n", "host-repeated"),
        ("host:\r\n", "host-invalid"),
        ("host: a b\r\n", "host-invalid"),
        ("host: user@a\r\n", "host-invalid"),
        ("host: a/b\r\n", "host-invalid"),
        ("host: a, b\r\n", "host-invalid"),
        ("host: a:port\r\n", "host-invalid"),
    ];
    for (host, slug) in cases {
        // The second request must never be read.
        let answer = proxy
            .raw(format!(
                "GET /v1/other HTTP/1.1\r\n{host}\r\nGET /v1/second HTTP/1.1\r\nhost: a\r\n\r\n"
            ))
            .await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{host:?}: {answer}");
        assert!(
            answer.contains(&format!("urn:stuut-cache:{slug}")),
            "{host:?}: {answer}"
        );
        assert!(
            answer.contains("connection: close\r\n"),
            "{host:?}: {answer}"
        );
        assert_eq!(
            answer.matches("content-length: ").count(),
            1,
            "{host:?}: {answer}"
        );
    }
    origin.assert_requests(0);
}

#[tokio::test]
async fn two_credentials_are_refused_on_every_route() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;

    for target in ["/v1/other", "/v1/calls/c1"] {
        proxy
            .get(target)
            .bearer("a")
            .bearer("a")
            .await
            .assert_problem(400, "authorization-repeated")
            .assert_header("connection", "close");
    }
    origin.assert_requests(0);
}

#[tokio::test]
async fn repeated_fields_stay_apart_and_in_order() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    origin.reply(
        "/v1/other",
        Reply::json("{}")
            .header("set-cookie", "b=2; Path=/")
            .header("x-list", "1")
            .header("set-cookie", "a=1")
            .header("x-list", "2, 3"),
    );

    let answer = proxy
        .raw(request("GET /v1/other", &["x-ask: 2", "x-ask: 1, 3"]))
        .await;
    let lines = |name: &str| -> Vec<_> {
        answer
            .lines()
            .filter(|line| line.starts_with(name))
            .collect()
    };
    assert_eq!(
        lines("set-cookie"),
        ["set-cookie: b=2; Path=/", "set-cookie: a=1"]
    );
    assert_eq!(lines("x-list"), ["x-list: 1", "x-list: 2, 3"]);
    let head = origin.last().head;
    assert!(head.contains("x-ask: 2\r\nx-ask: 1, 3\r\n"), "{head}");
}

/// RFC 9113 §8.2.3: HTTP/2 may cut the field into crumbs, HTTP/1.1 knows one line.
#[tokio::test]
async fn cookie_crumbs_of_http2_are_put_together() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;

    let mut client = proxy.http2().await;
    let request = http::Request::get(format!("http://{}/v1/other", proxy.address))
        .header("cookie", "a=1")
        .header("cookie", "b=2; c=3")
        .body(http_body_util::Full::default())
        .expect("a request");
    let response = client.send_request(request).await.expect("an answer");
    assert_eq!(response.status(), 200);
    let seen = origin.last();
    assert!(
        seen.head.contains("cookie: a=1; b=2; c=3\r\n"),
        "{}",
        seen.head
    );
    assert_eq!(seen.header("via").as_deref(), Some("2 stuut-cache"));
}

#[tokio::test]
async fn every_status_passes() {
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
                .body("said by the origin"),
        );
        proxy
            .request(Method::POST, "/v1/other")
            .await
            .assert_status(status)
            .assert_header("location", "/elsewhere")
            .assert_header("retry-after", "7")
            .assert_no_header("proxy-status")
            .assert_body("said by the origin");
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
        origin.last().header("if-none-match").as_deref(),
        Some("\"x\"")
    );
}

#[tokio::test]
async fn an_upload_that_waits_for_leave_gets_it() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;

    let mut client = proxy.wire().await;
    client
        .send("POST /v1/other HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n")
        .await;
    assert_eq!(client.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("body").await;
    let answer = client.head().await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(origin.last().body, b"body");
}

/// Leave is not given for a body that will not be taken.
#[tokio::test]
async fn an_upload_over_the_limit_is_refused_before_it_is_sent() {
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

#[tokio::test]
async fn trailers_pass_where_they_may_and_break_nothing() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let with_trailer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
                        4\r\nbody\r\n0\r\nx-sum: 1\r\n\r\n";
    origin.reply("/v1/other", Reply::raw_kept_open(with_trailer));
    origin.reply("/v1/calls/c1", Reply::raw_kept_open(with_trailer));

    let ask = |target: &str, te: &str| {
        request(
            &format!("POST {target}"),
            &[te, "transfer-encoding: chunked", "trailer: x-sum"],
        ) + "4\r\nsent\r\n0\r\nx-sum: 2\r\n\r\n"
    };
    let answer = proxy.raw(ask("/v1/other", "te: trailers")).await;
    assert!(
        answer.ends_with("4\r\nbody\r\n0\r\nx-sum: 1\r\n\r\n"),
        "{answer}"
    );
    assert_eq!(origin.last().body, b"sent");
    assert_eq!(origin.last().trailers, "x-sum: 2\r\n");

    // A client that does not say that it takes trailers gets none.
    let answer = proxy.raw(ask("/v1/other", "x-te: none")).await;
    assert!(answer.ends_with("4\r\nbody\r\n0\r\n\r\n"), "{answer}");

    // A stored response goes without.
    for expected in ["fwd=miss", "hit"] {
        let bearer = ["authorization: Bearer a", "te: trailers"];
        let answer = proxy.raw(request("GET /v1/calls/c1", &bearer)).await;
        assert!(
            answer.contains(&format!("stuut-cache; {expected}")),
            "{answer}"
        );
        assert!(answer.contains("content-length: 4\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nbody"), "{answer}");
    }
}

#[tokio::test]
async fn odd_credentials_go_on_untouched_and_nothing_is_stored_for_them() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let long = format!("Bearer {}", "a".repeat(16 << 10));
    let credentials = [
        "",
        "Bearer",
        "Basic dXNlcjpwYXNz",
        "Bearer a, Bearer b",
        "Bearer a b",
        "Bearer \u{e9}",
        "Bearer =a",
        long.as_str(),
    ];
    for credential in credentials {
        for _ in 0..2 {
            proxy
                .get("/v1/calls/c1")
                .header("authorization", credential)
                .await
                .assert_cache_status("stuut-cache; fwd=bypass; fwd-status=200; detail=credential");
            assert_eq!(
                origin.last().header("authorization").as_deref(),
                Some(credential)
            );
        }
    }
    proxy
        .get("/v1/calls/c1")
        .await
        .assert_cache_status("stuut-cache; fwd=bypass; fwd-status=200; detail=credential");
    assert_eq!(origin.last().header("authorization"), None);
    origin.assert_requests(2 * credentials.len() + 1);
    assert_eq!(proxy.metric("stuut_cache_cache_entries").await.to_bits(), 0);
}

#[tokio::test]
async fn every_way_past_the_cache_has_a_name_and_is_counted() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let call = || proxy.get("/v1/calls/c1").bearer("a");

    let ways = [
        (
            "method",
            proxy.request(Method::POST, "/v1/calls/c1").bearer("a"),
        ),
        ("route", proxy.get("/v1/calls/c1/approve").bearer("a")),
        ("credential", proxy.get("/v1/calls/c1")),
        ("body", call().body("x")),
        ("range", call().header("range", "bytes=0-1")),
        ("upgrade", call().header("upgrade", "websocket")),
        ("condition", call().header("if-match", "\"x\"")),
    ];
    for (reason, request) in ways {
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
    assert_eq!(proxy.metric("stuut_cache_cache_entries").await.to_bits(), 0);
}
