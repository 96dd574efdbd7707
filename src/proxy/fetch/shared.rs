//! Responses from and for other replicas: a fetch first looks in the shared level, and waits while
//! another replica fetches the same response.

use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;

use super::{Basis, FetchJob, FetchResult, Fetcher, SharedUse};
use crate::cache::StoreLookup;
use crate::cache::shared::{LookedUp, Opened, Subject};
use crate::policy::{self, NotStored, Recheck};

/// Bounds of the pause between two lookups while another replica fetches. The pause is a quarter of the
/// time waited so far, so the wait is at most that much too long.
const MIN_PAUSE: Duration = Duration::from_millis(5);
const MAX_PAUSE: Duration = Duration::from_millis(100);

/// The result of keeping an entry of the shared level.
enum Kept {
    /// It is in the store, and fresh.
    Fresh,
    /// A fetch is due; it may revalidate the stored response.
    Stale,
    /// A fetch is due that other replicas need not wait for.
    Unusable,
}

impl Fetcher {
    /// Takes a response that another replica has fetched into the store; returns false if it must be
    /// fetched from the origin.
    pub(super) async fn take_shared(&self, job: &mut FetchJob) -> bool {
        let began = self.clock.mono();
        let mut known = None;
        while job.sharing != SharedUse::Off {
            let Some(subject) = self.subject(job) else {
                break;
            };
            match self.shared.look_up(subject, known).await {
                LookedUp::Nothing => break,
                LookedUp::Entry(ticket, opened) if job.sharing != SharedUse::StoreOnly => {
                    known = Some(opened.header.salt);
                    match self.keep(job, *opened) {
                        Kept::Fresh => return true,
                        Kept::Stale => {}
                        Kept::Unusable => {
                            job.ticket = Some(ticket);
                            break;
                        }
                    }
                }
                // In a named scope each token has a fetch of its own.
                LookedUp::Wait(_)
                    if job.sharing != SharedUse::StoreOnly
                        && !job.fence.is_shared()
                        && !self.clock.has_passed(job.deadline) =>
                {
                    let waited = self.clock.mono().saturating_sub(began);
                    let pause = (waited / 4).clamp(MIN_PAUSE, MAX_PAUSE);
                    self.clock.sleep(pause).await;
                }
                LookedUp::Fetch(ticket) | LookedUp::Entry(ticket, _) | LookedUp::Wait(ticket) => {
                    // The fetch begins now, not when the wait began.
                    self.renew_fence(job);
                    job.ticket = Some(ticket);
                    break;
                }
            }
        }
        false
    }

    /// The subject of the job; `None` without a credential.
    fn subject<'a>(&'a self, job: &'a FetchJob) -> Option<Subject<'a>> {
        Some(Subject {
            key: &job.key,
            fence: &job.fence,
            credential: job.sent.get(AUTHORIZATION)?,
            rules: &self.freshness,
            route: self.routes.rule(job.route),
            ignored_cookies: &self.ignored_cookies,
        })
    }

    /// Stores an entry from the shared level.
    fn keep(&self, job: &mut FetchJob, opened: Opened) -> Kept {
        let (now, token) = (self.clock.now(), *job.fence.token());
        let Opened {
            accepted,
            mut entry,
            ..
        } = opened;
        if let Some(accepted) = accepted {
            // The entry opens only with the token, so the origin has accepted the token.
            let is_proof = entry.whole.status.is_success();
            if is_proof && self.routes.proves_acceptance(job.key.path()) {
                self.store.accept(&token, accepted);
            }
            entry = entry.with_acceptance(self.store.acceptance(&token, accepted));
        }
        let entry = Arc::new(entry);
        if let StoreLookup::Entry(stored) = self.find(job)
            && stored.freshness.received.mono >= entry.freshness.received.mono
        {
            // The stored response is the same one, or newer.
            return Kept::Stale;
        }
        let is_selected = entry.vary.matches(&entry.whole.headers, &job.sent);
        let put = || self.store.put(&job.key, &job.sent, &entry, &job.fence);
        if !is_selected || put().is_err() {
            self.renew_fence(job);
            return Kept::Unusable;
        }
        self.watched.stored(&job.key);
        if job.fence.is_shared() {
            // The origin must first admit this token to it.
            job.basis = Basis::NotAdmitted;
            return Kept::Unusable;
        }
        job.basis = Basis::Stored;
        let is_fresh = policy::is_fresh(&entry.freshness, entry.whole.limits, now);
        let if_error = self.freshness.stale_if_error;
        let rechecks = || {
            let due = |at| policy::recheck(at, self.recheck, if_error, now.mono);
            job.sharing != SharedUse::Recheck || accepted.map(due) == Some(Recheck::NotDue)
        };
        if is_fresh && rechecks() {
            Kept::Fresh
        } else {
            Kept::Stale
        }
    }

    /// Shares the result of a fetch with the other replicas, or lets them fetch for themselves.
    pub(super) fn share(&self, job: &mut FetchJob, result: &FetchResult) {
        if let FetchResult::Whole(fetched) = result {
            if fetched.stored == Err(NotStored::Fenced) {
                return self.shared.release(job.ticket.take(), false);
            }
            let ticket = job.ticket.take_if(|_| fetched.stored.is_ok());
            if let (Some(ticket), Some(position)) = (ticket, job.position)
                && let Some(subject) = self.subject(job)
            {
                return self.shared.share(ticket, position, &fetched.entry, subject);
            }
        }
        self.give_up_sharing(job, result.is_failure());
    }

    /// Lets the other replicas fetch for themselves. A newer response that is not shared supersedes the
    /// one that is, unless the origin has failed.
    pub(super) fn give_up_sharing(&self, job: &mut FetchJob, is_failure: bool) {
        let Some(ticket) = job.ticket.take() else {
            return;
        };
        if !is_failure && !job.fence.is_shared() {
            self.shared.remove(&ticket);
        }
        self.shared.release(Some(ticket), true);
    }
}
