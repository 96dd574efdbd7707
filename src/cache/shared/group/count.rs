//! Counts for the operator of a purge: how many responses each replica had stored of what it concerns. They
//! follow the confirmations, so that no replica searches its store while the log waits; one search counts
//! for all purges that have come meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::mpsc;

use super::Group;
use crate::cache::shared::{MemberId, Position};
use crate::cache::{Invalidation, Purged};

/// Most purges that wait to be counted; further ones are not counted.
pub(super) const MAX_WAITING: usize = 256;

/// The longest wait for the counts.
const COUNT_TIME: Duration = Duration::from_secs(1);

/// The longest count, in bytes.
const MAX_LENGTH: usize = 64;

/// Bounds of the pause between attempts to read the counts.
const MIN_PAUSE: Duration = Duration::from_millis(1);
const MAX_PAUSE: Duration = Duration::from_millis(50);

/// The responses that other replicas had stored; without replicas that have not published a count.
pub type Counts = BTreeMap<MemberId, u32>;

/// A purge that was applied, and where its count is published.
#[derive(Debug)]
pub(super) struct Applied {
    purged: Arc<Purged>,
    name: String,
    position: Position,
}

impl Group {
    /// Has a purge counted, which was applied at this position.
    pub(super) fn count(&self, purge: &Invalidation, position: Position, purged: Arc<Purged>) {
        let name = self.sealer.names.count(purge, position.era, self.id);
        let applied = Applied {
            purged,
            name,
            position,
        };
        // At the bound the operator sees that this replica has published no count.
        let _ = self.applied.try_send(applied);
    }

    /// Publishes how many responses this replica had stored of what the purges concern.
    pub(super) async fn publish_counts(self: Arc<Self>, mut applied: mpsc::Receiver<Applied>) {
        loop {
            let mut batch = Vec::new();
            let next = applied.recv_many(&mut batch, MAX_WAITING);
            if self.end.run_until_cancelled(next).await.is_none() {
                return;
            }
            let purges: Vec<_> = batch.iter().map(|one| Arc::clone(&one.purged)).collect();
            let store = Arc::clone(&self.store);
            let counts = tokio::task::spawn_blocking(move || store.found(&purges)).await;
            let counts = counts.unwrap_or_default();
            let reports = std::iter::zip(&batch, counts).map(async |(one, count)| {
                let report = format!("{} {count}", one.position.id);
                // Without it, as at the bound.
                let _ = self.engine.report(&one.name, &report).await;
            });
            join_all(reports).await;
        }
    }

    /// The counts of the replicas that have applied a purge, which was announced after `since`.
    pub async fn counts(&self, purge: &Invalidation, since: Position) -> Counts {
        let mut counts = Counts::new();
        let limit = self.clock.deadline(COUNT_TIME);
        let read = async {
            let mut pause = MIN_PAUSE;
            loop {
                let missing = self.uncounted(since, &counts);
                if missing.is_empty() {
                    return;
                }
                let read = missing.iter().map(|id| self.read_count(purge, since, *id));
                let read = join_all(read).await.into_iter();
                counts.extend(
                    read.zip(missing)
                        .filter_map(|(count, id)| Some((id, count?))),
                );
                self.clock.sleep(pause).await;
                pause = MAX_PAUSE.min(pause * 8 / 5);
            }
        };
        let _ = self.clock.timeout_at(limit, read).await;
        counts
    }

    /// The other replicas that have applied an item after this position and have no count.
    fn uncounted(&self, since: Position, counts: &Counts) -> Vec<MemberId> {
        let has_applied = |position: Option<Position>| {
            position.is_some_and(|now| now.era == since.era && now.id > since.id)
        };
        let membership = self.membership.lock();
        let others = membership.others.iter();
        others
            .filter(|(id, (member, _))| has_applied(member.position) && !counts.contains_key(id))
            .map(|(id, _)| *id)
            .collect()
    }

    /// The count of a replica for an item after this position: an earlier one is of an earlier purge.
    async fn read_count(&self, purge: &Invalidation, since: Position, id: MemberId) -> Option<u32> {
        let name = self.sealer.names.count(purge, since.era, id);
        let report = self.engine.peek(&name, MAX_LENGTH).await.ok()?;
        count_after(since.id, &report)
    }
}

/// The count in a report, if it is one and of an item after `since`. The engine keeps reports unsealed, so a
/// value may be anything: of 32 bits, so that their sum is a number.
fn count_after(since: u64, report: &[u8]) -> Option<u32> {
    let (item, count) = std::str::from_utf8(report).ok()?.split_once(' ')?;
    let item: u64 = item.parse().ok()?;
    count.parse().ok().filter(|_| item > since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plausible_count_of_a_later_item_is_read() {
        assert_eq!(count_after(4, b"5 17"), Some(17));
        for report in [
            &b""[..],
            b"4 17",
            b"5",
            b"5 ",
            b"5 -1",
            b"5 17 17",
            b"5 18446744073709551615",
            b"18446744073709551616 17",
            b"5 \xff",
        ] {
            assert_eq!(count_after(4, report), None, "{report:?}");
        }
    }
}
