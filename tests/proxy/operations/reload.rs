//! Reloads of the configuration while the proxy runs.

use std::time::Duration;

use http::Method;
use serde_json::json;
use stuut_cache::config::{NamedView, ScopeMode};
use tempfile::TempDir;

use crate::support::{Clients, Origin, Program, Proxy, Reply, wait_until};

const CALL: &str = "/v1/calls/c1";

#[tokio::test]
async fn a_reload_changes_freshness_and_views_and_keeps_the_entries() {
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
        .expect("a valid configuration");
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

/// A response stored by the old rules stayed in use for its whole lifetime.
#[tokio::test]
async fn stricter_rules_apply_to_what_is_stored() {
    type Change = fn(&mut stuut_cache::config::Config);
    const ENDED: &str = r#"{"status":"busy","end_time":"2020-01-01T00:00:00Z","notes":[],"url":"https://b.example/k?X-Amz-Date=20270115T080000Z&X-Amz-Expires=100&X-Amz-Signature=a"}"#;
    let changes: [(&str, &str, Change); 6] = [
        ("", "", |config| {
            config.freshness.status.busy = Duration::from_secs(5);
        }),
        ("", "max-age=600", |config| {
            config.freshness.origin = stuut_cache::config::OriginRule::Override;
            config.freshness.status.busy = Duration::from_secs(5);
        }),
        ("", "", |config| {
            let notes = ("notes".to_owned(), Duration::from_secs(5));
            config.freshness.live.push(notes);
        }),
        ("?fields=notes", "", |config| {
            let notes = ("notes".to_owned(), Duration::from_secs(5));
            config.freshness.live.push(notes);
        }),
        ("", "", |config| {
            config.freshness.signed_url_margin = Duration::from_secs(95);
        }),
        ("", "private, max-age=600", |config| {
            config.freshness.private = stuut_cache::config::PrivateRule::Refuse;
        }),
    ];
    for (number, (query, cache_control, change)) in changes.into_iter().enumerate() {
        let origin = Origin::start().await;
        let mut proxy = Proxy::for_calls(&origin).await;
        let reply = Reply::json(ENDED);
        origin.reply(
            CALL,
            match cache_control {
                "" => reply,
                value => reply.header("cache-control", value),
            },
        );
        let target = format!("{CALL}{query}");
        let get = async |proxy: &Proxy| proxy.get(&target).bearer("a").await;
        get(&proxy).await.assert_miss();
        proxy.advance_seconds(10);
        get(&proxy).await.assert_hit();
        proxy.reload(change).expect("a valid configuration");
        let response = get(&proxy).await;
        let status = response.cache_status();
        assert!(!status.contains("; hit; ttl="), "{number} {response}");
    }
}

#[tokio::test]
async fn looser_rules_and_other_keys_keep_what_is_stored() {
    let origin = Origin::start().await;
    let mut proxy = Proxy::start(&origin).await;
    proxy.get(CALL).bearer("a").await.assert_miss();
    proxy.advance_seconds(50);
    proxy
        .reload(|config| config.freshness.not_found = Duration::ZERO)
        .expect("a valid configuration");
    for _ in 0..2 {
        let hit = proxy.get(CALL).bearer("a").await;
        hit.assert_cache_status("stuut-cache; hit; ttl=10");
    }
    origin.assert_requests(1);
}

/// The call has not changed since that date, but its view has.
#[tokio::test]
async fn if_modified_since_is_not_304_for_a_redefined_view() {
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
    let tag = known.header("etag").expect("a view has an ETag").clone();

    for (strip, body) in [
        ("id", r#"{"notes":"n"}"#),
        ("x", r#"{"id":"c1","notes":"n"}"#),
    ] {
        proxy
            .reload(|config| config.views.named = vec![bare(strip)])
            .expect("a valid configuration");
        let since = proxy.get(&target).bearer("a");
        since
            .header("if-modified-since", date)
            .await
            .assert_hit()
            .assert_body(body);
    }
    proxy
        .reload(|config| config.views.named = vec![bare("notes")])
        .expect("a valid configuration");
    let same = proxy.get(&target).bearer("a").header("if-none-match", &tag);
    same.await.assert_status(304);
}

#[tokio::test]
async fn keys_that_need_a_restart_are_reported_and_not_applied() {
    let origin = Origin::start().await;
    let mut proxy = Proxy::start(&origin).await;
    let reloaded = proxy
        .reload(|config| config.server.max_connections = 1)
        .expect("a valid configuration");
    assert_eq!(reloaded.pending, ["server.max_connections"]);
    let _kept = proxy.raw_connection().await;
    proxy.get(CALL).bearer("a").await.assert_miss();
}

/// A token removed from a named scope no longer gets its entries; the others still do.
#[tokio::test]
async fn a_token_removed_from_a_named_scope_loses_its_entries() {
    let origin = Origin::start().await;
    let digest = |token: &str| stuut_cache::config::TokenDigest::of(token.as_bytes());
    let team = move |tokens: &[&str]| stuut_cache::config::NamedScope {
        name: "team".to_owned(),
        tokens: tokens.iter().map(|token| digest(token)).collect(),
    };
    origin.reply(CALL, Reply::json("{}").validating("\"1\""));
    let mut proxy = Proxy::with(&origin, |config| {
        config.scope.mode = ScopeMode::Named;
        config.scope.named = vec![team(&["a", "b"])];
    })
    .await;
    proxy.get(CALL).bearer("a").await.assert_miss();
    // The origin admits it once; then both tokens share the entry.
    proxy.get(CALL).bearer("b").await.assert_miss();
    proxy.get(CALL).bearer("b").await.assert_hit();

    proxy
        .reload(|config| config.scope.named = vec![team(&["a"])])
        .expect("a valid configuration");
    proxy.get(CALL).bearer("b").await.assert_miss();
    proxy.get(CALL).bearer("a").await.assert_hit();
}

#[tokio::test]
async fn an_invalid_file_is_rejected_whole_and_a_valid_one_fails_no_request() {
    let origin = Origin::start().await;
    let dir = TempDir::new().expect("a directory");
    let file = dir.path().join("proxy.toml");
    let write = |text: &str| std::fs::write(&file, text).expect("the file is writable");
    write("");
    let program = Program::with_config_file(&origin, &file).await;
    let reloads = async |result: &str| {
        let line = format!("stuut_cache_config_reloads_total{{result=\"{result}\"}}");
        program.metric(&line).await
    };

    write("[freshness]\ndefault = \"5 sacs\"\n[views]\nstrip_option = \"without\"\n");
    program.signal("HUP");
    wait_until("a rejected reload", async || reloads("refused").await > 0.5).await;
    wait_until("its error", async || {
        program.output().contains("freshness.default")
    })
    .await;
    let last = async || program.admin(Method::GET, "/status").await.json()["last_reload"].clone();
    let faults = last().await["faults"].clone();
    assert!(
        faults[0].as_str().expect("a fault").contains("5 sacs"),
        "{faults}"
    );
    let stripped = program.get(&format!("{CALL}?strip=path")).bearer("a").await;
    stripped.assert_status(200);
    assert!(
        origin.last_request().target() == CALL,
        "the old options are in force"
    );

    write("[cache]\ncapacity = \"32MiB\"\n[views]\nstrip_option = \"without\"\n");
    program.signal("HUP");
    let mut count = 0_u32;
    while reloads("applied").await < 0.5 {
        count += 1;
        let target = format!("/v1/calls/c{count}");
        program.get(&target).bearer("a").await.assert_status(200);
    }
    program
        .get(&format!("{CALL}?without=path"))
        .bearer("a")
        .await
        .assert_hit();
    let (reload, keys) = (last().await, ["cache.capacity"]);
    assert_eq!(
        (&reload["faults"], &reload["pending"]),
        (&json!([]), &json!(keys))
    );
    let log = program.stop();
    assert!(
        log.contains("these keys need a restart: cache.capacity"),
        "{log}"
    );
}

/// The reload replaces the old token; an empty or missing file is rejected.
#[tokio::test]
async fn a_reload_replaces_the_admin_token_but_never_removes_it() {
    let origin = Origin::start().await;
    let dir = TempDir::new().expect("a directory");
    let (file, token) = (dir.path().join("proxy.toml"), dir.path().join("token"));
    let write = |line: &str| std::fs::write(&token, line).expect("the file is writable");
    write("first-token\n");
    let text = format!("[admin]\ntoken_file = {token:?}\n");
    std::fs::write(&file, text).expect("the file is writable");
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
    let status = program.admin(Method::GET, "/status").await.text();
    assert!(
        status.contains("admin.token_file") && !status.contains("but words"),
        "{status}"
    );
    write("\n");
    reload("refused", 2).await;
    std::fs::remove_file(&token).expect("the file exists");
    reload("refused", 3).await;
    assert_eq!(purge("second-token").await, 200);
    assert_eq!(purge("").await, 401);

    let log = program.stop();
    assert!(
        log.contains("\"changed\":\"admin.token_file\"") && !log.contains("restart"),
        "{log}"
    );
    for token in ["first-token", "second-token", "but words"] {
        assert!(!log.contains(token), "{log}");
    }
}

/// The switch for an incident: nothing is looked up, coalesced or stored.
#[tokio::test]
async fn cache_mode_off_forwards_every_request_until_it_is_on_again() {
    let origin = Origin::start().await;
    let dir = TempDir::new().expect("a directory");
    let file = dir.path().join("proxy.toml");
    let write = |text: &str| std::fs::write(&file, text).expect("the file is writable");
    write("");
    let program = Program::with_config_file(&origin, &file).await;
    let reload = async |text: &str, count: u32| {
        write(text);
        program.signal("HUP");
        let line = "stuut_cache_config_reloads_total{result=\"applied\"}";
        program.wait_for_metric(line, count).await;
    };
    let get = |target: &str| program.get(target).bearer("a");
    let mode = async || {
        let status = program.admin(Method::GET, "/status").await.json();
        let enabled = program.metric("stuut_cache_enabled").await;
        (status["cache"]["mode"].clone(), enabled > 0.5)
    };
    let (written, new) = ("/v1/calls/written", "/v1/calls/new");
    let off = "stuut-cache; fwd=bypass; fwd-status=200; detail=off";
    get(CALL).await.assert_miss();
    get(written).await.assert_miss();
    get(CALL).await.assert_hit();
    assert_eq!(mode().await, ("on".into(), true));

    reload("[cache]\nmode = \"off\"\n", 1).await;
    assert_eq!(mode().await, ("off".into(), false));
    get(CALL).await.assert_cache_status(off);
    get(&format!("{new}?strip=path"))
        .await
        .assert_cache_status(off)
        .assert_header("stuut-cache-view", "skipped; reason=off");
    assert_eq!(origin.last_request().target(), new, "as for other bypasses");
    let write = program.request(Method::PATCH, written).bearer("a");
    write.await.assert_cache_status(off);
    let explained = program.admin(Method::GET, &format!("/explain?path={CALL}"));
    assert!(
        explained
            .await
            .text()
            .contains("every request is forwarded")
    );
    let (before, gate) = (origin.requests().len(), origin.hold(new));
    let all = [get(new).start(), get(new).start(), get(new).start()];
    origin.wait_for_requests(before + 3).await;
    gate.open_for_all();
    for one in all {
        one.await.assert_cache_status(off);
    }
    let bypassed = program.metric("stuut_cache_bypass_total{reason=\"off\"}");
    assert_eq!(bypassed.await.to_string(), "6");

    // Responses stored before are served again, unless a write has invalidated them.
    reload("", 2).await;
    assert_eq!(mode().await, ("on".into(), true));
    get(CALL).await.assert_hit();
    get(written).await.assert_miss();
    get(new).await.assert_miss();
    get(new).await.assert_hit();
    let log = program.stop();
    assert!(log.contains("\"changed\":\"cache.mode\""), "{log}");
    assert!(log.contains("cache.mode is \\\"off\\\""), "{log}");
}

/// The client of a kept connection is determined by the list with which it began.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_changes_the_trusted_proxies_of_new_connections() {
    let origin = Origin::start().await;
    let dir = TempDir::new().expect("a directory");
    let file = dir.path().join("proxy.toml");
    let write = |text: &str| std::fs::write(&file, text).expect("the file is writable");
    write("");
    let program = Program::with_config_file(&origin, &file).await;
    let kept = Clients::new();
    let get = async |clients: &Clients| {
        let request = clients.request(program.address, Method::GET, CALL);
        let request = request.bearer("a").header("x-forwarded-for", "203.0.113.7");
        request.await.assert_status(200);
    };
    get(&kept).await;
    write("[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n");
    program.signal("HUP");
    let applied = "stuut_cache_config_reloads_total{result=\"applied\"}";
    program.wait_for_metric(applied, 1).await;
    get(&kept).await;
    get(&Clients::new()).await;
    let log = tokio::task::spawn_blocking(|| program.stop());
    let log = log.await.expect("the program exits");
    let lines = log
        .lines()
        .filter(|line| line.contains("\"target\":\"access\""));
    let clients = lines.map(|line| line.contains("\"client\":\"203.0.113.7\""));
    assert_eq!(clients.collect::<Vec<_>>(), [false, false, true], "{log}");
}
