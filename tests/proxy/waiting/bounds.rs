//! The bounds of waits, and the separation of tokens.

use http::Method;

use super::{CALL, Story, assert_ended, body, call};

const POLLS: &str = "wait_polls_total";

#[tokio::test]
async fn two_tokens_never_share_a_poller_or_an_answer() {
    let story = Story::start().await;
    let first = story.wait("wait=change").await;
    let second = story.proxy.get(&format!("{CALL}?wait=change")).bearer("b");
    let second = second.start();
    story.is_waiting(2).await;
    story.origin.assert_requests(2);
    story.origin.refuse("a", 401);
    story.proxy.advance_waiters(3);
    story.origin.wait_for_requests(4).await;
    assert_ended(first.await.assert_status(401), "skipped");
    story.is_waiting(1).await;
    let tokens = |count: usize| {
        let requests = story.origin.requests();
        let tokens = requests[count..].iter();
        tokens
            .filter_map(|request| request.header("authorization"))
            .collect::<Vec<_>>()
    };
    let before = story.origin.requests().len();
    story.origin.reply(CALL, call("completed", "b"));
    story.polled().await;
    assert_ended(second.await, "changed").assert_body(body("completed", "b"));
    assert_eq!(tokens(before), ["Bearer b"]);
}

/// A client cannot spin: it gets an error with `Retry-After`, and no origin request for a call that is
/// stored.
#[tokio::test]
async fn at_the_bound_a_token_with_its_share_is_refused_and_another_is_not() {
    let story = Story::with(|config| config.limits.waiting = 4).await;
    let waiting = [
        story.wait("wait=change").await,
        story.wait("wait=change").await,
    ];
    let refused = story
        .get("wait=change")
        .await
        .assert_problem(503, "waiting");
    refused.assert_header("retry-after", "1");
    let ordinary = story.get("wait=status:in_progress").await;
    assert_ended(ordinary.assert_status(200), "reached");
    let other = story.proxy.get(&format!("{CALL}?wait=change")).bearer("b");
    let other = other.start();
    story.is_waiting(3).await;
    let metric = "refused_total{reason=\"waiting\"}";
    assert_eq!(story.count(metric).await, 1);
    story.origin.reply(CALL, call("completed", "b"));
    story.proxy.advance_waiters(3);
    for response in waiting.into_iter().chain([other]) {
        assert_ended(response.await, "changed");
    }
    story.is_waiting(0).await;
}

#[tokio::test]
async fn a_client_that_leaves_is_freed_and_the_last_one_ends_the_poller() {
    let story = Story::start().await;
    let over_http2 = story.get("wait=change").over_http2().start();
    let over_http1 = story.wait("wait=change").await;
    story.is_waiting(2).await;
    over_http2.hang_up().await;
    story.is_waiting(1).await;
    over_http1.hang_up().await;
    story.is_waiting(0).await;
    assert_eq!(story.count("waits_left_total").await, 2);
    let polls = story.count(POLLS).await;
    story.proxy.advance_waiters(3_600);
    // A request of another call: the poller would have polled before it.
    story
        .proxy
        .get("/v1/calls/c2")
        .bearer("a")
        .await
        .assert_status(200);
    assert_eq!(story.count(POLLS).await, polls);
}

#[tokio::test]
async fn clients_that_negotiate_other_responses_have_pollers_of_their_own() {
    let story = Story::start().await;
    let reply = |summary| call("in_progress", summary).header("vary", "accept-language");
    story.origin.reply(CALL, reply("a"));
    let english = story.get("wait=change").header("accept-language", "en");
    let polish = story.get("wait=change").header("accept-language", "pl");
    let waiting = [english.start(), polish.start()];
    story.is_waiting(2).await;
    story.origin.assert_requests(2);
    story.origin.reply(CALL, reply("b"));
    story.proxy.advance_waiters(3);
    for response in waiting {
        assert_ended(response.await, "changed").assert_body(body("in_progress", "b"));
    }
    story.origin.assert_requests(4);
}

