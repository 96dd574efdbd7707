//! The connections of clients: how they are spoken with, bounded and ended.

use std::time::Duration;

use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use tokio::net::TcpStream;

use crate::support::h2::{self, GOAWAY, HEADERS, PING};
use crate::support::{ByHand, Origin, Program, Proxy, Reply, Wire};

const CALL: &str = "/v1/calls/c1";

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer a\r\n\r\n")
}

/// One of HTTP/2, which comes back with these letters.
fn ping() -> Vec<u8> {
    h2::frame(PING, 0, 0, b"stilhere")
}

/// Connections that ended by this bound.
fn closed_by(bound: &str) -> String {
    format!("stuut_cache_connections_closed_total{{reason=\"{bound}\"}}")
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_on_one_connection() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let gate = origin.hold("/v1/first");

    let mut client = proxy.wire().await;
    client
        .send([get("/v1/first"), get(CALL), get("/v1/third")].concat())
        .await;
    origin.until_requests(1).await;
    gate.open();
    for target in ["/v1/first", CALL, "/v1/third"] {
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let body = client.until("}").await;
        assert!(body.contains(&format!("\"{target}\"")), "{body}");
    }
    client.send(get(CALL)).await;
    assert!(client.head().await.contains("stuut-cache; hit"));
}

#[tokio::test]
async fn http2_by_prior_knowledge_is_spoken_on_the_same_port() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let gate = origin.hold("/v1/slow");
    let client = proxy.http2().await;
    let ask = |method: Method, target: &str, body: &'static str| {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}{target}", proxy.address))
            .header("authorization", "Bearer a")
            .body(Full::from(body))
            .expect("a request");
        let mut client = client.clone();
        async move {
            let response = client.send_request(request).await.expect("an answer");
            let (head, body) = response.into_parts();
            let body = body.collect().await.expect("a whole body").to_bytes();
            (head, body)
        }
    };

    // One that is held keeps no other from being answered.
    let slow = tokio::spawn(ask(Method::GET, "/v1/slow", ""));
    origin.until_requests(1).await;
    let (head, _) = ask(Method::GET, CALL, "").await;
    assert_eq!(head.version, http::Version::HTTP_2);
    assert!(
        head.headers["cache-status"]
            .to_str()
            .is_ok_and(|status| status.contains("fwd=miss"))
    );
    let (head, stored) = ask(Method::GET, CALL, "").await;
    assert!(
        head.headers["cache-status"]
            .to_str()
            .is_ok_and(|status| status.contains("; hit"))
    );
    assert!(stored.starts_with(b"{"));
    let (head, _) = ask(Method::POST, "/v1/other", "a body").await;
    assert_eq!(head.status, 200);
    assert_eq!(origin.last().body, b"a body");

    gate.open();
    let (head, _) = slow.await.expect("the request ends well");
    assert_eq!(head.status, 200);
    assert_eq!(
        proxy.metric("stuut_cache_connections").await.to_bits(),
        1f64.to_bits()
    );
}

#[tokio::test]
async fn a_client_that_sends_no_more_is_still_answered() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;

    for target in [CALL, "/v1/other"] {
        let gate = origin.hold(target);
        let asked = origin.seen().len();
        let mut client = proxy.wire().await;
        client.send(get(target)).await;
        client.half_close().await;
        origin.until_requests(asked + 1).await;
        gate.open();
        let answer = client.rest().await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.ends_with('}'), "{answer}");
    }
}

#[tokio::test]
async fn a_slow_head_ends_its_connection() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.server.header_timeout = Duration::from_millis(100);
    })
    .await;

    let mut client = proxy.wire().await;
    client.send("GET / HTTP/1.1\r\nho").await;
    assert_eq!(client.rest().await, "");
    // Behind an answered request too.
    let mut client = proxy.wire().await;
    client.send(get("/v1/other")).await;
    client.until("}").await;
    client.send("GET / HTTP/1.1\r\nho").await;
    assert_eq!(client.rest().await, "");
    proxy.until_metric(&closed_by("header_timeout"), 2).await;
    origin.assert_requests(1);
}

