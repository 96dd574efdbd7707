//! The shared level of this replica, as the rest of the proxy uses it: look up, share, announce.
//! Without an engine it does nothing.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;

use super::entries::Entries;
use super::{
    Confirmation, Engine, Group, LookedUp, MemberId, Position, Salt, Sealer, Subject, Ticket,
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
    /// No shared level: this replica is alone.
    #[must_use]
    pub fn off() -> Self {
        Self::default()
    }

    /// Joins the group of this engine.
    #[must_use]
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

    /// How far the log of the replicas has been applied; for a fence that is taken after that.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        let entries = self.0.as_ref()?;
        entries.group.position(entries.clock.mono())
    }

    /// Looks up an entry that nothing has invalidated; one with the salt `known` counts as absent.
    pub async fn look_up(&self, subject: Subject<'_>, known: Option<Salt>) -> LookedUp {
        match &self.0 {
            Some(entries) => entries.look_up(subject, known).await,
            None => LookedUp::Nothing,
        }
    }

    /// Renews a fetch, if there is one, while it is polled.
    pub fn renewal(&self, ticket: Option<&Ticket>) -> impl Future<Output = Infallible> + use<> {
        let renewed = self.0.clone().zip(ticket.cloned());
        async move {
            match renewed {
                Some((entries, ticket)) => entries.keep_renewing(&ticket).await,
                None => pending().await,
            }
        }
    }

    /// Ends a fetch whose response is not shared. `is_unshareable`: the next ones will not be either, so
    /// for a moment no replica waits for another.
    pub fn release(&self, ticket: Option<Ticket>, is_unshareable: bool) {
        if let Some(entries) = &self.0 {
            entries.release(ticket, is_unshareable);
        }
    }

    /// Removes the entry that was found at the lookup of this fetch, in the background.
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

    /// Announces what has been invalidated here, and waits until no other replica uses it any more: each
    /// has confirmed, or its lease has ended. `None` without an engine.
    pub async fn announce(&self, invalidation: Invalidation) -> Option<Confirmation> {
        let entries = self.0.as_ref()?;
        Some(entries.group.announce(invalidation).await)
    }

    /// The same without waiting.
    pub fn announce_later(&self, invalidation: Invalidation) {
        if let Some(entries) = &self.0 {
            entries.group.announce_later(invalidation);
        }
    }

    /// Announces what a response to this token has invalidated that is no proof of it: a refusal, or the
    /// redirect of a write. Anyone can cause such responses with invented tokens, which must not cost the
    /// other replicas their entries: so there are few announcements for tokens that no replica is known
    /// to have accepted. `is_accepted`: this one has.
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
        } else if !entries.strangers().withdraw(now) {
            entries.metrics.shared_unannounced.inc();
        } else if entries.group.position(now).is_some() {
            entries.group.announce(invalidation).await;
        } else {
            // To wait for the engine would hold a request to the origin for each of these.
            entries.group.announce_later(invalidation);
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
