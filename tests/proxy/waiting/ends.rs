//! How a wait ends, and its answer.

use super::{CALL, Story, assert_ended, body, call};
use crate::support::Reply;

#[tokio::test]
async fn a_wait_for_a_status_ends_when_the_call_has_it() {
    let story = Story::start().await;
    let waiting = story.wait("wait=status:completed,failed").await;
    story.origin.reply(CALL, call("ringing", "b"));
    story.polled().await;
    story.origin.reply(CALL, call("failed", "b"));
    story.polled().await;
    let response = waiting.await.assert_status(200);
    let response = assert_ended(response, "reached").assert_body(body("failed", "b"));
    let field = response.header("stuut-cache-wait").expect("a field");
    assert_eq!(field, "reached; waited=6.000; timeout=30.000");
    response
        .assert_hit()
        .assert_no_header("preference-applied")
        .assert_header("vary", "prefer");
    let metric = "requests_total{method=\"GET\",outcome=\"waited\",route=\"/v1/calls/{call_id}\",status=\"200\"}";
    assert_eq!(story.count(metric).await, 1);
    assert_eq!(story.count("wait_polls_total").await, 2);
}

#[tokio::test]
async fn a_wait_for_a_status_that_the_call_has_is_an_ordinary_request() {
    let story = Story::start().await;
    for expect_miss in [true, false] {
        let response = story.get("wait=status:in_progress").await;
        let response = assert_ended(response, "reached");
        if expect_miss {
            response.assert_miss();
        } else {
            response.assert_hit();
        }
    }
    story.origin.assert_requests(1);
}

#[tokio::test]
async fn a_wait_for_a_change_ends_with_the_next_body() {
    let story = Story::start().await;
    let waiting = story.wait("wait=change").await;
    // The same body.
    story.polled().await;
    story.origin.reply(CALL, call("in_progress", "b"));
    story.polled().await;
    let response = assert_ended(waiting.await, "changed");
    response.assert_body(body("in_progress", "b"));
    story.origin.assert_requests(3);
    let target = story.origin.last_request().target().to_owned();
    assert_eq!(target, CALL, "the origin never gets the options");
}

/// Else the change between two requests of a client would be lost.
#[tokio::test]
async fn a_client_with_another_version_is_answered_at_once() {
    let story = Story::start().await;
    let tagged = |tag: &str| call("in_progress", tag).validating(&format!("\"{tag}\""));
    story.origin.reply(CALL, tagged("2"));
    let known = |tag| story.get("wait=change").header("if-none-match", tag);
    assert_ended(known("\"1\"").await.assert_status(200), "changed");

    let waiting = known("\"2\"").start();
    story.is_waiting(1).await;
    story.origin.reply(CALL, tagged("3"));
    story.polled().await;
    assert_ended(waiting.await.assert_status(200), "changed");

    let waiting = known("\"3\"").start();
    story.is_waiting(1).await;
    story.proxy.advance_waiters(31);
    assert_ended(waiting.await.assert_status(304), "timeout");
}

/// Else it would be answered at once each time.
#[tokio::test]
async fn a_client_with_a_tag_waits_if_the_response_has_none() {
    let story = Story::start().await;
    let waiting = story.get("wait=change").header("if-none-match", "\"1\"");
    let waiting = waiting.start();
    story.is_waiting(1).await;
    story.origin.reply(CALL, call("in_progress", "b"));
    story.polled().await;
    assert_ended(waiting.await.assert_status(200), "changed");
}

#[tokio::test]
async fn a_wait_ends_at_the_timeout_with_the_current_state() {
    let story = Story::start().await;
    let waiting = story.wait("wait=status:completed&wait_timeout=5s").await;
    story.origin.reply(CALL, call("in_progress", "b"));
    story.proxy.advance_waiters(5);
    let response = assert_ended(waiting.await.assert_status(200), "timeout");
    response.assert_body(body("in_progress", "b"));
    story.is_waiting(0).await;
}

#[tokio::test]
async fn prefer_sets_the_timeout_of_a_wait_and_is_shortened() {
    let story = Story::start().await;
    for (prefer, seconds) in [("wait=7", 7), ("wait=600, respond-async", 60)] {
        let waiting = story.get("wait=change").header("prefer", prefer).start();
        story.is_waiting(1).await;
        story.proxy.advance_waiters(seconds);
        assert_ended(waiting.await, "timeout")
            .assert_header("preference-applied", &format!("wait={seconds}"))
            .assert_header("vary", "prefer");
    }
    let ordinary = story.get_plain().header("prefer", "wait=7").await;
    ordinary
        .assert_no_header("preference-applied")
        .assert_no_header("stuut-cache-wait");
    assert_eq!(story.origin.last_request().header("prefer"), None);
}

