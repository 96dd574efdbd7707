//! Fetching for the cache: one fetch in the air per key, on a task of its own, and who waits for
//! it. The exchange with the origin itself is next door.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, response};
use tokio::sync::oneshot;

use super::Proxy;
use super::traced::Traced;
use crate::cache::{Entry, Fence, Leader, Role};
use crate::policy::{self, NotStored, RequestDirectives};
use crate::request::{CacheKey, Call, RouteId};
use crate::telemetry::RequestId;
use crate::upstream::{FetchError, ResponseStream, headers};

/// What a fetch is to bring.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) key: CacheKey,
    pub(super) route: RouteId,
    /// The client's own fields, by which storing is decided.
    pub(super) client: HeaderMap,
    /// The fields that go to the origin.
    pub(super) sent: HeaderMap,
    /// What is stored already and may be validated.
    pub(super) stored: Option<Arc<Entry>>,
    /// Whether that was shown to other tokens only: a 304 to its strong tag admits this one.
    pub(super) for_admission: bool,
    pub(super) fence: Fence,
    /// Its place in a trace, where spans are collected.
    pub(super) traced: Option<Traced>,
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
        let asks = RequestDirectives::read(&order.client, self.freshness.client_directives);
        if asks.no_store {
            // What must not be stored must not be shared either.
            return self.carry_out(order).await;
        }
        let (key, generation) = (call.flight(), order.fence.generation());
        let role = if asks.no_cache || asks.max_age == Some(Duration::ZERO) {
            // A fetch that began before this request may have been answered before it, too.
            Role::Leader(self.flights.lead(&key, generation))
        } else {
            self.flights.join_or_lead(&key, generation)
        };
        let waiter = match role {
            Role::Leader(leader) => return self.lead(leader, order).await,
            Role::Waiter(waiter) => waiter,
        };
        // A waiter waits as long as a fetch of its own might have taken.
        let deadline = self.upstream.deadline();
        match self.clock.timeout_at(deadline, waiter.result()).await {
            Some(Some(Landing::Whole {
                entry,
                stored,
                status,
            })) if entry.vary.matches(&order.sent) => {
                self.metrics.collapsed.inc();
                Fetched::Whole {
                    entry,
                    stored,
                    status,
                    collapsed: true,
                }
            }
            Some(Some(Landing::Failed(error))) => {
                self.metrics.collapsed.inc();
                Fetched::Failed(error)
            }
            // Not for us, or nothing came: everybody for themselves, all at once rather than one
            // after the other.
            Some(_) => {
                let order = self.order(call, head, stored, id);
                self.carry_out(order).await
            }
            None => Fetched::Failed(FetchError::WaitTimeout(self.settings.total_timeout)),
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
        let asks = RequestDirectives::read(&head.headers, self.freshness.client_directives);
        if asks.no_store {
            return;
        }
        let order = self.order(call, head, Some(stored), id);
        let generation = order.fence.generation();
        if let Role::Leader(lead) = self.flights.join_or_lead(&call.flight(), generation) {
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
        // Also in place of one that is not usable: the log does not have that either.
        sent.insert(RequestId::FIELD, id.to_header());
        let traced = self.trace(&mut sent, &head.extensions);
        let now = self.clock.now().mono;
        let fence = self.store.fence(&call.key, &call.holder, now);
        Order {
            key: call.key.clone(),
            route: call.route,
            client: head.headers.clone(),
            sent,
            // What was voided since it was looked up is not to come back by way of a 304.
            stored: stored
                .filter(|stored| self.store.is_current(&stored.generation))
                .cloned(),
            for_admission: stored.is_some_and(|stored| !stored.admits(&call.holder, now)),
            fence,
            traced,
        }
    }

    async fn lead(self: &Arc<Self>, lead: Leader<Landing>, order: Order) -> Fetched {
        let (answer, fetched) = oneshot::channel();
        self.take_off(lead, order, answer);
        fetched
            .await
            .unwrap_or_else(|_| Fetched::Failed(FetchError::Panicked))
    }

    /// The fetch runs on its own task: the client that started it may hang up while others wait
    /// for the same response. Boxed before it is spawned: a task moves what it runs about, more than
    /// once, and would take room for all of it again to hold its end.
    fn take_off(
        self: &Arc<Self>,
        lead: Leader<Landing>,
        mut order: Order,
        answer: oneshot::Sender<Fetched>,
    ) {
        let proxy = Arc::clone(self);
        tokio::spawn(Box::pin(async move {
            let fetched = match proxy.ask(&mut order).await {
                Ok(asked) if asked.for_one => {
                    // Nobody waits for the body of an answer that is not for them.
                    lead.complete(Landing::Unshared);
                    proxy.receive(&order, asked).await
                }
                Ok(asked) => {
                    let fetched = proxy.receive(&order, asked).await;
                    lead.complete(fetched.landing());
                    fetched
                }
                Err(error) => {
                    lead.complete(Landing::Failed(error.clone()));
                    Fetched::Failed(error)
                }
            };
            proxy.end_fetch(&order, &fetched);
            // The one who asked may be gone.
            let _ = answer.send(fetched);
        }));
    }
}

impl Fetched {
    /// What those who waited get of it, where its head allows that they share: what was stored, or
    /// only kept from that by the fence (they asked before the purge), and an error, which their
    /// own token, the same one, would meet a moment later too.
    fn landing(&self) -> Landing {
        match self {
            Self::Whole {
                entry,
                stored,
                status,
                ..
            } if matches!(stored, Ok(()) | Err(NotStored::Fenced))
                || policy::is_error(entry.whole.status) =>
            {
                Landing::Whole {
                    entry: Arc::clone(entry),
                    stored: *stored,
                    status: *status,
                }
            }
            Self::Whole { .. } | Self::Stream { .. } => Landing::Unshared,
            Self::Failed(error) => Landing::Failed(error.clone()),
        }
    }
}
