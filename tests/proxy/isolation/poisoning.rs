//! Poisoning: no request changes what another request gets.
//!
//! The origin makes its answer of all that it receives, and lets it be kept: whatever a request
//! can slip past the key, the next one is shown. Whoever attacks has the victim's own token, or
//! one that shares its store: with another one there is nothing to share.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use stuut_cache::config::{NamedScope, ScopeMode, TokenDigest};

use crate::support::{Origin, Proxy, RawConnection, Reply};

/// A request that is out for trouble. `{}` is the victim's call.
#[derive(Clone, Debug)]
struct Attack {
    method: &'static str,
    target: &'static str,
    fields: Vec<&'static str>,
    /// With its framing.
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

/// What caches were seen not to key by, and origins to react to.
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

/// Anything; and more often what would be stored for the victim, with a field or two.
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
        select(&["a", "mate"][..]),
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
        // What fails is printed, shrunk.
        failure_persistence: None,
        ..Config::default()
    }
}

/// What an origin may answer differently and says so: all the others go no further.
const PASSED_ON: &str = "accept: application/json\r\nuser-agent: victim\r\n";

/// What the victim is answered, without what is another one each time.
async fn victim(client: &mut RawConnection, call: &str) -> (String, serde_json::Value) {
    let ask = format!(
        "GET /v1/calls/{call} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer a\r\n{PASSED_ON}\r\n"
    );
    client.send(ask).await;
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
        let own = ["x-request-id: ", "authorization: Bearer "];
        let passed_on = ["accept: ", "user-agent: "];
        fields.retain(|line| {
            let line = line.as_str().expect("a line");
            // Who fetched it: a mate's answer is as good. What it passed on is for `Vary`.
            !own.iter()
                .chain(&passed_on)
                .any(|name| line.starts_with(name))
        });
    }
    let mut fields: Vec<_> = head
        .lines()
        .filter(|line| {
            let each = [
                "cache-status: ",
                "age: ",
                "date: ",
                "x-request-id: ",
                "content-length: ",
            ];
            !each.iter().any(|name| line.starts_with(name))
        })
        .collect();
    fields.sort_unstable();
    (fields.join("\n"), body)
}

#[test]
fn no_request_changes_what_another_one_gets() {
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
                name: "mates".to_owned(),
                tokens: ["a", "mate"]
                    .map(|token| TokenDigest::of(token.as_bytes()))
                    .into(),
            }];
        })
        .await;
        (origin, proxy)
    });
    let expected =
        runtime.block_on(async { victim(&mut proxy.raw_connection().await, "c0").await });
    assert!(expected.0.contains("HTTP/1.1 200"), "{expected:?}");
    assert!(!expected.1.to_string().contains("evil"));

    let calls = Cell::new(0_u32);
    let strategy = (prop::collection::vec(attack(), 1..4), any::<bool>());
    let outcome = TestRunner::new(settings()).run(&strategy, |(attacks, is_pipelined)| {
        calls.set(calls.get() + 1);
        let call = format!("q{}z", calls.get());
        let (got, again) = runtime.block_on(async {
            for attack in &attacks {
                let mut attacker = proxy.raw_connection().await;
                attacker.send(attack.bytes(&call)).await;
                if is_pipelined {
                    // Whatever is left of the attack comes before this.
                    let ask = format!("GET /v1/calls/{call} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer a\r\nconnection: close\r\n\r\n");
                    let _ = attacker.try_send(ask).await;
                    attacker.read_to_end().await;
                } else {
                    attacker.read_head().await;
                }
            }
            let mut client = proxy.raw_connection().await;
            (victim(&mut client, &call).await, victim(&mut client, &call).await)
        });
        prop_assert_eq!(&got, &expected);
        prop_assert_eq!(&again, &expected);
        Ok(())
    });
    if let Err(fault) = outcome {
        panic!("{fault}");
    }
    drop((origin, proxy));
}

/// An error that one request has drawn is not the next one's, whoever made it: the origin, by
/// what is passed on to it, or the proxy.
#[tokio::test]
async fn an_error_is_its_own_requests_only() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    for status in [
        400, 401, 402, 403, 405, 406, 408, 409, 411, 412, 413, 414, 415, 416, 417, 418, 421, 422,
        425, 429, 431, 451, 500, 501, 502, 503, 504, 505, 508, 511,
    ] {
        let target = format!("/v1/calls/{status}");
        origin.replies(&target, vec![Reply::new(status), Reply::json("{}")]);
        let accept = "x".repeat(8_000);
        let drawn = proxy
            .get(&target)
            .bearer("a")
            .header("accept", &accept)
            .await;
        drawn.assert_status(status);
        proxy.get(&target).bearer("a").await.assert_status(200);
        proxy.get(&target).bearer("a").await.assert_hit();
    }
    let oversized = "x".repeat(64 << 10);
    for attack in [
        format!("GET /v1/calls/own HTTP/1.1\r\nhost: a\r\nauthorization: Bearer a\r\nx: {oversized}\r\n\r\n"),
        "GET /v1/calls/own HTTP/1.1\r\nhost: a\r\nauthorization: Bearer a\r\nx: \x07\r\n\r\n".to_owned(),
        "GET /v1/calls/own?strip= HTTP/1.1\r\nhost: a\r\nauthorization: Bearer a\r\nconnection: close\r\n\r\n".to_owned(),
    ] {
        let answer = proxy.raw(attack).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    proxy
        .get("/v1/calls/own")
        .bearer("a")
        .await
        .assert_miss()
        .assert_status(200);
}