/// A client's own cache would answer the next `wait=change` with the stored body, again and again.
#[tokio::test]
async fn the_answer_to_a_wait_is_not_fresh_for_other_caches() {
    let story = Story::start().await;
    let fresh = call("completed", "a").header("cache-control", "max-age=600");
    story.origin.reply(CALL, fresh);
    let response = story.get("wait=status:completed").await;
    response.assert_header("cache-control", "max-age=0, no-cache");
    let response = story.get_plain().await;
    response.assert_header("cache-control", "max-age=600");
    // Other caches would estimate a lifetime.
    let old = "Mon, 01 Jan 2024 00:00:00 GMT";
    let dated = call("completed", "a").header("last-modified", old);
    story.origin.default_reply(dated);
    let other = story.proxy.get("/v1/calls/c2?wait=status:completed");
    let response = other.bearer("a").await;
    response.assert_header("cache-control", "no-cache");
}

#[tokio::test]
async fn a_view_that_did_not_change_goes_on_waiting() {
    let story = Story::start().await;
    let view = story.wait("wait=change&fields=id,status").await;
    let whole = story.wait("wait=change").await;
    story.origin.reply(CALL, call("in_progress", "b"));
    story.polled().await;
    assert_ended(whole.await, "changed").assert_body(body("in_progress", "b"));
    story.is_waiting(1).await;
    story.origin.reply(CALL, call("completed", "c"));
    story.polled().await;
    let view = assert_ended(view.await, "changed");
    view.assert_body(r#"{"id":"c1","status":"completed"}"#)
        .assert_header("stuut-cache-view", "applied; removed=14");
}

#[tokio::test]
async fn an_error_ends_a_wait() {
    for status in [401, 403, 404] {
        let story = Story::start().await;
        let waiting = story.wait("wait=change").await;
        story.origin.reply(CALL, Reply::new(status));
        story.polled().await;
        assert_ended(waiting.await.assert_status(status), "skipped");
        assert_ended(
            story.get("wait=change").await.assert_status(status),
            "skipped",
        );
    }
}

/// Its body is for one client, and may have no end.
#[tokio::test]
async fn a_response_that_may_not_be_stored_is_not_waited_for() {
    let story = Story::start().await;
    let reply = call("in_progress", "a").header("cache-control", "no-store");
    story.origin.reply(CALL, reply);
    let response = story.get("wait=change").await.assert_status(200);
    assert_ended(response, "skipped");
    for directive in ["no-store", "only-if-cached"] {
        let request = story.get("wait=change").header("cache-control", directive);
        assert_ended(request.await, "skipped");
    }
    story.origin.assert_requests(2);
}

#[tokio::test]
async fn a_fault_is_a_problem_with_option_position_and_reason() {
    let story = Story::start().await;
    for (query, detail) in [
        (
            "wait=status:done",
            "wait: character 8: no status has this name",
        ),
        (
            "wait=change&wait_timeout=30",
            "wait_timeout: character 1: write a duration",
        ),
    ] {
        let problem = story.get(query).await.assert_problem(400, "wait");
        let text = problem.json()["detail"].to_string();
        assert!(text.contains(detail), "{text}");
    }
    story.origin.assert_requests(0);
}

#[tokio::test]
async fn the_options_never_reach_the_origin_on_a_bypass() {
    let story = Story::start().await;
    let target = format!("{CALL}?wait=change&a=1");
    let forwarded = story.proxy.get(&target).await;
    forwarded
        .assert_forwarded("bypass")
        .assert_no_header("stuut-cache-wait");
    assert_eq!(story.origin.last_request().target(), format!("{CALL}?a=1"));
}

#[tokio::test]
async fn a_drain_answers_all_waits_with_the_current_state() {
    let story = Story::start().await;
    let waiting = [
        story.wait("wait=change").await,
        story.wait("wait=status:failed").await,
    ];
    story.proxy.stop().await;
    for response in waiting {
        let response = assert_ended(response.await.assert_status(200), "drained");
        response.assert_body(body("in_progress", "a"));
    }
}
