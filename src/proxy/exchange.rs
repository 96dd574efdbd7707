//! One exchange with the origin for the cache: its head is judged before its body is read, and
//! what may be stored of it is.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{AGE, VIA};
use http::uri::PathAndQuery;
use http::{HeaderMap, StatusCode, response};

use super::error::CACHE_STATUS;
use super::fetch::{Fetched, Order};
use super::show::off_path;
use super::{Proxy, refused_token, respond};
use crate::cache::{Candidate, Coded, Entry, Found, Representation};
use crate::clock::Deadline;
use crate::policy::{
    self, Exchange, Moment, NotStored, Renewal, RequestDirectives, Selecting, Sharing, ViewCap,
};
use crate::request::{CacheKey, Scope};
use crate::upstream::{self, AnswerBody, FetchError, ResponseStream, Unread, headers};

/// The head of the origin's answer, and when it was asked and answered.
#[derive(Debug)]
pub(super) struct Asked {
    head: response::Parts,
    body: Unread,
    /// Whether nobody but the one it was fetched for may have it.
    pub(super) for_one: bool,
    requested: Moment,
    received: Moment,
}

impl Proxy {
    /// Asks the origin, and stores what may be stored.
    pub(super) async fn carry_out(&self, mut order: Order) -> Fetched {
        let fetched = match self.ask(&mut order).await {
            Ok(asked) => self.receive(&order, asked).await,
            Err(error) => Fetched::Failed(error),
        };
        self.end_fetch(&order, &fetched);
        fetched
    }

    /// Asks the origin about what is stored, or for the whole, and acts on what the head of its
    /// answer says: a refusal counts, whatever becomes of the words that go with it.
    pub(super) async fn ask(&self, order: &mut Order) -> Result<Asked, FetchError> {
        let conditional = order.stored.as_ref().and_then(|stored| {
            let mut sent = order.sent.clone();
            policy::make_conditional(&stored.whole.headers, &mut sent).then_some(sent)
        });
        // However often it takes, it is one fetch.
        let deadline = self.upstream.deadline();
        let mut asked = self.send(order, conditional.as_ref(), deadline).await?;
        let mut validating = conditional.is_some() && order.stored.is_some();
        if validating && order.is_mistaken(&asked) {
            // A 304 about some other response than the stored one: ask again, for the whole.
            validating = false;
            // With its place: this request goes on in it.
            drop(asked);
            self.begin_again(order);
            asked = self.send(order, None, deadline).await?;
        }
        if asked.head.status == StatusCode::NOT_MODIFIED && !validating {
            // Nobody asked whether anything was modified; there is nothing to answer with.
            return Err(FetchError::unasked_not_modified());
        }
        self.judge(order, &asked);
        Ok(asked)
    }

    async fn send(
        &self,
        order: &mut Order,
        conditional: Option<&HeaderMap>,
        deadline: Deadline,
    ) -> Result<Asked, FetchError> {
        let target = target(&order.key);
        let sent = conditional.unwrap_or(&order.sent);
        let asked = self.send_once(order, &target, sent, deadline).await?;
        if !upstream::is_locked(&asked.head.headers) {
            return Ok(asked);
        }
        // Not everybody accepts that coding, and nobody may undo it. What its head ends is ended.
        self.judge(order, &asked);
        drop(asked);
        self.begin_again(order);
        let conditional = conditional.filter(|_| order.stored.is_some());
        let mut sent = conditional.unwrap_or(&order.sent).clone();
        headers::refuse_coding(&mut sent);
        self.send_once(order, &target, &sent, deadline).await
    }

    /// Whoever asks a second time begins then: what others have brought since the first is older.
    fn begin_again(&self, order: &mut Order) {
        order.fence = self.store.fence(&order.key, self.clock.now().mono);
        if let Some(candidate) = &mut order.candidate {
            *candidate = self.store.candidate_again(candidate, &order.fence);
        }
        // What was voided meanwhile is not to come back by way of a 304.
        let stored = order.stored.take();
        order.stored = stored.filter(|stored| self.store.holds(&stored.fence));
    }

