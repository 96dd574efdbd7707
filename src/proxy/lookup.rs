//! What the store has for a request, in the view that it wants.

use std::sync::Arc;
use std::time::Duration;

use super::Proxy;
use super::request::ClientRequest;
use super::view::Selected;
use crate::cache::{Entry, StoreLookup};
use crate::outcome::{Forward, ServedStale};
use crate::policy::{self, Moment, Verdict};

/// The store's answer to a request.
pub(super) enum Lookup {
    /// Serve it; it stays fresh for this long.
    Fresh(Selected, Duration),
    /// Serve it, and refresh it in the background.
    Usable(Selected, ServedStale),
    /// Ask the origin about it.
    Stale {
        why: Forward,
        selected: Selected,
        /// Whether it may be served if the origin fails.
        on_error: bool,
    },
    /// Ask the origin whether this token may see it too.
    NotAdmitted(Arc<Entry>),
    /// Ask the origin for the whole: nothing is stored, or no 304 makes it usable again.
    Miss(Forward),
}

impl Proxy {
    /// Looks a request up in the store. Where a view must be derived first, `now` is later than
    /// before.
    pub(super) async fn look_up(&self, request: &ClientRequest<'_>, now: &mut Moment) -> Lookup {
        let (key, token) = (&request.call.key, &request.call.holder);
        let sent = || request.sent(&self.fetcher.forward_headers);
        let entry = match self.store.find(key, token, now.mono, sent) {
            StoreLookup::Entry(entry) => entry,
            StoreLookup::NotAdmitted(entry) => return Lookup::NotAdmitted(entry),
            StoreLookup::OtherVariant => return Lookup::Miss(Forward::VaryMiss),
            StoreLookup::Nothing => return Lookup::Miss(Forward::Miss),
        };
        let selected = match self.views.memoised(entry, request.view()) {
            Ok(selected) => selected,
            Err(entry) => {
                let selected = Box::pin(self.views.select(key, entry, request.view())).await;
                // Deriving takes time: the entry may have been invalidated meanwhile.
                *now = self.clock.now();
                let entry = &selected.entry;
                if !self.store.is_current(&entry.generation) || !entry.admits(token, now.mono) {
                    return Lookup::Miss(Forward::Miss);
                }
                selected
            }
        };
        judge(selected, request, *now)
    }
}

/// How the selected response may be used for this request.
fn judge(selected: Selected, request: &ClientRequest<'_>, now: Moment) -> Lookup {
    let cap = selected.representation.cap;
    // Of no interest to a hit.
    let why = |selected: &Selected| {
        if policy::is_fresh(&selected.entry.freshness, cap, now) {
            Forward::Request
        } else {
            Forward::Stale
        }
    };
    match policy::verdict(&selected.entry.freshness, cap, &request.directives, now) {
        Verdict::Fresh { ttl } => Lookup::Fresh(selected, ttl),
        Verdict::Usable { .. } if request.directives.max_stale.is_some() => {
            Lookup::Usable(selected, ServedStale::Accepted)
        }
        Verdict::Usable { .. } => Lookup::Usable(selected, ServedStale::Revalidating),
        // The origin has just failed for this entry: waiting for it again helps no client.
        Verdict::Stale {
            on_error_until: Some(_),
        } if selected.entry.has_failed_lately(now.mono) => {
            Lookup::Usable(selected, ServedStale::OnError)
        }
        Verdict::Stale { on_error_until } => Lookup::Stale {
            why: why(&selected),
            selected,
            on_error: on_error_until.is_some(),
        },
        Verdict::Unusable => Lookup::Miss(why(&selected)),
    }
}
