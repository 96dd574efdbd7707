//! When a connection to the origin is not used for the next request.

use crate::support::{Proxy, RawConnection, RawOrigin};

const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

const IN_USE: &str = "stuut_cache_upstream_connections{state=\"in_use\"}";
const IDLE: &str = "stuut_cache_upstream_connections{state=\"idle\"}";

/// Sends a request with this credential, whose response comes on `connection`, or on a new one.
async fn exchange(
    proxy: &Proxy,
    credential: &str,
    origin: &RawOrigin,
    connection: Option<RawConnection>,
) -> RawConnection {
    let request = proxy.get("/v1/other").header("authorization", credential);
    let (answer, connection) = tokio::join!(request, async {
        let mut connection = match connection {
            Some(connection) => connection,
            None => origin.accept().await,
        };
        connection.read_request().await;
        connection.send(ANSWER).await;
        connection
    });
    answer.assert_status(200);
    connection
}

/// The origin's name may have moved to another address.
#[tokio::test]
async fn an_old_connection_is_not_reused() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |_| {}).await;
    let first = exchange(&proxy, "Bearer a", &origin, None).await;
    // 4.5 to 5.5 minutes are enough.
    proxy.advance_seconds(4 * 60);
    let first = exchange(&proxy, "Bearer a", &origin, Some(first)).await;
    proxy.advance_seconds(90);
    let _first = exchange(&proxy, "Bearer a", &origin, Some(first)).await;
    let second = exchange(&proxy, "Bearer a", &origin, None).await;
    exchange(&proxy, "Bearer a", &origin, Some(second)).await;
}

#[tokio::test]
async fn connections_are_counted_in_use_idle_and_as_opened() {
    let origin = RawOrigin::start().await;
    let proxy = Proxy::in_front_of(&origin.url(), |_| {}).await;
    let connects = |result| format!("stuut_cache_upstream_connects_total{{result=\"{result}\"}}");
    let counted = async |in_use, idle| {
        proxy.wait_for_metric(IN_USE, in_use).await;
        proxy.wait_for_metric(IDLE, idle).await;
    };
    counted(0, 0).await;
    let mut connection = None;
    // A fetch on a new connection, a forwarded request, and a fetch on the idle one.
    for target in ["/v1/calls/c1", "/v1/other", "/v1/calls/c2"] {
        let request = proxy.get(target).bearer("a").start();
        let mut on = match connection {
            Some(connection) => connection,
            None => origin.accept().await,
        };
        on.read_request().await;
        counted(1, 0).await;
        on.send(ANSWER).await;
        request.await.assert_status(200);
        counted(0, 1).await;
        connection = Some(on);
    }
    drop(connection);
    counted(0, 0).await;
    proxy.wait_for_metric(&connects("connected"), 1).await;
    drop(origin);
    proxy
        .get("/v1/calls/c3")
        .bearer("a")
        .await
        .assert_status(502);
    proxy.wait_for_metric(&connects("failed"), 1).await;
}

/// Negotiate and NTLM authenticate the connection: the origin would answer the next request on it as
/// the same user.
#[tokio::test]
async fn a_connection_with_an_authenticated_user_is_not_reused() {
    for credential in ["Negotiate YII=", "ntlm TlRM"] {
        let origin = RawOrigin::start().await;
        let proxy = Proxy::in_front_of(&origin.url(), |_| {}).await;
        let pooled = exchange(&proxy, "Bearer a", &origin, None).await;
        let _bound = exchange(&proxy, credential, &origin, None).await;
        exchange(&proxy, "Bearer b", &origin, Some(pooled)).await;
    }
}