    async fn send_once(
        &self,
        order: &Order,
        target: &PathAndQuery,
        sent: &HeaderMap,
        deadline: Deadline,
    ) -> Result<Asked, FetchError> {
        let requested = self.clock.now();
        let holder = order.holder();
        let answer = self.upstream.fetch(holder, target, sent, deadline).await?;
        let (status, fields) = (answer.head.status, &answer.head.headers);
        Ok(Asked {
            for_one: policy::is_for_one(status, fields, order.sharing()),
            head: answer.head,
            body: answer.body,
            requested,
            received: self.clock.now(),
        })
    }

    /// What a head ends. The body may come late or torn, and by then the stored response would
    /// have stood in for it.
    fn judge(&self, order: &Order, asked: &Asked) {
        let status = asked.head.status;
        if refused_token(status) {
            self.token_refused(order.holder());
        } else if let Some(candidate) = order.candidate.as_ref().filter(|_| withholds(status)) {
            // From this token; what the others may see is between them and the origin.
            self.store.dismiss(&order.key, candidate);
        } else if policy::is_gone(status) {
            self.store.end_all(&order.key, &order.fence);
        } else if asked.for_one && order.speaks_for_all(status) {
            // Those who wait for it are let go now, and must not find what it has replaced.
            self.store.end(&order.key, &order.sent, &order.fence);
        }
    }

    /// Reads the body, and stores what may be stored.
    pub(super) async fn receive(&self, order: &Order, asked: Asked) -> Fetched {
        let Asked {
            head,
            body,
            requested,
            received,
            ..
        } = asked;
        match self.upstream.read(body).await {
            Ok(AnswerBody::Whole(body)) => self.keep(order, &head, body, requested, received).await,
            Ok(AnswerBody::TooLarge(body)) => self.pass(order, head, body, NotStored::TooLarge),
            Ok(AnswerBody::CloseDelimited(body)) => {
                self.pass(order, head, body, NotStored::CloseDelimited)
            }
            Err(error) => Fetched::Failed(error),
        }
    }

    /// Passes on what cannot be stored. What it would have replaced goes all the same.
    fn pass(
        &self,
        order: &Order,
        head: response::Parts,
        body: ResponseStream,
        reason: NotStored,
    ) -> Fetched {
        if order.speaks_for_all(head.status) {
            self.store.end(&order.key, &order.sent, &order.fence);
        }
        self.metrics.not_stored.of(reason).inc();
        Fetched::Stream {
            head: Box::new(head),
            body: Box::new(body),
            reason,
        }
    }

