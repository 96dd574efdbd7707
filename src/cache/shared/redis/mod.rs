//! The client of the engine, Redis or Valkey: the operations as scripts and commands.
//!
//! There are three links, so that beats and appends do not queue behind entries, and nothing queues
//! behind the blocking read of the log.

mod connect;
mod link;
mod operators;
mod reply;

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ::redis::{Cmd, Script, Value, cmd};
use async_trait::async_trait;
use bytes::Bytes;

use connect::Connector;
pub use connect::SetupError;
use link::{Link, Request};
pub use operators::{Dumped, dump};
use reply::{Reply, array, bytes, number, text, unexpected};

use super::engine::{
    Appended, Beat, BeatReply, Description, Engine, EngineError, Era, Found, LogItem, MemberId,
    Occupied, Salt,
};
use super::names::Names;
use super::sealed::Header;
use crate::clock::Clock;
use crate::config;

/// Approximate number of items that the log keeps.
const MAX_LOG: &[u8] = b"10000";
/// Maximum items of the log in one reply, and their bytes.
const MAX_ITEMS: usize = 1_000;
const MAX_ITEM_BYTES: usize = 1 << 20;
/// The time after which a fetch expires in the engine, in milliseconds.
const FETCH: &[u8] = b"1000";
/// The times after which the record of a scope and a report expire, in seconds.
const SCOPE: u64 = 24 * 60 * 60;
const REPORT: u64 = 15;
/// Unanswered operations on entries in a row after which their connection is replaced.
const PATIENCE: u32 = 5;

/// The engine that the settings name.
#[derive(Debug)]
pub struct Redis {
    /// Beats, appended items, the removal of members.
    members: Link,
    entries: Link,
    log: Link,
    group_name: String,
    log_name: String,
    /// `shared.timeout`
    timeout: Duration,
    is_tls: bool,
    /// Longest wait for the reply to a beat or an append.
    slow: Duration,
    /// `shared.max_entry`, in bytes.
    max_entry: usize,
    /// Counts the calls of scripts. A reply repeats the number of its call, so that a mismatch is noticed.
    calls: AtomicU64,
}

/// A script, and the keys and arguments it is called with.
struct Call<'a> {
    script: &'a LazyLock<Text>,
    keys: &'a [&'a str],
    arguments: &'a [&'a [u8]],
}

/// The text of a script, and its digest.
struct Text(&'static str, Script);

macro_rules! scripts {
    ($($name:ident = $file:literal;)+) => {$(
        static $name: LazyLock<Text> = LazyLock::new(|| {
            let text = include_str!(concat!("scripts/", $file, ".lua"));
            Text(text, Script::new(text))
        });
    )+};
}

scripts! {
    BEAT = "beat";
    APPEND = "append";
    REMOVE_MEMBER = "remove_member";
    LOOK_UP = "look_up";
    HOLD = "hold";
    STORE = "store";
    REMOVE = "remove";
    DESCRIBE = "describe";
}

impl Redis {
    /// Starts to connect to the engine, on the current runtime.
    ///
    /// # Errors
    ///
    /// If a certificate or key cannot be used. An unreachable engine is not an error.
    pub fn start(
        settings: &config::Shared,
        names: &Names,
        clock: &Clock,
    ) -> Result<Self, SetupError> {
        let slow = settings.lease / 2;
        let link = |name, patience, answer| {
            let connector = Connector::new(settings, [slow, answer])?;
            let link = Link::start(name, connector, clock.clone(), slow, patience);
            Ok::<_, SetupError>(link)
        };
        Ok(Self {
            members: link("members", 1, slow)?,
            entries: link("entries", PATIENCE, slow)?,
            // Each read has its own limit.
            log: link("log", 1, Duration::from_hours(1))?,
            group_name: names.group(),
            log_name: names.log(),
            timeout: settings.timeout,
            is_tls: settings.url.iter().any(config::EngineUrl::is_tls),
            slow,
            max_entry: settings.max_entry.as_usize(),
            calls: AtomicU64::new(0),
        })
    }

    /// Calls a script; returns its reply after the number of the call.
    async fn call<const N: usize>(
        &self,
        link: &Link,
        limit: Duration,
        call: Call<'_>,
    ) -> Reply<[Value; N]> {
        let id = self.calls.fetch_add(1, Ordering::Relaxed);
        let command = |is_known| call.command(id, is_known);
        let values = reply::list(link.query(limit, Request::Script(&command)).await?);
        let values = values.and_then(|mut values| {
            let echo = (!values.is_empty()).then(|| values.remove(0));
            let is_own = echo.is_some_and(|echo| number(echo).is_ok_and(|echo| echo == id));
            let values = values.try_into().ok().filter(|_| is_own);
            values.ok_or_else(|| unexpected("the reply to another call"))
        });
        values.inspect_err(|error| link.abandon(&error.to_string()))
    }

    /// Calls a script for an entry.
    async fn entry<const N: usize>(
        &self,
        script: &LazyLock<Text>,
        keys: &[&str],
        arguments: &[&[u8]],
    ) -> Reply<[Value; N]> {
        let call = Call {
            script,
            keys,
            arguments,
        };
        self.call(&self.entries, self.timeout, call).await
    }

    /// Sends a command on the link of entries.
    async fn command(&self, command: &Cmd) -> Reply<Value> {
        let request = Request::Command(command);
        self.entries.query(self.timeout, request).await
    }

    async fn hold(&self, name: &str, owner: u64, value: &str) -> Reply<()> {
        let owner = owner_text(owner);
        let arguments = [owner.as_bytes(), value.as_bytes(), FETCH];
        let [] = self.entry(&HOLD, &[&fetch_of(name)], &arguments).await?;
        Ok(())
    }
}

impl Call<'_> {
    /// The call by the script's digest if the engine knows it, and else by its text.
    fn command(&self, id: u64, is_known: bool) -> Cmd {
        let Text(text, script) = &**self.script;
        let (name, script) = if is_known {
            ("EVALSHA", script.get_hash())
        } else {
            ("EVAL", *text)
        };
        let mut command = cmd(name);
        command.arg(script).arg(self.keys.len()).arg(self.keys);
        command.arg(id).arg(self.arguments);
        command
    }
}

