//! Reads the body of the origin's response, makes an entry of it, and stores the entry if allowed.
//!
//! Whether it may be stored, and how long it is fresh, is decided in `policy`.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{AGE, SET_COOKIE, VIA};
use http::{HeaderMap, StatusCode};

use super::super::error::CACHE_STATUS;
use super::super::respond;
use super::origin::OriginResponse;
use super::{Basis, FetchJob, FetchResult, Fetched, Fetcher};
use crate::cache::{Entry, Representation, StoreLookup};
use crate::in_transit::StoredBody;
use crate::policy::{self, Exchange, Facts, Freshness, NotStored, Selecting, ViewLimits};
use crate::request::Scope;
use crate::telemetry::{Metrics, RequestId};
use crate::upstream::{BodyRead, PendingBody, ResponseStream};

/// A whole response: the origin's new one, or the stored one with the fields of a 304.
struct Whole {
    status: StatusCode,
    fields: HeaderMap,
    body: StoredBody,
}

impl Fetcher {
    /// Reads the body, and stores the response if that is allowed. A body that the head forbids to
    /// store is streamed: it may be slow, or have no end.
    pub(super) async fn fill(
        &self,
        job: &FetchJob,
        response: OriginResponse,
        body: PendingBody,
    ) -> FetchResult {
        // The directives of a 304 concern the stored body.
        let is_new = response.head.status != StatusCode::NOT_MODIFIED;
        let close_delimited = body.is_close_delimited.then_some(NotStored::CloseDelimited);
        let forbidden = response.forbidden.filter(|_| is_new).or(close_delimited);
        let read = match forbidden {
            Some(_) => self.upstream.stream_pending(body),
            None => self.upstream.read(body).await,
        };
        match read {
            Ok(BodyRead::Whole(body)) => self.complete(job, &response, body).await,
            Ok(BodyRead::Streamed(body)) => {
                let reason = forbidden.unwrap_or(NotStored::TooLarge);
                self.stream_through(job, response, body, reason)
            }
            Err(error) => FetchResult::Failed(error),
        }
    }

    /// Streams a response that cannot be stored, and removes the one that it would have replaced.
    fn stream_through(
        &self,
        job: &FetchJob,
        mut response: OriginResponse,
        body: Box<ResponseStream>,
        reason: NotStored,
    ) -> FetchResult {
        for cookie in std::mem::take(&mut response.cookies) {
            response.head.headers.append(SET_COOKIE, cookie);
        }
        self.count_not_stored(job, reason);
        self.supersede_stored(job, &response);
        FetchResult::Stream {
            upstream: response.upstream(),
            head: Box::new(response.head),
            body,
            reason,
        }
    }

    /// Makes an entry of a whole response, and stores it if it may be stored.
    async fn complete(
        &self,
        job: &FetchJob,
        response: &OriginResponse,
        body: StoredBody,
    ) -> FetchResult {
        let renewed = response.renewed.as_ref();
        let whole = Whole::of(response, body);
        // As received: what `Connection` removes, such as a `no-store`, still counts.
        let fields = renewed.map_or(&response.head.headers, |_| &whole.fields);
        let (requested, received) = (response.requested, response.received);
        let exchange = Exchange::new(whole.status, fields, requested, received);
        if let Some(skew) = exchange.clock_skew() {
            self.metrics.origin_clock_skew.set(skew);
        }
        // A 304 does not send again what a signed URL in the stored body shows.
        let body_sent = renewed.map_or_else(|| exchange.sent(), |entry| entry.freshness.body_sent);
        let facts = self.facts(job, &whole, response, body_sent).await;
        let route = self.routes.rule(job.route);
        let freshness = Freshness {
            body_sent,
            ..policy::assess(&exchange, &facts, &self.freshness, route)
        };
        let may_store = policy::may_store(
            &exchange,
            &job.directives,
            &freshness,
            job.sharing(),
            self.freshness.private,
        );
        let entry = Arc::new(self.entry(job, response, whole, freshness, &facts));
        let status = response.head.status;
        // An error does not replace a stored response: others may still use it (stale-if-error). In a
        // named scope no error is stored, and the reason must not depend on what others have fetched.
        let keeps_stored = !job.fence.is_shared()
            && policy::is_failure(status)
            && !matches!(self.find(job), StoreLookup::Nothing);
        let stored = if keeps_stored {
            Err(NotStored::OriginFailed)
        } else {
            let (key, sent) = (&job.key, &job.sent);
            may_store.and_then(|()| self.store.put(key, sent, &entry, &job.fence))
        };
        match stored {
            Ok(()) => self.watched.stored(&job.key),
            Err(reason) => {
                self.count_not_stored(job, reason);
                self.supersede_stored(job, response);
            }
        }
        FetchResult::Whole(Fetched {
            stored,
            // A token admitted by a 304 must not learn that another token has fetched it before.
            status: match renewed {
                Some(stored) if job.basis == Basis::NotAdmitted => stored.whole.status,
                _ => status,
            },
            entry,
            upstream: Some(response.upstream()),
            collapsed: false,
            cookies: response.cookies.clone(),
        })
    }