    /// Makes an entry of a whole response, and stores it if it may be stored.
    async fn keep(
        &self,
        order: &Order,
        head: &response::Parts,
        body: Bytes,
        requested: Moment,
        received: Moment,
    ) -> Fetched {
        let renewal = order.renewal(head, received);
        let (status, fields, body) = match renewal {
            Some((stored, Renewal::Renewed)) => {
                let mut fields = stored.whole.headers.clone();
                // These tell how a message came; this one came with the 304.
                fields.remove(VIA);
                fields.remove(CACHE_STATUS);
                policy::update(&mut fields, &head.headers, received.wall);
                (stored.whole.status, fields, stored.whole.body.clone())
            }
            _ => (
                head.status,
                policy::storable(&head.headers, received.wall),
                body,
            ),
        };
        let exchange = Exchange {
            status,
            // As received: what `Connection` takes away with it, such as a `no-store`, still counts.
            response: if matches!(renewal, Some((_, Renewal::Renewed))) {
                &fields
            } else {
                &head.headers
            },
            requested,
            received,
        };
        let (whole, settings) = (body.clone(), Arc::clone(&self.freshness));
        let is_new = status == StatusCode::OK && !matches!(renewal, Some((_, Renewal::Renewed)));
        let weighed = (is_new && self.metrics.fields.is_due(received.mono))
            .then(|| Arc::clone(&self.metrics));
        let read = move || {
            if let Some(metrics) = weighed {
                metrics.fields.measure(&whole);
            }
            policy::facts::read(&whole, &settings.live).unwrap_or_default()
        };
        let facts = off_path(&self.fills, body.len(), read).await;
        let route_ttl = self.parser.routes().ttl(order.route);
        let freshness = policy::assess(&exchange, &facts, &self.freshness, route_ttl);
        let directives = RequestDirectives::read(&order.client, self.freshness.client_directives);
        let may_store = policy::may_store(
            &exchange,
            &directives,
            &freshness,
            order.sharing(),
            self.freshness.private,
        );
        let vary = Selecting::capture(&fields, &order.sent, &self.settings.forward_headers)
            .unwrap_or_default();
        let came_with_age = fields.contains_key(AGE);
        let whole = Representation {
            status,
            headers: respond::prepare(fields, head.version, body.len()),
            body,
            cap: ViewCap::of(&facts, &self.freshness),
            coded: Coded::default(),
        };
        let entry = Arc::new(Entry::new(
            whole,
            freshness,
            vary,
            *order.key.scope(),
            order.fence.clone(),
            came_with_age,
        ));
        if let Some(candidate) = order
            .candidate
            .as_ref()
            .filter(|_| head.status.is_success())
        {
            entry.admit(candidate.admitted(received.mono.saturating_add(self.admission_ttl)));
        }
        let stored = match renewal {
            // What is stored may still serve while the origin fails; an error does not replace it,
            // also where this request had no use for it.
            Some((_, Renewal::Failed)) => Err(NotStored::OriginFailed),
            _ if policy::is_failure(head.status) && self.has(order) => Err(NotStored::OriginFailed),
            _ => may_store.and_then(|()| self.store.put(&order.key, &order.sent, &entry)),
        };
        if let Err(reason) = stored {
            self.metrics.not_stored.of(reason).inc();
            // The origin has said something newer: what was stored is not to come back, not
            // even when the origin fails later. What is newer still stays.
            if order.speaks_for_all(head.status) {
                self.store.end(&order.key, &order.sent, &order.fence);
            }
        }
        Fetched::Whole {
            entry,
            stored,
            status: head.status.as_u16(),
            collapsed: false,
        }
    }

    /// Whether something is stored that an answer to this request would replace, or hide where it
    /// does not say what it varies by.
    fn has(&self, order: &Order) -> bool {
        let found = self.store.find(&order.key, || order.sent.clone());
        !matches!(found, Found::Nothing)
    }
}

impl Order {
    /// What the answer means for the stored response, if there is one.
    fn renewal(&self, head: &response::Parts, received: Moment) -> Option<(&Arc<Entry>, Renewal)> {
        let stored = self.stored.as_ref()?;
        Some((
            stored,
            policy::renewal(
                &stored.whole.headers,
                head.status,
                &head.headers,
                received.wall,
            ),
        ))
    }

    /// Whose token asks.
    fn holder(&self) -> &Scope {
        let candidate = self.candidate.as_ref();
        candidate.map_or(self.key.scope(), Candidate::holder)
    }

    /// Who is served from what this fetch brings.
    fn sharing(&self) -> Sharing {
        match self.candidate {
            Some(_) => Sharing::Admitted,
            None => Sharing::OneToken,
        }
    }

    /// Whether an answer with this status ends what is stored: not a failure, and where several
    /// tokens share, not what one of them is refused. A 304 speaks of what they share.
    fn speaks_for_all(&self, status: StatusCode) -> bool {
        let of_the_response = status.is_success() || status == StatusCode::NOT_MODIFIED;
        !policy::is_failure(status) && (self.candidate.is_none() || of_the_response)
    }

    fn is_mistaken(&self, asked: &Asked) -> bool {
        matches!(
            self.renewal(&asked.head, asked.received),
            Some((_, Renewal::Mistaken))
        )
    }
}

/// Whether the origin has answered with something else than what is stored: gone, moved, or not
/// to be had like this.
fn withholds(status: StatusCode) -> bool {
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
