//! What follows a lookup: the fetch is renewed while it lasts, and its response stored or given up.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use super::{Entries, LARGE, OwnedSubject, Subject, Ticket};
use crate::cache::Entry;
use crate::cache::shared::Position;
use crate::in_transit::Share;
use crate::policy;
use crate::request::Scope;
use crate::telemetry::{Holder, SharedStore};

/// The interval at which a fetch is renewed. Without renewal it ends after a second.
const RENEWAL: Duration = Duration::from_millis(300);

/// Copies of a sealed entry on its way to the engine, those of the client library included.
const COPIES: usize = 4;

impl Entries {
    /// While it is polled, renews a fetch, unless that is another replica's.
    pub(in crate::cache::shared) async fn keep_renewing(&self, ticket: &Ticket) -> Infallible {
        if ticket.owner == 0 {
            return pending().await;
        }
        loop {
            self.clock.sleep(RENEWAL).await;
            // If it fails, another replica takes over.
            let _ = self.engine.renew(&ticket.name, ticket.owner).await;
        }
    }

    /// Shares an entry, in the background.
    pub(in crate::cache::shared) fn share(
        self: &Arc<Self>,
        ticket: Ticket,
        position: Position,
        entry: &Arc<Entry>,
        subject: Subject<'_>,
    ) {
        let [content, sealed] = self.sealer.bounds(entry);
        // Fetches for accepted tokens have the other half of the ledger.
        let room = self
            .ledger
            .reserve(content + sealed * COPIES, Holder::Other);
        let Some(room) = room else {
            self.metrics.shared_stores.of(SharedStore::Busy).inc();
            return self.release(Some(ticket), true);
        };
        let (entries, entry, subject) = (Arc::clone(self), Arc::clone(entry), subject.owned());
        tokio::spawn(async move {
            let result = entries.store(ticket, position, entry, subject, room).await;
            entries.metrics.shared_stores.of(result).inc();
        });
    }

    async fn store(
        self: &Arc<Self>,
        ticket: Ticket,
        position: Position,
        entry: Arc<Entry>,
        subject: OwnedSubject,
        mut room: Share,
    ) -> SharedStore {
        let life = policy::remaining_life(&entry.freshness, self.clock.now());
        let scope = self.sealer.names.scope(subject.fence.token());
        // First, and even if the entry is too large: a later refusal of the token needs the record.
        let recorded = self.noted(self.engine.record_scope(&scope).await);
        let is_large = entry.whole.body.len() > LARGE;
        let (entries, sealing) = (Arc::clone(self), ticket.clone());
        let seal = move || {
            let Ticket {
                name,
                engine_time,
                looked_up,
                ..
            } = &sealing;
            let terms = subject.borrowed().terms(name, *engine_time, *looked_up);
            entries.sealer.seal_entry(&entry, &terms, position)
        };
        let sealed = if is_large {
            tokio::task::spawn_blocking(seal).await.ok().flatten()
        } else {
            seal()
        };
        let Ticket { name, owner, .. } = &ticket;
        let Some(sealed) = sealed else {
            self.release(Some(ticket), true);
            return SharedStore::TooLarge;
        };
        room.shrink(sealed.len() * COPIES);
        if recorded.is_err() {
            return SharedStore::Failed;
        }
        match self.noted(self.engine.store(name, sealed, life, *owner).await) {
            Ok(true) => SharedStore::Stored,
            Ok(false) => SharedStore::Older,
            Err(_) => SharedStore::Failed,
        }
    }

    /// Removes the entry that the lookup of a fetch found, in the background.
    pub(in crate::cache::shared) fn remove(self: &Arc<Self>, ticket: &Ticket) {
        if let Some(salt) = ticket.found {
            let (entries, name) = (Arc::clone(self), Arc::clone(&ticket.name));
            tokio::spawn(async move {
                // If it fails, the entry stays until it expires.
                let _ = entries.engine.remove(&name, salt).await;
            });
        }
    }

    /// Ends a fetch whose response is not shared, in the background.
    pub(in crate::cache::shared) fn release(
        self: &Arc<Self>,
        ticket: Option<Ticket>,
        is_unshareable: bool,
    ) {
        let Some(ticket) = ticket.filter(|ticket| ticket.owner != 0) else {
            return;
        };
        let entries = Arc::clone(self);
        tokio::spawn(async move {
            let Ticket { name, owner, .. } = ticket;
            // If it fails, the fetch expires.
            let _ = entries.engine.release(&name, owner, is_unshareable).await;
        });
    }

    /// Whether the engine has a record of a scope; `forgets`: also removes the record.
    pub(in crate::cache::shared) async fn is_known(&self, token: &Scope, forgets: bool) -> bool {
        if self.group.position(self.clock.mono()).is_none() {
            return false;
        }
        let name = self.sealer.names.scope(token);
        let found = self.engine.find_scope(&name, forgets).await;
        found.unwrap_or(false)
    }
}