/// Where a body ended, whatever came with its last bytes was no head yet: it had the time of an
/// idle connection, until its next byte.
#[tokio::test]
async fn a_slow_head_that_begins_with_the_end_of_a_body_is_an_idle_connection() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.server.header_timeout = Duration::from_millis(100);
    })
    .await;
    let gate = origin.hold("/v1/other");
    let mut client = proxy.wire().await;
    let post = "POST /v1/other HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n";
    client.send([post, "bo"].concat()).await;
    proxy.until_metric("stuut_cache_in_flight", 1).await;
    client.send("dyGET / HTTP/1.1\r\nho").await;
    origin.until_requests(1).await;
    gate.open();
    client.until("}").await;
    assert_eq!(client.rest().await, "");
    proxy.until_metric(&closed_by("header_timeout"), 1).await;
}

#[tokio::test]
async fn an_idle_connection_ends() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.server.idle_timeout = Duration::from_millis(100);
    })
    .await;

    let mut client = proxy.wire().await;
    client.send(get(CALL)).await;
    client.until("}").await;
    assert_eq!(client.rest().await, "");
    let silent = proxy.wire().await;
    assert_eq!(silent.rest().await, "");
    proxy.until_metric(&closed_by("idle_timeout"), 2).await;
}

/// Frames of HTTP/2 between requests are no request head: a ping, a window, a setting.
#[tokio::test]
async fn an_http2_connection_may_idle_longer_than_a_head_may_take() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.server.header_timeout = Duration::from_millis(100);
    })
    .await;

    let mut idle = proxy.wire().await;
    idle.send([h2::hello(), ping()].concat()).await;
    idle.until("stilhere").await;
    // It is the older one of the two: a bound that held for both would have ended it first.
    let mut slow = proxy.wire().await;
    slow.send("GET / HTTP/1.1\r\nho").await;
    assert_eq!(slow.rest().await, "");

    idle.send(ping()).await;
    idle.until("stilhere").await;
}

/// Its pings were life, and so were our answers to them: it held what it did not read, and the
/// connections to the origin that this came by, for as long as it pleased.
#[tokio::test]
async fn a_reader_of_http2_that_only_pings_keeps_its_answers_for_ever() {
    let origin = ByHand::start().await;
    let proxy = Proxy::before(&origin.url(), |config| {
        config.server.idle_timeout = Duration::from_millis(200);
        config.server.header_timeout = Duration::from_millis(200);
    })
    .await;
    // An answer that is all in the connection's own hands, and one that is still on its way there.
    for (path, field) in [(CALL, "content-length: 200000"), ("/v1/other", "x: y")] {
        let ask = h2::get(path, &[("authorization", "Bearer a")]);
        let mut client = proxy.wire().await;
        client.send([h2::hello(), ask].concat()).await;
        let mut line = origin.accept().await;
        line.head().await;
        let answer = format!("HTTP/1.1 200 OK\r\n{field}\r\n\r\n{}", "x".repeat(200_000));
        line.send(answer).await;
        let pings = async {
            while client.try_send(ping()).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            () = pings => {}
            () = proxy.until_metric("stuut_cache_connections", 0) => {}
        }
        proxy.until_metric("stuut_cache_connections", 0).await;
    }
}

/// The client sends it before it hears that the connection ends. It was taken, asked of the origin,
/// and broken off with `server.header_timeout`.
#[tokio::test]
async fn a_request_of_http2_that_crosses_the_end_of_an_idle_connection_is_lost() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.server.idle_timeout = Duration::from_millis(100);
        config.server.header_timeout = Duration::from_millis(500);
    })
    .await;
    let gate = origin.hold("/v1/slow");
    let mut client = proxy.wire().await;
    client.send(h2::hello()).await;
    while client.frame().await.expect("it is told to go").kind != GOAWAY {}
    client.send(h2::get("/v1/slow", &[])).await;
    origin.until_requests(1).await;
    let mut slow = proxy.wire().await;
    slow.send("GET / HTTP/1.1\r\nho").await;
    assert_eq!(slow.rest().await, "");
    gate.open();
    while let frame = client.frame().await.expect("an answer")
        && (frame.kind, frame.stream) != (HEADERS, 1)
    {}
}