/// The name of an entry's fetch: it differs in the suffix, and is in the same slot of a cluster.
fn fetch_of(entry: &str) -> String {
    let name = entry.strip_suffix('e').unwrap_or(entry);
    format!("{name}l")
}

fn owner_text(owner: u64) -> String {
    format!("{owner:016x}")
}

/// Abandons the connection of the log if the read is cancelled: it would block the next one.
struct Reading<'a>(Option<&'a Link>);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        if let Some(link) = self.0 {
            link.retire();
        }
    }
}

#[async_trait]
impl Engine for Redis {
    async fn beat(&self, beat: Beat) -> Reply<BeatReply> {
        let field = reply::member_field(beat.member);
        let value = reply::member_value(beat.count, beat.lease, beat.position);
        let era = beat.position.map(|position| position.era.0);
        let id = beat.position.map_or(0, |position| position.id).to_string();
        let [most, most_bytes] = [MAX_ITEMS, MAX_ITEM_BYTES].map(|most| most.to_string());
        let call = Call {
            script: &BEAT,
            keys: &[&self.group_name, &self.log_name],
            arguments: &[
                field.as_bytes(),
                value.as_bytes(),
                &beat.next_era.0,
                era.as_ref().map_or(&[][..], |era| era),
                id.as_bytes(),
                most.as_bytes(),
                most_bytes.as_bytes(),
            ],
        };
        let reply = self.call(&self.members, self.slow, call).await;
        let [era, last, now, items, group] = reply.inspect_err(|error| {
            // The read of the log may wait for the same dead connection.
            if matches!(error, EngineError::Timeout(_) | EngineError::Connection(_)) {
                self.log.abandon("a beat had no answer");
            }
        })?;
        let now = reply::time(now)?;
        Ok(BeatReply {
            era: reply::era(&bytes(era)?)?,
            last: number(last)?,
            items: reply::items(items, Some(now), MAX_ITEMS)?,
            members: reply::members(group)?,
        })
    }

    async fn append(&self, era: Era, sealed: Bytes) -> Reply<Appended> {
        let call = Call {
            script: &APPEND,
            keys: &[&self.group_name, &self.log_name],
            arguments: &[&era.0, &sealed, MAX_LOG],
        };
        // The limit of a beat: while leases can be extended, invalidations can be announced.
        let [id] = self.call(&self.members, self.slow, call).await?;
        Ok(match number(id)? {
            0 => Appended::OtherEra,
            id => Appended::At(id),
        })
    }

    async fn end_era(&self) -> Reply<()> {
        let mut command = cmd("DEL");
        command.arg(&self.group_name);
        let request = Request::Command(&command);
        self.members.query(self.slow, request).await.map(drop)
    }

    async fn items_after(&self, id: u64, wait: Duration) -> Reply<Vec<LogItem>> {
        let mut command = cmd("XREAD");
        command.arg("COUNT").arg(MAX_ITEMS).arg("BLOCK");
        // Zero would block forever.
        command.arg(wait.as_millis().max(1).to_string());
        command
            .arg("STREAMS")
            .arg(&self.log_name)
            .arg(format!("{id}-0"));
        let mut reading = Reading(Some(&self.log));
        let request = Request::Command(&command);
        let streams = self.log.query(wait + self.slow, request).await;
        reading.0 = None;
        reply::items(reply::stream(streams?)?, None, MAX_ITEMS)
    }