    fn count_not_stored(&self, job: &FetchJob, reason: NotStored) {
        let (scope, path, now) = (job.key.scope().id(), job.key.path(), self.clock.mono());
        self.metrics.not_stored.of(reason).inc();
        self.metrics
            .reasons
            .record_not_stored(scope, path, reason, now);
    }

    async fn facts(
        &self,
        job: &FetchJob,
        whole: &Whole,
        response: &OriginResponse,
        sent: SystemTime,
    ) -> Facts {
        let is_new = whole.status == StatusCode::OK && response.renewed.is_none();
        let is_due = is_new && self.metrics.field_weights.is_due(response.received.mono);
        let weighed = is_due.then(|| Arc::clone(&self.metrics));
        let token = job.fence.token();
        let facts = self
            .parsed(token, Bytes::clone(&whole.body), sent, weighed)
            .await;
        facts.with_fields(&whole.fields, sent)
    }

    /// The facts of a body, parsed on a blocking thread if it is large. If too many wait for one, the
    /// facts are those of a body that cannot be read. `weighed` measures its fields.
    pub(super) async fn parsed(
        &self,
        token: &Scope,
        body: Bytes,
        sent: SystemTime,
        weighed: Option<Arc<Metrics>>,
    ) -> Facts {
        let (size, settings) = (body.len(), Arc::clone(&self.freshness));
        let parse = move || {
            if let Some(metrics) = weighed {
                metrics.field_weights.measure(&body);
            }
            policy::facts::read(&body, &settings.live, sent)
        };
        let deadline = self.upstream.deadline();
        let parsed = self.parsing.run(size, token, &self.clock, deadline, parse);
        parsed.await.unwrap_or_else(|| {
            self.metrics.bodies_unparsed.inc();
            Facts {
                unreadable_expiry: true,
                ..policy::facts::read(b"", &self.freshness.live, sent)
            }
        })
    }

    fn entry(
        &self,
        job: &FetchJob,
        response: &OriginResponse,
        whole: Whole,
        freshness: Freshness,
        facts: &Facts,
    ) -> Entry {
        let Whole {
            status,
            fields,
            body,
        } = whole;
        let vary =
            Selecting::capture(&fields, &job.sent, &self.forward_headers).unwrap_or_default();
        let came_with_age = fields.contains_key(AGE);
        let headers = respond::prepare(fields, response.head.version, body.len());
        let limits = ViewLimits::of(facts, &self.freshness, freshness.is_unknown);
        let representation = Representation::new(status, headers, body, limits);
        let (scope, fence) = (*job.key.scope(), &job.fence);
        let mut entry = Entry::new(representation, freshness, vary, scope, fence, came_with_age);
        entry.rules = Some(Arc::clone(&self.freshness));
        entry.ignored_cookies = match &response.renewed {
            Some(renewed) => renewed.ignored_cookies.clone(),
            None if response.cookies.is_empty() => None,
            None => Some(Arc::clone(&self.ignored_cookies)),
        };
        if !fence.is_shared() {
            let sent = response.requested.mono;
            entry = entry.with_acceptance(self.store.acceptance(fence.token(), sent));
        }
        let until = response.received.mono.saturating_add(self.admission_ttl);
        if let Some(admission) = fence.admission(until) {
            entry.admit(admission);
        }
        entry
    }
}

impl Whole {
    fn of(response: &OriginResponse, body: StoredBody) -> Self {
        let (head, received) = (&response.head, response.received.wall);
        let Some(stored) = &response.renewed else {
            return Self {
                status: head.status,
                fields: policy::storable(&head.headers, received),
                body,
            };
        };
        let mut fields = stored.whole.headers.clone();
        // These fields are about a message, which is now the 304.
        fields.remove(VIA);
        fields.remove(CACHE_STATUS);
        fields.remove(RequestId::FIELD);
        policy::update(&mut fields, &head.headers, received);
        Self {
            status: stored.whole.status,
            fields,
            body: stored.whole.body.clone(),
        }
    }
}
