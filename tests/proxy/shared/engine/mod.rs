//! The client of the engine, against real ones: each operation, and what each fault becomes.

mod eras;
mod faults;
mod modes;
mod operations;
mod wire;

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use stuut_cache::cache::shared::redis::Redis;
use stuut_cache::cache::shared::{
    Appended, Beat, Engine as _, EngineError, Era, MemberId, Names, Occupied, Position, Salt,
};
use stuut_cache::clock::Clock;
use stuut_cache::config::{self, Config, ScopeKey};

/// The settings for an engine with these URLs, with more lines of `[shared]`. The time limits are such
/// that none passes unless the clock is moved.
fn settings(urls: &[String], lines: &str) -> Config {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [file, key] = ["file", "key"].map(|name| folder.path().join(name));
    std::fs::write(&key, ScopeKey::random().hex().as_str()).expect("a file");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600))
        .expect("the owner's file");
    let own = |line: &'static str| {
        let (key, _) = line.split_once('=').expect("a key");
        if lines.contains(key) { "" } else { line }
    };
    let times = ["timeout = \"10s\"\n", "lease = \"30s\"\n"]
        .map(own)
        .concat();
    let text = format!(
        "scope.key_file = \"{}\"\n[shared]\nurl = {urls:?}\n{times}{lines}",
        key.display()
    );
    std::fs::write(&file, text).expect("a file");
    let loaded = config::draft(Some(&file), &[], &[]).finish();
    loaded
        .unwrap_or_else(|problems| panic!("{problems}"))
        .config
}

fn client(url: &str, lines: &str) -> Redis {
    client_at(&manual(), &[url.to_owned()], lines)
}

fn client_at(clock: &Clock, urls: &[String], lines: &str) -> Redis {
    let config = settings(urls, lines);
    let key = config.scope.key.as_ref().expect("a key");
    let names = Names::new(key, &config);
    Redis::start(&config.shared, &names, clock).expect("a client")
}

fn manual() -> Clock {
    Clock::manual(SystemTime::UNIX_EPOCH)
}

/// The output of work that waits for something that does not come: the clock is moved until it is
/// complete.
async fn moved<T>(clock: &Clock, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            output = &mut work => return output,
            () = tokio::task::yield_now() => clock.advance_waiters(Duration::from_secs(1)),
        }
    }
}

const MEMBER: MemberId = MemberId(0xabcd);
const LEASE: Duration = Duration::from_secs(2);

fn beat(count: u64, position: Option<Position>, next_era: u8) -> Beat {
    Beat {
        member: MEMBER,
        count,
        position,
        lease: LEASE,
        next_era: Era([next_era; 16]),
    }
}

/// The clear beginning of an entry, and something after it.
fn entry(era: u8, began: u64, salt: u8) -> Bytes {
    let mut entry = vec![1];
    entry.extend([era; 16]);
    entry.extend([0; 8]);
    entry.extend(format!("{began:016}").into_bytes());
    entry.extend([salt; 16]);
    entry.extend(b"sealed");
    entry.into()
}

fn salt(salt: u8) -> Salt {
    [salt; 16]
}

const NAME: &str = "stuut1:{k1}:e";

/// For an entry.
const ROOM: usize = 100;

/// Each operation once, on the entry `{k}` among others; the first error.
async fn each_operation(client: &Redis, k: &str) -> Result<(), EngineError> {
    let [name, scope] = ["e", "s"].map(|kind| format!("stuut1:{{{k}}}:{kind}"));
    let reply = client.beat(beat(1, None, 1)).await?;
    assert_eq!(reply.members.len(), 1);
    let Appended::At(id) = client
        .append(reply.era, Bytes::from_static(b"item"))
        .await?
    else {
        panic!("the era is in force");
    };
    let read = client.items_after(id - 1, Duration::from_secs(9)).await?;
    assert_eq!(read.first().map(|item| item.id), Some(id));
    assert_eq!(client.beat(beat(2, None, 1)).await?.last, id);
    client.remove_member(MEMBER, 2).await?;

    assert_eq!(
        client.look_up(&name, None, 1, ROOM).await?.entry,
        Err(Occupied::Ours)
    );
    assert_eq!(
        client.look_up(&name, None, 2, ROOM).await?.entry,
        Err(Occupied::Other)
    );
    client.renew(&name, 1).await?;
    assert!(client.store(&name, entry(1, 5, 1), LEASE, 1).await?);
    assert_eq!(
        client.look_up(&name, None, 1, ROOM).await?.entry,
        Ok(entry(1, 5, 1))
    );
    client.remove(&name, salt(1)).await?;
    assert_eq!(
        client.look_up(&name, None, 1, ROOM).await?.entry,
        Err(Occupied::Ours)
    );
    client.release(&name, 1, false).await?;
    client.record_scope(&scope).await?;
    assert!(client.find_scope(&scope, false).await?);
    assert!(client.find_scope(&scope, true).await?);
    Ok(())
}