    async fn remove_member(&self, member: MemberId, count: u64) -> Reply<()> {
        let (field, beginning) = (reply::member_field(member), format!("{count} "));
        let call = Call {
            script: &REMOVE_MEMBER,
            keys: &[&self.group_name],
            arguments: &[field.as_bytes(), beginning.as_bytes()],
        };
        let [] = self.call(&self.members, self.timeout, call).await?;
        Ok(())
    }

    async fn look_up(
        &self,
        name: &str,
        known: Option<Salt>,
        owner: u64,
        room: usize,
    ) -> Reply<Found> {
        let owner = owner_text(owner);
        let [most, most_sent] = [self.max_entry, room].map(|most| most.to_string());
        let known = known.as_ref().map_or(&[][..], |salt| salt);
        let arguments = [
            known,
            owner.as_bytes(),
            FETCH,
            most.as_bytes(),
            most_sent.as_bytes(),
        ];
        let [at, reply] = self
            .entry(&LOOK_UP, &[name, &fetch_of(name)], &arguments)
            .await?;
        let at = reply::time(at)?;
        let mut length = 0;
        let entry = match reply {
            entry @ Value::Array(_) => {
                let [entry, full] = array(entry)?;
                let entry = bytes(entry)?;
                length = usize::try_from(number(full)?).unwrap_or(usize::MAX);
                let sent = if length <= room {
                    length
                } else {
                    Header::LENGTH
                };
                if entry.len() != sent || length > self.max_entry {
                    return Err(unexpected("an entry of another length"));
                }
                Ok(Bytes::from(entry))
            }
            holder => Err(match &bytes(holder)?[..] {
                b"ours" => Occupied::Ours,
                b"other" => Occupied::Other,
                b"unshareable" => Occupied::Unshareable,
                _ => return Err(unexpected("no holder of a fetch")),
            }),
        };
        Ok(Found { at, entry, length })
    }

    async fn renew(&self, name: &str, owner: u64) -> Reply<()> {
        self.hold(name, owner, &owner_text(owner)).await
    }

    async fn release(&self, name: &str, owner: u64, unshareable: bool) -> Reply<()> {
        let value = if unshareable { "unshareable" } else { "" };
        self.hold(name, owner, value).await
    }

    async fn store(&self, name: &str, entry: Bytes, life: Duration, owner: u64) -> Reply<bool> {
        let life = life.as_millis().max(1).to_string();
        let owner = owner_text(owner);
        let arguments = [&entry[..], life.as_bytes(), owner.as_bytes()];
        let [stored] = self
            .entry(&STORE, &[name, &fetch_of(name)], &arguments)
            .await?;
        Ok(number(stored)? > 0)
    }

    async fn remove(&self, name: &str, salt: Salt) -> Reply<()> {
        let [] = self.entry(&REMOVE, &[name], &[&salt]).await?;
        Ok(())
    }

    async fn record_scope(&self, name: &str) -> Reply<()> {
        let mut set = cmd("SET");
        set.arg(name).arg(1).arg("EX").arg(SCOPE);
        self.command(&set).await.map(drop)
    }

    async fn find_scope(&self, name: &str, removes: bool) -> Reply<bool> {
        let mut command = cmd(if removes { "DEL" } else { "STRLEN" });
        command.arg(name);
        // As long as a beat: while a lease can be extended, a refusal can be announced.
        let request = Request::Command(&command);
        Ok(number(self.members.query(self.slow, request).await?)? > 0)
    }

    async fn describe(&self) -> Reply<Description> {
        let call = Call {
            script: &DESCRIBE,
            keys: &[&self.group_name],
            arguments: &[],
        };
        let found: [_; 8] = self.call(&self.members, self.timeout, call).await?;
        let [
            valkey,
            redis,
            role,
            maxmemory,
            eviction_policy,
            replicas,
            good,
            cluster,
        ] = found.map(text);
        let (name, version) = match valkey?.as_str() {
            "" => ("redis", redis?),
            valkey => ("valkey", valkey.to_owned()),
        };
        Ok(Description {
            version: format!("{name} {version}"),
            role: role?,
            maxmemory: maxmemory?.parse().unwrap_or_default(),
            eviction_policy: eviction_policy?,
            replicas: replicas?.parse().unwrap_or_default(),
            needs_replicas: !good?.is_empty(),
            cluster: cluster? == "1",
            tls: self.is_tls,
            timeout_seconds: self.timeout.as_secs_f64(),
        })
    }

    async fn peek(&self, name: &str, length: usize) -> Reply<Bytes> {
        let mut range = cmd("GETRANGE");
        range.arg(name).arg(0).arg(length - 1);
        Ok(bytes(self.command(&range).await?)?.into())
    }

    async fn report(&self, name: &str, report: &str) -> Reply<()> {
        let mut set = cmd("SET");
        set.arg(name).arg(report).arg("EX").arg(REPORT);
        self.command(&set).await.map(drop)
    }
}
