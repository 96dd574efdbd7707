//! Purges by the operator.

use http::Method;
use secrecy::SecretString;
use stuut_cache::config::{Route, RoutePattern, Secret};

use super::invalidation::{CALL, assert_hits, assert_invalidated, assert_stored, start, store};
use crate::support::{Origin, Program, Proxy, Response, wait_until};

async fn purge(proxy: &Proxy, what: &str) -> Response {
    proxy.admin(Method::POST, &format!("/purge?{what}")).await
}

#[tokio::test]
async fn a_purge_removes_a_call_for_all_tokens_and_queries() {
    for what in [
        "call=c1",
        "call=%631",
        "path=/v1/calls/c1",
        "path=/v1/calls/%631",
        "path=%2Fv1%2Fcalls%2Fc1",
        "path=//v1/calls/c1/",
        "call=%25631",
    ] {
        let (_origin, proxy) = start().await;
        store(&proxy).await;
        let others = ["/v1/calls/c2", "/v1/calls/c11", "/v1/calls/c3"];
        for other in others {
            proxy.get(other).bearer("a").await;
        }
        let response = purge(&proxy, what).await.assert_status(200);
        let found = response.json();
        assert_eq!(found["invalidated"], what);
        assert_eq!(
            (found["stored"].as_u64(), found["in_flight"].as_u64()),
            (Some(4), Some(0))
        );
        let again = purge(&proxy, what).await.json();
        assert_eq!(again["stored"].as_u64(), Some(0), "{again}");
        assert_invalidated(&proxy).await;
        assert_hits(others.map(|other| proxy.get(other).bearer("a"))).await;
    }
}

/// Stored responses of several routes, and what each purge leaves of them.
#[tokio::test]
async fn a_purge_by_path_includes_all_paths_below_it() {
    let deep = "/v1/files/1/2/3/4/5/6/7/8/9/10/11/12";
    let routes = [
        "/v1/calls/{id}",
        "/v1/files/{*rest}",
        "/v2/{org}/calls/{id}",
        "/v3/me",
    ];
    let stored = [
        "/v1/calls/c1",
        "/v1/calls/c1?x=1",
        "/v1/calls/c%3A1",
        "/v1/calls/c%3F1",
        // An origin can take it for /v9/x/y.
        "/v1/calls/..%2F..%2Fv9%2Fx%2Fy",
        deep,
        "/v2/o/calls/c1",
        "/v3/me",
    ];
    let below_calls = &stored[..4];
    let below_v1 = [below_calls, &[deep]].concat();
    let none: &[&str] = &[];
    for (path, purged) in [
        ("/v1/calls/c1", &stored[..2]),
        ("/v1/calls/%631/", &stored[..2]),
        ("/v1/calls", below_calls),
        ("/v1/calls/", below_calls),
        ("/v1%2Fcalls", below_calls),
        ("%2Fv1%2Fcalls", below_calls),
        ("/v1/calls/c1/..", below_calls),
        ("/v1/calls/c", &["/v1/calls/c%3A1"]),
        ("/v1/calls/c%3F1", &["/v1/calls/c%3F1"]),
        ("/v1", &below_v1),
        ("/v1/", &below_v1),
        ("//v1;a=1/./", &below_v1),
        ("/v1/calls/..%2F..%2Fv9%2Fx%2Fy", &stored[4..5]),
        ("/v9", &stored[4..5]),
        ("/v9/x", &stored[4..5]),
        ("/v1/files", &[deep]),
        ("/v1/files/1/2/3", &[deep]),
        (&deep[..deep.len() - 3], &[deep]),
        (deep, &[deep]),
        ("/v2", &["/v2/o/calls/c1"]),
        ("/v2/o", &["/v2/o/calls/c1"]),
        ("/v2/o/calls", &["/v2/o/calls/c1"]),
        ("/v3", &["/v3/me"]),
        ("/v3/me", &["/v3/me"]),
        ("/", &stored),
        ("/v1/..", &stored),
        // Other paths, though they begin alike.
        ("/v", none),
        ("/V1", none),
        ("/v1/call", none),
        ("/v1/calls/c1/approve", none),
        ("/v2/oo", none),
        ("/v4", none),
    ] {
        let origin = Origin::start().await;
        let proxy = Proxy::with(&origin, |config| {
            let route = |path: &str| Route {
                path: RoutePattern::parse(path).expect("a pattern"),
                ttl: None,
            };
            config.cache.routes = routes.map(route).to_vec();
        })
        .await;
        for target in stored {
            proxy.get(target).bearer("a").await.assert_miss();
            proxy.get(target).bearer("a").await.assert_hit();
        }
        let found = purge(&proxy, &format!("path={path}")).await;
        let found = found.assert_status(200).json();
        assert_eq!(
            found["stored"].as_u64(),
            Some(purged.len() as u64),
            "{path}"
        );
        let mut fetched = Vec::new();
        for target in stored {
            let response = proxy.get(target).bearer("a").await;
            if !response.cache_status().contains("; hit") {
                fetched.push(target);
            }
        }
        assert_eq!(fetched, purged, "{path}");
    }
}

