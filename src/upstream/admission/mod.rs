//! Admission of requests to the origin. A hit never comes here.
//!
//! A request is refused, at no cost to the origin, if the origin has asked its token or call to wait
//! ([`backoff`]), if all slots are taken or its token has its share of them ([`slots`]), or if
//! connections to the origin fail ([`breaker`]). Those rules are pure; here is the lock around them,
//! the clock, and the counting.

mod backoff;
mod breaker;
mod slots;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use http::uri::PathAndQuery;

use super::error::FetchError;
use crate::clock::Clock;
use crate::config::Config;
use crate::request::Scope;
use crate::telemetry::{Metrics, Shed};
use backoff::Backoff;
use breaker::{Admit, Breaker, State};
use slots::{FairSlots, Full};

/// The rules, behind a lock.
#[derive(Debug)]
pub(super) struct AdmissionControl {
    /// A plain mutex: held for a few map operations, and only for a miss.
    rules: Mutex<Rules>,
    pause: Duration,
    metrics: Arc<Metrics>,
    clock: Clock,
}

#[derive(Debug)]
struct Rules {
    breaker: Breaker,
    backoff: Backoff,
    slots: FairSlots,
}

/// A slot among the requests that wait for the origin; released when dropped.
///
/// A streamed response holds none: its pace is the client's, and one client that does not read would
/// take a slot from all others. The connections of clients bound those.
#[derive(Debug)]
pub(super) struct Permit {
    admission: Arc<AdmissionControl>,
    holder: Option<Scope>,
    /// Whether the request probes: over a new connection, since one from the pool may work while
    /// new ones fail.
    pub(super) is_probe: bool,
}

impl AdmissionControl {
    pub(super) fn new(config: &Config, metrics: Arc<Metrics>, clock: Clock) -> Arc<Self> {
        let upstream = &config.upstream;
        Arc::new(Self {
            rules: Mutex::new(Rules {
                breaker: Breaker::new(upstream.breaker_failures, upstream.breaker_pause),
                backoff: Backoff::new(upstream.max_retry_after),
                slots: FairSlots::new(config.limits.in_flight),
            }),
            pause: upstream.breaker_pause,
            metrics,
            clock,
        })
    }

    /// Admits a request; `call` is the target of a fetch, which may have to wait.
    pub(super) fn admit(
        self: &Arc<Self>,
        holder: Option<&Scope>,
        call: Option<&PathAndQuery>,
    ) -> Result<Permit, FetchError> {
        let mut rules = self.lock();
        let admitted = rules.admit(holder, call, self.clock.mono());
        self.show(&rules.breaker);
        drop(rules);
        let is_probe = admitted.map_err(|(why, error)| {
            self.metrics.upstream_shed.of(why).inc();
            error
        })?;
        self.metrics.upstream_in_flight.inc();
        Ok(Permit {
            admission: Arc::clone(self),
            holder: holder.copied(),
            is_probe,
        })
    }

    /// Stores the wait that the origin has asked for, with this status and `Retry-After`.
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

    /// Tells the circuit breaker whether a new connection to the origin could be made.
    pub(super) fn connect_ended(&self, connected: bool) {
        let mut rules = self.lock();
        let was_closed = matches!(rules.breaker.state(), State::Closed { .. });
        if connected {
            rules.breaker.connected();
        } else {
            rules.breaker.failed(self.clock.mono());
        }
        let is_closed = matches!(rules.breaker.state(), State::Closed { .. });
        self.show(&rules.breaker);
        drop(rules);
        if is_closed && !was_closed {
            tracing::info!("connected to the origin again: the circuit breaker is closed");
        } else if was_closed && !is_closed {
            let pause = humantime::format_duration(self.pause);
            tracing::error!(
                "connections to the origin fail: the circuit breaker is open, one request probes \
                 every {pause} (upstream.breaker_pause)"
            );
        }
    }

    fn show(&self, breaker: &Breaker) {
        let gauge = breaker.state().gauge();
        self.metrics.upstream_breaker_state.set(gauge);
    }

    fn lock(&self) -> MutexGuard<'_, Rules> {
        // The rules do not panic half-way through a change.
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rules {
    /// Takes a slot; returns whether the request probes, or why it is refused.
    fn admit(
        &mut self,
        holder: Option<&Scope>,
        call: Option<&PathAndQuery>,
        now: Duration,
    ) -> Result<bool, (Shed, FetchError)> {
        if let (Some(token), Some(call)) = (holder, call)
            && let Some((status, wait)) = self.backoff.left(token, call, now)
        {
            return Err((Shed::RetryAfter, FetchError::RetryAfter { status, wait }));
        }
        self.slots.take(holder).map_err(|full| match full {
            Full::All => (Shed::InFlight, FetchError::Overload),
            Full::Share => (Shed::Share, FetchError::ShareExceeded),
        })?;
        match self.breaker.admit(now) {
            Admit::Wait(wait) => {
                self.slots.release(holder);
                Err((Shed::Breaker, FetchError::BreakerOpen { wait }))
            }
            admit => Ok(admit == Admit::Probe),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.lock().slots.release(self.holder.as_ref());
        self.admission.metrics.upstream_in_flight.dec();
    }
}
