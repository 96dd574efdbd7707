//! The admin listener: who may use it, and its documents.

use std::io::Read as _;
use std::time::Duration;

use flate2::read::GzDecoder;
use http::Method;
use secrecy::SecretString;
use serde_json::json;
use stuut_cache::config::{Config, Route, RoutePattern, Secret, TokenFor};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Origin, Proxy, Reply, wait_until};

const CALL: &str = "/v1/calls/c1";

const PAGES: [(Method, &str); 10] = [
    (Method::GET, "/"),
    (Method::GET, "/dashboard.js"),
    (Method::GET, "/stats?after=0"),
    (Method::GET, "/metrics"),
    (Method::GET, "/livez"),
    (Method::GET, "/readyz"),
    (Method::GET, "/status"),
    (Method::GET, "/explain?path=/v1/calls/c1"),
    (Method::POST, "/purge?all"),
    (Method::GET, "/nothing"),
];

fn routes(patterns: &[&str]) -> impl FnOnce(&mut Config) {
    let routes = patterns.iter().map(|pattern| Route {
        path: RoutePattern::parse(pattern).expect("a pattern"),
        ttl: None,
    });
    let routes = routes.collect();
    |config| config.cache.routes = routes
}

/// They held all connections, each for ten seconds, and the liveness probe waited behind them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients_do_not_keep_out_health_checks() {
    const SLOW: usize = 200;
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let pipelined = "GET /dashboard.js HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(1 << 10);
    // Silent clients, slow heads, idle connections, and clients that do not read.
    for sent in [
        "",
        "GET /metrics HTTP/1.1\r\nx-slow: ",
        "GET /status HTTP/1.1\r\nhost: localhost\r\n\r\n",
        &pipelined,
    ] {
        let displaced = proxy.metric("stuut_cache_admin_displaced_total").await;
        let mut slow = Vec::new();
        for count in 1..=SLOW {
            let mut client = TcpStream::connect(proxy.admin).await.expect("it accepts");
            // Displaced already, perhaps.
            let _ = client.write_all(sent.as_bytes()).await;
            slow.push(client);
            if count % 50 == 0 {
                for path in ["/livez", "/readyz"] {
                    let mut probe = TcpStream::connect(proxy.admin).await.expect("it accepts");
                    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
                    let written = probe.write_all(request.as_bytes()).await;
                    written.expect("it reads");
                    let mut status = [0; 12];
                    probe.read_exact(&mut status).await.expect("a response");
                    assert_eq!(
                        &status, b"HTTP/1.1 200",
                        "{path} beside {count} of {sent:.20}"
                    );
                }
            }
        }
        // Those that are open still are no more than the bound.
        wait_until("the bound", async || {
            let now = proxy.metric("stuut_cache_admin_displaced_total").await;
            now - displaced >= 136.0
        })
        .await;
        drop(slow);
    }
}

/// DNS rebinding: a web page resolves its own name to loopback to read from the listener.
#[tokio::test]
async fn a_foreign_host_is_rejected_against_dns_rebinding() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    proxy.get(CALL).bearer("a").await.assert_miss();
    for (method, target) in PAGES {
        for host in [
            "evil.example",
            "evil.example:9090",
            "localhost.evil.example",
        ] {
            proxy
                .admin(method.clone(), target)
                .header("host", host)
                .await
                .assert_status(421);
        }
    }
    proxy.get(CALL).bearer("a").await.assert_hit();
    for host in ["localhost", "127.0.0.1:9090", "[::1]"] {
        proxy
            .admin(Method::GET, "/livez")
            .header("host", host)
            .await
            .assert_status(200);
    }
}

#[tokio::test]
async fn purging_by_call_is_rejected_on_a_route_with_two_parameters() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, routes(&["/v1/{org}/calls/{id}"])).await;
    let call = "/v1/o/calls/c1";
    proxy.get(call).bearer("a").await.assert_miss();
    let rejected = proxy.admin(Method::POST, "/purge?call=c1").await;
    assert!(rejected.text().contains("?path="), "{rejected}");
    rejected.assert_status(400);
    proxy
        .admin(Method::POST, &format!("/purge?path={call}"))
        .await
        .assert_status(200);
    proxy.get(call).bearer("a").await.assert_miss();
}

