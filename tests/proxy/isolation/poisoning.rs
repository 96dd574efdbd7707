//! Cache poisoning: no request changes the response to another.
//!
//! The origin echoes everything it receives in a cacheable response: any input that is missing
//! from the cache key shows in the next response. The attacker has the victim's own token or one
//! of the same scope; other tokens share nothing with the victim.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use stuut_cache::config::{NamedScope, ScopeMode, TokenDigest};

use crate::support::{Origin, Proxy, RawConnection, Reply};

/// A malicious request. `{}` is the victim's call.
#[derive(Clone, Debug)]
struct Attack {
    method: &'static str,
    target: &'static str,
    fields: Vec<&'static str>,
    /// The body with its framing fields.
    body: &'static str,
    token: &'static str,
}

const METHODS: [&str; 8] = [
    "GET", "GET", "GET", "HEAD", "POST", "DELETE", "OPTIONS", "PURGE",
];

const TARGETS: [&str; 22] = [
    "/v1/calls/{}",
    "/v1/calls/{}",
    "/v1/calls/{}",
    "http://a/v1/calls/{}",
    "/v1/calls/{}?",
    "/v1/calls/{}?&",
    "/v1/calls/{}?x=1",
    "/v1/calls/{}?strip=method",
    "/v1/calls/{}?fields=method",
    "/v1/calls/{}?view=light",
    "/v1/calls/{}?strip=",
    "/v1/calls/{}/",
    "/v1/calls//{}",
    "//v1/calls/{}",
    "/v1/calls/./{}",
    "/v1/calls/x/../{}",
    "/v1/calls%2f{}",
    "/v1/%63alls/{}",
    "/V1/calls/{}",
    "/v1/calls/{};x",
    "/v1/calls/{}%00",
    "/v1/calls/{}/approve",
];

/// Fields that are known from attacks: not in cache keys, but used by origins.
const FIELDS: [&str; 46] = [
    "x-forwarded-host: evil.example",
    "x-forwarded-for: 127.0.0.1",
    "x-forwarded-proto: http",
    "x-forwarded-port: 1",
    "x-forwarded-prefix: /evil",
    "x-forwarded-scheme: nothttps",
    "forwarded: host=evil.example",
    "x-host: evil.example",
    "x-original-url: /v1/evil",
    "x-rewrite-url: /v1/evil",
    "x-http-method-override: DELETE",
    "x-http-method: POST",
    "x-method-override: PUT",
    "x-amz-website-redirect-location: /evil",
    "x-cache-key: evil",
    "x-user: evil",
    "x-metachar: \u{7f}",
    "x-any: evil",
    "cookie: session=evil",
    "origin: https://evil.example",
    "referer: https://evil.example/",
    "content-type: application/evil",
    "content-encoding: gzip",
    "range: bytes=0-1",
    "if-range: \"x\"",
    "if-none-match: *",
    "if-match: \"x\"",
    "if-modified-since: Sun, 06 Nov 1994 08:49:37 GMT",
    "if-unmodified-since: Sun, 06 Nov 1994 08:49:37 GMT",
    "accept-encoding: gzip;q=0, identity;q=0",
    "accept-encoding: br",
    "cache-control: no-cache",
    "cache-control: no-store",
    "cache-control: max-age=0",
    "cache-control: only-if-cached",
    "pragma: no-cache",
    "connection: authorization, host, accept",
    "connection: cache-control",
    "te: trailers",
    "upgrade: websocket",
    "expect: 200-ok",
    "max-forwards: 0",
    "via: 1.1 stuut-cache",
    "surrogate-capability: evil",
    "authorization: Bearer evil",
    "transfer-encoding: gzip",
];

const BODIES: [&str; 4] = [
    "\r\n",
    "\r\n",
    "content-length: 4\r\n\r\nevil",
    "transfer-encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n",
];

/// Anything; more often the victim's own request with up to three fields.
fn attack() -> impl Strategy<Value = Attack> {
    let select = prop::sample::select::<&'static str>;
    let anything = (
        select(&METHODS[..]),
        select(&TARGETS[..]),
        select(&BODIES[..]),
    );
    let same = (Just("GET"), Just("/v1/calls/{}"), Just("\r\n"));
    (
        prop_oneof![1 => anything, 2 => same],
        prop::collection::vec(select(&FIELDS[..]), 0..4),
        select(&["a", "peer"][..]),
    )
        .prop_map(|((method, target, body), fields, token)| Attack {
            method,
            target,
            fields,
            body,
            token,
        })
}

impl Attack {
    fn bytes(&self, call: &str) -> String {
        let target = self.target.replace("{}", call);
        let fields = self.fields.iter().flat_map(|line| {
            [
                line, "
",
            ]
        });
        let fields = fields.collect::<String>();
        let (method, token, body) = (self.method, self.token, self.body);
        format!(
            "{method} {target} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n{fields}{body}"
        )
    }
}

fn settings() -> Config {
    Config {
        cases: 300,
        // A failing case is shrunk and printed, not written to a file.
        failure_persistence: None,
        ..Config::default()
    }
}

/// Forwarded fields, which an origin declares with `Vary`; all others are not forwarded.
const FORWARDED: &str = "accept: application/json\r\nuser-agent: victim\r\n";