/// A connection whose preface came in two pieces was not known to be HTTP/2. Its frames were heads
/// that took too long; and found silent, as only HTTP/1 is, it was looked at again and again at
/// once, by a thread that did nothing else from then on.
#[tokio::test]
async fn a_preface_in_two_pieces_is_as_good_as_one() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.server.header_timeout = Duration::from_secs(1);
    })
    .await;
    let mut idle = proxy.wire().await;
    let hello = h2::hello();
    idle.send(&hello[..10]).await;
    proxy.until_metric(RESTING, 1).await;
    idle.send([&hello[10..], &ping()].concat()).await;
    idle.until("stilhere").await;
    let mut slow = proxy.wire().await;
    slow.send("GET / HTTP/1.1\r\nho").await;
    assert_eq!(slow.rest().await, "");
    idle.send(ping()).await;
    idle.until("stilhere").await;
}

#[tokio::test]
async fn a_head_over_the_limits_is_refused() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.limits.uri = 100;
        config.limits.headers = 10;
        config.limits.header_bytes = 8 << 10;
    })
    .await;

    proxy
        .get(&format!("/{}", "a".repeat(99)))
        .await
        .assert_status(200);
    proxy
        .get(&format!("/{}", "a".repeat(100)))
        .await
        .assert_problem(414, "uri-too-long")
        .assert_header("connection", "close");

    let with = |fields: usize| {
        let fields = (1..fields)
            .map(|n| format!("x-{n}: 1\r\n"))
            .collect::<Vec<_>>()
            .concat();
        format!("GET /v1/other HTTP/1.1\r\nhost: a\r\n{fields}connection: close\r\n\r\n")
    };
    let ok = proxy.raw(with(9)).await;
    assert!(ok.starts_with("HTTP/1.1 200"), "{ok}");
    let refused = proxy.raw(with(10)).await;
    assert!(refused.starts_with("HTTP/1.1 431"), "{refused}");

    // A head that has no end by then.
    let endless = format!("GET /v1/other HTTP/1.1\r\nx: {:x<8192}", "");
    let refused = proxy.raw(&endless[..8 << 10]).await;
    assert!(refused.starts_with("HTTP/1.1 431"), "{refused}");
    origin.assert_requests(2);
}

#[tokio::test]
async fn a_hundred_fields_are_the_default_limit() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    for (fields, status) in [(100, "200"), (101, "431")] {
        let fields = (2..fields)
            .map(|n| format!("x-{n}: 1\r\n"))
            .collect::<Vec<_>>()
            .concat();
        let answer = proxy
            .raw(format!(
                "GET /v1/other HTTP/1.1\r\nhost: a\r\n{fields}connection: close\r\n\r\n"
            ))
            .await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}"
        );
    }
    origin.assert_requests(1);
}

/// What two readers could cut differently is refused, and nothing behind it is read.
#[tokio::test]
async fn ambiguous_framing_is_refused_and_its_connection_ends() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let chunks = "2\r\n{}\r\n0\r\n\r\n";
    let cases = [
        ("content-length: 2\r\ncontent-length: 3", "{}"),
        ("content-length: 2, 3", "{}"),
        ("content-length: +2", "{}"),
        ("content-length: 0x2", "{}"),
        ("content-length: -1", ""),
        ("content-length: 2\r\ncontent-length: 2", "{}"),
        ("content-length: 3\r\ntransfer-encoding: chunked", chunks),
        ("transfer-encoding: chunked\r\ncontent-length: 3", chunks),
        ("transfer-encoding: gzip", chunks),
        ("transfer-encoding: gzip, chunked", chunks),
        ("transfer-encoding: chunked, chunked", chunks),
        (
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
            chunks,
        ),
        (
            "transfer-encoding: identity\r\ntransfer-encoding: chunked",
            chunks,
        ),
        ("transfer-encoding: chunked, identity", chunks),
        ("transfer-encoding: x", chunks),
        ("transfer-encoding: chunked;a=b", chunks),
        ("transfer-encoding : chunked", chunks),
        ("x: a\rb", ""),
        ("x: a\0b", ""),
        ("x: a\r\n folded: b", ""),
    ];
    for (fields, body) in cases {
        let answer = proxy
            .raw(format!(
                "POST /v1/other HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n{body}{}",
                get("/v1/smuggled")
            ))
            .await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{fields:?}: {answer}");
        assert_eq!(answer.matches("date: ").count(), 1, "{fields:?}: {answer}");
    }
    let answer = proxy
        .raw("POST /v1/other HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n")
        .await;
    assert!(
        answer.starts_with("HTTP/1.0 400") || answer.starts_with("HTTP/1.1 400"),
        "{answer}"
    );
    origin.assert_requests(0);
}

