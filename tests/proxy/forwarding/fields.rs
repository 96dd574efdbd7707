//! Fields and trailers of forwarded messages: hop-by-hop fields are removed, the others are kept.

use http::Method;

use stuut_cache::request::pseudonym;

use super::requests::request;
use crate::support::{Origin, Proxy, Reply};

#[tokio::test]
async fn hop_by_hop_fields_are_removed_in_both_directions() {
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
    let forwarded = origin.last_request();
    assert_eq!(forwarded.header("x-end").as_deref(), Some("1"));
    for name in [
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "te",
        "x-hop",
        "x-other-hop",
    ] {
        assert_eq!(forwarded.header(name), None, "{name}: {}", forwarded.head);
    }
}

/// Removing it would turn an authenticated request into an anonymous one.
#[tokio::test]
async fn authorization_is_forwarded_even_if_connection_names_it() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;

    for target in ["/v1/other", "/v1/calls/c1"] {
        let answer = proxy
            .get(target)
            .bearer("a")
            .header("connection", "Authorization")
            .await;
        assert_eq!(answer.json()["authorization"], "Bearer a", "{answer}");
    }
}

#[tokio::test]
async fn via_is_extended_in_both_directions() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let own = pseudonym();
    for target in ["/v1/other", "/v1/calls/c1"] {
        origin.reply(target, Reply::json("{}").header("via", "1.1 beyond"));
        proxy
            .get(target)
            .bearer("a")
            .header("via", "1.0 before")
            .await
            .assert_header("via", &format!("1.1 beyond, 1.1 {own}"));
        assert_eq!(
            origin.last_request().header("via"),
            Some(format!("1.0 before, 1.1 {own}")),
            "{target}"
        );
    }

    let answer = proxy.raw("GET /v1/other HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    let via = origin.last_request().header("via");
    assert_eq!(via, Some(format!("1.0 {own}")));
    proxy.get("/v1/other").over_http2().await;
    let via = origin.last_request().header("via");
    assert_eq!(via, Some(format!("2 {own}")));
}

/// A proxy whose `upstream.url` is itself used a slot for each turn of the loop.
#[tokio::test]
async fn a_request_that_returns_is_a_loop() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let own = format!("1.1 {}", pseudonym());
    let replicas = ["1.1 stuut-cache-00000000"; 8].join(", ");
    for target in ["/v1/other", "/v1/calls/c1"] {
        for via in [&own, &replicas] {
            proxy
                .get(target)
                .bearer("a")
                .header("via", via)
                .await
                .assert_problem(502, "proxy_loop_detected");
        }
        let seven = &replicas[..replicas.len() - 26];
        let chain = proxy.get(target).bearer("a").header("via", seven);
        chain.await.assert_status(200);
    }
    origin.assert_requests(2);
}

#[tokio::test]
async fn max_forwards_is_decremented_and_zero_is_answered_locally() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;

    for (sent, received) in [("7", "6"), ("1", "0"), ("many", "many")] {
        proxy
            .request(Method::OPTIONS, "/v1/other")
            .header("max-forwards", sent)
            .await
            .assert_status(200);
        assert_eq!(
            origin.last_request().header("max-forwards").as_deref(),
            Some(received)
        );
    }
    proxy
        .request(Method::OPTIONS, "/v1/other")
        .header("max-forwards", "0")
        .await
        .assert_status(200)
        .assert_header("allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
        .assert_header("content-length", "0")
        .assert_no_header("content-type")
        .assert_cache_status("stuut-cache; detail=last-hop");
    origin.assert_requests(3);
}

