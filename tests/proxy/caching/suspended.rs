//! A machine that was suspended, or continues from a snapshot: nothing from before is fresh.

use std::time::Duration;

use crate::support::{Origin, Proxy, Reply};

const CALL: &str = "/v1/calls/c1";
const HOUR: Duration = Duration::from_hours(1);

/// The boot clock has not counted the hour, the wall clock has.
#[tokio::test]
async fn a_response_from_before_a_snapshot_is_stale() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    origin.reply(
        CALL,
        Reply::json("{}").header("cache-control", "max-age=30"),
    );
    proxy.get(CALL).bearer("a").await.assert_miss();
    proxy.clock.step_wall(HOUR);
    proxy.get(CALL).bearer("a").await.assert_forwarded("stale");
    proxy
        .get(CALL)
        .bearer("a")
        .await
        .assert_cache_status("stuut-cache; hit; ttl=30");
}

#[tokio::test]
async fn the_acceptance_of_a_token_ends_with_the_snapshot() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.scope.recheck = stuut_cache::config::Config::default().scope.recheck;
    })
    .await;
    origin.reply(
        CALL,
        Reply::json("{}").header("cache-control", "max-age=9999"),
    );
    proxy.get(CALL).bearer("a").await.assert_miss();
    proxy.clock.step_wall(HOUR);
    origin.refuse("a", 401);
    proxy.get(CALL).bearer("a").await.assert_status(401);
}

/// A hold of the origin (`Retry-After`) is over, too.
#[tokio::test]
async fn a_retry_after_from_before_the_snapshot_is_over() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    origin.replies(
        CALL,
        vec![
            Reply::new(429).header("retry-after", "5"),
            Reply::json("{}"),
        ],
    );
    proxy.get(CALL).bearer("a").await.assert_status(429);
    proxy.get(CALL).bearer("a").await.assert_status(429);
    origin.assert_requests(1);
    proxy.clock.step_wall(HOUR);
    proxy.get(CALL).bearer("a").await.assert_status(200);
}
