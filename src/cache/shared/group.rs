//! A replica's side of the group protocol: the tasks that send beats, read the log and append to it, and
//! the wait for the other replicas. `member` decides what follows from a reply of the engine.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::member::{self, Announced, Membership, Step};
use super::outbox::Outbox;
use super::{
    Beat, BeatReply, Engine, EngineError, Era, Lease, LogItem, MemberId, Position, Sealer,
};
use crate::cache::{Invalidation, Store};
use crate::clock::Clock;
use crate::config::{self, Alone};
use crate::label::labels;
use crate::telemetry::{Concern, Metrics};

mod announce;
mod count;
#[cfg(test)]
mod tests;

pub use announce::Confirmation;
pub use count::Counts;

/// This replica in its group.
#[derive(Debug)]
pub struct Group {
    id: MemberId,
    engine: Arc<dyn Engine>,
    sealer: Sealer,
    store: Arc<Store>,
    clock: Clock,
    metrics: Arc<Metrics>,
    /// `shared.lease`.
    length: Duration,
    /// `shared.alone`: whether responses stored without the engine are used for their own lifetimes.
    alone: Alone,
    /// Limits the use of other replicas' responses, and the sharing with them. The lease of the store is
    /// the same, unless `alone` is `Own`.
    pub(super) lease: Lease,
    /// A blocking mutex: held while up to a thousand items are applied, and by a miss to read the position.
    pub(super) membership: Mutex<Membership>,
    /// A blocking mutex: held for one queue operation.
    pub(super) outbox: Mutex<Outbox>,
    /// Notified when something is put into the outbox.
    filled: Notify,
    /// The number of the latest invalidation up to which all are in the log, and the position of the last
    /// appended one.
    appended: watch::Sender<(u64, Option<Announced>)>,
    /// Notified when a beat is due at once.
    due: Notify,
    /// Counts the answered beats.
    answered: watch::Sender<u64>,
    /// The purges that wait to be counted.
    applied: mpsc::Sender<count::Applied>,
    end: CancellationToken,
    tasks: TaskTracker,
}

labels! {
    /// Whether a replica is in step with its group, in the order of the metric's values.
    #[derive(Default)]
    pub enum State {
        /// Stored responses are used.
        #[default]
        InStep => "in_step",
        /// The engine answers, but the log has not been applied to its end.
        CatchingUp => "catching_up",
        /// The engine does not answer.
        Alone => "alone",
    }
}

