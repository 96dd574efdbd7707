//! Admission of requests to the origin (load shedding). Hits do not pass through it.
//!
//! A request is refused, at no cost to the origin, during a `Retry-After` for its token or call
//! ([`backoff`]), if all slots of its pool or its token's share of them are taken
//! ([`FairSlots`]), or if connections to the origin fail ([`breaker`]). Those rules are pure; the
//! lock, the clock and the metrics are here.

mod backoff;
mod breaker;

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::uri::PathAndQuery;

use super::error::FetchError;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::label::Label as _;
use crate::policy::{FairSlots, Full};
use crate::request::Scope;
use crate::telemetry::{Connect, Holder, Metrics, Pool, Shed};
use backoff::Backoff;
use breaker::{Admit, Breaker, State};
use parking_lot::Mutex;

pub use breaker::BreakerState;

/// The rules of admission, behind a lock.
#[derive(Debug)]
pub(super) struct AdmissionControl {
    /// A blocking mutex: held for a few map operations, and never by a hit.
    rules: Mutex<Rules>,
    pause: Duration,
    pub(super) metrics: Arc<Metrics>,
    clock: Clock,
}

#[derive(Debug)]
struct Rules {
    breaker: Breaker,
    backoff: Backoff,
    slots: Slots,
}

/// The breaker and the waits, as operators see them.
#[derive(Clone, Copy, Debug)]
pub struct AdmissionState {
    /// The state of the circuit breaker.
    pub breaker: BreakerState,
    /// How long connections to the origin have failed, if it is not closed.
    pub failing_for: Option<Duration>,
    /// The time until a request may probe the origin, if it is not closed.
    pub probe_in: Option<Duration>,
    /// Tokens that wait because of a `Retry-After`.
    pub held_tokens: usize,
    /// Calls that do.
    pub held_calls: usize,
    /// The longest remaining wait.
    pub held_for: Duration,
}

/// The slots of one pool, by token. All requests without an accepted token are one holder: tokens can
/// be invented.
type PoolSlots = FairSlots<Option<Scope>>;

/// The pools. The speed of streams and uploads depends on the client, so that they have slots of
/// their own: clients that do not read or send could exhaust those of fetches.
#[derive(Debug)]
struct Slots(
    /// In the order of [`Pool`].
    [PoolSlots; Pool::ALL.len()],
);

/// A slot of a request in flight to the origin, until its bodies have ended; released when dropped.
#[derive(Debug)]
pub(super) struct Permit {
    admission: Arc<AdmissionControl>,
    pool: Pool,
    /// The token, if the origin has accepted it.
    token: Option<Scope>,
    /// Whether the request is the breaker's probe: it needs a new connection, since a pooled one may
    /// work while new ones fail.
    pub(super) is_probe: bool,
}

impl AdmissionControl {
    pub(super) fn new(config: &Config, metrics: Arc<Metrics>, clock: Clock) -> Arc<Self> {
        let upstream = &config.upstream;
        Arc::new(Self {
            rules: Mutex::new(Rules {
                breaker: Breaker::new(upstream.breaker_failures, upstream.breaker_pause),
                backoff: Backoff::new(upstream.max_retry_after),
                slots: Slots::new(&config.limits),
            }),
            pause: upstream.breaker_pause,
            metrics,
            clock,
        })
    }

    /// Admits a request to a pool; `holder` is its token, if the origin has accepted it. `call` is
    /// the token and target of a fetch, to which backoff applies.
    pub(super) fn admit(
        self: &Arc<Self>,
        pool: Pool,
        holder: Option<&Scope>,
        call: Option<(&Scope, &PathAndQuery)>,
    ) -> Result<Permit, FetchError> {
        let mut rules = self.rules.lock();
        let admitted = rules.admit(pool, holder, call, self.clock.mono());
        self.set_gauge(&rules.breaker);
        drop(rules);
        let is_probe = admitted.map_err(|shed| self.count_shed(shed))?;
        Ok(self.permit(pool, holder.copied(), is_probe))
    }

    /// The permit of a slot that was taken.
    fn permit(self: &Arc<Self>, pool: Pool, token: Option<Scope>, is_probe: bool) -> Permit {
        self.metrics.upstream_in_flight.inc();
        self.metrics.upstream_slots.of(pool).inc();
        Permit {
            admission: Arc::clone(self),
            pool,
            token,
            is_probe,
        }
    }

    fn count_shed(&self, (why, error): (Shed, FetchError)) -> FetchError {
        self.metrics.upstream_shed.of(why).inc();
        error
    }

    /// Begins the wait that the origin has requested with this status and `Retry-After`.
    pub(super) fn honour_retry_after(
        &self,
        holder: &Scope,
        target: &PathAndQuery,
        status: StatusCode,
        wait: Duration,
    ) {
        let now = self.clock.mono();
        let mut rules = self.rules.lock();
        rules.backoff.begin(holder, target, status, wait, now);
    }