#[tokio::test]
async fn a_purge_reports_the_fetches_in_flight() {
    let (origin, proxy) = start().await;
    let gate = origin.hold(CALL);
    let waiting = tokio::spawn(proxy.get(CALL).bearer("a").into_future());
    origin.wait_for_requests(1).await;
    for (what, in_flight) in [("call=c2", 0), ("call=c1", 1), ("all", 1)] {
        let found = purge(&proxy, what).await.assert_status(200).json();
        assert_eq!(found["in_flight"].as_u64(), Some(in_flight), "{found}");
        assert_eq!(found["stored"].as_u64(), Some(0), "{found}");
    }
    gate.open_for_all();
    waiting.await.expect("no panic").assert_status(200);
}

#[tokio::test]
async fn purging_everything_frees_the_memory() {
    let (_origin, proxy) = start().await;
    store(&proxy).await;
    proxy.get("/v1/calls/c2").bearer("a").await;
    purge(&proxy, "all").await.assert_status(200);
    for gauge in ["stuut_cache_entries", "stuut_cache_weight_bytes"] {
        proxy.wait_for_metric(gauge, 0).await;
    }
    assert_invalidated(&proxy).await;
    proxy.get("/v1/calls/c2").bearer("a").await.assert_miss();
}

#[tokio::test]
async fn an_invalid_purge_request_removes_nothing() {
    let (_origin, proxy) = start().await;
    store(&proxy).await;
    for what in [
        "",
        "call=",
        "call=a/b",
        "path=v1",
        "path=",
        "path=http://127.0.0.1/v1/calls/c1",
        "path=/v1/calls/c1?x=1",
        "path=/v1/calls/c1?",
        "path=%2Fv1%2Fcalls%2Fc1%3Fx=1",
        "path=/v1/calls/c1&x=1",
        "path=/v1/calls/*",
        "call=c1/",
        "call=c1?x=1",
        "call=..",
        "call=%2e%2E",
        "call=.",
        "call=;v=1",
        "call=c%2F..",
        "call=*",
        "scope=123",
        "scope=nothex!!",
        "all=1",
        "everything",
    ] {
        let refused = purge(&proxy, what).await.assert_status(400);
        assert!(refused.text().starts_with("specify one of"), "{what}");
    }
    proxy
        .admin(Method::GET, "/purge?all")
        .await
        .assert_status(405)
        .assert_header("allow", "POST");
    // On the proxy listener it is forwarded like any other request.
    proxy
        .request(Method::POST, "/purge?all")
        .await
        .assert_status(200);
    assert_stored(&proxy).await;
}

#[tokio::test]
async fn a_purge_requires_the_configured_admin_token() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.admin.token = Some(Secret(SecretString::from("let-me")));
    })
    .await;
    store(&proxy).await;
    for credential in [
        "",
        "Bearer",
        "Bearer ",
        "Bearer let-m",
        "Bearer let-me-not",
        "Basic let-me",
        "let-me",
    ] {
        proxy
            .admin(Method::POST, "/purge?all")
            .header("authorization", credential)
            .await
            .assert_status(401)
            .assert_header("www-authenticate", "Bearer");
    }
    purge(&proxy, "all").await.assert_status(401);
    assert_stored(&proxy).await;
    proxy
        .admin(Method::POST, "/purge?all")
        .bearer("let-me")
        .await
        .assert_status(200);
    assert_invalidated(&proxy).await;
}

#[tokio::test]
async fn cross_origin_browser_requests_cannot_purge() {
    let (_origin, proxy) = start().await;
    store(&proxy).await;
    for from in ["http://localhost:3000", "null"] {
        proxy
            .admin(Method::POST, "/purge?all")
            .header("origin", from)
            .await
            .assert_status(401);
    }
    assert_stored(&proxy).await;
}

#[tokio::test]
async fn a_scope_is_purged_by_its_digest_in_the_access_log() {
    let origin = Origin::start().await;
    let program = Program::start(&origin, &[]).await;
    let tokens = ["a", "b", "c", "d"];
    for token in tokens {
        program.get(CALL).bearer(token).await.assert_miss();
    }
    // The first access line belongs to the first request.
    let scope = |output: &str| {
        let line = output
            .lines()
            .find(|line| line.contains("\"target\":\"access\""))?;
        let line: serde_json::Value = serde_json::from_str(line).expect("the line is JSON");
        Some(
            line["scope"]
                .as_str()
                .expect("a call has a scope")
                .to_owned(),
        )
    };
    wait_until("an access line", async || {
        scope(&program.output()).is_some()
    })
    .await;
    let scope = scope(&program.output()).expect("the line was just found");
    program
        .admin(Method::POST, &format!("/purge?scope={scope}"))
        .await
        .assert_status(200);
    program.get(CALL).bearer("a").await.assert_miss();
    assert_hits(
        tokens[1..]
            .iter()
            .map(|token| program.get(CALL).bearer(token)),
    )
    .await;
}
