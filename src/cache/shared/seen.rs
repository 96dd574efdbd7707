//! The shared level as operators see it. Nothing here reads a response.

use bytes::Bytes;
use futures_util::future::join_all;
use serde::Serialize;

use super::engine::{Description, EngineError};
use super::sealed::Header;
use super::{GroupState, Shared};
use crate::request::CacheKey;

/// Most replicas whose reports are read.
const MAX_REPORTS: usize = 100;

/// Most bytes of a report.
const MAX_REPORT: usize = 4 << 10;

/// This replica in its group.
#[derive(Debug, Default, Serialize)]
pub struct Seen {
    /// Whether it is in step.
    #[serde(serialize_with = "crate::label::as_str")]
    pub state: GroupState,
    /// The time for which the engine has answered every beat; `None` if it did not answer the last one.
    reachable_seconds: Option<u64>,
    lease_left_ms: u64,
    /// Invalidations that are not in the log yet.
    pub queued: usize,
    /// A digest of the scope key.
    key: String,
    /// This replica.
    pub member: String,
    members: Vec<String>,
    replicas: usize,
}

impl Shared {
    /// This replica in its group; `None` without an engine.
    pub fn seen(&self) -> Option<Seen> {
        let entries = self.0.as_ref()?;
        let (group, now) = (&entries.group, entries.clock.mono());
        let state = group.state(now);
        let queued = group.outbox.lock().len();
        let membership = group.membership.lock();
        let own = membership.own().0;
        let members = membership.others.keys().chain([&own]);
        let mut members: Vec<_> = members.map(ToString::to_string).collect();
        members.sort();
        let since = membership.reachable_since;
        let left = group.lease.left(now).as_millis();
        Some(Seen {
            state,
            reachable_seconds: since.map(|since| now.saturating_sub(since).as_secs()),
            lease_left_ms: u64::try_from(left).unwrap_or(u64::MAX),
            queued,
            key: entries.sealer.names.key_digest(),
            member: own.to_string(),
            replicas: members.len(),
            members,
        })
    }

    /// The engine; `None` without one.
    pub async fn describe(&self) -> Option<Result<Description, EngineError>> {
        Some(self.0.as_ref()?.engine.describe().await)
    }

    /// Publishes what this replica reports of itself to operators.
    pub async fn report(&self, report: &str) {
        let Some(entries) = &self.0 else { return };
        let own = entries.group.membership.lock().own().0;
        let name = entries.sealer.names.report(own);
        // Without it, the replica is missing in the views of the others.
        let _ = entries.engine.report(&name, report).await;
    }

    /// The last reports of the replicas of the group, this one included, by member; without those that
    /// the engine does not have. A longer one is cut.
    pub async fn reports(&self) -> Vec<(String, Bytes)> {
        let Some(entries) = &self.0 else {
            return Vec::new();
        };
        let members: Vec<_> = {
            let membership = entries.group.membership.lock();
            let own = membership.own().0;
            let members = membership.others.keys().chain([&own]).take(MAX_REPORTS);
            members.copied().collect()
        };
        let reads = members.iter().map(async |member| {
            let name = entries.sealer.names.report(*member);
            let report = entries.engine.peek(&name, MAX_REPORT).await.ok()?;
            Some((member.to_string(), report))
        });
        join_all(reads).await.into_iter().flatten().collect()
    }

    /// Whether the engine has an entry for this key, and why it would not be used; `None` without an
    /// engine.
    pub async fn explain(&self, key: &CacheKey) -> Option<&'static str> {
        let entries = self.0.as_ref()?;
        let name = entries.sealer.names.entry(key);
        let Ok(beginning) = entries.engine.peek(&name, Header::LENGTH).await else {
            return Some("unknown: the engine does not answer");
        };
        if beginning.is_empty() {
            return Some("not stored there");
        }
        let own = entries.group.position(entries.clock.mono());
        Some(match (Header::read(&beginning), own) {
            (Err(_), _) => "stored there by another version: not used",
            (_, None) => "stored there, and not used: this replica is not in step",
            (Ok(Header { position, .. }), Some(own)) if position.era != own.era => {
                "stored there, and not used: it is from before the log began anew"
            }
            (Ok(Header { position, .. }), _)
                if entries.store.changed_since(key, key.scope(), position.id) =>
            {
                "stored there, and not used: invalidated since"
            }
            _ => "stored there",
        })
    }
}
