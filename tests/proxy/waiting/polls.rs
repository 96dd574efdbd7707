//! The poller of a call: when it sends a request, and what else wakes those that wait.

use http::Method;

use super::{CALL, Story, assert_ended, body, call};
use crate::support::Reply;

#[tokio::test]
async fn one_poller_serves_all_that_wait_for_a_call() {
    let story = Story::start().await;
    let mut waiting = Vec::new();
    for number in 0..20 {
        let request = story
            .get("wait=change")
            .header("x-request-id", &number.to_string());
        waiting.push(request.start());
    }
    story.is_waiting(20).await;
    let begun = story.origin.requests().len();
    story.polled().await;
    story.polled().await;
    story.origin.assert_requests(begun + 2);
    story.origin.reply(CALL, call("completed", "b"));
    story.polled().await;
    for response in waiting {
        assert_ended(response.await, "changed").assert_body(body("completed", "b"));
    }
    story.origin.assert_requests(begun + 3);
    // The poller has ended with them.
    story.is_waiting(0).await;
    story.proxy.advance_waiters(3_600);
    story.get_plain().await.assert_status(200);
    story.origin.assert_requests(begun + 4);
}

/// A response that is validated before each use is polled at the pace of its status.
#[tokio::test]
async fn a_call_without_a_lifetime_is_polled_at_the_pace_of_its_status() {
    let story = Story::start().await;
    let reply = |summary: &str| {
        let tagged = call("queued", summary).validating(&format!("\"{summary}\""));
        tagged.header("cache-control", "no-cache")
    };
    story.origin.reply(CALL, reply("a"));
    let waiting = story.wait("wait=change&wait_timeout=60s").await;
    story.proxy.advance_waiters(14);
    story.proxy.advance_waiters(3);
    story.origin.wait_for_requests(2).await;
    story.origin.reply(CALL, reply("b"));
    story.proxy.advance_waiters(17);
    assert_ended(waiting.await, "changed").assert_body(body("queued", "b"));
    // It is validated for the answer, too.
    story.origin.assert_requests(4);
}

#[tokio::test]
async fn a_response_to_another_request_wakes_those_that_wait() {
    let story = Story::start().await;
    story.origin.reply(CALL, call("completed", "a"));
    let waiting = story.wait("wait=change").await;
    story.origin.reply(CALL, call("completed", "b"));
    let other = story.get_plain().header("cache-control", "no-cache");
    other.await.assert_body(body("completed", "b"));
    assert_ended(waiting.await, "changed").assert_body(body("completed", "b"));
    story.origin.assert_requests(2);
}

#[tokio::test]
async fn a_purge_and_a_write_are_polled_at_once() {
    let story = Story::start().await;
    story.origin.reply(CALL, call("completed", "a"));
    let waiting = story.wait("wait=change").await;
    story.origin.reply(CALL, call("completed", "b"));
    let purge = story.proxy.admin(Method::POST, "/purge?call=c1");
    purge.await.assert_status(200);
    assert_ended(waiting.await, "changed").assert_body(body("completed", "b"));

    let waiting = story.wait("wait=change").await;
    let view = story.wait("wait=change&fields=id").await;
    story.origin.reply(CALL, call("completed", "c"));
    let write = story.proxy.request(Method::PATCH, CALL).bearer("a");
    write.body("{}").await.assert_status(200);
    assert_ended(waiting.await, "changed").assert_body(body("completed", "c"));
    story.is_waiting(1).await;
    drop(view);
}

#[tokio::test]
async fn a_wait_survives_failures_of_the_origin() {
    let story = Story::start().await;
    let waiting = story.wait("wait=change").await;
    story.origin.reply(CALL, Reply::new(503));
    story.polled().await;
    story.polled().await;
    // Such a request waits, too: a stored response may be served.
    let late = story.wait("wait=change&wait_timeout=10s").await;
    story.proxy.advance_waiters(10);
    let late = assert_ended(late.await.assert_status(200), "timeout");
    late.assert_stale("stale-if-error");
    story.origin.reply(CALL, call("completed", "b"));
    story.proxy.advance_waiters(5);
    assert_ended(waiting.await, "changed").assert_body(body("completed", "b"));
}

#[tokio::test]
async fn without_a_stored_response_a_failure_is_answered_at_once() {
    let story = Story::start().await;
    story.origin.reply(CALL, Reply::new(500));
    let response = story.get("wait=change").await.assert_status(500);
    assert_ended(response, "skipped");
    story.origin.assert_requests(1);
}

/// Else a call that is polled every 15 s would be sent every second to an origin that is overloaded.
#[tokio::test]
async fn the_pauses_after_failures_grow() {
    let story = Story::start().await;
    let waiting = story.wait("wait=change&wait_timeout=60s").await;
    story.origin.reply(CALL, Reply::new(503));
    let begun = story.calls();
    for _ in 0..40 {
        story.proxy.advance_waiters(1);
        story.settle().await;
    }
    let polls = story.calls() - begun;
    assert!((4..=6).contains(&polls), "{polls}");
    story.origin.reply(CALL, call("in_progress", "b"));
    story.proxy.advance_waiters(18);
    assert_ended(waiting.await, "changed").assert_body(body("in_progress", "b"));
}

#[tokio::test]
async fn a_failure_ends_a_wait_whose_response_was_purged() {
    let story = Story::start().await;
    let waiting = story.wait("wait=change").await;
    story.origin.reply(CALL, Reply::new(503));
    let purge = story.proxy.admin(Method::POST, "/purge?call=c1");
    purge.await.assert_status(200);
    assert_ended(waiting.await.assert_status(503), "skipped");
}

/// Its body has a pre-signed URL that is about to expire, so it is stored for its views only.
#[tokio::test]
async fn a_response_that_is_not_served_again_is_polled_at_its_pace() {
    let story = Story::start().await;
    let reply = |status: &str| {
        let url =
            "https://b.example/k?X-Amz-Date=20270115T080000Z&X-Amz-Expires=20&X-Amz-Signature=a";
        Reply::json(&format!(r#"{{"status":"{status}","url":"{url}"}}"#))
    };
    story.origin.reply(CALL, reply("in_progress"));
    let waiting = story.wait("wait=status:completed").await;
    story.settle().await;
    let begun = story.calls();
    story.settle().await;
    assert_eq!(story.calls(), begun);
    story.origin.reply(CALL, reply("completed"));
    story.polled().await;
    assert_ended(waiting.await.assert_status(200), "reached");
}