/// The response to the victim, without the parts that differ each time.
async fn victim_response(client: &mut RawConnection, call: &str) -> (String, serde_json::Value) {
    let request = format!(
        "GET /v1/calls/{call} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer a\r\n{FORWARDED}\r\n"
    );
    client.send(request).await;
    let head = client.read_head().await;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length = length
        .and_then(|length| length.parse().ok())
        .expect("a length");
    let body = client.read_exact(length).await;
    let body = String::from_utf8(body).expect("text").replace(call, "{}");
    let mut body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let fields = body["fields"].as_array_mut();
    if let Some(fields) = fields {
        let differing = ["x-request-id: ", "authorization: Bearer "];
        let forwarded = ["accept: ", "user-agent: "];
        // They say how a message reached the origin, not what it is about.
        let path = ["via: ", "cache-control: ", "pragma: "];
        fields.retain(|line| {
            let line = line.as_str().expect("a line");
            // Another token of the scope may have fetched it. `Vary` covers forwarded fields.
            !differing
                .iter()
                .chain(&forwarded)
                .chain(&path)
                .any(|name| line.starts_with(name))
        });
    }
    let mut fields: Vec<_> = head
        .lines()
        .filter(|line| {
            let differing = [
                "cache-status: ",
                "age: ",
                "date: ",
                "x-request-id: ",
                "content-length: ",
            ];
            !differing.iter().any(|name| line.starts_with(name))
        })
        .collect();
    fields.sort_unstable();
    (fields.join("\n"), body)
}

#[test]
fn no_request_changes_the_response_to_another() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let (origin, proxy) = runtime.block_on(async {
        let origin = Origin::start().await;
        origin.default_reply(Reply::mirror().header("cache-control", "max-age=600"));
        let proxy = Proxy::with(&origin, |config| {
            config.scope.mode = ScopeMode::Named;
            config.scope.named = vec![NamedScope {
                name: "peers".to_owned(),
                tokens: ["a", "peer"]
                    .map(|token| TokenDigest::of(token.as_bytes()))
                    .into(),
            }];
        })
        .await;
        (origin, proxy)
    });
    let expected =
        runtime.block_on(async { victim_response(&mut proxy.raw_connection().await, "c0").await });
    assert!(expected.0.contains("HTTP/1.1 200"), "{expected:?}");
    assert!(!expected.1.to_string().contains("evil"));

    let calls = Cell::new(0_u32);
    let strategy = (prop::collection::vec(attack(), 1..4), any::<bool>());
    let outcome = TestRunner::new(settings()).run(&strategy, |(attacks, is_pipelined)| {
        calls.set(calls.get() + 1);
        let call = format!("q{}z", calls.get());
        let (first, second) = runtime.block_on(async {
            for attack in &attacks {
                let mut attacker = proxy.raw_connection().await;
                attacker.send(attack.bytes(&call)).await;
                if is_pipelined {
                    // Unread bytes of the attack would precede this request.
                    let request = format!("GET /v1/calls/{call} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer a\r\nconnection: close\r\n\r\n");
                    let _ = attacker.try_send(request).await;
                    attacker.read_to_end().await;
                } else {
                    attacker.read_head().await;
                }
            }
            let mut client = proxy.raw_connection().await;
            (victim_response(&mut client, &call).await, victim_response(&mut client, &call).await)
        });
        prop_assert_eq!(&first, &expected);
        prop_assert_eq!(&second, &expected);
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    drop((origin, proxy));
}

/// Errors that a malicious request provokes, at the origin or in the proxy itself.
#[tokio::test]
async fn an_error_is_not_served_to_the_next_request() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    for status in [
        400, 401, 402, 403, 405, 406, 408, 409, 411, 412, 413, 414, 415, 416, 417, 418, 421, 422,
        425, 429, 431, 451, 500, 501, 502, 503, 504, 505, 508, 511,
    ] {
        let target = format!("/v1/calls/{status}");
        origin.replies(&target, vec![Reply::new(status), Reply::json("{}")]);
        let accept = "x".repeat(8_000);
        let error = proxy
            .get(&target)
            .bearer("a")
            .header("accept", &accept)
            .await;
        error.assert_status(status);
        proxy.get(&target).bearer("a").await.assert_status(200);
        proxy.get(&target).bearer("a").await.assert_hit();
    }
    let oversized = "x".repeat(64 << 10);
    for attack in [
        format!("GET /v1/calls/own HTTP/1.1\r\nhost: a\r\nauthorization: Bearer a\r\nx: {oversized}\r\n\r\n"),
        "GET /v1/calls/own HTTP/1.1\r\nhost: a\r\nauthorization: Bearer a\r\nx: \x07\r\n\r\n".to_owned(),
        "GET /v1/calls/own?strip= HTTP/1.1\r\nhost: a\r\nauthorization: Bearer a\r\nconnection: close\r\n\r\n".to_owned(),
    ] {
        let response = proxy.raw(attack).await;
        assert!(response.starts_with("HTTP/1.1 4"), "{response}");
    }
    proxy
        .get("/v1/calls/own")
        .bearer("a")
        .await
        .assert_miss()
        .assert_status(200);
}
