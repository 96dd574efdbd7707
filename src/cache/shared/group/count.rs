//! Counts for the operator of a purge: how many responses each replica had stored of what it concerns. They
//! follow the confirmations, so that no replica searches its store while the log waits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::Group;
use crate::cache::Invalidation;
use crate::cache::shared::{MemberId, Position};

/// Most purges that are counted at a time; further ones are not counted.
pub(super) const MAX_COUNTING: usize = 4;

/// The longest wait for the counts.
const COUNT_TIME: Duration = Duration::from_secs(1);

/// The longest count, in bytes.
const MAX_LENGTH: usize = 64;

/// Bounds of the pause between attempts to read the counts.
const MIN_PAUSE: Duration = Duration::from_millis(1);
const MAX_PAUSE: Duration = Duration::from_millis(50);

/// The responses that other replicas had stored; without replicas that have not published a count.
pub type Counts = BTreeMap<MemberId, u64>;

impl Group {
    /// Publishes how many responses this replica had stored of what a purge concerns: those that the next
    /// sweep frees. `swept`: the number of those freed before the purge, which has this position, was
    /// applied; `None` if it concerned nothing here.
    pub(super) fn count(&self, purge: &Invalidation, position: Position, swept: Option<usize>) {
        let Ok(permit) = Arc::clone(&self.counting).try_acquire_owned() else {
            return;
        };
        let name = self.sealer.names.count(purge, position.era, self.id);
        let (store, engine) = (Arc::clone(&self.store), Arc::clone(&self.engine));
        self.tasks.spawn(async move {
            let count = tokio::task::spawn_blocking(move || {
                swept.map_or(0, |before| {
                    store.sweep();
                    store.swept().saturating_sub(before)
                })
            });
            if let Ok(count) = count.await {
                let report = format!("{} {count}", position.id);
                // Without it, the operator sees that this replica has published no count.
                let _ = engine.report(&name, &report).await;
            }
            drop(permit);
        });
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
                self.clock
                    .clone()
                    .sleep_until(self.clock.deadline(pause))
                    .await;
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
        let membership = self.membership();
        let others = membership.others.iter();
        others
            .filter(|(id, (member, _))| has_applied(member.position) && !counts.contains_key(id))
            .map(|(id, _)| *id)
            .collect()
    }

    /// The count of a replica for an item after this position: an earlier one is of an earlier purge.
    async fn read_count(&self, purge: &Invalidation, since: Position, id: MemberId) -> Option<u64> {
        let name = self.sealer.names.count(purge, since.era, id);
        let report = self.engine.peek(&name, MAX_LENGTH).await.ok()?;
        let (item, count) = std::str::from_utf8(&report).ok()?.split_once(' ')?;
        let item: u64 = item.parse().ok()?;
        count.parse().ok().filter(|_| item > since.id)
    }
}
