//! The gate in front of the origin: who may ask it now. A hit never comes here.
//!
//! Four reasons to turn somebody away, none of which costs the origin anything: it has asked
//! this token, or this call of it, to wait ([`pauses`]), all places are taken or this token has its share of them
//! ([`places`]), or it cannot be reached ([`breaker`]). The rules are pure; here is the lock around
//! them, the clock, and the counting.

mod breaker;
mod pauses;
mod places;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use http::uri::PathAndQuery;

use super::FetchError;
use crate::clock::Clock;
use crate::config::Config;
use crate::request::Scope;
use crate::telemetry::{Metrics, Shed};
use breaker::{Admit, Breaker, State};
use pauses::Backoff;
use places::{Full, Places};

/// The gate.
#[derive(Debug)]
pub(super) struct Gate {
    /// A plain mutex: it is held for a few map operations, and only on the way of a miss.
    rules: Mutex<Rules>,
    pause: Duration,
    metrics: Arc<Metrics>,
    clock: Clock,
}

#[derive(Debug)]
struct Rules {
    breaker: Breaker,
    backoff: Backoff,
    places: Places,
}

/// A place among the requests that wait for the origin; free when dropped.
///
/// A response that is streamed holds none: its pace is the client's, and one client that does
/// not read would take a place from all others. Those are bounded by their connections.
#[derive(Debug)]
pub(super) struct Ticket {
    gate: Arc<Gate>,
    holder: Option<Scope>,
    is_probe: bool,
}

impl Gate {
    pub(super) fn new(config: &Config, metrics: Arc<Metrics>, clock: Clock) -> Arc<Self> {
        let upstream = &config.upstream;
        Arc::new(Self {
            rules: Mutex::new(Rules {
                breaker: Breaker::new(upstream.breaker_failures, upstream.breaker_pause),
                backoff: Backoff::new(upstream.max_retry_after),
                places: Places::new(config.limits.in_flight),
            }),
            pause: upstream.breaker_pause,
            metrics,
            clock,
        })
    }

    /// A place for a fetch, unless its token or its call has to wait.
    pub(super) fn admit_fetch(
        self: &Arc<Self>,
        holder: &Scope,
        target: &PathAndQuery,
    ) -> Result<Ticket, FetchError> {
        let now = self.clock.mono();
        let pause = self.lock().backoff.left(holder, target, now);
        if let Some((status, wait)) = pause {
            return Err(self.shed(Shed::RetryAfter, FetchError::held(status, wait)));
        }
        self.admit(Some(holder))
    }

    /// A place for whatever this token asks.
    pub(super) fn admit(self: &Arc<Self>, holder: Option<&Scope>) -> Result<Ticket, FetchError> {
        let mut rules = self.lock();
        if let Err(full) = rules.places.offer(holder) {
            drop(rules);
            return Err(match full {
                Full::All => self.shed(Shed::InFlight, FetchError::overload()),
                Full::Share => self.shed(Shed::Share, FetchError::unfair()),
            });
        }
        let admit = rules.breaker.admit(self.clock.mono());
        if let Admit::Wait(wait) = admit {
            drop(rules);
            return Err(self.shed(Shed::Breaker, FetchError::unavailable(wait)));
        }
        rules.places.take(holder);
        self.show(&rules.breaker);
        drop(rules);
        self.metrics.upstream_in_flight.inc();
        Ok(Ticket {
            gate: Arc::clone(self),
            holder: holder.copied(),
            is_probe: admit == Admit::Probe,
        })
    }

    /// The origin has answered with this status and `Retry-After`.
    pub(super) fn honour_retry_after(
        &self,
        holder: &Scope,
        target: &PathAndQuery,
        status: StatusCode,
        wait: Duration,
    ) {
        let now = self.clock.mono();
        let mut rules = self.lock();
        rules.backoff.begin(holder, target, status, wait, now);
    }

    /// A new connection to the origin was made.
    pub(super) fn connected(&self) {
        let mut rules = self.lock();
        let was_open = !matches!(rules.breaker.state(), State::Closed { .. });
        rules.breaker.connected();
        self.show(&rules.breaker);
        drop(rules);
        if was_open {
            tracing::info!("connected to the origin again: the circuit breaker is closed");
        }
    }

    /// A connection to the origin could not be made.
    pub(super) fn not_connected(&self) {
        let mut rules = self.lock();
        let opens = rules.breaker.failed(self.clock.mono());
        self.show(&rules.breaker);
        drop(rules);
        if opens {
            let pause = humantime::format_duration(self.pause);
            tracing::error!(
                "no connection to the origin can be made: the circuit breaker is open, one request \
                 probes every {pause} (upstream.breaker_pause)"
            );
        }
    }

    fn shed(&self, why: Shed, error: FetchError) -> FetchError {
        self.metrics.upstream_shed.of(why).inc();
        error
    }

    fn show(&self, breaker: &Breaker) {
        self.metrics
            .upstream_breaker_state
            .set(breaker.state().gauge());
    }

    fn lock(&self) -> MutexGuard<'_, Rules> {
        // What is done under it does not panic half-way.
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// Whether the request probes: over a new connection, since one from the pool may work while
    /// new ones fail.
    pub(super) fn is_probe(&self) -> bool {
        self.is_probe
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.gate.lock().places.leave(self.holder.as_ref());
        self.gate.metrics.upstream_in_flight.dec();
    }
}