/// The origin must show each token the new response itself.
#[tokio::test]
async fn tokens_of_a_named_scope_wait_each_with_its_own_requests() {
    let story = Story::with(|config| {
        let freshness = config.freshness.clone();
        crate::isolation::named_scopes::shared(config);
        config.freshness = freshness;
    });
    let story = story.await;
    let waiting = |token| {
        let request = story.proxy.get(&format!("{CALL}?wait=change"));
        request.bearer(token).start()
    };
    let revoked = waiting("a");
    story.is_waiting(1).await;
    let other = waiting("b");
    story.is_waiting(2).await;
    for (path, count) in [(CALL, 2), ("/v1/calls/c2", 0)] {
        let explain = format!("/explain?path={path}");
        let explained = story.proxy.admin(http::Method::GET, &explain).await;
        assert_eq!(explained.assert_status(200).json()["waiting"], count);
    }
    story.origin.refuse("a", 401);
    story.origin.reply(CALL, call("completed", "b"));
    story.proxy.advance_waiters(3);
    assert_ended(revoked.await.assert_status(401), "skipped");
    assert_ended(other.await, "changed").assert_body(body("completed", "b"));
}

/// More than the variants that are stored for a call: each response evicts that of another client.
#[tokio::test]
async fn pollers_whose_responses_evict_each_other_send_no_more() {
    let story = Story::start().await;
    let reply = |summary| call("in_progress", summary).header("vary", "accept-language");
    story.origin.reply(CALL, reply("a"));
    let mut waiting = Vec::new();
    for number in 1..=9 {
        let request = story.get("wait=change");
        let language = format!("x-{number}");
        waiting.push(request.header("accept-language", &language).start());
        story.is_waiting(number).await;
    }
    story.settle().await;
    let begun = story.calls();
    assert!(begun <= 2 * 9, "{begun}");
    story.settle().await;
    assert_eq!(story.calls(), begun);
    story.origin.reply(CALL, reply("b"));
    story.proxy.advance_waiters(3);
    for response in waiting {
        assert_ended(response.await, "changed").assert_body(body("in_progress", "b"));
    }
}

/// While a write is pending, no response is stored, and nothing is found.
#[tokio::test]
async fn invalidations_of_other_calls_wake_no_poller() {
    let story = Story::start().await;
    let write = |call: &str| story.proxy.request(Method::PATCH, call).bearer("a");
    write(CALL).body("{}").await.assert_status(200);
    let waiting = story.wait("wait=change").await;
    story.settle().await;
    let begun = story.calls();
    for _ in 0..10 {
        let other = write("/v1/calls/c2").body("{}").await;
        other.assert_status(200);
    }
    story.settle().await;
    assert_eq!(story.calls(), begun);
    story.origin.reply(CALL, call("in_progress", "b"));
    write(CALL).body("{}").await.assert_status(200);
    assert_ended(waiting.await, "changed").assert_body(body("in_progress", "b"));
}

/// Else each response of another token would end the pause after a failure.
#[tokio::test]
async fn a_token_that_is_throttled_is_not_woken_by_others_of_its_scope() {
    let story = Story::with(|config| {
        let freshness = config.freshness.clone();
        crate::isolation::named_scopes::shared(config);
        config.freshness = freshness;
    });
    let story = story.await;
    let waiting = story.wait("wait=change").await;
    story.origin.refuse("a", 429);
    story.polled().await;
    let from_a = || {
        let requests = story.origin.requests();
        let bearer = Some("Bearer a".to_owned());
        let from_a = requests.iter();
        from_a
            .filter(|request| request.header("authorization") == bearer)
            .count()
    };
    story.settle().await;
    let begun = from_a();
    for _ in 0..10 {
        let other = story.proxy.get(CALL).bearer("b");
        other.header("cache-control", "no-cache").await;
        story.settle().await;
    }
    assert_eq!(from_a(), begun);
    drop(waiting);
}
