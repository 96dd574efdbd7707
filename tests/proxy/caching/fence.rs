//! What is void stays void, also when a fetch that began before lands after.

use std::time::Duration;

use http::Method;

use crate::support::{Gate, Origin, Pending, Proxy, Reply, Response};

const CALL: &str = "/v1/calls/c1";

async fn get(proxy: &Proxy) -> Response {
    proxy.get(CALL).bearer("a").await
}

fn version(number: u64) -> Reply {
    Reply::json(&format!("{{\"version\":{number}}}")).header(
        "cache-control",
        "max-age=10, stale-while-revalidate=60, stale-if-error=60",
    )
}

/// Everything that voids a call.
#[derive(Clone, Copy, Debug)]
enum Void {
    PurgeAll,
    PurgeCall,
    Write,
    LostWrite,
    Refusal,
}

const VOIDS: [Void; 5] = [
    Void::PurgeAll,
    Void::PurgeCall,
    Void::Write,
    Void::LostWrite,
    Void::Refusal,
];

impl Void {
    async fn happen(self, proxy: &Proxy, origin: &Origin) {
        let approve = "/v1/calls/c1/approve";
        let done = match self {
            Self::PurgeAll => proxy.admin(Method::POST, "/purge?all").await,
            Self::PurgeCall => proxy.admin(Method::POST, "/purge?call=c1").await,
            Self::Write => proxy.request(Method::POST, approve).bearer("w").await,
            Self::LostWrite => {
                origin.reply(approve, Reply::reset());
                let lost = proxy.request(Method::POST, approve).bearer("w").await;
                // Until then nothing is stored, whoever fetches it.
                proxy.advance_seconds(30);
                lost
            }
            Self::Refusal => {
                origin.reply("/v1/me", Reply::new(401));
                proxy.get("/v1/me").bearer("a").await
            }
        };
        drop(done);
    }
}

/// A fetch of version 1 that is held, with `waiting` that have joined it.
async fn held(waiting: u32) -> (Origin, Proxy, Gate, Vec<Pending>) {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    origin.reply(CALL, version(1));
    let gate = origin.hold(CALL);
    let mut all = vec![proxy.get(CALL).bearer("a").start()];
    origin.wait_for_requests(1).await;
    all.extend((0..waiting).map(|_| proxy.get(CALL).bearer("a").start()));
    proxy
        .wait_for_metric("stuut_cache_in_flight", waiting + 1)
        .await;
    (origin, proxy, gate, all)
}

#[tokio::test]
async fn a_fetch_that_was_voided_in_the_air_answers_its_own_clients_and_is_not_stored() {
    for void in VOIDS {
        let (origin, proxy, gate, all) = held(2).await;
        void.happen(&proxy, &origin).await;
        origin.reply(CALL, version(2));
        gate.open_for_all();
        for one in all {
            let answer = one.await.assert_body("{\"version\":1}");
            let status = answer.cache_status();
            assert!(status.ends_with("detail=fenced"), "{void:?}: {answer}");
        }
        assert_eq!(
            proxy.metric("stuut_cache_fenced_total").await.to_string(),
            "1"
        );
        get(&proxy)
            .await
            .assert_miss()
            .assert_body("{\"version\":2}");
        get(&proxy)
            .await
            .assert_hit()
            .assert_body("{\"version\":2}");
    }
}

#[tokio::test]
async fn who_comes_after_does_not_join_a_fetch_from_before() {
    for void in VOIDS {
        let (origin, proxy, gate, mut all) = held(0).await;
        void.happen(&proxy, &origin).await;
        origin.reply(CALL, version(2));
        let seen = origin.requests().len();
        let after = proxy.get(CALL).bearer("a").start();
        origin.wait_for_requests(seen + 1).await;
        gate.open();
        let before = all.pop().expect("there is one");
        before.await.assert_body("{\"version\":1}");
        // Those who come now wait for the newer one.
        let later = proxy.get(CALL).bearer("a").start();
        proxy.wait_for_metric("stuut_cache_in_flight", 2).await;
        gate.open();
        for one in [after, later] {
            one.await.assert_body("{\"version\":2}");
        }
        get(&proxy)
            .await
            .assert_hit()
            .assert_body("{\"version\":2}");
        assert_eq!(origin.requests().len(), seen + 1, "{void:?}");
    }
}

#[tokio::test]
async fn a_late_landing_from_before_leaves_the_newer_one_in_place() {
    for void in VOIDS {
        let (origin, proxy, old_gate, all) = held(1).await;
        void.happen(&proxy, &origin).await;
        origin.reply(CALL, version(2));
        origin.hold(CALL).open_for_all();
        get(&proxy)
            .await
            .assert_miss()
            .assert_body("{\"version\":2}");
        old_gate.open();
        for one in all {
            one.await.assert_body("{\"version\":1}");
        }
        get(&proxy)
            .await
            .assert_hit()
            .assert_body("{\"version\":2}");
    }
}