#[tokio::test]
async fn a_body_of_nonsense_is_400_and_ends_its_connection() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let answer = proxy
        .raw(format!(
            "POST /v1/other HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nnonsense\r\n{}",
            get("/v1/smuggled")
        ))
        .await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(answer.contains("http_request_error"), "{answer}");
    assert_eq!(answer.matches("date: ").count(), 1, "{answer}");
    origin.assert_requests(0);
}

#[tokio::test]
async fn requests_beyond_those_that_may_wait_for_the_origin_are_shed() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| config.limits.in_flight = 1).await;
    proxy
        .get("/v1/calls/stored")
        .bearer("a")
        .await
        .assert_miss();
    let gate = origin.hold("/v1/slow");
    let mut slow = proxy.wire().await;
    slow.send(get("/v1/slow")).await;
    origin.until_requests(2).await;

    for target in [CALL, "/v1/other"] {
        proxy
            .get(target)
            .bearer("a")
            .await
            .assert_problem(503, "connection_limit_reached")
            .assert_header("retry-after", "1");
    }
    // What is stored needs no origin.
    proxy.get("/v1/calls/stored").bearer("a").await.assert_hit();
    origin.assert_requests(2);

    gate.open();
    slow.until("}").await;
    proxy
        .until_metric("stuut_cache_upstream_in_flight", 0)
        .await;
    for target in [CALL, "/v1/other"] {
        proxy.get(target).bearer("a").await.assert_status(200);
    }
}

#[tokio::test]
async fn a_connection_beyond_the_limit_waits_for_its_turn() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| config.server.max_connections = 1).await;
    let mut first = proxy.wire().await;
    first.send(get(CALL)).await;
    first.until("}").await;

    let mut second = proxy.wire().await;
    second.send(get("/v1/second")).await;
    for _ in 0..20 {
        first.send(get("/v1/first")).await;
        first.until("}").await;
    }
    assert!(
        origin
            .seen()
            .iter()
            .all(|seen| seen.target() != "/v1/second")
    );

    drop(first);
    assert!(second.head().await.starts_with("HTTP/1.1 200"));
}

/// What the admin listener says to this.
async fn admin(address: std::net::SocketAddr, target: &str) -> String {
    let socket = TcpStream::connect(address).await.expect("it accepts");
    let mut client = Wire::new(socket);
    client
        .send(format!(
            "GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        ))
        .await;
    client.rest().await
}

#[tokio::test]
async fn a_drain_finishes_what_is_in_flight_and_takes_nothing_new() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let (address, admin_address) = (proxy.address, proxy.admin);
    let body = "x".repeat(100_000);
    let mut in_flight = Vec::new();
    let mut gates = Vec::new();
    for target in [CALL, "/v1/other"] {
        origin.reply(target, Reply::json(&body));
        gates.push(origin.hold(target));
        let mut client = proxy.wire().await;
        client.send(get(target)).await;
        in_flight.push(client);
    }
    let mut idle = proxy.wire().await;
    idle.send(get("/v1/idle")).await;
    idle.until("}").await;
    origin.until_requests(3).await;
    assert!(
        admin(admin_address, "/readyz")
            .await
            .starts_with("HTTP/1.1 200")
    );

    let stopping = tokio::spawn(proxy.stop());
    assert_eq!(idle.rest().await, "");
    while TcpStream::connect(address).await.is_ok() {}
    let ready = admin(admin_address, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
    let live = admin(admin_address, "/livez").await;
    assert!(live.starts_with("HTTP/1.1 200"), "{live}");
    assert!(!stopping.is_finished());

    for gate in gates {
        gate.open_for_all();
    }
    for client in in_flight {
        let answer = client.rest().await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.ends_with(&body), "{answer}");
    }
    stopping.await.expect("the drain ends");
}

#[tokio::test]
async fn a_drain_breaks_off_what_does_not_finish() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.server.drain_timeout = Duration::from_millis(100);
    })
    .await;
    let _gate = origin.hold("/v1/stuck");
    let mut stuck = proxy.wire().await;
    stuck.send(get("/v1/stuck")).await;
    let mut dripping = proxy.wire().await;
    dripping.send("GET / HTTP/1.1\r\nho").await;
    origin.until_requests(1).await;

    proxy.stop().await;
    assert_eq!(stuck.rest().await, "");
    assert_eq!(dripping.rest().await, "");
}

