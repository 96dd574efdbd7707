//! The shared level as the rest of the proxy uses it: look up, share, announce. Without an engine it
//! does nothing.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;

use super::entries::Entries;
use super::{
    Confirmation, Counts, Engine, Group, LookedUp, MemberId, Position, Salt, Sealer, Subject,
    Ticket,
};
use crate::cache::{Entry, Invalidation, Store};
use crate::clock::Clock;
use crate::config;
use crate::in_transit::Ledger;
use crate::request::Scope;
use crate::telemetry::Metrics;

/// The shared level; `None` without an engine.
#[derive(Debug, Default)]
pub struct Shared(pub(super) Option<Arc<Entries>>);

impl Shared {
    /// No shared level: this replica shares nothing.
    pub fn off() -> Self {
        Self::default()
    }

    /// Joins the group of this engine.
    pub fn start(
        engine: Arc<dyn Engine>,
        sealer: Sealer,
        settings: &config::Shared,
        (store, ledger): (&Arc<Store>, &Arc<Ledger>),
        metrics: &Arc<Metrics>,
        clock: &Clock,
    ) -> Self {
        let id = getrandom::u64().expect("the system has a source of randomness");
        let group = Group::join(
            MemberId(id),
            Arc::clone(&engine),
            sealer.clone(),
            Arc::clone(store),
            clock.clone(),
            Arc::clone(metrics),
            settings,
        );
        let (store, ledger) = (Arc::clone(store), Arc::clone(ledger));
        let entries = Entries::new(engine, group, sealer, (store, ledger), metrics, clock);
        Self(Some(Arc::new(entries)))
    }

    /// How far the log has been applied. Must be read before the fence of the fetch is taken.
    pub fn position(&self) -> Option<Position> {
        let entries = self.0.as_ref()?;
        entries.group.position(entries.clock.mono())
    }

    /// Looks up an entry that has not been invalidated; one with the salt `known` counts as absent.
    pub async fn look_up(&self, subject: Subject<'_>, known: Option<Salt>) -> LookedUp {
        match &self.0 {
            Some(entries) => entries.look_up(subject, known).await,
            None => LookedUp::Nothing,
        }
    }

    /// A future that renews a fetch, if there is one, while it is polled.
    pub fn renewal(&self, ticket: Option<&Ticket>) -> impl Future<Output = Infallible> + use<> {
        let renewed = self.0.clone().zip(ticket.cloned());
        async move {
            match renewed {
                Some((entries, ticket)) => entries.keep_renewing(&ticket).await,
                None => pending().await,
            }
        }
    }

    /// Ends a fetch whose response is not shared. `is_unshareable`: later responses will not be shared
    /// either, so for a moment no replica waits for another.
    pub fn release(&self, ticket: Option<Ticket>, is_unshareable: bool) {
        if let Some(entries) = &self.0 {
            entries.release(ticket, is_unshareable);
        }
    }

    /// Removes the entry that the lookup of this fetch found, in the background.
    pub fn remove(&self, ticket: &Ticket) {
        if let Some(entries) = &self.0 {
            entries.remove(ticket);
        }
    }

    /// Shares an entry that is stored here, in the background. `position`: how far the log was applied
    /// before the fence of its fetch was taken.
    pub fn share(
        &self,
        ticket: Ticket,
        position: Position,
        entry: &Arc<Entry>,
        subject: Subject<'_>,
    ) {
        if let Some(entries) = &self.0 {
            entries.share(ticket, position, entry, subject);
        }
    }

    /// Announces an invalidation that was carried out here, and waits until no other replica uses what it
    /// concerns: each has confirmed it, or its lease has ended. `None` without an engine.
    pub async fn announce(&self, invalidation: Invalidation) -> Option<Confirmation> {
        let entries = self.0.as_ref()?;
        Some(entries.group.announce(invalidation).await)
    }

    /// The same for a purge; returns also what the other replicas had stored of it.
    pub async fn announce_purge(&self, purge: Invalidation) -> Option<(Confirmation, Counts)> {
        let group = &self.0.as_ref()?.group;
        let since = group.membership.lock().position();
        let confirmation = group.announce(purge.clone()).await;
        let counts = match since {
            Some(since) if !confirmation.is_queued => group.counts(&purge, since).await,
            _ => Counts::new(),
        };
        Some((confirmation, counts))
    }

    /// The same without waiting.
    pub fn announce_later(&self, invalidation: Invalidation) {
        if let Some(entries) = &self.0 {
            entries.group.announce_later(invalidation);
        }
    }

    /// Announces an invalidation by a response that does not prove the token valid: a refusal, or the
    /// redirect of a write. Invented tokens can cause such responses, and must not make the other replicas
    /// drop entries. So announcements are limited for tokens that no replica is known to have seen
    /// accepted. `is_accepted`: this replica has.
    pub async fn announce_for(
        &self,
        token: Option<&Scope>,
        invalidation: Invalidation,
        is_accepted: bool,
    ) {
        let Some(entries) = &self.0 else { return };
        let forgets = matches!(invalidation, Invalidation::Scope(_));
        let is_known = match token {
            Some(token) if forgets || !is_accepted => entries.is_known(token, forgets).await,
            _ => false,
        };
        let now = entries.clock.mono();
        if is_known || is_accepted {
            entries.group.announce(invalidation).await;
        } else if entries.group.outbox.lock().is_half_full()
            || !entries.strangers.lock().withdraw(now)
        {
            entries.metrics.shared_unannounced.inc();
        } else if entries.group.position(now).is_some() {
            entries.group.announce(invalidation).await;
        } else {
            // Waiting for the engine would hold a slot at the origin for each of these requests.
            entries.group.announce_later(invalidation);
        }
    }

    /// Whether any replica is recorded to have accepted this token.
    pub async fn is_known(&self, token: &Scope) -> bool {
        match &self.0 {
            Some(entries) => entries.is_known(token, false).await,
            None => false,
        }
    }

    /// Leaves the group: the other replicas do not wait for this one any more.
    pub async fn leave(&self) {
        if let Some(entries) = &self.0 {
            entries.group.leave().await;
        }
    }

    /// Updates the gauges of the group.
    pub fn update_gauges(&self) {
        if let Some(entries) = &self.0 {
            entries.group.update_gauges();
        }
    }
}
