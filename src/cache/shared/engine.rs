//! The engine as the shared level uses it: a narrow trait of operations, and their plain data.
//! `redis` implements it with the client library; the model of the tests is the other implementation.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::Serialize;
use thiserror::Error;

use crate::telemetry::EngineFault;

/// A random value that identifies one history of the log. A new era begins when the log may have lost
/// items; nothing stored before is used then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Era(pub [u8; 16]);

/// A place in the log: everything up to the item `id` of the era has been applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The era.
    pub era: Era,
    /// The last item applied; zero before the first. Items are numbered from one, without gaps.
    pub id: u64,
}

/// A replica, by a random value of its process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MemberId(pub u64);

/// The random part of an entry: its encryption key is derived from it, and it distinguishes entries.
pub type Salt = [u8; 16];

/// A replica's heartbeat.
#[derive(Clone, Copy, Debug)]
pub struct Beat {
    /// The replica.
    pub member: MemberId,
    /// The number of this beat.
    pub count: u64,
    /// How far it has applied the log; `None` before its first beat.
    pub position: Option<Position>,
    /// `shared.lease`.
    pub lease: Duration,
    /// The era to begin if the group has none, or if the primary has changed.
    pub next_era: Era,
}

/// The engine's answer to a beat.
#[derive(Clone, Debug)]
pub struct BeatReply {
    /// The era in force.
    pub era: Era,
    /// The last item of the log; zero if it is empty.
    pub last: u64,
    /// The items after the position of the beat (after zero, if that is of another era), in order, at most
    /// a thousand. If they end before `last`, the log may also have lost some.
    pub items: Vec<LogItem>,
    /// Every replica, this one included.
    pub members: Vec<Member>,
}

/// An item of the log.
#[derive(Clone, Debug)]
pub struct LogItem {
    /// Its number.
    pub id: u64,
    /// How long ago it was appended, by the engine's clock.
    pub age: Duration,
    /// The sealed invalidation.
    pub sealed: Bytes,
}

/// The engine's record of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The replica.
    pub id: MemberId,
    /// The number of its last beat.
    pub count: u64,
    /// How far it has applied the log; `None` before its second beat.
    pub position: Option<Position>,
    /// Its `shared.lease`.
    pub lease: Duration,
}

/// The result of appending an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It has this number.
    At(u64),
    /// Another era is in force, or must begin: nothing was appended.
    OtherEra,
}

/// The result of looking an entry up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The engine's clock, in microseconds since 1970.
    pub at: u64,
    /// The entry, or its clear header if there is no room for more; or else the holder of the fetch.
    pub entry: Result<Bytes, Occupied>,
    /// The length of the entry.
    pub length: usize,
}

/// Who fetches a response that is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occupied {
    /// The caller: it must store the response, or release the fetch.
    Ours,
    /// Another fetch.
    Other,
    /// The last response could not be shared: every replica fetches.
    Unshareable,
}

/// Why an operation failed.
#[derive(Clone, Debug, Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum EngineError {
    /// No answer within `shared.timeout`.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("not connected: {0}")]
    Connection(String),
    /// The engine refused the operation: it is full, a replica, still loading, or does not permit it.
    #[error("refused: {0}")]
    Refused(String),
    #[error("unexpected answer: {0}")]
    Unexpected(String),
}

impl EngineError {
    /// The reason, as a label.
    pub fn fault(&self) -> EngineFault {
        match self {
            Self::Timeout(_) => EngineFault::Timeout,
            Self::Connection(_) => EngineFault::Connection,
            Self::Refused(_) => EngineFault::Refused,
            Self::Unexpected(_) => EngineFault::Unexpected,
        }
    }
}

/// The engine, for operators. Values that it does not report are empty.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Description {
    /// The program and its version.
    pub version: String,
    /// `master`, unless it is a replica of another engine.
    pub role: String,
    /// Maximum memory for data, in bytes; zero: no limit.
    pub maxmemory: u64,
    /// `maxmemory-policy`: the keys that it evicts at that limit.
    pub eviction_policy: String,
    /// Its own replicas, to one of which it may fail over.
    pub replicas: u64,
    /// Whether it refuses writes while too few of them answer (`min-replicas-to-write`).
    pub needs_replicas: bool,
    /// Whether it is a node of a cluster.
    pub cluster: bool,
    /// Whether the connections use TLS.
    pub tls: bool,
    /// `shared.timeout`
    pub timeout_seconds: f64,
}

/// The operations on the engine. Each is one script or command; the names are complete engine keys.
#[async_trait]
pub trait Engine: fmt::Debug + Send + Sync {
    /// Records a beat. Begins an era if the group has none, or if the primary is not the one under which
    /// the era began.
    async fn beat(&self, beat: Beat) -> Result<BeatReply, EngineError>;

    /// Appends an item to the log, if this era is in force.
    async fn append(&self, era: Era, sealed: Bytes) -> Result<Appended, EngineError>;

    /// Ends the era, so that the next beat begins another one.
    async fn end_era(&self) -> Result<(), EngineError> {
        Ok(())
    }

    /// The items after this one; waits up to `wait` for the first. Uses its own connection.
    async fn items_after(&self, id: u64, wait: Duration) -> Result<Vec<LogItem>, EngineError>;

    /// Removes a replica, unless it has sent another beat since this one.
    async fn remove_member(&self, member: MemberId, count: u64) -> Result<(), EngineError>;

    /// Looks an entry up; one with the salt `known` counts as absent, and one above `room` bytes is not
    /// sent. Without an entry, tries to assign the fetch to `owner` for a second.
    async fn look_up(
        &self,
        name: &str,
        known: Option<Salt>,
        owner: u64,
        room: usize,
    ) -> Result<Found, EngineError>;

    /// Extends the fetch of `owner` to a second from now.
    async fn renew(&self, name: &str, owner: u64) -> Result<(), EngineError>;

    /// Ends the fetch of `owner` without an entry; `unshareable`: for a second every replica fetches.
    async fn release(&self, name: &str, owner: u64, unshareable: bool) -> Result<(), EngineError>;

    /// Stores an entry for the time `life`, unless the fetch of the stored one began later; ends the fetch
    /// of `owner`. Returns whether the entry was stored.
    async fn store(
        &self,
        name: &str,
        entry: Bytes,
        life: Duration,
        owner: u64,
    ) -> Result<bool, EngineError>;

    /// Removes an entry if it has this salt.
    async fn remove(&self, name: &str, salt: Salt) -> Result<(), EngineError>;

    /// Records for a day that the origin has accepted a scope.
    async fn record_scope(&self, name: &str) -> Result<(), EngineError>;

    /// Whether a scope is recorded; `removes`: also removes the record.
    async fn find_scope(&self, name: &str, removes: bool) -> Result<bool, EngineError>;

    /// Describes the server that has the log, for operators.
    async fn describe(&self) -> Result<Description, EngineError> {
        Ok(Description::default())
    }

    /// The first `length` bytes of a value, for operators; empty without a value.
    async fn peek(&self, _name: &str, _length: usize) -> Result<Bytes, EngineError> {
        Ok(Bytes::new())
    }

    /// Stores what a replica reports of itself, for a quarter of a minute.
    async fn report(&self, _name: &str, _report: &str) -> Result<(), EngineError> {
        Ok(())
    }
}

impl fmt::Debug for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Sixteen hex digits.
impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
