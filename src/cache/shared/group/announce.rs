//! Announcements: an invalidation is appended to the log, and the other replicas confirm it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::{Group, concern};
use crate::cache::Invalidation;
use crate::cache::shared::member::{Announced, framed};
use crate::cache::shared::{Appended, EngineError, Era, Position};

/// Beats without a pause while an announcement waits: a reply takes a tenth of a millisecond, which is
/// below the resolution of the runtime's timers.
const QUICK_BEATS: u32 = 8;

/// Bounds of the pause between further beats.
const MIN_PAUSE: Duration = Duration::from_millis(1);
const MAX_PAUSE: Duration = Duration::from_millis(50);

/// The result of an announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmation {
    /// The replicas of the group, this one included.
    pub replicas: usize,
    /// Those that have applied it; the others no longer use what they had stored, unless only this
    /// replica is cut off from the engine.
    pub confirmed: usize,
    /// Whether the engine has not accepted it yet: it is announced later.
    pub is_queued: bool,
    /// The time until the announcement returned.
    pub elapsed: Duration,
}

impl Group {
    /// Announces an invalidation that this replica has carried out; waits until no other replica uses
    /// what it concerns.
    pub async fn announce(&self, invalidation: Invalidation) -> Confirmation {
        let start = self.clock.now().mono;
        let number = self.put(invalidation);
        let mut appended = self.appended.subscribe();
        let limit = self.clock.deadline(self.membership.lock().longest_wait());
        let is_appended = appended.wait_for(|(latest, _)| *latest >= number);
        let found = self.clock.timeout_at(limit, is_appended).await;
        let item = found.and_then(|found| found.ok().and_then(|found| found.1));
        let is_queued = item.is_none();
        let confirmed = match item {
            Some(item) => self.confirmed(&item).await,
            // It is still in the outbox: no replica that is cut off like this one has a lease now.
            None => 1,
        };
        let replicas = self.membership.lock().replicas();
        let elapsed = self.clock.now().mono.saturating_sub(start);
        self.metrics
            .shared_confirmation
            .observe(elapsed.as_secs_f64());
        if confirmed < replicas {
            self.metrics.shared_unconfirmed.inc();
        }
        Confirmation {
            replicas,
            confirmed,
            is_queued,
            elapsed,
        }
    }

    /// Announces an invalidation that this replica has carried out, without waiting.
    pub fn announce_later(&self, invalidation: Invalidation) {
        self.put(invalidation);
    }

    /// Waits for the other replicas.
    async fn confirmed(&self, item: &Announced) -> usize {
        let mut answered = self.answered.subscribe();
        let (mut beats, mut pause) = (0, MIN_PAUSE);
        loop {
            let now = self.clock.now().mono;
            if let Some(confirmed) = self.membership.lock().confirmed(item, now) {
                return confirmed;
            }
            beats += 1;
            if beats > QUICK_BEATS {
                self.clock.sleep(pause).await;
                pause = MAX_PAUSE.min(pause * 8 / 5);
            }
            self.due.notify_one();
            let limit = self.clock.deadline(MAX_PAUSE);
            let _ = self.clock.timeout_at(limit, answered.changed()).await;
        }
    }

    pub(super) fn put(&self, invalidation: Invalidation) -> u64 {
        self.metrics
            .shared_announced
            .of(concern(&invalidation))
            .inc();
        let number = self.outbox.lock().push(invalidation);
        self.filled.notify_one();
        number
    }

    /// Appends what is in the outbox to the log.
    pub(super) async fn append(self: Arc<Self>) {
        let mut answered = self.answered.subscribe();
        while self
            .end
            .run_until_cancelled(self.filled.notified())
            .await
            .is_some()
        {
            answered.mark_unchanged();
            while !self.append_some().await {
                // The next beat adopts the new era, or shows that the engine answers again.
                self.due.notify_one();
                if self
                    .end
                    .run_until_cancelled(answered.changed())
                    .await
                    .is_none()
                {
                    return;
                }
            }
        }
    }

    /// Appends everything in the outbox; returns false at the first failure.
    pub(super) async fn append_some(&self) -> bool {
        loop {
            let batch = self.outbox.lock().take();
            let Some((last, _)) = batch.last() else {
                return true;
            };
            let mut latest = *last;
            let era = self
                .membership
                .lock()
                .position()
                .map(|position| position.era);
            let results = join_all(batch.iter().map(|(_, item)| self.append_one(era, item))).await;
            let is_full = |result: &Result<_, _>| matches!(result, Err(EngineError::Refused(text)) if text.contains("OOM"));
            if results.iter().any(is_full) {
                // Once there is room again, no replica must use what it had stored before.
                let _ = self.engine.end_era().await;
            }
            let now = self.clock.now().mono;
            let mut end = None;
            let mut failed = Vec::new();
            for (item, result) in std::iter::zip(batch, results) {
                match result {
                    Ok(Appended::At(id)) => end = end.max(Some(id)),
                    Ok(Appended::OtherEra) | Err(_) => failed.push(item),
                }
            }
            let is_complete = failed.is_empty();
            if let Some((number, _)) = failed.first() {
                latest = number - 1;
            }
            self.outbox.lock().done(failed);
            if let (Some(era), Some(id)) = (era, end) {
                let item = self.membership.lock().announced(Position { era, id }, now);
                self.appended.send_replace((latest, Some(item)));
            }
            if !is_complete {
                return false;
            }
        }
    }

    async fn append_one(
        &self,
        era: Option<Era>,
        item: &Invalidation,
    ) -> Result<Appended, EngineError> {
        let Some(era) = era else {
            return Ok(Appended::OtherEra);
        };
        let sealed = self.sealer.seal_item(item);
        self.engine.append(era, framed(era, &sealed)).await
    }
}