impl Group {
    /// Joins the group of this engine: limits what the store may use, and starts the tasks.
    #[must_use]
    pub fn join(
        id: MemberId,
        engine: Arc<dyn Engine>,
        sealer: Sealer,
        store: Arc<Store>,
        clock: Clock,
        metrics: Arc<Metrics>,
        settings: &config::Shared,
    ) -> Arc<Self> {
        let length = settings.lease;
        let now = clock.now().mono;
        let lease = Lease::unlimited();
        lease.limit(length, now);
        if settings.alone == Alone::Short {
            store.lease.limit(length, now);
        }
        let (applied, to_count) = mpsc::channel(count::MAX_WAITING);
        let group = Arc::new(Self {
            id,
            engine,
            sealer,
            store,
            clock,
            metrics,
            length,
            alone: settings.alone,
            lease,
            membership: Mutex::new(Membership::new(id, length)),
            outbox: Mutex::default(),
            filled: Notify::new(),
            appended: watch::Sender::new((0, None)),
            due: Notify::new(),
            answered: watch::Sender::new(0),
            applied,
            end: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        group.tasks.spawn(Arc::clone(&group).beat());
        group.tasks.spawn(Arc::clone(&group).read());
        group.tasks.spawn(Arc::clone(&group).append());
        group
            .tasks
            .spawn(Arc::clone(&group).publish_counts(to_count));
        group
    }

    /// How far the log has been applied to the store: the position of a fetch that begins now, and to
    /// compare with that of a shared response. `None` without a lease: then responses are neither looked
    /// up nor shared. Must be read before the fence of the fetch is taken.
    pub fn position(&self, now: Duration) -> Option<Position> {
        let membership = self.membership.lock();
        let is_usable = self.lease.is_held(now) && !self.outbox.lock().is_late();
        membership.position().filter(|_| is_usable)
    }

    /// Leaves the group: the other replicas no longer wait for this one, which no longer uses what it has
    /// stored.
    pub async fn leave(&self) {
        self.end.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.append_some().await;
        let now = self.clock.now().mono;
        self.lease.limit(self.length, now);
        if self.alone == Alone::Short {
            self.store.lease.limit(self.length, now);
        }
        let (id, count) = self.membership.lock().own();
        // If this fails, the other replicas wait for this one's lease once.
        let _ = self.engine.remove_member(id, count).await;
    }

    /// Updates the gauges that change with time.
    pub fn update_gauges(&self) {
        let now = self.clock.now().mono;
        let left = i64::try_from(self.lease.left(now).as_millis()).unwrap_or(i64::MAX);
        self.metrics.shared_lease_left.set(left);
        self.metrics.shared_state.set(self.state(now) as i64);
        let queued = i64::try_from(self.outbox.lock().len()).unwrap_or(i64::MAX);
        self.metrics.shared_queued.set(queued);
    }

    /// Sends beats.
    async fn beat(self: Arc<Self>) {
        let mut state = State::CatchingUp;
        while !self.end.is_cancelled() {
            let (beat, made_up) = {
                let mut next_era = Era([0; 16]);
                getrandom::fill(&mut next_era.0).expect("the system has a source of randomness");
                (
                    self.membership.lock().beat(next_era),
                    self.outbox.lock().made_up(),
                )
            };
            let sent = self.clock.now().mono;
            let answer = self.engine.beat(beat).await;
            let pause = match &answer {
                Ok(_) => self.membership.lock().pause(),
                Err(_) => self.length / 16,
            };
            let failure = match answer {
                Ok(reply) => {
                    let is_current = self.heard(&beat, sent, reply);
                    if let Some(failures) = made_up.filter(|_| is_current) {
                        self.outbox.lock().settle(failures);
                    }
                    if !is_current {
                        continue;
                    }
                    None
                }
                Err(error) => {
                    self.membership.lock().reachable_since = None;
                    self.metrics.shared_beats_failed.of(error.fault()).inc();
                    Some(error)
                }
            };
            self.note(&mut state, failure.as_ref());
            let next = self.clock.deadline(pause);
            let wait = async {
                if failure.is_some() {
                    std::future::pending::<()>().await;
                }
                self.due.notified().await;
            };
            let wait = self.clock.timeout_at(next, wait);
            self.end.run_until_cancelled(wait).await;
        }
    }

    /// Applies the reply to a beat; returns whether the log has been applied to its end.
    fn heard(&self, beat: &Beat, sent: Duration, reply: BeatReply) -> bool {
        let era = reply.era;
        let update = {
            let now = self.clock.now().mono;
            let mut membership = self.membership.lock();
            let mut update = membership.heard(beat, reply, now);
            self.carry_out(std::mem::take(&mut update.steps), era, now);
            let replicas = i64::try_from(membership.replicas()).unwrap_or(i64::MAX);
            self.metrics.shared_replicas.set(replicas);
            update
        };
        if update.is_current {
            self.lease.extend(sent);
            if self.alone == Alone::Short {
                self.store.lease.extend(sent);
            }
        }
        if update.announces_all {
            self.put(Invalidation::All);
        }
        for (id, count) in update.silent {
            tracing::warn!(replica = %id, "a replica has been silent for long, and is removed from the group");
            let engine = Arc::clone(&self.engine);
            self.tasks
                .spawn(async move { engine.remove_member(id, count).await });
        }
        self.answered.send_modify(|answered| *answered += 1);
        update.is_current
    }

    /// Changes the store as the log requires.
    fn carry_out(&self, steps: Vec<Step>, era: Era, now: Duration) {
        for step in steps {
            match step {
                Step::Forget(floor, cause) => {
                    self.metrics.shared_resets.of(cause).inc();
                    self.store.forget_all(floor);
                }
                Step::Apply(item) => {
                    let invalidation = self.open(&item, era);
                    self.metrics.shared_applied.of(concern(&invalidation)).inc();
                    let purged = invalidation
                        .is_purge()
                        .then(|| self.store.purged(&invalidation));
                    self.store.apply(item.id, &invalidation, item.age, now);
                    if let Some(purged) = purged {
                        self.count(&invalidation, Position { era, id: item.id }, purged);
                    }
                }
            }
        }
    }

    /// The invalidation of an item. An item that cannot be opened may concern anything.
    fn open(&self, item: &LogItem, era: Era) -> Invalidation {
        let sealed = member::sealed(item, era);
        let opened = sealed.and_then(|sealed| self.sealer.open_item(sealed).ok());
        opened.unwrap_or(Invalidation::All)
    }

    /// Reads the log, so that items are applied and confirmed as soon as they are appended, instead of
    /// with the next beat.
    async fn read(self: Arc<Self>) {
        let mut answered = self.answered.subscribe();
        while !self.end.is_cancelled() {
            answered.mark_unchanged();
            let position = self.membership.lock().position();
            let is_applied = match position {
                None => false,
                Some(Position { id, .. }) => {
                    let items = self.engine.items_after(id, self.length);
                    match self.end.run_until_cancelled(items).await {
                        None => return,
                        Some(Ok(items)) => items.is_empty() || self.apply(items),
                        Some(Err(error)) => {
                            tracing::debug!(%error, "reading the log of the shared level failed");
                            false
                        }
                    }
                }
            };
            if !is_applied {
                self.end.run_until_cancelled(answered.changed()).await;
            }
        }
    }

    /// Applies items that were read from the log; returns whether they continue it.
    fn apply(&self, items: Vec<LogItem>) -> bool {
        let now = self.clock.now().mono;
        let mut membership = self.membership.lock();
        let steps = membership.read(items);
        let is_applied = steps.is_some();
        if let (Some(steps), Some(position)) = (steps, membership.position()) {
            self.carry_out(steps, position.era, now);
        }
        self.due.notify_one();
        is_applied
    }

    pub(super) fn state(&self, now: Duration) -> State {
        if self.lease.is_held(now) {
            State::InStep
        } else if now < self.membership.lock().heard_at() + self.length {
            State::CatchingUp
        } else {
            State::Alone
        }
    }

    /// Logs a change of state.
    fn note(&self, before: &mut State, error: Option<&EngineError>) {
        let state = self.state(self.clock.now().mono);
        if std::mem::replace(before, state) == state {
            return;
        }
        let replicas = self.membership.lock().replicas();
        match (state, error) {
            (State::Alone, Some(error)) => tracing::warn!(
                %error,
                "the engine of the shared level does not answer: this replica is alone until it does"
            ),
            (State::InStep, _) => {
                tracing::info!(replicas, "this replica is in step with its group");
            }
            _ => {}
        }
    }
}

fn concern(invalidation: &Invalidation) -> Concern {
    match invalidation {
        Invalidation::Paths { .. } => Concern::Paths,
        Invalidation::Resource { .. } => Concern::Resource,
        Invalidation::Scope(_) => Concern::Scope,
        Invalidation::ScopeId(_) => Concern::ScopeId,
        Invalidation::All => Concern::All,
    }
}
