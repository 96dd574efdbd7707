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
use crate::cache::{Encodings, Ended, Entry, Representation, StoreLookup};
use crate::clock::Deadline;
use crate::policy::{
    self, Exchange, Moment, NotStored, Renewal, RequestDirectives, Selecting, Sharing, ViewLimits,
};
use crate::request::CacheKey;
use crate::upstream::{self, BodyRead, FetchError, PendingBody, ResponseStream, headers};

/// The head of the origin's answer, and when it was asked and answered.
#[derive(Debug)]
pub(super) struct Asked {
    head: response::Parts,
    body: PendingBody,
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
            let (fields, mut sent) = (&stored.whole.headers, order.sent.clone());
            let is_conditional = if order.for_admission {
                policy::make_conditional_on_bytes(fields, &mut sent)
            } else {
                policy::make_conditional(fields, &mut sent)
            };
            is_conditional.then_some(sent)
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
            return Err(FetchError::Protocol("304 to an unconditional request"));
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
        if !upstream::forbids_decoding(&asked.head.headers) {
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
        let token = *order.fence.token();
        order.fence = self.store.fence(&order.key, &token, self.clock.now().mono);
        // What was voided meanwhile is not to come back by way of a 304.
        let stored = order.stored.take();
        order.stored = stored.filter(|stored| self.store.is_current(&stored.generation));
    }

    async fn send_once(
        &self,
        order: &Order,
        target: &PathAndQuery,
        sent: &HeaderMap,
        deadline: Deadline,
    ) -> Result<Asked, FetchError> {
        let requested = self.clock.now();
        let token = order.fence.token();
        let answer = self.upstream.fetch(token, target, sent, deadline).await?;
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
            self.token_refused(order.fence.token());
        } else if policy::is_gone(status) || order.fence.is_shared() && withholds(status) {
            self.store.end(&order.key, &order.fence, Ended::Every);
        } else if asked.for_one {
            // Its waiters fetch now, and must not find what it has replaced.
            self.end_stored(order, status);
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
            Ok(BodyRead::Whole(body)) => self.keep(order, &head, body, requested, received).await,
            Ok(BodyRead::TooLarge(body)) => self.pass(order, head, body, NotStored::TooLarge),
            Ok(BodyRead::CloseDelimited(body)) => {
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
        self.end_stored(order, head.status);
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
        let weighed = (is_new && self.metrics.field_weights.is_due(received.mono))
            .then(|| Arc::clone(&self.metrics));
        let read = move || {
            if let Some(metrics) = weighed {
                metrics.field_weights.measure(&whole);
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
            cap: ViewLimits::of(&facts, &self.freshness),
            encodings: Encodings::default(),
        };
        let entry = Arc::new(Entry::new(
            whole,
            freshness,
            vary,
            *order.key.scope(),
            &order.fence,
            came_with_age,
        ));
        let until = received.mono.saturating_add(self.admission_ttl);
        if let Some(admission) = order.fence.admission(until) {
            entry.admit(admission);
        }
        let renewed = match renewal {
            Some((stored, Renewal::Renewed)) => Some(stored),
            _ => None,
        };
        let stored = match renewal {
            // What is stored may still serve while the origin fails; an error does not replace it,
            // also where this request had no use for it.
            Some((_, Renewal::Failed)) => Err(NotStored::OriginFailed),
            _ if policy::is_failure(head.status) && self.has(order) => Err(NotStored::OriginFailed),
            _ => may_store.and_then(|()| {
                let (key, sent) = (&order.key, &order.sent);
                self.store.put(key, sent, &entry, &order.fence, renewed)
            }),
        };
        if let Err(reason) = stored {
            self.metrics.not_stored.of(reason).inc();
            // The origin has said something newer: what was stored is not to come back, not
            // even when the origin fails later. What is newer still stays.
            self.end_stored(order, head.status);
        }
        Fetched::Whole {
            entry,
            stored,
            // A token that was admitted by a 304 must not learn that another was there before.
            status: match renewed {
                Some(stored) if order.for_admission => stored.whole.status,
                _ => head.status,
            }
            .as_u16(),
            collapsed: false,
        }
    }

    /// Ends what is stored in favour of an answer that is not: unless the origin failed.
    fn end_stored(&self, order: &Order, status: StatusCode) {
        let ended = match &order.stored {
            _ if policy::is_failure(status) => return,
            // A 304 is about the stored response, and so about every token that shares it.
            Some(stored) if status == StatusCode::NOT_MODIFIED && order.fence.is_shared() => {
                Ended::Only(stored)
            }
            _ => Ended::Selected(&order.sent),
        };
        self.store.end(&order.key, &order.fence, ended);
    }

    /// Whether something is stored that an answer to this request would replace, or hide where it
    /// does not say what it varies by.
    fn has(&self, order: &Order) -> bool {
        let (token, now) = (order.fence.token(), self.clock.now().mono);
        let found = self
            .store
            .find(&order.key, token, now, || order.sent.clone());
        !matches!(found, StoreLookup::Nothing)
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

    /// Who is served from what this fetch brings.
    fn sharing(&self) -> Sharing {
        if self.fence.is_shared() {
            Sharing::Admitted
        } else {
            Sharing::OneToken
        }
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
