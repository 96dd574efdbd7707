//! Requests that wait for a state of their call (`?wait=`), and the poller of such a call.
//!
//! A poller sends what an ordinary request would, whenever the stored response is no longer fresh. At its end
//! a wait is answered like a request without one.

use std::hash::{BuildHasher as _, RandomState};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CACHE_CONTROL, CONNECTION, ETAG, HeaderName, IF_NONE_MATCH, VARY};
use http::{Extensions, HeaderValue, Response, StatusCode};
use tokio::sync::watch;

use super::Proxy;
use super::body::Body;
use super::error::Error;
use super::fetch::FetchResult;
use super::lookup::Lookup;
use super::request::{Arrived, ClientRequest};
use super::respond;
use super::view::Selected;
use super::watched::{News, NoWait, Polling, Waiting};
use crate::cache::Entry;
use crate::in_transit::Held;
use crate::label::Label as _;
use crate::outcome::{Forward, Outcome, WaitEnd};
use crate::policy::{self, RequestDirectives};
use crate::request::{Call, Refusal, Until, Wait};
use crate::telemetry::RequestId;
use crate::upstream::headers;

/// The pause after a poll that has failed, or whose response may not be stored: a write is pending.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause after polls that have failed: each is twice the last one.
const MAX_RETRY_PAUSE: Duration = Duration::from_secs(16);

/// Set on the response to a request that waits: why it is answered, after which time.
const WAIT: HeaderName = HeaderName::from_static("stuut-cache-wait");

const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// Fields of one request, which a poller does not send.
const PER_REQUEST: [HeaderName; 4] = [
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("baggage"),
    RequestId::FIELD,
];

/// The present response for a request.
enum Present {
    /// In the store.
    Stored(Selected),
    /// By a fetch.
    Fetched(FetchResult, Forward),
}

/// Why a request need not wait, or no longer; and its response, if it has one.
type Ended = (WaitEnd, Option<Box<Response<Body>>>);

impl Proxy {
    /// Answers a request that waits for a state of its call.
    pub(super) async fn wait(
        self: &Arc<Self>,
        mut call: Call,
        mut arrived: Arrived,
        wait: Box<Wait>,
    ) -> Response<Body> {
        arrived.compact(&self.fetcher.forward_headers);
        let deadline = self.clock.deadline(wait.timeout);
        let mut has_waited = false;
        // In boxes, so that a request that waits takes little memory.
        let ended = {
            let request = &self.request(&call, &arrived);
            let _held = Held::new(request.account, request.size());
            match Box::pin(self.begin_wait(request, &wait.until)).await {
                Err(ended) => ended,
                Ok(before) => match self.watch(&call, &arrived) {
                    Ok(mut waiting) => {
                        has_waited = true;
                        let wait = self.until(request, &wait.until, before, &mut waiting.news);
                        let end = self.clock.timeout_at(deadline, wait).await;
                        (*waiting.end.insert(end.unwrap_or(WaitEnd::TimedOut)), None)
                    }
                    Err(NoWait::Draining) => (WaitEnd::Drained, None),
                    Err(NoWait::Refused) => {
                        return request.fail(Error::Refused(Refusal::Waiting.into()));
                    }
                },
            }
        };
        // Its directives were for the first response.
        call.has_directives &= !has_waited;
        let began = arrived.at.mono;
        let (end, response) = ended;
        let mut response = match response {
            Some(response) => *response,
            None => Box::pin(self.answer_late(call, arrived, None)).await,
        };
        self.describe(&mut response, &wait, end, began, has_waited);
        response
    }

    /// Determines the state in which the wait begins: the digest of the body.
    async fn begin_wait(
        &self,
        request: &ClientRequest<'_>,
        until: &Until,
    ) -> Result<blake3::Hash, Ended> {
        let RequestDirectives {
            only_if_cached,
            no_store,
            ..
        } = request.directives;
        if only_if_cached || no_store {
            return Err((WaitEnd::Skipped, None));
        }
        let present = self.present(request, true).await;
        let selected = match (self.shown(request, &present).await, &present) {
            // It may be served while the origin fails, and so be waited for.
            (None, Present::Fetched(result, _)) if result.is_failure() => {
                self.servable_on_error(request).await
            }
            (shown, _) => shown,
        };
        let met = match &selected {
            None => Some(WaitEnd::Skipped),
            Some(selected) => {
                // Without an entity tag no condition would ever hold, and the client would never wait.
                let is_other = *until == Until::Change
                    && request.head.headers.contains_key(IF_NONE_MATCH)
                    && selected.representation.headers.contains_key(ETAG)
                    && !respond::is_not_modified(request, selected);
                let end = end_of(until, selected, None);
                end.or_else(|| is_other.then_some(WaitEnd::Changed))
            }
        };
        match (met, selected, present) {
            (None, Some(selected), _) => Ok(digest(&selected)),
            (Some(end), _, Present::Fetched(result, why)) => {
                let response = self.respond_result(request, result, why).await;
                Err((end, Some(Box::new(response))))
            }
            (end, ..) => Err((end.unwrap_or(WaitEnd::Skipped), None)),
        }
    }

