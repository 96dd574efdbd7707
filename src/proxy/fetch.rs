//! Fetching for the cache: one fetch in the air per key, on a task of its own, and what becomes
//! of its answer.

use std::sync::Arc;

use http::header::{AGE, VIA};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, StatusCode, response};
use tokio::sync::oneshot;
use tokio::time::timeout_at;

use super::{Proxy, refused_token, respond};
use crate::cache::{Boarding, Entry, Fence, Lead, Representation};
use crate::config::ClientDirectives;
use crate::policy::{
    self, Exchange, Moment, NotStored, Renewal, RequestDirectives, Selecting, Sharing, ViewCap,
};
use crate::request::{CacheKey, Call, RouteId};
use crate::telemetry::RequestId;
use crate::upstream::{Answer, AnswerBody, FetchError, ResponseStream, headers};

/// What a fetch is to bring.
#[derive(Debug)]
struct Order {
    key: CacheKey,
    route: RouteId,
    /// The client's own fields, by which storing is decided.
    client: HeaderMap,
    /// The fields that go to the origin.
    sent: HeaderMap,
    /// What is stored already and may be validated.
    stored: Option<Arc<Entry>>,
    fence: Fence,
}

/// The origin's answer, and when it was asked and answered.
#[derive(Debug)]
struct Asked {
    answer: Answer,
    requested: Moment,
    received: Moment,
}

/// What a fetch has brought to one who asked.
#[derive(Debug)]
pub(super) enum Fetched {
    /// A whole response.
    Whole {
        entry: Arc<Entry>,
        stored: Result<(), NotStored>,
        /// The origin's status: 304 where the stored response was validated.
        status: u16,
        collapsed: bool,
    },
    /// A response too large to store, or one whose end nobody can tell.
    Stream {
        head: Box<response::Parts>,
        body: Box<ResponseStream>,
        reason: NotStored,
    },
    /// Nothing.
    Failed(FetchError),
}

/// What a fetch has brought to all who waited for it.
#[derive(Clone, Debug)]
pub(super) enum Landing {
    Whole {
        entry: Arc<Entry>,
        stored: Result<(), NotStored>,
        status: u16,
    },
    /// A response for one client only: everybody else asks for themselves.
    Unshared,
    Failed(FetchError),
}

impl Fetched {
    /// Whether the origin failed, in the sense of `stale-if-error` (RFC 5861 §4).
    pub(super) fn is_failure(&self) -> bool {
        match self {
            Self::Whole { entry, .. } => policy::is_failure(entry.whole.status),
            Self::Stream { head, .. } => policy::is_failure(head.status),
            Self::Failed(_) => true,
        }
    }
}

impl Proxy {
    /// Fetches, or waits for the fetch that is in the air.
    pub(super) async fn fetch(
        self: &Arc<Self>,
        call: &Call,
        head: &Parts,
        stored: Option<&Arc<Entry>>,
        id: &RequestId,
    ) -> Fetched {
        let order = self.order(call, head, stored, id);
        if forbids_storing(&order.client, self.freshness.client_directives) {
            // What must not be stored must not be shared either.
            return self.carry_out(&order).await;
        }
        let waiting = match self.flights.board(&call.key, order.fence) {
            Boarding::Lead(lead) => return self.lead(lead, order).await,
            Boarding::Wait(waiting) => waiting,
        };
        self.metrics.collapsed.inc();
        match timeout_at(self.patience(), waiting.landing()).await {
            Ok(Some(Landing::Whole {
                entry,
                stored,
                status,
            })) if entry.vary.matches(&order.sent) => Fetched::Whole {
                entry,
                stored,
                status,
                collapsed: true,
            },
            Ok(Some(Landing::Failed(error))) => Fetched::Failed(error),
            // Not for us, or nothing came: everybody for themselves, all at once rather than one
            // after the other.
            Ok(_) => self.carry_out(&order).await,
            Err(_) => Fetched::Failed(FetchError::waited(&self.settings)),
        }
    }