#[tokio::test]
async fn stats_agree_with_the_metrics() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    origin.reply(
        CALL,
        Reply::json(r#"{"id":"c1","transcript":"long, long, long"}"#),
    );
    origin.reply("/v1/calls/broken", Reply::new(500).body("x"));
    proxy.get(CALL).bearer("a").await.assert_miss();
    for _ in 0..3 {
        proxy.get(CALL).bearer("a").await.assert_hit();
    }
    proxy
        .get(&format!("{CALL}?strip=transcript"))
        .bearer("a")
        .await
        .assert_hit();
    proxy
        .get("/v1/calls/broken")
        .bearer("a")
        .await
        .assert_status(500);
    proxy.get("/elsewhere").bearer("a").await;

    let total = &proxy.admin(Method::GET, "/stats").await.json()["total"];
    let hit = "stuut_cache_response_bytes_total{outcome=\"hit\"}";
    assert_eq!(total["requests"], json!({"hit": 4, "miss": 2, "bypass": 1}));
    assert_eq!(
        total["memory_bytes"].as_f64(),
        Some(proxy.metric(hit).await)
    );
    assert_eq!(total["hit_ratio"], json!(4.0 / 6.0));
    assert_eq!(total["statuses"], json!({"200": 6, "500": 1}));
    assert_eq!(total["origin_requests"], 3);
    assert_eq!(total["origin_errors"], 1);
    assert_eq!(total["origin_results"], json!({"200": 2, "500": 1}));
    for (key, line) in [
        ("view_bytes", "stuut_cache_view_removed_bytes_total"),
        ("origin_bytes", "stuut_cache_upstream_bytes_total"),
    ] {
        let counted = proxy.metric(line).await;
        assert!(counted > 0.0);
        assert_eq!(total[key].as_f64(), Some(counted), "{key}");
    }
    assert!(total["hit_seconds"]["p99"].is_number(), "{total}");
    assert!(total["fetch_seconds"]["p50"].is_number(), "{total}");
    assert!(total["origin_seconds"]["p99"].is_number(), "{total}");
}

#[tokio::test]
async fn metrics_are_open_metrics_with_exemplars_if_accepted_and_compressed_if_accepted() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let gate = origin.hold(CALL);
    let slow = proxy.get(CALL).bearer("a").header("x-request-id", "slow-1");
    let slow = slow.start();
    origin.wait_for_requests(1).await;
    proxy.advance(Duration::from_millis(115));
    gate.open();
    slow.await.assert_miss();
    // A request ends after its client has the response.
    let count = "stuut_cache_request_duration_seconds_count{outcome=\"miss\",route=\"/v1/calls/{call_id}\"}";
    proxy.wait_for_metric(count, 1).await;

    let metrics = || proxy.admin(Method::GET, "/metrics");
    let plain = metrics().await.assert_no_header("content-encoding");
    let plain = plain.assert_header("content-type", "text/plain; version=0.0.4");
    assert!(
        plain
            .text()
            .contains("# TYPE stuut_cache_requests_total counter\n")
    );
    assert!(!plain.text().contains("slow-1"));

    // As Prometheus sends it.
    let accept =
        "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
    let open = metrics().header("accept", accept);
    let open = open.header("accept-encoding", "gzip").await;
    let open = open
        .assert_header("content-encoding", "gzip")
        .assert_header(
            "content-type",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        );
    let mut text = String::new();
    let compressed = open.body();
    GzDecoder::new(&compressed[..])
        .read_to_string(&mut text)
        .expect("gzip");
    assert!(compressed.len() < text.len() / 5, "{}", compressed.len());
    for line in [
        "# TYPE stuut_cache_requests counter",
        "# TYPE stuut_cache_request_duration_seconds histogram",
        "# UNIT stuut_cache_request_duration_seconds seconds",
    ] {
        assert!(text.lines().any(|is| is == line), "{line}: {text}");
    }
    assert!(text.ends_with("\n# EOF\n"), "{text}");
    let exemplars = text.lines().filter_map(|line| line.split_once(" # "));
    let [(series, exemplar)] = exemplars.collect::<Vec<_>>()[..] else {
        panic!("one exemplar: {text}");
    };
    assert_eq!(
        series,
        "stuut_cache_request_duration_seconds_bucket{outcome=\"miss\",route=\"/v1/calls/{call_id}\",le=\"0.125\"} 1"
    );
    assert!(
        exemplar.starts_with("{request_id=\"slow-1\"} 0.115 "),
        "{exemplar}"
    );
}

/// The points of the history add up to the total, and `after` selects the new ones.
#[tokio::test]
async fn stats_history_starts_after_the_requested_point() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let points = async |target: &str| {
        let stats = proxy.admin(Method::GET, target).await.json();
        stats["history"]["seconds"]
            .as_array()
            .expect("points")
            .clone()
    };
    for round in 1..=2 {
        proxy.get(CALL).bearer("a").await;
        proxy.clock.advance(Duration::from_secs(1));
        wait_until("a point of the history", async || {
            points("/stats?after=0").await.len() == round
        })
        .await;
    }
    let all = points("/stats?after=0").await;
    assert_eq!(all[0]["requests"], json!({"miss": 1}));
    assert_eq!(all[1]["requests"], json!({"hit": 1}));
    assert_eq!(points("/stats?after=1").await, all[1..]);
    assert!(points("/stats?after=2").await.is_empty());
    let stats = proxy.admin(Method::GET, "/stats").await.json();
    assert_eq!(stats["last_minute"]["requests"], stats["total"]["requests"]);
    assert!(stats.get("history").is_none(), "only with ?after");
    proxy
        .admin(Method::GET, "/stats?after=yesterday")
        .await
        .assert_status(400);
}

