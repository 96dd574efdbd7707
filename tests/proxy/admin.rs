//! The listener of operators: whom it answers, and what it says.

use http::Method;
use stuut_cache::config::{Config, Route, RoutePattern};

use crate::support::{Origin, Proxy};

const CALL: &str = "/v1/calls/c1";

const PAGES: [(Method, &str); 7] = [
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

/// A page in a browser here asked under a name of its own that pointed at loopback, and read
/// the answers.
#[tokio::test]
async fn a_name_that_points_at_loopback_is_answered() {
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
async fn a_purge_of_a_call_finds_nothing_on_a_route_with_two_parameters() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, routes(&["/v1/{org}/calls/{id}"])).await;
    let call = "/v1/o/calls/c1";
    proxy.get(call).bearer("a").await.assert_miss();
    let refused = proxy.admin(Method::POST, "/purge?call=c1").await;
    assert!(refused.text().contains("?path="), "{refused}");
    refused.assert_status(400);
    proxy
        .admin(Method::POST, &format!("/purge?path={call}"))
        .await
        .assert_status(200);
    proxy.get(call).bearer("a").await.assert_miss();
}