    /// Refreshes a stored response in the background, with the token of the request that asked,
    /// unless somebody fetches it already, or what this request brings must not be stored.
    pub(super) fn refresh(
        self: &Arc<Self>,
        call: &Call,
        head: &Parts,
        stored: &Arc<Entry>,
        id: &RequestId,
    ) {
        if forbids_storing(&head.headers, self.freshness.client_directives) {
            return;
        }
        let order = self.order(call, head, Some(stored), id);
        if let Boarding::Lead(lead) = self.flights.board(&call.key, order.fence) {
            let (answer, _nobody) = oneshot::channel();
            self.take_off(lead, order, answer);
        }
    }

    fn order(
        &self,
        call: &Call,
        head: &Parts,
        stored: Option<&Arc<Entry>>,
        id: &RequestId,
    ) -> Order {
        let mut sent =
            headers::of_fetch(&head.headers, head.version, &self.settings.forward_headers);
        sent.entry(RequestId::FIELD)
            .or_insert_with(|| id.to_header());
        let fence = self.store.fence(&call.key);
        Order {
            key: call.key.clone(),
            route: call.route,
            client: head.headers.clone(),
            sent,
            // What was voided since it was looked up is not to come back by way of a 304.
            stored: stored.filter(|stored| stored.fence == fence).cloned(),
            fence,
        }
    }

    async fn lead(self: &Arc<Self>, lead: Lead<Landing>, order: Order) -> Fetched {
        let (answer, fetched) = oneshot::channel();
        self.take_off(lead, order, answer);
        fetched
            .await
            .unwrap_or_else(|_| Fetched::Failed(FetchError::lost()))
    }

    /// The fetch runs on its own task: the client that started it may hang up while others wait
    /// for the same response.
    fn take_off(
        self: &Arc<Self>,
        lead: Lead<Landing>,
        order: Order,
        answer: oneshot::Sender<Fetched>,
    ) {
        let proxy = Arc::clone(self);
        tokio::spawn(async move {
            let fetched = proxy.carry_out(&order).await;
            lead.land(fetched.landing());
            // The one who asked may be gone.
            let _ = answer.send(fetched);
        });
    }

    /// Asks the origin, and stores what may be stored.
    async fn carry_out(&self, order: &Order) -> Fetched {
        let mut sent = order.sent.clone();
        let mut validating = order
            .stored
            .as_ref()
            .is_some_and(|stored| policy::make_conditional(&stored.whole.headers, &mut sent));
        let mut exchange = self.ask(order, sent).await;
        if validating
            && exchange
                .as_ref()
                .is_ok_and(|exchange| order.is_mistaken(exchange))
        {
            // A 304 about some other response than the stored one: ask again, for the whole.
            validating = false;
            exchange = self.ask(order, order.sent.clone()).await;
        }
        let asked = match exchange {
            Ok(asked) => asked,
            Err(error) => return Fetched::Failed(error),
        };
        let status = asked.answer.head.status;
        if status == StatusCode::NOT_MODIFIED && !validating {
            // Nobody asked whether anything was modified; there is nothing to answer with.
            return Fetched::Failed(FetchError::unasked_not_modified());
        }
        if refused_token(status) {
            self.token_refused(order.key.scope());
        }
        match asked.answer.body {
            AnswerBody::Whole(body) => self.keep(
                order,
                &asked.answer.head,
                body,
                asked.requested,
                asked.received,
            ),
            AnswerBody::TooLarge(body) => {
                self.pass(order, asked.answer.head, body, NotStored::TooLarge)
            }
            AnswerBody::CloseDelimited(body) => {
                self.pass(order, asked.answer.head, body, NotStored::CloseDelimited)
            }
        }
    }

    async fn ask(&self, order: &Order, sent: HeaderMap) -> Result<Asked, FetchError> {
        let requested = self.clock.now();
        let answer = self.upstream.fetch(&target(&order.key), sent).await?;
        Ok(Asked {
            answer,
            requested,
            received: self.clock.now(),
        })
    }

    /// Passes on what cannot be stored. What it would have replaced goes all the same.
    fn pass(
        &self,
        order: &Order,
        head: response::Parts,
        body: ResponseStream,
        reason: NotStored,
    ) -> Fetched {
        if !policy::is_failure(head.status) {
            self.store.end(&order.key, &order.sent);
        }
        self.metrics.not_stored.of(reason).inc();
        Fetched::Stream {
            head: Box::new(head),
            body: Box::new(body),
            reason,
        }
    }

