//! The request of a fetch: conditional if a stored response can be validated. Applies the response
//! head to the store, before the body is read; `fill` reads the body.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderValue, Method, StatusCode, response};

use super::{Basis, FetchJob, Fetcher};
use crate::cache::{Entry, Invalidation, StoreLookup, Superseded};
use crate::clock::Deadline;
use crate::policy::{self, EntityTag, Moment, NotStored, TokenStatus};
use crate::upstream::{self, FetchError, PendingBody, headers};

/// The head of the origin's response, and when it was requested and received.
#[derive(Debug)]
pub(super) struct OriginResponse {
    pub(super) head: response::Parts,
    /// The stored response that it renews: it is a 304.
    pub(super) renewed: Option<Arc<Entry>>,
    /// Why the head forbids to store it, so that its body is streamed.
    pub(super) forbidden: Option<NotStored>,
    /// Whether it is for the requesting client only.
    pub(super) is_unshareable: bool,
    /// The ignored cookies that it sets.
    pub(super) cookies: Vec<HeaderValue>,
    pub(super) requested: Moment,
    pub(super) received: Moment,
}

impl OriginResponse {
    /// Time from the request to the head.
    pub(super) fn upstream(&self) -> Duration {
        self.received.mono.saturating_sub(self.requested.mono)
    }
}

impl Fetcher {
    /// Sends the request of a fetch, and returns the head of the response.
    ///
    /// Repeats it without condition if a 304 renews nothing, and without `Accept-Encoding` if the
    /// response must not be decoded: not every client accepts gzip.
    pub(super) async fn request(
        &self,
        job: &mut FetchJob,
        deadline: Deadline,
        mut accepts_coding: bool,
    ) -> Result<(OriginResponse, PendingBody), FetchError> {
        let mut conditional = self.conditional(job).map(|(sent, _)| sent);
        loop {
            let mut sent = Cow::Borrowed(conditional.as_ref().unwrap_or(&job.sent));
            if !accepts_coding {
                headers::request_identity(sent.to_mut());
            }
            let (mut response, body) = self.send(job, &sent, deadline).await?;
            let is_304 = response.head.status == StatusCode::NOT_MODIFIED;
            if is_304 {
                let Some(sent) = &conditional else {
                    return Err(FetchError::Protocol("304 to an unconditional request"));
                };
                response.renewed = self.renewed(job, sent, &response);
            }
            if is_304 && response.renewed.is_none() {
                conditional = None;
            } else if accepts_coding && upstream::forbids_decoding(&response.head.headers) {
                self.apply_head(job, &response).await;
                accepts_coding = false;
            } else {
                self.apply_head(job, &response).await;
                return Ok((response, body));
            }
            // Releases the permit, which the next request needs.
            drop(body);
            self.renew_fence(job);
        }
    }

    /// The conditional request of a fetch, and the stored response that it can renew.
    ///
    /// That is looked up, and not held while the origin is waited for: once the store had evicted it,
    /// its bytes would be counted nowhere.
    fn conditional(&self, job: &FetchJob) -> Option<(HeaderMap, Arc<Entry>)> {
        if job.basis == Basis::Nothing {
            return None;
        }
        let mut sent = job.sent.clone();
        let (is_conditional, stored) = match self.find(job) {
            StoreLookup::Entry(stored) => {
                let fields = &stored.whole.headers;
                (policy::make_conditional(fields, &mut sent), stored)
            }
            StoreLookup::NotAdmitted(stored) => {
                let fields = &stored.whole.headers;
                let is_conditional = policy::make_conditional_on_bytes(fields, &mut sent);
                (is_conditional, stored)
            }
            StoreLookup::OtherVariant | StoreLookup::Nothing => return None,
        };
        is_conditional.then_some((sent, stored))
    }

    /// The stored response that a 304 to this conditional request renews; `None` if it is about another,
    /// or if that response was evicted, invalidated or replaced meanwhile.
    fn renewed(
        &self,
        job: &FetchJob,
        sent: &HeaderMap,
        response: &OriginResponse,
    ) -> Option<Arc<Entry>> {
        let (same, stored) = self.conditional(job)?;
        let (fields, at) = (&response.head.headers, response.received);
        // A weak tag does not prove that the bytes are the same, and so admits no token to them.
        let is_weak = EntityTag::of(fields).is_some_and(EntityTag::is_weak);
        let is_renewed = same == *sent
            && (!is_weak || stored.admits(job.fence.token(), at.mono))
            && policy::is_validated(&stored.whole.headers, fields, at.wall);
        is_renewed.then_some(stored)
    }