    /// The stored response that may be served if the origin fails.
    async fn servable_on_error(&self, request: &ClientRequest<'_>) -> Option<Selected> {
        let mut now = self.clock.now();
        match self.look_up(request, &mut now).await {
            Lookup::Fresh(selected, _)
            | Lookup::Usable(selected, _)
            | Lookup::Stale {
                selected,
                on_error: Some(_),
                ..
            } if is_call(&selected.entry) => Some(selected),
            _ => None,
        }
    }

    /// Begins to wait for news of the call, and to poll it, unless it is polled already.
    fn watch(self: &Arc<Self>, call: &Call, arrived: &Arrived) -> Result<Waiting, NoWait> {
        let call = Call {
            view: None,
            wait: None,
            conditional: false,
            has_directives: false,
            ..call.clone()
        };
        let mut head = arrived.head.clone();
        // The span of one request.
        head.extensions = Extensions::new();
        let more = &self.fetcher.forward_headers;
        let names: Vec<_> = head.headers.keys().cloned().collect();
        for name in names {
            let is_sent = headers::is_allowed(&name, more) && !PER_REQUEST.contains(&name);
            if !is_sent && name != CONNECTION {
                head.headers.remove(name);
            }
        }
        let audience = self
            .watched
            .audience(call.token, &head.headers, &self.fetcher.freshness);
        let (waiting, polling) = self.watched.wait(&call.key, audience)?;
        if let Some(polling) = polling {
            let (id, account) = (arrived.id.clone(), Arc::clone(&arrived.account));
            let proxy = Arc::clone(self);
            tokio::spawn(Box::pin(async move {
                let request = ClientRequest {
                    call: &call,
                    head: &head,
                    directives: RequestDirectives::default(),
                    id: &id,
                    account: &account,
                };
                proxy.poll(&request, polling).await;
            }));
        }
        Ok(waiting)
    }

    /// Waits for the state, by the news of a poller.
    async fn until(
        &self,
        request: &ClientRequest<'_>,
        until: &Until,
        before: blake3::Hash,
        news: &mut watch::Receiver<News>,
    ) -> WaitEnd {
        while news.changed().await.is_ok() {
            let News { unstored, end } = news.borrow_and_update().clone();
            if let Some(end) = end {
                return end;
            }
            let seen = Box::pin(self.seen(request, unstored)).await;
            let end = seen.and_then(|selected| end_of(until, &selected, Some(before)));
            if let Some(end) = end {
                return end;
            }
        }
        WaitEnd::Skipped
    }

    /// The present state for a request that waits. It is fetched if the store has lost what the poller has
    /// published: it was evicted, or its whole may not be served any longer.
    async fn seen(
        &self,
        request: &ClientRequest<'_>,
        unstored: Option<Arc<Entry>>,
    ) -> Option<Selected> {
        if let Some(entry) = unstored {
            return Some(self.views.select(request, entry).await);
        }
        let request = &ClientRequest {
            directives: RequestDirectives::default(),
            ..*request
        };
        let present = self.present(request, false).await;
        self.shown(request, &present).await
    }

    /// The requested view of a response that can be waited for.
    async fn shown(&self, request: &ClientRequest<'_>, present: &Present) -> Option<Selected> {
        match present {
            Present::Stored(selected) => is_call(&selected.entry).then(|| selected.clone()),
            Present::Fetched(result, _) => {
                let (entry, _) = result.waitable()?;
                Some(self.views.select(request, Arc::clone(entry)).await)
            }
        }
    }

    /// Polls a call until no request waits for it.
    ///
    /// It sends a request when one is due, and when the call is invalidated. Not when it finds nothing:
    /// pollers whose responses evict each other would never rest.
    async fn poll(&self, request: &ClientRequest<'_>, mut polling: Polling) {
        let (key, token) = (&request.call.key, &request.call.token);
        let fence = || self.store.fence(key, token, self.clock.mono());
        let mut invalidations = self.store.invalidations();
        let (mut is_due, mut retry) = (false, RETRY_PAUSE);
        let mut due = self.clock.deadline(jittered(RETRY_PAUSE));
        loop {
            let began = fence();
            let present = if is_due {
                Some(Box::pin(self.present(request, true)).await)
            } else {
                let lookup = Box::pin(self.look_up(request, &mut self.clock.now())).await;
                let new = lookup.selected();
                // Else what wakes it is not for it, and would end the pause after a failure.
                let new = new.filter(|selected| polling.is_new(&selected.entry));
                new.map(Present::Stored)
            };
            if let Some(present) = present {
                let pause = self.publish(request, &mut polling, &present, &mut retry);
                let Some(pause) = Box::pin(pause).await else {
                    return polling.skip();
                };
                due = self.clock.deadline(jittered(pause));
            }
            let mut due = pin!(self.clock.clone().sleep_until(due));
            is_due = loop {
                tokio::select! {
                    () = &mut due => break true,
                    () = polling.stored.notified() => break false,
                    Ok(()) = invalidations.changed() => {
                        if !fence().generation().is_same(began.generation()) {
                            break true;
                        }
                    }
                    () = polling.abandoned() => if polling.is_over() { return },
                }
            };
        }
    }