#[tokio::test]
async fn a_refresh_in_the_background_that_was_voided_brings_nothing_back() {
    for void in VOIDS {
        for lands_first in [true, false] {
            let origin = Origin::start().await;
            let proxy = Proxy::start(&origin).await;
            origin.reply(CALL, version(1).validating("\"1\""));
            get(&proxy).await;
            let gate = origin.hold(CALL);
            proxy.advance_seconds(10);
            get(&proxy).await.assert_stale("stale-while-revalidate");
            origin.wait_for_requests(2).await;

            void.happen(&proxy, &origin).await;
            origin.reply(CALL, version(2).validating("\"2\""));
            let seen = origin.requests().len();
            if lands_first {
                gate.open();
                proxy
                    .wait_for_metric("stuut_cache_upstream_in_flight", 0)
                    .await;
            }
            origin.hold(CALL).open_for_all();
            get(&proxy)
                .await
                .assert_miss()
                .assert_body("{\"version\":2}");
            assert_eq!(origin.last_request().header("if-none-match"), None);
            gate.open();
            proxy.wait_for_metric("stuut_cache_fenced_total", 1).await;
            get(&proxy)
                .await
                .assert_hit()
                .assert_body("{\"version\":2}");
            assert_eq!(origin.requests().len(), seen + 1, "{void:?}");
        }
    }
}

#[tokio::test]
async fn a_voided_response_does_not_stand_in_for_a_failing_origin() {
    for void in VOIDS {
        let origin = Origin::start().await;
        let proxy = Proxy::start(&origin).await;
        origin.replies(
            CALL,
            vec![
                Reply::json("{}").header("cache-control", "max-age=10, stale-if-error=60"),
                Reply::new(503),
            ],
        );
        get(&proxy).await;
        proxy.advance_seconds(10);
        let gate = origin.hold(CALL);
        let asking = proxy.get(CALL).bearer("a").start();
        origin.wait_for_requests(2).await;
        void.happen(&proxy, &origin).await;
        gate.open();
        let answer = asking.await;
        assert_eq!(answer.status(), 503, "{void:?}: {answer}");
    }
}

#[tokio::test]
async fn a_view_that_is_derived_while_its_call_is_voided_goes_with_it() {
    // Large enough to be derived on another thread.
    let large = "x".repeat(300_000);
    let body = |number: u64| format!("{{\"version\":{number},\"b\":\"{large}\"}}");
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let view = "/v1/calls/c1?strip=b";
    for round in 1..20 {
        origin.reply(CALL, Reply::json(&body(round)));
        get(&proxy).await.assert_status(200);
        let deriving = proxy.get(view).bearer("a").start();
        origin.reply(CALL, Reply::json(&body(round + 1)));
        Void::PurgeCall.happen(&proxy, &origin).await;
        let new = proxy.get(view).bearer("a").await;
        assert_eq!(new.json()["version"], round + 1, "{new}");
        deriving.await.assert_status(200);
        Void::PurgeCall.happen(&proxy, &origin).await;
    }
}

#[tokio::test]
async fn other_calls_in_the_air_are_not_voided() {
    let (origin, proxy, gate, _all) = held(0).await;
    let others = ["/v1/calls/c2", "/v1/calls/c3", "/v1/calls/c4"];
    let gates = others.map(|other| origin.hold(other));
    let pending = others.map(|other| proxy.get(other).bearer("a").start());
    origin.wait_for_requests(4).await;
    Void::PurgeCall.happen(&proxy, &origin).await;
    gate.open();
    gates.iter().for_each(Gate::open);
    for one in pending {
        let answer = one.await;
        assert!(answer.cache_status().contains("stored"), "{answer}");
    }
}

#[tokio::test]
async fn a_write_that_the_origin_acts_on_after_all_leaves_nothing_from_before_it() {
    let approve = "/v1/calls/c1/approve";
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        config.upstream.connect_timeout = Duration::from_millis(50);
        config.upstream.response_timeout = Duration::from_millis(50);
    })
    .await;
    origin.reply(CALL, version(1));
    let gate = origin.hold(approve);
    proxy
        .request(Method::POST, approve)
        .bearer("w")
        .await
        .assert_status(504);
    // The origin is still busy with it.
    let answer = get(&proxy).await.assert_body("{\"version\":1}");
    assert!(answer.cache_status().ends_with("detail=fenced"), "{answer}");
    proxy.advance(Duration::from_millis(29_999));
    let late = proxy.get(CALL).bearer("a").await;
    assert!(late.cache_status().ends_with("detail=fenced"), "{late}");
    // Now it acts.
    origin.reply(CALL, version(2));
    gate.open_for_all();
    get(&proxy).await.assert_body("{\"version\":2}");
    proxy.advance(Duration::from_millis(1));
    get(&proxy).await.assert_miss();
    get(&proxy)
        .await
        .assert_hit()
        .assert_body("{\"version\":2}");
}