    /// The stored response that the request of a fetch selects.
    pub(super) fn find(&self, job: &FetchJob) -> StoreLookup {
        let (token, now) = (job.fence.token(), self.clock.mono());
        self.store
            .find(&job.key, token, now, Some(&job.sent), || job.sent.clone())
    }

    /// A repeated request takes a new generation; responses stored since the first attempt are
    /// older.
    pub(super) fn renew_fence(&self, job: &mut FetchJob) {
        let token = *job.fence.token();
        job.position = self.shared.position();
        job.fence = self.store.fence(&job.key, &token, self.clock.mono());
    }

    async fn send(
        &self,
        job: &FetchJob,
        sent: &HeaderMap,
        deadline: Deadline,
    ) -> Result<(OriginResponse, PendingBody), FetchError> {
        let requested = self.clock.now();
        let (token, target) = (job.fence.token(), job.key.target());
        let is_accepted = self.store.is_accepted(token);
        let upstream = &self.upstream;
        let fetch = upstream.fetch(token, is_accepted, target, sent, deadline);
        let (mut head, body) = fetch.await?.into_parts();
        let cookies = policy::take_ignored_cookies(&mut head.headers, &self.ignored_cookies);
        let received = self.clock.now();
        let (status, fields) = (head.status, &head.headers);
        let forbidden = policy::forbidden_by_head(status, fields, job.sharing());
        let response = OriginResponse {
            // The cookie of a 304 is dropped: the response that it renews has none.
            is_unshareable: forbidden.is_some()
                || status != StatusCode::NOT_MODIFIED && fields.contains_key(SET_COOKIE),
            forbidden,
            renewed: None,
            head,
            cookies,
            requested,
            received,
        };
        Ok((response, body))
    }

    /// Applies the effect of the head on the token, and removes the stored responses that it makes
    /// unusable. The body may be slow or incomplete, and until its end they would still be served.
    async fn apply_head(&self, job: &FetchJob, response: &OriginResponse) {
        let (status, token, path) = (response.head.status, job.fence.token(), job.key.path());
        match policy::token_status(&Method::GET, status) {
            TokenStatus::Refused => {
                let is_accepted = self.store.refuse(token, self.clock.mono());
                let refused = Invalidation::Scope(*token);
                let announced = self.shared.announce_for(Some(token), refused, is_accepted);
                return announced.await;
            }
            TokenStatus::ResourceRefused => {
                let refused = Invalidation::of_resource(token, path);
                self.store.refuse_resource(&refused, self.clock.mono());
                let is_accepted = self.store.is_accepted(token);
                let announced = self.shared.announce_for(Some(token), refused, is_accepted);
                return announced.await;
            }
            TokenStatus::Unknown if response.renewed.is_none() => {}
            TokenStatus::Accepted | TokenStatus::Unknown => {
                if self.routes.proves_acceptance(path) {
                    self.store.accept(token, response.requested.mono);
                }
            }
        }
        if policy::is_gone(status) || job.fence.is_shared() && denies(status) {
            self.store
                .supersede(&job.key, &job.fence, Superseded::Every);
        } else if response.is_unshareable {
            // The waiters fetch now, and must not get the response that this one replaces.
            self.supersede_stored(job, response);
        }
    }

    /// Removes the stored response that a newer, unstored one supersedes: it must not be served again,
    /// not even if the origin fails later. A failure supersedes nothing.
    pub(super) fn supersede_stored(&self, job: &FetchJob, response: &OriginResponse) {
        let superseded = match &response.renewed {
            _ if policy::is_failure(response.head.status) => return,
            // A 304 is about the stored response, and so applies to every token that shares it.
            Some(stored) if job.fence.is_shared() => Superseded::Only(stored),
            _ => Superseded::Selected(&job.sent),
        };
        self.store.supersede(&job.key, &job.fence, superseded);
    }
}

/// Whether the origin denied this token the stored response: with a 4xx or a redirect.
fn denies(status: StatusCode) -> bool {
    !status.is_success() && status != StatusCode::NOT_MODIFIED && !policy::is_failure(status)
}