    /// Makes an entry of a whole response, and stores it if it may be stored.
    fn keep(
        &self,
        order: &Order,
        head: &response::Parts,
        body: bytes::Bytes,
        requested: Moment,
        received: Moment,
    ) -> Fetched {
        let renewal = order.renewal(head, received);
        let (status, fields, body) = match renewal {
            Some((stored, Renewal::Renewed)) => {
                let mut fields = stored.whole.headers.clone();
                fields.remove(VIA);
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
            method: &Method::GET,
            request: &order.client,
            status,
            response: &fields,
            requested,
            received,
        };
        let facts = policy::facts::read(&body, &self.freshness.live).unwrap_or_default();
        let route_ttl = self.parser.routes().ttl(order.route);
        let freshness = policy::assess(&exchange, &facts, &self.freshness, route_ttl);
        let may_store =
            policy::may_store(&exchange, &freshness, Sharing::OneToken, &self.freshness);
        let vary = Selecting::capture(&fields, &order.sent).unwrap_or_default();
        let came_with_age = fields.contains_key(AGE);
        let whole = Representation {
            status,
            headers: respond::prepare(fields, head.version),
            body,
            cap: ViewCap::of(&facts, &self.freshness),
        };
        let entry = Arc::new(Entry::new(
            whole,
            freshness,
            vary,
            *order.key.scope(),
            order.fence,
            came_with_age,
        ));
        let stored = match renewal {
            // What is stored may still serve while the origin fails; an error does not replace it.
            Some((_, Renewal::Failed)) => Err(NotStored::OriginFailed),
            _ => may_store.and_then(|()| self.store.put(&order.key, &order.sent, &entry)),
        };
        if let Err(reason) = stored {
            self.metrics.not_stored.of(reason).inc();
            // The origin has said something newer: what was stored is not to come back, not
            // even when the origin fails later. What the fence holds back is the older.
            if reason != NotStored::Fenced && !policy::is_failure(head.status) {
                self.store.end(&order.key, &order.sent);
            }
        }
        Fetched::Whole {
            entry,
            stored,
            status: head.status.as_u16(),
            collapsed: false,
        }
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

    fn is_mistaken(&self, asked: &Asked) -> bool {
        matches!(
            self.renewal(&asked.answer.head, asked.received),
            Some((_, Renewal::Mistaken))
        )
    }
}

impl Fetched {
    /// What those who waited get of it.
    fn landing(&self) -> Landing {
        match self {
            Self::Whole {
                entry,
                stored,
                status,
                ..
            } if is_shared(*stored, entry.whole.status) => Landing::Whole {
                entry: Arc::clone(entry),
                stored: *stored,
                status: *status,
            },
            Self::Whole { .. } | Self::Stream { .. } => Landing::Unshared,
            Self::Failed(error) => Landing::Failed(error.clone()),
        }
    }
}

/// Whether those who waited may have a response: when it was stored, when only the fence kept it
/// from that (they asked before the purge), and when it is an error, which their own token, the
/// same one, would meet a moment later too.
fn is_shared(stored: Result<(), NotStored>, status: StatusCode) -> bool {
    match stored {
        Ok(()) | Err(NotStored::Fenced) => true,
        Err(
            NotStored::NoStore | NotStored::RequestNoStore | NotStored::SetCookie | NotStored::Vary,
        ) => false,
        Err(_) => status.is_client_error() || status.is_server_error(),
    }
}

fn forbids_storing(client: &HeaderMap, rule: ClientDirectives) -> bool {
    RequestDirectives::read(client, rule).no_store
}

/// The request target of a key: its bytes as they came.
fn target(key: &CacheKey) -> PathAndQuery {
    let target = match key.query() {
        Some(query) => PathAndQuery::try_from(format!("{}?{query}", key.path())),
        None => PathAndQuery::try_from(key.path()),
    };
    target.expect("the parts of a valid target make a valid target")
}