/// Measured on a fill, not on a hit or a revalidation.
#[tokio::test]
async fn stats_name_the_heaviest_fields_with_their_share() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let fields = async || proxy.admin(Method::GET, "/stats").await.json()["fields"].clone();
    let heavy = "x".repeat(962);
    // The name of the third field may be personal data.
    let body = format!(r#"{{"id":"c1","transcript":"{heavy}","+49301":7}}"#);
    assert_eq!(body.len(), 1_000);
    origin.reply(CALL, Reply::json(&body).validating("\"v1\""));
    proxy.get(CALL).bearer("a").await.assert_miss();
    assert_eq!(
        fields().await,
        json!({
            "fills_measured": 1,
            "body_bytes": 1000.0,
            "heaviest": [
                {"name": "transcript", "bytes": 978.0, "share": 0.978},
                {"name": "id", "bytes": 10.0, "share": 0.01},
            ],
        })
    );
    proxy.clock.advance(Duration::from_mins(2));
    proxy
        .get(CALL)
        .bearer("a")
        .header("cache-control", "no-cache")
        .await;
    proxy.get(CALL).bearer("a").await.assert_hit();
    assert_eq!(
        fields().await["fills_measured"],
        1,
        "neither a 304 nor a hit is a fill"
    );
}

/// The page may connect only to this listener, and run only its own code.
#[tokio::test]
async fn the_dashboard_has_a_strict_content_security_policy() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    for (path, content_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/dashboard.js", "text/javascript; charset=utf-8"),
        ("/charts.js", "text/javascript; charset=utf-8"),
        ("/format.js", "text/javascript; charset=utf-8"),
        ("/purge.js", "text/javascript; charset=utf-8"),
        ("/dashboard.css", "text/css; charset=utf-8"),
        ("/dashboard.svg", "image/svg+xml"),
    ] {
        let answer = proxy
            .admin(Method::GET, path)
            .await
            .assert_status(200)
            .assert_header("content-type", content_type)
            .assert_header("x-content-type-options", "nosniff");
        let policy = answer.header("content-security-policy").unwrap_or_default();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'"),
            "{answer}"
        );
        assert!(!policy.contains("unsafe"), "{answer}");
        assert!(!answer.body().is_empty());
        proxy.admin(Method::POST, path).await.assert_status(405);
        // Not on the proxy port.
        proxy.get(path).await.assert_forwarded("bypass");
    }
}

/// Without a token only the dashboard itself may purge (CSRF).
#[tokio::test]
async fn a_page_of_another_origin_cannot_purge() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let own = format!("http://{}", proxy.admin);
    for (page, status) in [
        ("http://127.0.0.1:1", 401),
        ("null", 401),
        (own.as_str(), 200),
    ] {
        proxy.get(CALL).bearer("a").await;
        proxy
            .admin(Method::POST, "/purge?all")
            .header("origin", page)
            .await
            .assert_status(status);
    }
    proxy.get(CALL).bearer("a").await.assert_miss();
}

#[tokio::test]
async fn explain_takes_its_parameters_in_any_order_and_any_spelling() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let target = "/v1/calls/c:1?email=a";
    proxy.get(target).bearer("a").await.assert_miss();
    let explain = async |query: &str| {
        let target = format!("/explain?{query}");
        proxy.admin(Method::GET, &target).await
    };
    let explained = explain("path=/v1/calls/c:1").await.json();
    let stored = &explained["stored"][0];
    assert_eq!(stored["query"], "email=a");
    let scope = stored["scope"].as_str().expect("a scope").to_owned();
    for query in [
        format!("path=/v1/calls/c:1&scope={scope}"),
        format!("scope={scope}&path=/v1/calls/c%3A1"),
        format!("scope={scope}&path=%2Fv1%2Fcalls%2Fc%3A1"),
    ] {
        let same = explain(&query).await.assert_status(200).json();
        assert_eq!(same["stored"], explained["stored"], "{query}");
    }
    for query in [
        "",
        "scope=1a2b3c4d",
        "path=v1",
        "path=/a&path=/b",
        "path=/a&x=1",
    ] {
        explain(query).await.assert_status(400);
    }
}