    /// Records in the circuit breaker whether a connection attempt succeeded, and counts it.
    pub(super) fn connect_ended(&self, connected: bool) {
        let result = if connected {
            Connect::Connected
        } else {
            Connect::Failed
        };
        self.metrics.upstream_connects.of(result).inc();
        let mut rules = self.rules.lock();
        let was_closed = matches!(rules.breaker.state, State::Closed { .. });
        if connected {
            rules.breaker.connected();
        } else {
            rules.breaker.failed(self.clock.mono());
        }
        let is_closed = matches!(rules.breaker.state, State::Closed { .. });
        self.set_gauge(&rules.breaker);
        drop(rules);
        if is_closed && !was_closed {
            tracing::info!("connected to the origin again; the circuit breaker is closed");
        } else if was_closed && !is_closed {
            let pause = humantime::format_duration(self.pause);
            tracing::error!(
                "connections to the origin fail; the circuit breaker is open, and one request probes \
                 every {pause} (upstream.breaker_pause)"
            );
        }
    }

    /// The current state.
    pub(super) fn state(&self) -> AdmissionState {
        let (rules, now) = (self.rules.lock(), self.clock.mono());
        let (breaker, failing) = rules.breaker.state.seen();
        let (held_tokens, held_calls, held_for) = rules.backoff.held(now);
        AdmissionState {
            breaker,
            failing_for: failing.map(|(since, _)| now.saturating_sub(since)),
            probe_in: failing.map(|(_, until)| until.saturating_sub(now)),
            held_tokens,
            held_calls,
            held_for,
        }
    }

    fn set_gauge(&self, breaker: &Breaker) {
        let (state, _) = breaker.state.seen();
        let gauge = i64::try_from(state.index()).expect("one of three");
        self.metrics.upstream_breaker_state.set(gauge);
    }
}

impl Rules {
    /// Takes a slot; returns whether the request probes, or why it is refused.
    fn admit(
        &mut self,
        pool: Pool,
        holder: Option<&Scope>,
        call: Option<(&Scope, &PathAndQuery)>,
        now: Duration,
    ) -> Result<bool, (Shed, FetchError)> {
        if let Some((token, call)) = call
            && let Some((status, wait)) = self.backoff.remaining(token, call, now)
        {
            return Err((Shed::RetryAfter, FetchError::RetryAfter { status, wait }));
        }
        self.slots.take(pool, holder)?;
        match self.breaker.admit(now) {
            Admit::Wait(wait) => {
                self.slots.of(pool).release(holder.copied());
                Err((Shed::Breaker, FetchError::BreakerOpen { wait }))
            }
            admit => Ok(admit == Admit::Probe),
        }
    }
}

impl Slots {
    fn new(limits: &config::Limits) -> Self {
        Self([limits.in_flight, limits.streams, limits.uploads].map(FairSlots::new))
    }

    fn of(&mut self, pool: Pool) -> &mut PoolSlots {
        &mut self.0[pool.index()]
    }

    fn take(&mut self, pool: Pool, holder: Option<&Scope>) -> Result<(), (Shed, FetchError)> {
        let all = match pool {
            Pool::Fetches => Shed::InFlight,
            Pool::Streams => Shed::Streams,
            Pool::Uploads => Shed::Uploads,
        };
        let slots = self.of(pool);
        // A quarter is for accepted tokens.
        let reserved = holder.map_or(slots.limit / 4, |_| 0);
        let taken = slots.take(holder.copied(), reserved);
        taken.map_err(|full| match full {
            Full::All => (all, FetchError::Overload(pool)),
            Full::Share => (Shed::Share, FetchError::ShareExceeded(pool)),
        })
    }
}

impl Permit {
    /// Whose bytes the bodies are.
    pub(super) fn holder(&self) -> Holder {
        self.token.map_or(Holder::Other, |_| Holder::Accepted)
    }

    /// Exchanges the slot of a fetch for one of a streamed response.
    pub(super) fn into_stream(self) -> Result<Self, FetchError> {
        let admission = &self.admission;
        let taken = admission
            .rules
            .lock()
            .slots
            .take(Pool::Streams, self.token.as_ref());
        taken.map_err(|shed| admission.count_shed(shed))?;
        Ok(admission.permit(Pool::Streams, self.token, false))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut rules = self.admission.rules.lock();
        rules.slots.of(self.pool).release(self.token);
        drop(rules);
        let metrics = &self.admission.metrics;
        metrics.upstream_in_flight.dec();
        metrics.upstream_slots.of(self.pool).dec();
    }
}