    /// Publishes the result of a poll. Returns the time until the next one; `None` if the response is not one
    /// that can be waited for. `retry` is the time if this one has failed.
    async fn publish(
        &self,
        request: &ClientRequest<'_>,
        polling: &mut Polling,
        present: &Present,
        retry: &mut Duration,
    ) -> Option<Duration> {
        let (entry, is_stored) = match present {
            Present::Stored(selected) => (&selected.entry, true),
            Present::Fetched(result, _) => {
                self.metrics.wait_polls.inc();
                match result.waitable() {
                    Some(found) => found,
                    None if result.is_failure() => {
                        self.servable_on_error(request).await?;
                        let doubled = (*retry * 2).min(MAX_RETRY_PAUSE);
                        return Some(std::mem::replace(retry, doubled));
                    }
                    None => return None,
                }
            }
        };
        if !is_call(entry) {
            return None;
        }
        *retry = RETRY_PAUSE;
        polling.publish(entry, is_stored);
        if !is_stored {
            return Some(RETRY_PAUSE);
        }
        let (freshness, limits) = (&entry.freshness, entry.whole.limits);
        let settings = &self.fetcher.freshness;
        let now = self.clock.now();
        Some(policy::next_poll(freshness, limits, settings, now))
    }

    /// The present response: the stored one while it is fresh, or not due to be polled; else that of a fetch.
    async fn present(&self, request: &ClientRequest<'_>, is_due: bool) -> Present {
        let mut now = self.clock.now();
        let lookup = self.look_up(request, &mut now).await;
        let (why, basis) = lookup.basis();
        match lookup {
            Lookup::Fresh(selected, _) => return Present::Stored(selected),
            Lookup::Usable(selected, _) | Lookup::Stale { selected, .. } if !is_due => {
                return Present::Stored(selected);
            }
            _ => {}
        }
        if let Some(result) = self.fetcher.fetch(request, basis).await {
            return Present::Fetched(result, why);
        }
        // From another replica.
        match self.look_up(request, &mut now).await {
            Lookup::Fresh(selected, _) => Present::Stored(selected),
            lookup => {
                let (why, basis) = lookup.basis();
                Present::Fetched(self.fetcher.fetch_anew(request, basis).await, why)
            }
        }
    }

    /// Adds to a response how the wait has ended. Another cache must not store it as fresh: it would not
    /// wait.
    fn describe(
        &self,
        response: &mut Response<Body>,
        wait: &Wait,
        end: WaitEnd,
        began: Duration,
        has_waited: bool,
    ) {
        self.metrics.waits.of(end).inc();
        let now = self.clock.now();
        let waited = now.mono.saturating_sub(began).as_millis();
        let [waited, timeout] = [waited, wait.timeout.as_millis()]
            .map(|millis| format!("{}.{:03}", millis / 1_000, millis % 1_000));
        let field = format!("{}; waited={waited}; timeout={timeout}", end.as_str());
        let fields = response.headers_mut();
        policy::lower_lifetime(fields, 0, now.wall);
        // It may have none, and another cache would estimate one.
        fields.append(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        let field = HeaderValue::try_from(field).expect("a token and numbers are a field value");
        fields.insert(WAIT, field);
        fields.append(VARY, HeaderValue::from_static("prefer"));
        if wait.is_preferred {
            let applied = format!("wait={}", wait.timeout.as_secs());
            let applied = HeaderValue::try_from(applied).expect("a number is a field value");
            fields.insert(PREFERENCE_APPLIED, applied);
        }
        let outcome = &mut response.body_mut().report.outcome;
        if has_waited && !matches!(outcome, Outcome::Failed { .. } | Outcome::Panicked) {
            *outcome = Outcome::Waited(end);
        }
    }
}

/// Whether a response is one that can be waited for.
fn is_call(entry: &Entry) -> bool {
    entry.whole.status == StatusCode::OK
}

fn digest(selected: &Selected) -> blake3::Hash {
    blake3::hash(&selected.representation.body)
}

/// Why a wait ends with this response; `before` is the body at its beginning.
fn end_of(until: &Until, selected: &Selected, before: Option<blake3::Hash>) -> Option<WaitEnd> {
    match until {
        Until::Status(named) => {
            let status = selected.entry.freshness.status;
            let is_named = status.is_some_and(|status| named.contains(&status));
            is_named.then_some(WaitEnd::Reached)
        }
        Until::Change => {
            let has_changed = before.is_some_and(|before| before != digest(selected));
            has_changed.then_some(WaitEnd::Changed)
        }
    }
}

/// Up to a tenth longer, so that many pollers do not send their requests at the same time.
fn jittered(pause: Duration) -> Duration {
    let [random, ..] = RandomState::new().hash_one(()).to_le_bytes();
    pause + pause / 2_560 * u32::from(random)
}