#[tokio::test]
async fn reading_needs_the_token_if_it_is_for_all() {
    let origin = Origin::start().await;
    let mut proxy = Proxy::with(&origin, |config| {
        config.admin.token = Some(Secret(SecretString::from("let-me")));
        config.admin.token_for = TokenFor::All;
    })
    .await;
    let get = |proxy: &Proxy, path: &str| proxy.admin(Method::GET, path);
    let data = [
        "/metrics",
        "/status",
        "/stats",
        "/explain?path=/v1/calls/c1",
        "/openapi.json",
    ];
    for path in data {
        let refused = get(&proxy, path).await.assert_status(401);
        refused.assert_header("www-authenticate", "Bearer");
        get(&proxy, path).bearer("let-mE").await.assert_status(401);
        get(&proxy, path).bearer("let-me").await.assert_status(200);
    }
    for path in ["/livez", "/readyz", "/", "/dashboard.js", "/dashboard.css"] {
        get(&proxy, path).await.assert_status(200);
    }
    proxy
        .reload(|config| config.admin.token_for = TokenFor::Purge)
        .expect("a valid configuration");
    for path in data {
        get(&proxy, path).await.assert_status(200);
    }
}

/// Both may contain personal data, and the nearest names are those of a body.
#[tokio::test]
async fn explain_shows_queries_and_bodies_only_with_the_admin_token() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.admin.token = Some(Secret(SecretString::from("let-me")));
    })
    .await;
    let target = "/v1/calls/c1?email=a";
    origin.reply(target, Reply::json(r#"{"jane_doe":1}"#));
    proxy.get(target).bearer("a").await.assert_miss();
    let misspelt = proxy.get(&format!("{target}&strip=jane_do"));
    misspelt.bearer("a").await.assert_hit();
    let explain = || proxy.admin(Method::GET, "/explain?path=/v1/calls/c1");
    let without = explain().await.assert_status(200).text();
    assert!(
        !without.contains("email") && !without.contains("jane"),
        "{without}"
    );
    let with = explain().bearer("let-me").await.json();
    let stored = &with["stored"][0];
    assert_eq!(stored["query"], "email=a");
    let unmatched = &stored["views"]["strip=jane_do"]["unmatched"][0];
    assert_eq!(unmatched["nearest"], "jane_doe", "{with}");
}

#[tokio::test]
async fn explain_says_why_the_last_request_was_not_a_hit() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let path = "/v1/calls/c1";
    let get = |token: &str| proxy.get(path).bearer(token);
    let last = async |scope: &str| {
        let target = format!("/explain?path={path}{scope}");
        let explained = proxy.admin(Method::GET, &target).await.json();
        explained["last"].as_array().cloned().unwrap_or_default()
    };
    let reason = async |which: &str| last("").await[0][which]["reason"].clone();
    get("a").await.assert_miss();
    assert_eq!(reason("last_miss").await, "absent");
    get("a").await.assert_hit();
    let again = get("a").header("cache-control", "no-cache");
    again.await;
    assert_eq!(reason("last_miss").await, "request");
    proxy
        .admin(Method::POST, "/purge?call=c1")
        .await
        .assert_status(200);
    get("a").await.assert_miss();
    assert_eq!(reason("last_miss").await, "path-invalidated");
    proxy
        .admin(Method::POST, "/purge?all")
        .await
        .assert_status(200);
    get("a").await.assert_miss();
    assert_eq!(reason("last_miss").await, "everything-invalidated");
    proxy.clock.advance(Duration::from_secs(70));
    origin.reply(path, Reply::json("{}").header("set-cookie", "a=b"));
    get("a").await;
    assert_eq!(reason("last_miss").await, "expired");
    assert_eq!(reason("last_not_stored").await, "set-cookie");
    proxy.clock.advance(Duration::from_secs(7));
    get("a").await;
    assert_eq!(reason("last_miss").await, "superseded");
    proxy.clock.advance(Duration::from_secs(3));
    let own = last("").await[0].clone();
    assert_eq!(own["last_miss"]["seconds_ago"], 3, "{own}");
    // Others are listed apart, and without a token those that have none.
    get("b").await;
    proxy.get(path).await;
    let all = last("").await;
    let of = |scope: &serde_json::Value| all.iter().find(|last| last["scope"] == *scope);
    assert_eq!(all.len(), 3, "{all:?}");
    let without = of(&serde_json::Value::Null).expect("a request without a token");
    assert_eq!(without["last_miss"]["reason"], "credential");
    let scope = own["scope"].as_str().expect("a scope");
    let alone = last(&format!("&scope={scope}")).await;
    assert_eq!(alone, std::slice::from_ref(&own));
}
