//! A replica's view of its group: how far it and the other replicas have applied the log. Pure: each
//! decision is a function of the engine's replies and the time.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::{Beat, BeatReply, Era, LogItem, Member, MemberId, Position};
use crate::telemetry::Reset;

/// A replica that has sent no beat for this long, and for three of its leases, is removed.
const SILENT: Duration = Duration::from_secs(30);

/// No replica has a longer `shared.lease`.
const LONGEST_LEASE: Duration = Duration::from_mins(1);

/// The longest that a lease can last by the clock of another machine, which may run faster.
pub(super) fn longest(lease: Duration) -> Duration {
    lease + lease / 20
}

/// The content of an item of the log: its era, and the sealed invalidation. The era is needed because a
/// connection to a former primary delivers items of a former era, with the same numbers.
pub(super) fn framed(era: Era, sealed: &[u8]) -> Bytes {
    [&era.0, sealed].concat().into()
}

/// The sealed invalidation of an item, if it is one of this era.
pub(super) fn sealed(item: &LogItem, era: Era) -> Option<&[u8]> {
    item.sealed.strip_prefix(&era.0)
}

/// The state of this replica in its group.
#[derive(Debug)]
pub(super) struct Membership {
    id: MemberId,
    /// `shared.lease`.
    lease: Duration,
    /// How far the log has been applied; `None` before the first beat.
    position: Option<Position>,
    /// When the era was first seen.
    pub(super) era_seen: Duration,
    /// The number of beats sent.
    sent: u64,
    /// The latest beat that has been answered, and when.
    heard: (u64, Duration),
    /// When the first beat of the current run of answered beats was answered.
    pub(super) reachable_since: Option<Duration>,
    /// The other replicas, and when each was first seen with its current number of beats.
    pub(super) others: BTreeMap<MemberId, (Member, Duration)>,
    /// The longest lease seen of any replica.
    longest_lease: Duration,
    /// Whether an invalidation of this era was answered although a replica had not applied it.
    is_unconfirmed: bool,
}

/// The consequences of an answered beat, in this order.
#[derive(Debug, Default)]
pub(super) struct Update {
    /// Steps in the store.
    pub(super) steps: Vec<Step>,
    /// Whether the log has been applied to its end, as of when the beat was sent.
    pub(super) is_current: bool,
    /// Replicas to remove, unless they have sent another beat.
    pub(super) silent: Vec<(MemberId, u64)>,
    /// Whether to invalidate everything at every replica: the primary of the former era may have continued
    /// after this era began, and announcements made there would be lost.
    pub(super) announces_all: bool,
}

/// A change of the store.
#[derive(Debug)]
pub(super) enum Step {
    /// Everything stored may be invalid, and so may fetches that began at or before this item.
    Forget(u64, Reset),
    /// Apply an item.
    Apply(LogItem),
}

/// An invalidation that has been appended to the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Announced {
    /// Its position.
    pub(super) position: Position,
    /// When the reply to the append arrived.
    pub(super) replied: Duration,
    /// The number of beats sent by then.
    pub(super) beats: u64,
}

impl Membership {
    pub(super) fn new(id: MemberId, lease: Duration) -> Self {
        Self {
            id,
            lease,
            position: None,
            era_seen: Duration::ZERO,
            sent: 0,
            heard: (0, Duration::ZERO),
            reachable_since: None,
            others: BTreeMap::new(),
            longest_lease: lease,
            is_unconfirmed: false,
        }
    }

    /// How far the log has been applied.
    pub(super) fn position(&self) -> Option<Position> {
        self.position
    }

    /// This replica, and the number of its last beat.
    pub(super) fn own(&self) -> (MemberId, u64) {
        (self.id, self.sent)
    }

    /// The replicas of the group, this one included.
    pub(super) fn replicas(&self) -> usize {
        self.others.len() + 1
    }

    /// When the engine last answered a beat.
    pub(super) fn heard_at(&self) -> Duration {
        self.heard.1
    }

    /// The time to the next beat: a quarter of the lease, or a little less, so that the replicas' beats do
    /// not synchronise.
    pub(super) fn pause(&self) -> Duration {
        let random = (self.id.0 ^ self.sent).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
        self.lease * (1_280 - u32::try_from(random).unwrap_or_default()) / (4 * 1_280)
    }

    /// After this time without a reply from the engine, no replica has a lease.
    pub(super) fn longest_wait(&self) -> Duration {
        longest(self.longest_lease)
    }

    /// The next beat.
    pub(super) fn beat(&mut self, next_era: Era) -> Beat {
        self.sent += 1;
        Beat {
            member: self.id,
            count: self.sent,
            position: self.position,
            lease: self.lease,
            next_era,
        }
    }