#[tokio::test]
async fn sigterm_lets_requests_finish_and_exits_with_success() {
    let origin = Origin::start().await;
    let gate = origin.hold("/v1/slow");
    let mut program = Program::start(&origin, &[]).await;
    let mut slow = program.wire().await;
    slow.send(get("/v1/slow")).await;
    origin.until_requests(1).await;

    program.terminate();
    while TcpStream::connect(program.address).await.is_ok() {}
    gate.open();
    let answer = slow.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.ends_with('}'), "{answer}");
    assert!(program.wait().success());
}

const RESTING: &str = "stuut_cache_connections_resting";

#[tokio::test]
async fn a_connection_that_paused_is_answered_as_before() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let mut client = proxy.wire().await;
    proxy.until_metric(RESTING, 1).await;
    for status in ["fwd=miss", "hit", "hit"] {
        client.send(get(CALL)).await;
        let head = client.head().await;
        assert!(head.contains(&format!("stuut-cache; {status}")), "{head}");
        client.until("}").await;
        proxy.until_metric(RESTING, 1).await;
    }
    // It may come byte by byte, as on any connection.
    for byte in get(CALL).bytes() {
        client.send([byte]).await;
    }
    assert!(client.head().await.contains("stuut-cache; hit"));
    client.until("}").await;
    proxy.until_metric(RESTING, 1).await;
    client.half_close().await;
    assert_eq!(client.rest().await, "");
    proxy.until_metric("stuut_cache_connections", 0).await;
}

/// Taken back between the two, the rest of the body would be read as the next request.
#[tokio::test]
async fn a_body_that_outlasts_its_answer_is_no_request() {
    let origin = ByHand::start().await;
    let proxy = Proxy::before(&origin.url(), |_| {}).await;
    let mut client = proxy.wire().await;
    let inner = get("/v1/smuggled");
    let length = inner.len() + 1;
    client
        .send(format!(
            "POST /v1/x HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n "
        ))
        .await;
    let mut asked = origin.accept().await;
    asked.head().await;
    asked
        .send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        .await;
    client.until("{}").await;
    for _ in 0..20 {
        // Time enough to take a silent connection back.
        assert!(proxy.metric(RESTING).await == 0.0, "it owes us a body");
    }
    let _ = client.try_send(&inner).await;
    client.half_close().await;
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn the_beginning_of_a_request_outlives_a_pause() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let mut client = proxy.wire().await;
    let (first, rest) = (get(CALL), get("/v1/second"));
    // One read takes both: the second is in hyper's buffer when the first is answered.
    let (begun, missing) = rest.split_at(30);
    client.send([&first, begun].concat()).await;
    client.until("}").await;
    proxy.get("/v1/other").bearer("a").await;
    client.send(missing).await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(client.until("}").await.contains("/v1/second"));
}

#[tokio::test]
async fn http2_is_told_by_its_whole_preface_and_by_nothing_less() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let mut client = proxy.wire().await;
    for byte in *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" {
        client.send([byte]).await;
    }
    // An empty SETTINGS frame is asked for, and sent, by both sides.
    client.send([0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
    assert_eq!(client.exactly(5).await[3..], [4, 0]);

    let refused = proxy.raw("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").await;
    assert!(refused.starts_with("HTTP/1.1 505"), "{refused}");
}
