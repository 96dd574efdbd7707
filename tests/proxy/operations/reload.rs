//! A configuration that is read again while the proxy runs.

use std::time::Duration;

use http::Method;
use stuut_cache::config::{NamedView, ScopeMode};
use tempfile::TempDir;

use crate::support::{Origin, Program, Proxy, Reply, wait_until};

const CALL: &str = "/v1/calls/c1";

#[tokio::test]
async fn freshness_and_views_change_and_what_is_stored_stays() {
    let origin = Origin::start().await;
    origin.reply(CALL, Reply::json(r#"{"id":"c1","notes":"n"}"#));
    let mut proxy = Proxy::start(&origin).await;
    proxy.get(CALL).bearer("a").await.assert_miss();

    let reloaded = proxy
        .reload(|config| {
            config.freshness.default = Duration::from_secs(5);
            config.views.named.push(NamedView {
                name: "bare".to_owned(),
                fields: None,
                strip: Some("notes".to_owned()),
            });
        })
        .expect("it is good");
    assert_eq!(reloaded.changed, ["freshness.default", "views.named"]);
    assert_eq!(reloaded.pending, [""; 0]);

    let bare = format!("{CALL}?view=bare");
    proxy
        .get(&bare)
        .bearer("a")
        .await
        .assert_hit()
        .assert_body(r#"{"id":"c1"}"#);
    proxy.advance_seconds(5);
    proxy.get(CALL).bearer("b").await.assert_miss();
    origin.assert_requests(2);
}

/// The call was the same since, and the view of it was not.
#[tokio::test]
async fn who_had_another_view_by_that_name_was_told_that_it_is_the_same() {
    let origin = Origin::start().await;
    let date = "Tue, 01 Dec 2026 00:00:00 GMT";
    let call = Reply::json(r#"{"id":"c1","notes":"n"}"#).header("last-modified", date);
    origin.reply(CALL, call);
    let bare = |strip: &str| NamedView {
        name: "bare".to_owned(),
        fields: None,
        strip: Some(strip.to_owned()),
    };
    let mut proxy = Proxy::with(&origin, |config| config.views.named = vec![bare("notes")]).await;
    let target = format!("{CALL}?view=bare");
    let known = proxy.get(&target).bearer("a").await.assert_miss();
    let tag = known.header("etag").expect("a view has one").clone();

    for (strip, body) in [
        ("id", r#"{"notes":"n"}"#),
        ("x", r#"{"id":"c1","notes":"n"}"#),
    ] {
        proxy
            .reload(|config| config.views.named = vec![bare(strip)])
            .expect("it is good");
        let since = proxy.get(&target).bearer("a");
        since
            .header("if-modified-since", date)
            .await
            .assert_hit()
            .assert_body(body);
    }
    proxy
        .reload(|config| config.views.named = vec![bare("notes")])
        .expect("it is good");
    let same = proxy.get(&target).bearer("a").header("if-none-match", &tag);
    same.await.assert_status(304);
}

#[tokio::test]
async fn what_needs_a_restart_is_named_and_left() {
    let origin = Origin::start().await;
    let mut proxy = Proxy::start(&origin).await;
    let reloaded = proxy
        .reload(|config| config.server.max_connections = 1)
        .expect("it is good");
    assert_eq!(reloaded.pending, ["server.max_connections"]);
    let _kept = proxy.raw_connection().await;
    proxy.get(CALL).bearer("a").await.assert_miss();
}

/// A group that a token has left no longer shows it anything, and what it fetched stays its own.
#[tokio::test]
async fn a_token_that_leaves_a_group_leaves_what_it_shared() {
    let origin = Origin::start().await;
    let digest = |token: &str| stuut_cache::config::TokenDigest::of(token.as_bytes());
    let group = move |tokens: &[&str]| stuut_cache::config::NamedScope {
        name: "team".to_owned(),
        tokens: tokens.iter().map(|token| digest(token)).collect(),
    };
    origin.reply(CALL, Reply::json("{}").validating("\"1\""));
    let mut proxy = Proxy::with(&origin, |config| {
        config.scope.mode = ScopeMode::Named;
        config.scope.named = vec![group(&["a", "b"])];
    })
    .await;
    proxy.get(CALL).bearer("a").await.assert_miss();
    // Admitted by the origin, and stored once for both.
    proxy.get(CALL).bearer("b").await.assert_miss();
    proxy.get(CALL).bearer("b").await.assert_hit();

    proxy
        .reload(|config| config.scope.named = vec![group(&["a"])])
        .expect("it is good");
    proxy.get(CALL).bearer("b").await.assert_miss();
    proxy.get(CALL).bearer("a").await.assert_hit();
}

#[tokio::test]
async fn a_bad_file_is_refused_whole_and_a_good_one_fails_no_request() {
    let origin = Origin::start().await;
    let dir = TempDir::new().expect("a directory");
    let file = dir.path().join("proxy.toml");
    let write = |text: &str| std::fs::write(&file, text).expect("the file can be written");
    write("");
    let program = Program::with_config_file(&origin, &file).await;
    let reloads = async |result: &str| {
        let line = format!("stuut_cache_config_reloads_total{{result=\"{result}\"}}");
        program.metric(&line).await
    };

    write("[freshness]\ndefault = \"5 sacs\"\n[views]\nstrip_option = \"without\"\n");
    program.signal("HUP");
    wait_until("a refusal", async || reloads("refused").await > 0.5).await;
    wait_until("its reason", async || {
        program.output().contains("freshness.default")
    })
    .await;
    let stripped = program.get(&format!("{CALL}?strip=path")).bearer("a").await;
    stripped.assert_status(200);
    assert!(
        origin.last_request().target() == CALL,
        "the old options hold"
    );

    write("[cache]\ncapacity = \"32MiB\"\n[views]\nstrip_option = \"without\"\n");
    program.signal("HUP");
    let mut asked = 0_u32;
    while reloads("applied").await < 0.5 {
        asked += 1;
        let target = format!("/v1/calls/c{asked}");
        program.get(&target).bearer("a").await.assert_status(200);
    }
    program
        .get(&format!("{CALL}?without=path"))
        .bearer("a")
        .await
        .assert_hit();
    let written = program.stop();
    assert!(
        written.contains("these keys need a restart: cache.capacity"),
        "{written}"
    );
}

/// The old token ends with the reload; a file without a token changes nothing.
#[tokio::test]
async fn another_admin_token_is_taken_over_and_none_is_not() {
    let origin = Origin::start().await;
    let dir = TempDir::new().expect("a directory");
    let (file, token) = (dir.path().join("proxy.toml"), dir.path().join("token"));
    let write = |line: &str| std::fs::write(&token, line).expect("the file can be written");
    write("first-token\n");
    let text = format!("[admin]\ntoken_file = {token:?}\n");
    std::fs::write(&file, text).expect("the file can be written");
    let program = Program::with_config_file(&origin, &file).await;
    let purge = async |token: &str| {
        let purge = program.admin(Method::POST, "/purge?all").bearer(token);
        purge.await.status()
    };
    let reload = async |result: &str, count: u32| {
        program.signal("HUP");
        let line = format!("stuut_cache_config_reloads_total{{result=\"{result}\"}}");
        program.wait_for_metric(&line, count).await;
    };
    assert_eq!(purge("first-token").await, 200);

    write("second-token\n");
    assert_eq!(purge("second-token").await, 401);
    reload("applied", 1).await;
    assert_eq!(purge("second-token").await, 200);
    assert_eq!(purge("first-token").await, 401);

    write("no token, but words\n");
    reload("refused", 1).await;
    write("\n");
    reload("refused", 2).await;
    std::fs::remove_file(&token).expect("it is there");
    reload("refused", 3).await;
    assert_eq!(purge("second-token").await, 200);
    assert_eq!(purge("").await, 401);

    let written = program.stop();
    assert!(
        written.contains("\"changed\":\"admin.token_file\"") && !written.contains("restart"),
        "{written}"
    );
    for token in ["first-token", "second-token", "but words"] {
        assert!(!written.contains(token), "{written}");
    }
}