#[tokio::test]
async fn repeated_authorization_is_rejected_on_every_route() {
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
async fn repeated_fields_stay_separate_and_in_order() {
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
    let head = origin.last_request().head;
    assert!(head.contains("x-ask: 2\r\nx-ask: 1, 3\r\n"), "{head}");
}

#[tokio::test]
async fn trailers_are_forwarded_with_te_and_dropped_from_stored_responses() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let with_trailer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
                        4\r\nbody\r\n0\r\nx-sum: 1\r\n\r\n";
    origin.reply("/v1/other", Reply::raw_kept_open(with_trailer));
    origin.reply("/v1/calls/c1", Reply::raw_kept_open(with_trailer));

    let post = |target: &str, te: &str| {
        request(
            &format!("POST {target}"),
            &[te, "transfer-encoding: chunked", "trailer: x-sum"],
        ) + "4\r\nsent\r\n0\r\nx-sum: 2\r\n\r\n"
    };
    let answer = proxy.raw(post("/v1/other", "te: trailers")).await;
    assert!(
        answer.ends_with("4\r\nbody\r\n0\r\nx-sum: 1\r\n\r\n"),
        "{answer}"
    );
    assert_eq!(origin.last_request().body, b"sent");
    assert_eq!(origin.last_request().trailers, "x-sum: 2\r\n");

    // Without `te: trailers` the client gets none.
    let answer = proxy.raw(post("/v1/other", "x-te: none")).await;
    assert!(answer.ends_with("4\r\nbody\r\n0\r\n\r\n"), "{answer}");

    // A stored response has no trailers.
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
async fn unusual_credentials_are_forwarded_unchanged_and_never_cached() {
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
                origin.last_request().header("authorization").as_deref(),
                Some(credential)
            );
        }
    }
    proxy
        .get("/v1/calls/c1")
        .await
        .assert_cache_status("stuut-cache; fwd=bypass; fwd-status=200; detail=credential");
    assert_eq!(origin.last_request().header("authorization"), None);
    origin.assert_requests(2 * credentials.len() + 1);
    assert_eq!(proxy.metric("stuut_cache_entries").await.to_bits(), 0);
}

/// They sent clients past the proxy, and most clients drop the token there.
#[tokio::test]
async fn targets_that_name_the_origin_become_relative() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let own = origin.address();
    let reply = Reply::new(308)
        .header("cache-control", "max-age=60")
        .header("location", &format!("https://{own}/v1/calls/c2?x=1"))
        .header("content-location", &format!("http://{own}//evil.example/"))
        .header(
            "link",
            &format!("<http://{own}/v1/calls?page=2>; rel=\"next\", <//cdn/x>"),
        );
    for target in ["/v1/calls/c1", "/v1/other"] {
        origin.reply(target, reply.clone());
        for _ in 0..2 {
            proxy
                .get(target)
                .bearer("a")
                .await
                .assert_status(308)
                .assert_header("location", "/v1/calls/c2?x=1")
                .assert_header("content-location", &format!("http://{own}//evil.example/"))
                .assert_header("link", "</v1/calls?page=2>; rel=\"next\", <//cdn/x>");
        }
    }
    origin.assert_requests(3);
}

/// `Alt-Svc` led clients past the proxy, and the others are about the origin's host, too.
#[tokio::test]
async fn fields_about_the_origins_host_are_removed() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let of_host = [
        ("alt-svc", "h3=\":443\", h2=\"api.stuut.ai:443\""),
        (
            "strict-transport-security",
            "max-age=63072000; includeSubDomains",
        ),
        ("public-key-pins", "pin-sha256=\"x\"; max-age=9"),
        ("public-key-pins-report-only", "pin-sha256=\"x\""),
        ("nel", "{\"report_to\":\"a\",\"max_age\":9}"),
        ("report-to", "{\"group\":\"a\",\"max_age\":9}"),
    ];
    let kept = Reply::json("{}").header("clear-site-data", "\"cookies\"");
    let set = |reply: Reply, (name, value): &(&str, &str)| reply.header(name, value);
    for target in ["/v1/calls/c1", "/v1/other"] {
        origin.reply(target, of_host.iter().fold(kept.clone(), set));
        for _ in 0..2 {
            let mut response = proxy.get(target).bearer("a").await.assert_status(200);
            for (name, _) in of_host {
                response = response.assert_no_header(name);
            }
            response.assert_header("clear-site-data", "\"cookies\"");
        }
    }
}
