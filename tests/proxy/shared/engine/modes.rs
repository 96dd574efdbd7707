//! The ways to reach an engine: with TLS, as a user with few permissions, by Sentinels, as a cluster.

use std::time::Duration;

use bytes::Bytes;
use stuut_cache::cache::shared::redis::{Redis, dump};
use stuut_cache::cache::shared::{Appended, Engine as _, EngineError, Era};
use tempfile::NamedTempFile;

use super::{ROOM, beat, client, client_at, each_operation, manual, settings};
use crate::support::{Authority, Cluster, Engine, EngineProgram, Sentinels, free_port, wait_until};

/// A file for the time of a test.
fn file(content: &str) -> NamedTempFile {
    let file = NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), content).expect("the file can be written");
    file
}

/// The user that deploy/ and its documents have, with the password `secret`.
fn documented_user() -> String {
    let users = include_str!("../../../../deploy/shared/users.acl");
    let user = users
        .lines()
        .find(|line| line.starts_with("user stuut-cache "));
    let user = user.expect("the user of the replicas");
    assert!(include_str!("../../../../docs/deployment.md").contains(user));
    user.replace("#PASSWORD_SHA256", ">secret")
}

/// The settings to log in as it, with a file that has its password.
fn login(password: &NamedTempFile) -> String {
    let path = password.path().display();
    format!("username = \"stuut-cache\"\npassword_file = \"{path}\"\n")
}