#[tokio::test]
async fn what_was_fetched_before_a_lost_write_was_over_is_not_stored_after_it() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    origin.reply("/v1/calls/c1/approve", Reply::reset());
    proxy
        .request(Method::POST, "/v1/calls/c1/approve")
        .bearer("w")
        .await;
    origin.reply(CALL, version(1));
    let gate = origin.hold(CALL);
    let seen = origin.requests().len();
    let asking = proxy.get(CALL).bearer("a").start();
    origin.wait_for_requests(seen + 1).await;
    proxy.advance_seconds(30);
    gate.open_for_all();
    let answer = asking.await;
    assert!(answer.cache_status().ends_with("detail=fenced"), "{answer}");
    get(&proxy).await.assert_miss();
    get(&proxy).await.assert_hit();
}

#[tokio::test]
async fn an_older_answer_that_comes_late_does_not_replace_a_newer_one() {
    for newer in ["max-age=600", "no-store"] {
        let origin = Origin::start().await;
        let proxy = Proxy::start(&origin).await;
        let reply = |body: &str, rule| Reply::json(body).header("cache-control", rule);
        origin.replies(
            CALL,
            vec![
                reply("\"for one\"", "no-store"),
                reply("\"old\"", "max-age=600"),
                reply("\"new\"", newer),
                reply("\"newest\"", "max-age=600"),
            ],
        );
        let get = || proxy.get(CALL).bearer("a");
        let first_gate = origin.hold(CALL);
        let first = get().start();
        origin.wait_for_requests(1).await;
        let second = get().start();
        proxy.wait_for_metric("stuut_cache_in_flight", 2).await;
        // What the first gets is for nobody else: the second asks for itself, and is held.
        let second_gate = origin.hold(CALL);
        first_gate.open_for_all();
        first.await;
        origin.wait_for_requests(2).await;
        let third_gate = origin.hold(CALL);
        let third = get().start();
        origin.wait_for_requests(3).await;
        third_gate.open_for_all();
        third.await.assert_body("\"new\"");
        second_gate.open_for_all();
        let late = second.await.assert_body("\"old\"");
        assert!(late.cache_status().ends_with("detail=fenced"), "{late}");
        let body = if newer == "no-store" {
            "\"newest\""
        } else {
            "\"new\""
        };
        get().await.assert_body(body);
        get().await.assert_hit().assert_body(body);
    }
}

/// What came later for another variant held it back, and the response it was to replace stayed.
#[tokio::test]
async fn an_older_answer_came_back_after_a_newer_one_that_was_held_back() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let says = |version: &str, rule: &str| {
        let reply = Reply::json(version).header("vary", "accept-language");
        origin.reply(CALL, reply.header("cache-control", rule));
    };
    let ask = |language: &str, directive: &str| {
        let ask = proxy.get(CALL).bearer("a");
        ask.header("accept-language", language)
            .header("cache-control", directive)
    };
    says("1", "max-age=100");
    ask("de", "max-age=9").await.assert_miss().assert_body("1");

    says("2", "max-age=100");
    let german = origin.hold(CALL);
    let renewed = ask("de", "no-cache").start();
    origin.wait_for_requests(2).await;
    says("3", "no-store");
    let english = origin.hold(CALL);
    let other = ask("en", "no-cache").start();
    origin.wait_for_requests(3).await;
    english.open_for_all();
    other.await.assert_body("3");
    german.open();
    renewed.await.assert_body("2");
    ask("de", "max-age=9").await.assert_body("3");
}

/// Asked a second time, it kept the turn of the first: what came in between outlived a newer answer.
#[tokio::test]
async fn what_is_asked_twice_is_newer_than_what_came_before_the_second_time() {
    let locked = Reply::json("")
        .header("content-encoding", "gzip")
        .header("cache-control", "no-transform");
    let mistaken = Reply::new(304).header("etag", "\"other\"");
    for first in [locked, mistaken] {
        let origin = Origin::start().await;
        let proxy = Proxy::start(&origin).await;
        let says = |version: u64| self::version(version).header("etag", &format!("\"{version}\""));
        let anew = || {
            let get = proxy.get(CALL).bearer("a");
            get.header("cache-control", "no-cache").start()
        };
        origin.reply(CALL, says(1));
        get(&proxy).await.assert_miss();
        origin.replies(CALL, vec![first, says(2), says(3), Reply::new(500)]);
        let early = origin.hold(CALL);
        let twice = anew();
        origin.wait_for_requests(2).await;
        let between = origin.hold(CALL);
        let other = anew();
        origin.wait_for_requests(3).await;
        between.open_for_all();
        other.await.assert_body("{\"version\":2}");
        early.open_for_all();
        twice.await.assert_body("{\"version\":3}");
        get(&proxy)
            .await
            .assert_hit()
            .assert_body("{\"version\":3}");
        origin.assert_requests(4);
    }
}
