//! The lookup: the stored response for a request, in the requested view, and how it may be used.
//!
//! It does not fetch; the rules of freshness are in `policy`.

use std::sync::Arc;
use std::time::Duration;

use super::Proxy;
use super::fetch::Basis;
use super::request::ClientRequest;
use super::view::Selected;
use crate::cache::{Entry, StoreLookup};
use crate::outcome::{Forward, ServedStale};
use crate::policy::{self, Moment, Recheck, Verdict};

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
        /// Why it may be served if the origin fails; `None` if it may not.
        on_error: Option<ServedStale>,
    },
    /// The origin has not shown it to this token yet: revalidate it.
    NotAdmitted,
    /// Fetch the whole response: nothing is stored, or a 304 would not make it usable.
    Miss(Forward),
}

impl Lookup {
    /// Why a fetch is necessary, if it is, and what it can revalidate.
    pub(super) fn basis(&self) -> (Forward, Basis) {
        match self {
            Self::Fresh(..) | Self::Usable(..) => (Forward::Stale, Basis::Stored),
            Self::Stale { why, .. } => (*why, Basis::Stored),
            Self::NotAdmitted => (Forward::Miss, Basis::NotAdmitted),
            Self::Miss(why) => (*why, Basis::Nothing),
        }
    }

    /// The stored response, fresh or stale.
    pub(super) fn selected(self) -> Option<Selected> {
        match self {
            Self::Fresh(selected, _) | Self::Usable(selected, _) | Self::Stale { selected, .. } => {
                Some(selected)
            }
            Self::NotAdmitted | Self::Miss(_) => None,
        }
    }
}

/// A stored response that cannot be served yet.
pub(super) enum Unready {
    /// It was assessed by other rules than those in force.
    NotAssessed(Arc<Entry>),
    /// Its requested view is not memoised.
    NotDerived(Arc<Entry>),
}

impl Proxy {
    /// Looks the request up in the store, and waits if necessary, which updates `now`.
    pub(super) async fn look_up(&self, request: &ClientRequest<'_>, now: &mut Moment) -> Lookup {
        match self.look_up_at_once(request, *now) {
            Ok(lookup) => lookup,
            Err(unready) => Box::pin(self.make_ready(unready, request, now)).await,
        }
    }

    /// Looks the request up in the store. Not async: a hit waits for nothing, and does not pay for the
    /// memory of those that do.
    ///
    /// # Errors
    ///
    /// The stored response, if it must be made ready first.
    pub(super) fn look_up_at_once(
        &self,
        request: &ClientRequest<'_>,
        now: Moment,
    ) -> Result<Lookup, Unready> {
        let (key, token) = (&request.call.key, &request.call.token);
        let sent = || request.sent(&self.fetcher.forward_headers);
        let client = request.call.negotiates.then_some(&request.head.headers);
        let entry = match self.store.find(key, token, now.mono, client, sent) {
            StoreLookup::Entry(entry) => entry,
            StoreLookup::NotAdmitted(_) => return Ok(Lookup::NotAdmitted),
            StoreLookup::OtherVariant => return Ok(Lookup::Miss(Forward::VaryMiss)),
            StoreLookup::Nothing => return Ok(Lookup::Miss(Forward::Miss)),
        };
        if !entry.is_assessed_by(&self.fetcher.freshness) {
            return Err(Unready::NotAssessed(entry));
        }
        let selected = Selected::memoised(entry, request.view());
        let selected = selected.map_err(Unready::NotDerived)?;
        let lookup = self.rechecked(classify(selected, request, now), request, now);
        if let Lookup::Fresh(selected, _) | Lookup::Usable(selected, _) = &lookup {
            self.views.count_memoised(selected, request);
        }
        Ok(lookup)
    }

    /// Assesses an entry by the rules in force, and derives the view. Updates `now`.
    pub(super) async fn make_ready(
        &self,
        unready: Unready,
        request: &ClientRequest<'_>,
        now: &mut Moment,
    ) -> Lookup {
        let (key, token) = (&request.call.key, &request.call.token);
        let entry = match unready {
            Unready::NotDerived(entry) => entry,
            Unready::NotAssessed(entry) => {
                let route = request.call.route;
                let reassessed = self.fetcher.reassessed(key, route, &entry).await;
                *now = self.clock.now();
                // Meanwhile it may have been invalidated.
                match reassessed.filter(|entry| self.store.is_usable(entry, now.mono)) {
                    Some(entry) if entry.admits(token, now.mono) => entry,
                    Some(_) => return Lookup::NotAdmitted,
                    None => return Lookup::Miss(Forward::Miss),
                }
            }
        };
        let selected = self.views.select(request, entry).await;
        *now = self.clock.now();
        let entry = &selected.entry;
        if !self.store.is_usable(entry, now.mono) || !entry.admits(token, now.mono) {
            return Lookup::Miss(Forward::Miss);
        }
        self.rechecked(classify(selected, request, *now), request, *now)
    }

    /// Restricts the use of a stored response by the last acceptance of its token.
    fn rechecked(&self, lookup: Lookup, request: &ClientRequest<'_>, now: Moment) -> Lookup {
        let (Lookup::Fresh(selected, _)
        | Lookup::Usable(selected, _)
        | Lookup::Stale { selected, .. }) = &lookup
        else {
            return lookup;
        };
        let Some(acceptance) = selected.entry.acceptance() else {
            return lookup;
        };
        let if_error = self.fetcher.freshness.stale_if_error;
        match policy::recheck(acceptance.last(), self.fetcher.recheck, if_error, now.mono) {
            Recheck::NotDue => lookup,
            Recheck::Due => {
                if let Lookup::Fresh(selected, _) = &lookup {
                    self.fetcher.begin_recheck(request, &selected.entry);
                }
                lookup
            }
            Recheck::Overdue { on_error } => overdue(lookup, on_error, now),
        }
    }
}

/// The use of a stored response whose token is overdue for a recheck: it is revalidated first.
fn overdue(lookup: Lookup, on_error: bool, now: Moment) -> Lookup {
    let (why, selected, reason) = match lookup {
        Lookup::Fresh(selected, _) => (Forward::Stale, selected, Some(ServedStale::RecheckFailed)),
        Lookup::Usable(selected, _) => (Forward::Stale, selected, Some(ServedStale::OnError)),
        Lookup::Stale {
            why,
            selected,
            on_error,
        } => (why, selected, on_error),
        other @ (Lookup::NotAdmitted | Lookup::Miss(_)) => return other,
    };
    match reason.filter(|_| on_error) {
        Some(reason) if selected.entry.has_failed_recently(now.mono) => {
            Lookup::Usable(selected, reason)
        }
        on_error => Lookup::Stale {
            why,
            selected,
            on_error,
        },
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
            on_error: on_error_until.map(|_| ServedStale::OnError),
        },
        Verdict::Unusable => Lookup::Miss(why(&selected)),
    }
}