#[tokio::test]
async fn the_documented_permissions_suffice_and_none_is_needless() {
    let test = "the_documented_permissions_suffice_and_none_is_needless";
    let user = documented_user();
    let password = file("secret");
    let login = login(&password);
    for program in EngineProgram::ALL {
        let Some(path) = program.path(test) else {
            continue;
        };
        let engine = Engine::with(&path, &user).await;
        let client = client(&engine.url(), &login);
        each_operation(&client, "k")
            .await
            .unwrap_or_else(|error| panic!("{program:?}: {error}"));
        for word in user.split(' ').filter(|word| word.starts_with('+')) {
            // The engine must not have the text of a script, or EVAL would not be needed.
            engine.ask::<()>("FLUSHALL").await;
            engine.ask::<()>("SCRIPT FLUSH").await;
            engine
                .ask::<()>(&format!(
                    "ACL SETUSER stuut-cache {}",
                    word.replace('+', "-")
                ))
                .await;
            let refused = each_operation(&client, "k").await.expect_err(word);
            assert!(
                matches!(refused, EngineError::Refused(_)),
                "{program:?} {word}: {refused}"
            );
            engine
                .ask::<()>(&format!("ACL SETUSER stuut-cache {word}"))
                .await;
        }
        let other = client.look_up("other:{k}:e", None, 1, ROOM).await;
        assert!(matches!(other, Err(EngineError::Refused(_))), "{other:?}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_no_connection() {
    for program in EngineProgram::ALL {
        let Some(path) = program.path("a_wrong_password_is_no_connection") else {
            continue;
        };
        let engine = Engine::with(&path, "user stuut-cache on >right ~* +@all").await;
        let wrong = file("wrong");
        let client = client(&engine.url(), &login(&wrong));
        let error = client
            .beat(beat(1, None, 1))
            .await
            .expect_err("a wrong password");
        let is_told = matches!(&error, EngineError::Connection(text) if text.contains("WRONGPASS"));
        assert!(is_told, "{error}");
        assert!(!error.to_string().contains("wrong\""), "{error}");
    }
}

#[tokio::test]
async fn tls_verifies_the_engine_and_presents_a_certificate() {
    let Some(path) =
        EngineProgram::Redis7.path("tls_verifies_the_engine_and_presents_a_certificate")
    else {
        return;
    };
    let [authority, other] = [Authority::new(), Authority::new()];
    let [server, own] = ["localhost", "replica"].map(|name| {
        let (certificate, key) = authority.issue(name);
        [file(&certificate), file(&key)]
    });
    let lines = format!(
        "port 0\ntls-port {{port}}\ntls-cert-file {}\ntls-key-file {}\ntls-ca-cert-file {}\n",
        server[0].path().display(),
        server[1].path().display(),
        authority.file.path().display()
    );
    let engine = Engine::with(&path, &lines).await;
    let url = |host: &str| {
        engine
            .url()
            .replace("redis", "rediss")
            .replace("127.0.0.1", host)
    };
    let ca = |authority: &Authority| format!("ca_file = {:?}\n", authority.file.path());
    let mutual = format!("cert = {:?}\nkey = {:?}", own[0].path(), own[1].path());
    let trusted = ca(&authority) + &mutual;
    each_operation(&client(&url("localhost"), &trusted), "k")
        .await
        .expect("all of them");
    for (what, host, lines) in [
        ("another authority", "localhost", ca(&other) + &mutual),
        ("another name", "127.0.0.1", trusted.clone()),
        ("no certificate", "localhost", ca(&authority)),
        ("the system's trust store", "localhost", mutual),
    ] {
        let client = client(&url(host), &lines);
        let error = client.beat(beat(1, None, 1)).await.expect_err(what);
        assert!(
            matches!(error, EngineError::Connection(_)),
            "{what}: {error}"
        );
    }
}

#[tokio::test]
async fn after_a_failover_of_sentinels_a_new_era_begins_at_the_new_primary() {
    let test = "after_a_failover_of_sentinels_a_new_era_begins_at_the_new_primary";
    let Some(path) = EngineProgram::Redis7.path(test) else {
        return;
    };
    let mut group = Sentinels::start(&path).await;
    let clock = manual();
    // Sentinels without users, and one that is not there.
    let password = file("secret");
    let lines = login(&password) + "sentinel = \"main\"";
    let mut urls = group.urls();
    urls.insert(0, format!("redis://127.0.0.1:{}", free_port()));
    let client = client_at(&clock, &urls, &lines);
    each_operation(&client, "k").await.expect("all of them");

    group.engines[0].kill();
    wait_until("beats reach the new primary", async || {
        clock.advance_waiters(Duration::from_secs(1));
        client
            .beat(beat(3, None, 2))
            .await
            .is_ok_and(|reply| reply.era == Era([2; 16]))
    })
    .await;
    let old = client.append(Era([1; 16]), Bytes::from_static(b"x")).await;
    assert_eq!(old.expect("an answer"), Appended::OtherEra);
    wait_until("every link does", async || {
        clock.advance_waiters(Duration::from_secs(1));
        each_operation(&client, "k2").await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_sentinel_may_require_the_password() {
    let Some(path) = EngineProgram::Redis7.path("a_sentinel_may_require_the_password") else {
        return;
    };
    let engine = Engine::with(&path, "requirepass secret").await;
    let sentinel = Sentinels::sentinel(&path, engine.port(), "requirepass secret").await;
    let password = file("secret");
    let path = password.path().display();
    let lines = format!("sentinel = \"main\"\npassword_file = \"{path}\"");
    each_operation(&client(&sentinel.url(), &lines), "k")
        .await
        .expect("all of them");
    let unknown = lines.replace("main", "other");
    let error = client(&sentinel.url(), &unknown)
        .beat(beat(1, None, 1))
        .await
        .expect_err("no primary");
    let is_told =
        matches!(&error, EngineError::Connection(text) if text.contains("shared.sentinel"));
    assert!(is_told, "{error}");
}

/// Of every primary of a cluster: each has a part of the keys.
#[tokio::test]
async fn a_dump_has_every_key_and_needs_a_user_that_may_read_them() {
    let test = "a_dump_has_every_key_and_needs_a_user_that_may_read_them";
    let Some(path) = EngineProgram::Redis7.path(test) else {
        return;
    };
    let user = documented_user() + " +cluster|slots +ping";
    let cluster = Cluster::start(&path, &user).await;
    let password = file("secret");
    let settings = settings(&cluster.urls()[..2], &login(&password)).shared;
    let client = client_at(&manual(), &cluster.urls(), &login(&password));
    client.beat(beat(1, None, 1)).await.expect("a group");
    for k in 0..6 {
        let (name, entry) = (
            format!("stuut1:{{k{k}}}:e"),
            Bytes::from(format!("value {k}")),
        );
        let stored = client.store(&name, entry, Duration::from_mins(1), 1).await;
        assert!(stored.expect("an answer"));
    }
    let mut content = Vec::new();
    let refused = dump(&settings, &mut |_| {}).await;
    let refused = refused.expect_err("SCAN is not permitted");
    assert!(matches!(refused, EngineError::Refused(_)), "{refused}");
    cluster.ask("ACL SETUSER stuut-cache +scan +type").await;
    let dumped = dump(&settings, &mut |key| content.extend_from_slice(key)).await;
    let dumped = dumped.expect("it may read everything");
    assert!(dumped.is_complete && dumped.keys >= 7, "{dumped:?}");
    let content = String::from_utf8_lossy(&content);
    for k in 0..6 {
        assert!(content.contains(&format!("value {k}")), "{content}");
    }
    assert!(content.contains("stuut1:{c}:group"), "{content}");
}

#[tokio::test]
async fn a_cluster_keeps_working_through_failovers() {
    let Some(path) = EngineProgram::Redis7.path("a_cluster_keeps_working_through_failovers") else {
        return;
    };
    let user = documented_user() + " +cluster|slots +ping";
    let mut cluster = Cluster::start(&path, &user).await;
    let password = file("secret");
    let lines = login(&password);
    let clock = manual();
    let client = client_at(&clock, &cluster.urls()[..2], &lines);
    // In all slots.
    let each = async |client: &Redis| {
        for k in ["k0", "k1", "k2", "k3", "k4", "k5"] {
            each_operation(client, k).await?;
        }
        Ok::<_, EngineError>(())
    };
    each(&client).await.expect("all of them");
    // Without PING it works too, but the client takes each connection for broken.
    cluster.ask("ACL SETUSER stuut-cache -cluster|slots").await;
    let refused = client_at(&clock, &cluster.urls(), &lines);
    let sent = refused.beat(beat(5, None, 2));
    sent.await.expect_err("no slots");
    cluster.ask("ACL SETUSER stuut-cache +cluster|slots").await;

    // A read of the log waits for longer than any other answer may take.
    let short = lines + "timeout = \"100ms\"\nlease = \"1s\"";
    let patient = client_at(&clock, &cluster.urls(), &short);
    let none = patient.items_after(1_000, Duration::from_millis(600)).await;
    assert!(none.expect("an answer").is_empty());

    let (primary, replica) = cluster.of_log().await;
    cluster.engines[replica].ask::<()>("CLUSTER FAILOVER").await;
    wait_until("a new era begins at the other primary", async || {
        clock.advance_waiters(Duration::from_secs(1));
        client
            .beat(beat(3, None, 2))
            .await
            .is_ok_and(|reply| reply.era == Era([2; 16]))
    })
    .await;
    cluster.wait_for_replica(primary).await;
    cluster.engines[replica].kill();
    wait_until("a new era begins at the former primary", async || {
        clock.advance_waiters(Duration::from_secs(1));
        client
            .beat(beat(4, None, 3))
            .await
            .is_ok_and(|reply| reply.era == Era([3; 16]))
    })
    .await;
    wait_until("every operation works", async || {
        clock.advance_waiters(Duration::from_secs(1));
        each(&client).await.is_ok()
    })
    .await;
}
