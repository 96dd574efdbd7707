//! Asks the origin for a fetch: about the stored response, or for the whole; and applies what the
//! head of its response ends.

use std::borrow::Cow;

use http::uri::PathAndQuery;
use http::{HeaderMap, StatusCode, response};

use super::{Basis, FetchJob, Fetcher};
use crate::cache::Ended;
use crate::clock::Deadline;
use crate::policy::{self, EntityTag, Moment, Renewal};
use crate::request::CacheKey;
use crate::upstream::{self, FetchError, PendingBody, headers};

/// The head of the origin's response, and when it was requested and received.
#[derive(Debug)]
pub(super) struct OriginResponse {
    pub(super) head: response::Parts,
    /// Its meaning for the stored response, if there is one.
    pub(super) renewal: Option<Renewal>,
    /// Whether it is for the client alone that asked.
    pub(super) is_unshareable: bool,
    pub(super) requested: Moment,
    pub(super) received: Moment,
}

impl Fetcher {
    /// Asks the origin. A refusal counts, whatever becomes of the body that follows.
    ///
    /// It asks once more for the whole where a 304 is about some other response, and without
    /// content coding where the response forbids decoding: not every client accepts it.
    pub(super) async fn ask(
        &self,
        job: &mut FetchJob,
    ) -> Result<(OriginResponse, PendingBody), FetchError> {
        // However often it asks, it is one fetch.
        let deadline = self.upstream.deadline();
        let mut conditional = job.conditional();
        let mut accepts_coding = true;
        loop {
            let mut sent = Cow::Borrowed(conditional.as_ref().unwrap_or(&job.sent));
            if !accepts_coding {
                headers::refuse_coding(sent.to_mut());
            }
            let (response, body) = self.send(job, &sent, deadline).await?;
            let is_304 = response.head.status == StatusCode::NOT_MODIFIED;
            if is_304 && conditional.is_none() {
                return Err(FetchError::Protocol("304 to an unconditional request"));
            }
            if conditional.is_some() && response.renewal == Some(Renewal::Mistaken) {
                conditional = None;
            } else if accepts_coding && upstream::forbids_decoding(&response.head.headers) {
                self.apply_head(job, &response);
                accepts_coding = false;
            } else {
                self.apply_head(job, &response);
                return Ok((response, body));
            }
            // With its permit: the next request needs it.
            drop(body);
            self.begin_again(job);
            conditional = conditional.filter(|_| job.basis.entry().is_some());
        }
    }

    /// A repeated request takes a new generation; responses stored since the first attempt are
    /// older.
    fn begin_again(&self, job: &mut FetchJob) {
        let token = *job.fence.token();
        job.fence = self.store.fence(&job.key, &token, self.clock.mono());
        let basis = std::mem::replace(&mut job.basis, Basis::Nothing);
        job.basis = basis.if_current(&self.store);
    }

    async fn send(
        &self,
        job: &FetchJob,
        sent: &HeaderMap,
        deadline: Deadline,
    ) -> Result<(OriginResponse, PendingBody), FetchError> {
        let requested = self.clock.now();
        let (token, target) = (job.fence.token(), target(&job.key));
        let fetch = self.upstream.fetch(token, &target, sent, deadline);
        let (head, body) = fetch.await?.into_parts();
        let received = self.clock.now();
        let (status, fields) = (head.status, &head.headers);
        let response = OriginResponse {
            is_unshareable: policy::is_unshareable(status, fields, job.sharing()),
            renewal: job.renewal(status, fields, received),
            head,
            requested,
            received,
        };
        Ok((response, body))
    }

    /// Ends what the head ends. The body may be late or broken off, and by then the stored response
    /// would have been served.
    fn apply_head(&self, job: &FetchJob, response: &OriginResponse) {
        let status = response.head.status;
        if policy::refuses_token(status) {
            self.store.refuse(job.fence.token());
        } else if policy::is_gone(status) || job.fence.is_shared() && denies(status) {
            self.store.end(&job.key, &job.fence, Ended::Every);
        } else if response.is_unshareable {
            // Its waiters fetch now, and must not find what it has replaced.
            self.end_stored(job, status);
        }
    }

    /// Ends what is stored in favour of a response that is not, unless the origin failed: it must
    /// not be used again, not even when the origin fails later. What is newer stays.
    pub(super) fn end_stored(&self, job: &FetchJob, status: StatusCode) {
        let ended = match job.basis.entry() {
            _ if policy::is_failure(status) => return,
            // A 304 is about the stored response, and so about every token that shares it.
            Some(stored) if status == StatusCode::NOT_MODIFIED && job.fence.is_shared() => {
                Ended::Only(stored)
            }
            _ => Ended::Selected(&job.sent),
        };
        self.store.end(&job.key, &job.fence, ended);
    }
}

impl FetchJob {
    /// The request that asks about the stored response, if it has what to ask by.
    fn conditional(&self) -> Option<HeaderMap> {
        let stored = &self.basis.entry()?.whole.headers;
        let mut sent = self.sent.clone();
        let is_conditional = if matches!(self.basis, Basis::NotAdmitted(_)) {
            policy::make_conditional_on_bytes(stored, &mut sent)
        } else {
            policy::make_conditional(stored, &mut sent)
        };
        is_conditional.then_some(sent)
    }

    /// The meaning of an answer for the stored response, if there is one. A weak tag does not say that
    /// the bytes are the same, and so admits no token to them.
    fn renewal(&self, status: StatusCode, fields: &HeaderMap, at: Moment) -> Option<Renewal> {
        let stored = &self.basis.entry()?.whole.headers;
        let renewal = policy::renewal(stored, status, fields, at.wall);
        let is_weak = EntityTag::of(fields).is_some_and(EntityTag::is_weak);
        let admits = !is_weak || !matches!(self.basis, Basis::NotAdmitted(_));
        Some(match renewal {
            Renewal::Renewed if !admits => Renewal::Mistaken,
            renewal => renewal,
        })
    }
}

/// Whether the origin has answered with something other than the stored response: gone, moved, or
/// not available like this.
fn denies(status: StatusCode) -> bool {
    !status.is_success() && status != StatusCode::NOT_MODIFIED && !policy::is_failure(status)
}

/// The request target of a key: its bytes as they came.
fn target(key: &CacheKey) -> PathAndQuery {
    let target = match key.query() {
        Some(query) => PathAndQuery::try_from(format!("{}?{query}", key.path())),
        None => PathAndQuery::try_from(key.path()),
    };
    target.expect("the parts of a valid target make a valid target")
}
