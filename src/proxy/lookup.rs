//! The lookup: the stored response for a request, in the requested view, and how it may be used.
//!
//! It does not fetch; the rules of freshness are in `policy`.

use std::sync::Arc;
use std::time::Duration;

use super::Proxy;
use super::request::ClientRequest;
use super::view::Selected;
use crate::cache::{Entry, StoreLookup};
use crate::outcome::{Forward, ServedStale};
use crate::policy::{self, Moment, Verdict};

/// The result of a lookup.
pub(super) enum Lookup {
    /// Serve it: it is fresh for this long.
    Fresh(Selected, Duration),
    /// Serve it stale, and refresh it in the background.
    Usable(Selected, ServedStale),
    /// Revalidate it.
    Stale {
        why: Forward,
        selected: Selected,
        /// Whether it may be served if the origin fails.
        on_error: bool,
    },
    /// The origin has not shown it to this token yet: revalidate it.
    NotAdmitted(Arc<Entry>),
    /// Fetch the whole response: nothing is stored, or a 304 would not make it usable.
    Miss(Forward),
}

impl Proxy {
    /// Looks the request up in the store. Updates `now` if a view was derived, which takes time.
    pub(super) async fn look_up(&self, request: &ClientRequest<'_>, now: &mut Moment) -> Lookup {
        let (key, token) = (&request.call.key, &request.call.token);
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
                let selected = Box::pin(self.views.select(request, entry)).await;
                // The entry may have been invalidated meanwhile.
                *now = self.clock.now();
                let entry = &selected.entry;
                if !self.store.is_current(&entry.generation) || !entry.admits(token, now.mono) {
                    return Lookup::Miss(Forward::Miss);
                }
                selected
            }
        };
        classify(selected, request, *now)
    }
}

/// How the selected response may be used for this request.
fn classify(selected: Selected, request: &ClientRequest<'_>, now: Moment) -> Lookup {
    let limits = selected.representation.limits;
    // A closure: a hit does not need it.
    let why = |selected: &Selected| {
        if policy::is_fresh(&selected.entry.freshness, limits, now) {
            Forward::Request
        } else {
            Forward::Stale
        }
    };
    match policy::verdict(&selected.entry.freshness, limits, &request.directives, now) {
        Verdict::Fresh { ttl } => Lookup::Fresh(selected, ttl),
        Verdict::Usable { .. } if request.directives.max_stale.is_some() => {
            Lookup::Usable(selected, ServedStale::Accepted)
        }
        Verdict::Usable { .. } => Lookup::Usable(selected, ServedStale::Revalidating),
        // The origin has just failed to renew this entry: do not make the client wait for a fetch.
        Verdict::Stale {
            on_error_until: Some(_),
        } if selected.entry.has_failed_recently(now.mono) => {
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