    /// Applies the reply to a beat.
    pub(super) fn heard(&mut self, beat: &Beat, reply: BeatReply, now: Duration) -> Update {
        self.heard = (beat.count, now);
        self.reachable_since.get_or_insert(now);
        let mut update = Update::default();
        let known = self.position.filter(|position| position.era == reply.era);
        // The log cannot end before the position of the beat, unless the engine has lost a part of it.
        let asked = beat.position.filter(|position| position.era == reply.era);
        let is_cut = asked.is_some_and(|asked| reply.last < asked.id);
        let mut id = known.map_or(0, |position| position.id);
        if known.is_none() {
            let first = reply
                .items
                .first()
                .map_or(reply.last, |item| item.id.saturating_sub(1));
            let reset = match self.position {
                None => Reset::Start,
                Some(_) if reply.era == beat.next_era => Reset::Begun,
                Some(_) => Reset::Era,
            };
            update.steps.push(Step::Forget(first, reset));
            update.announces_all = std::mem::take(&mut self.is_unconfirmed);
            self.era_seen = now;
            id = first;
        } else if is_cut {
            update.steps.push(Step::Forget(reply.last, Reset::Gap));
            id = reply.last;
        }
        let is_end = reply.items.is_empty();
        id = take(reply.items, id, &mut update.steps);
        if is_end && id < reply.last {
            update.steps.push(Step::Forget(reply.last, Reset::Gap));
            id = reply.last;
        }
        update.is_current = id >= reply.last;
        self.position = Some(Position { era: reply.era, id });
        self.see(reply.members, now);
        update.silent = self.silent(now);
        self.is_unconfirmed |= !update.silent.is_empty();
        update
    }

    /// Applies items that were read from the log. `None` if they do not continue it: the next beat shows
    /// why.
    pub(super) fn read(&mut self, items: Vec<LogItem>) -> Option<Vec<Step>> {
        let Position { era, id } = self.position?;
        let continues = items.iter().all(|item| sealed(item, era).is_some())
            && items.first().is_none_or(|item| item.id <= id + 1)
            && items.is_sorted_by(|one, next| next.id == one.id + 1);
        if !continues {
            return None;
        }
        let mut steps = Vec::new();
        let id = take(items, id, &mut steps);
        self.position = Some(Position { era, id });
        Some(steps)
    }

    /// Notes that an item has been appended at `now`.
    pub(super) fn announced(&self, position: Position, now: Duration) -> Announced {
        Announced {
            position,
            replied: now,
            beats: self.sent,
        }
    }

    /// The number of replicas that have applied an item, once no other replica has a lease from before the
    /// item; `None` until then.
    pub(super) fn confirmed(&mut self, item: &Announced, now: Duration) -> Option<usize> {
        let ended = |since: Duration, lease| now >= since + longest(lease);
        let applied = |position: Option<Position>| self.has_applied(position, item);
        // The lease of a replica that sends no more beats ends a lease after the last one.
        let lags = |(member, since): &(Member, Duration)| {
            !applied(member.position) && !ended((*since).min(item.replied), member.lease)
        };
        // A new era may not list the replicas of the former one: their leases must have ended.
        let is_complete = ended(self.era_seen, self.longest_lease);
        let is_over = ended(item.replied, self.longest_lease);
        let is_listed =
            self.heard.0 > item.beats && applied(self.position) && !self.others.values().any(lags);
        if !is_complete || !(is_over || is_listed) {
            return None;
        }
        let others = self
            .others
            .values()
            .filter(|(member, _)| applied(member.position));
        let confirmed = others.count() + usize::from(applied(self.position));
        self.is_unconfirmed |= confirmed < self.replicas();
        Some(confirmed)
    }

    /// Whether a replica with this position has applied an item. It must be in our era; if the item is of
    /// another era, the replica has forgotten everything since.
    fn has_applied(&self, position: Option<Position>, item: &Announced) -> bool {
        let (Some(own), Some(position)) = (self.position, position) else {
            return false;
        };
        let is_same = own.era == item.position.era;
        position.era == own.era && (!is_same || position.id >= item.position.id)
    }

    fn see(&mut self, members: Vec<Member>, now: Duration) {
        let mut others = BTreeMap::new();
        for mut member in members.into_iter().filter(|member| member.id != self.id) {
            member.lease = member.lease.min(LONGEST_LEASE);
            let known = self.others.get(&member.id);
            let known = known.filter(|(known, _)| known.count == member.count);
            let since = known.map_or(now, |(_, since)| *since);
            self.longest_lease = self.longest_lease.max(member.lease);
            others.insert(member.id, (member, since));
        }
        self.others = others;
    }

    fn silent(&self, now: Duration) -> Vec<(MemberId, u64)> {
        let others = self.others.values();
        let silent = others.filter(|(member, since)| now >= *since + SILENT.max(member.lease * 3));
        silent
            .map(|(member, _)| (member.id, member.count))
            .collect()
    }
}

/// Adds steps for the items after `id`, in order; returns the number of the last one.
fn take(items: Vec<LogItem>, mut id: u64, steps: &mut Vec<Step>) -> u64 {
    for item in items {
        if item.id <= id {
            continue;
        }
        if item.id > id + 1 {
            steps.push(Step::Forget(item.id - 1, Reset::Gap));
        }
        id = item.id;
        steps.push(Step::Apply(item));
    }
    id
}

#[cfg(test)]
mod tests;
