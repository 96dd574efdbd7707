//! An engine in memory, with the semantics of the scripts, and faults: it can lose what it has just
//! written, and each replica has a connection of its own that may be slow, cut or late.

mod link;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Notify;

pub(super) use link::Link;

use super::super::member::framed;
use super::{Removed, Sim};
use crate::cache::shared::{
    Appended, Beat, BeatReply, Engine, EngineError, Era, Found, LogItem, Member, MemberId,
    Occupied, Salt,
};

/// Only the last few items of the log are left.
const LOG: usize = 3;

/// Items in an answer.
const ITEMS: usize = 2;

/// Former states, to which a failover can return.
const HISTORY: usize = 40;

/// `shared.timeout`.
const TIMEOUT: Duration = Duration::from_millis(6);

/// The contents of the engine.
#[derive(Clone, Debug, Default)]
struct Data {
    group: Option<Hash>,
    log: VecDeque<(u64, Duration, Bytes)>,
    entries: BTreeMap<String, Bytes>,
}

/// The hash of the group.
#[derive(Clone, Debug)]
struct Hash {
    era: Era,
    run: u64,
    last: u64,
    members: BTreeMap<MemberId, Member>,
}

/// The primary.
#[derive(Debug, Default)]
pub(super) struct Memory {
    data: Data,
    run: u64,
    history: VecDeque<Data>,
    /// The log of the former primary.
    former: VecDeque<(u64, Duration, Bytes)>,
    /// Notified when the log changes.
    changed: Arc<Notify>,
}

// === impl Memory ===

impl Memory {
    fn record(&mut self) {
        self.history.push_front(self.data.clone());
        self.history.truncate(HISTORY);
    }

    /// Another primary takes over, or the engine restarts: the last few writes are lost.
    pub(super) fn fail_over(&mut self, lost: usize) {
        self.former = self.data.log.clone();
        let back = self.history.get(lost).or(self.history.back());
        self.data = back.cloned().unwrap_or_default();
        self.run += 1;
        self.changed.notify_waiters();
    }

    pub(super) fn flush_all(&mut self) {
        self.former = std::mem::take(&mut self.data).log;
    }

    pub(super) fn evict_group(&mut self) {
        self.data.group = None;
    }

    pub(super) fn evict_log(&mut self) {
        self.data.log.clear();
    }

    fn beat(&mut self, beat: &Beat, now: Duration, removed: Option<Removed>) -> BeatReply {
        let Self { data, run, .. } = self;
        let is_lost = |hash: &Hash| {
            let asked = beat.position.filter(|position| position.era == hash.era);
            hash.run != *run || asked.is_some_and(|position| position.id > hash.last)
        };
        let begins = match &mut data.group {
            None => true,
            Some(hash) if removed == Some(Removed::Era) => {
                hash.run = *run;
                false
            }
            Some(hash) => is_lost(hash),
        };
        if begins {
            let members = data.group.take().map(|hash| hash.members);
            data.log.clear();
            data.group = Some(Hash {
                era: beat.next_era,
                run: *run,
                last: 0,
                members: members.unwrap_or_default(),
            });
        }
        let hash = data.group.as_mut().expect("it was begun if there was none");
        let Beat {
            member: id,
            count,
            position,
            lease,
            ..
        } = *beat;
        hash.members.insert(
            id,
            Member {
                id,
                count,
                position,
                lease,
            },
        );
        let after = position.filter(|position| position.era == hash.era);
        let after = after.map_or(0, |position| position.id);
        let items = data.log.iter().rev().take(LOG).rev();
        let items = items.filter(|(id, ..)| *id > after).take(ITEMS);
        let reply = BeatReply {
            era: hash.era,
            last: hash.last,
            items: items.map(|item| log_item(item, now)).collect(),
            members: hash.members.values().copied().collect(),
        };
        self.record();
        reply
    }

    fn append(&mut self, era: Era, sealed: Bytes, now: Duration) -> Appended {
        let Self { data, run, .. } = self;
        match &mut data.group {
            Some(hash) if hash.era == era && hash.run == *run => {
                hash.last += 1;
                let id = hash.last;
                data.log.push_back((id, now, sealed));
                self.changed.notify_waiters();
                self.record();
                Appended::At(id)
            }
            _ => Appended::OtherEra,
        }
    }
}

fn log_item((id, at, sealed): &(u64, Duration, Bytes), now: Duration) -> LogItem {
    LogItem {
        id: *id,
        age: now.saturating_sub(*at),
        sealed: sealed.clone(),
    }
}
