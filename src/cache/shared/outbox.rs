//! The invalidations that are not yet in the log.

use std::collections::VecDeque;

use crate::cache::Invalidation;

/// Maximum invalidations that wait for the engine; with a further one, they become one of everything.
const MAX_QUEUED: usize = 1_000;

/// Maximum appended at a time.
const MAX_BATCH: usize = 64;

/// Invalidations in the order of their numbers.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    items: VecDeque<(u64, Invalidation)>,
    /// The number of the latest.
    pub(super) latest: u64,
    /// The number of items being appended.
    sending: usize,
    /// Failures to append, and how many of them later appends have made good.
    failures: u64,
    settled: u64,
}

impl Outbox {
    /// Queues an invalidation; returns its number.
    pub(super) fn push(&mut self, item: Invalidation) -> u64 {
        self.latest += 1;
        if self.items.len() == MAX_QUEUED {
            self.items.clear();
            self.items.push_back((self.latest, Invalidation::All));
        } else {
            self.items.push_back((self.latest, item));
        }
        self.latest
    }

    /// Takes the first few. They must be [returned](Self::done).
    pub(super) fn take(&mut self) -> Vec<(u64, Invalidation)> {
        let batch: Vec<_> = self
            .items
            .drain(..self.items.len().min(MAX_BATCH))
            .collect();
        self.sending = batch.len();
        batch
    }

    /// Ends a batch: the failed items go back to the front.
    pub(super) fn done(&mut self, failed: Vec<(u64, Invalidation)>) {
        self.sending = 0;
        self.failures += u64::from(!failed.is_empty());
        for item in failed.into_iter().rev() {
            self.items.push_front(item);
        }
        if self.items.len() > MAX_QUEUED {
            self.items.clear();
            self.items.push_back((self.latest, Invalidation::All));
        }
    }

    /// Whether the rest of its room is for what must be announced.
    pub(super) fn is_half_full(&self) -> bool {
        self.len() >= MAX_QUEUED / 2
    }

    /// The number of items that are not yet in the log.
    pub(super) fn len(&self) -> usize {
        self.items.len() + self.sending
    }

    /// The failures so far, if everything is in the log now.
    pub(super) fn made_up(&self) -> Option<u64> {
        (self.len() == 0).then_some(self.failures)
    }

    /// Notes that this replica has applied everything up to these failures.
    pub(super) fn settle(&mut self, failures: u64) {
        self.settled = failures;
    }

    /// Whether the journal may lack an invalidation of this replica because the engine has failed. Then
    /// responses of other replicas may be older than that invalidation.
    pub(super) fn is_late(&self) -> bool {
        self.failures > self.settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item() -> Invalidation {
        Invalidation::of_paths(["/v1/calls/a"].into_iter())
    }

    #[test]
    fn too_many_invalidations_become_one_of_everything() {
        let mut outbox = Outbox::default();
        for number in 1..=MAX_QUEUED as u64 {
            assert_eq!(outbox.push(item()), number);
        }
        assert_eq!(outbox.len(), MAX_QUEUED);
        let last = outbox.push(item());
        assert_eq!(outbox.take(), [(last, Invalidation::All)]);
        // So do those that are put back.
        outbox.done(vec![(last, Invalidation::All)]);
        for _ in 1..MAX_QUEUED {
            outbox.push(item());
        }
        let batch = outbox.take();
        assert_eq!(batch.len(), MAX_BATCH);
        for _ in 0..MAX_BATCH {
            outbox.push(item());
        }
        let last = outbox.latest;
        outbox.done(batch);
        assert_eq!(outbox.take(), [(last, Invalidation::All)]);
    }

    #[test]
    fn an_invalidation_is_late_until_its_replica_has_applied_it() {
        let mut outbox = Outbox::default();
        outbox.push(item());
        let batch = outbox.take();
        assert_eq!((outbox.len(), outbox.made_up()), (1, None));
        outbox.done(batch.clone());
        assert!(outbox.is_late() && outbox.made_up().is_none());
        assert_eq!(outbox.take(), batch, "it comes first again");
        outbox.done(Vec::new());
        let failures = outbox.made_up().expect("nothing waits");
        // Another failure follows before the beat is answered.
        outbox.push(item());
        let batch = outbox.take();
        outbox.done(batch);
        outbox.settle(failures);
        assert!(outbox.is_late());
        outbox.take();
        outbox.done(Vec::new());
        let failures = outbox.made_up().expect("nothing waits");
        outbox.settle(failures);
        assert!(!outbox.is_late());
    }
}
