//! The gate in front of the origin: who may ask it now. A hit never comes here.
//!
//! Four reasons to turn somebody away, none of which costs the origin anything: it has asked
//! this token to wait ([`pauses`]), all places are taken or this token has its share of them
//! ([`places`]), or it cannot be reached ([`breaker`]). The rules are pure; here is the lock around
//! them, the clock, and the counting.

mod breaker;
mod pauses;
mod places;

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use http::uri::PathAndQuery;

use super::FetchError;
use crate::clock::Clock;
use crate::config::Config;
use crate::outcome::Fault;
use crate::request::Scope;
use crate::telemetry::{Metrics, Shed};
use breaker::{Breaker, Leave, Stand, Trouble};
use pauses::Pauses;
use places::{Full, Places};

/// The gate.
#[derive(Debug)]
pub(super) struct Gate {
    /// A plain mutex: it is held for a few map operations, and only on the way of a miss.
    rules: Mutex<Rules>,
    /// Tells targets apart.
    seed: RandomState,
    pause: Duration,
    metrics: Arc<Metrics>,
    clock: Clock,
}

#[derive(Debug)]
struct Rules {
    breaker: Breaker,
    pauses: Pauses,
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
    /// Whether it is known how the request went.
    is_told: AtomicBool,
}

impl Gate {
    pub(super) fn new(config: &Config, metrics: Arc<Metrics>, clock: Clock) -> Arc<Self> {
        let upstream = &config.upstream;
        Arc::new(Self {
            rules: Mutex::new(Rules {
                breaker: Breaker::new(upstream.breaker_failures, upstream.breaker_pause),
                pauses: Pauses::new(upstream.max_retry_after),
                places: Places::new(config.limits.in_flight),
            }),
            seed: RandomState::new(),
            pause: upstream.breaker_pause,
            metrics,
            clock,
        })
    }

    /// A place for a fetch, unless this token is to wait.
    pub(super) fn admit_fetch(self: &Arc<Self>, holder: &Scope) -> Result<Ticket, FetchError> {
        let now = self.clock.mono();
        let pause = self.lock().pauses.of(holder, now);
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
        let leave = rules.breaker.leave(self.clock.mono());
        if let Leave::Wait(wait) = leave {
            drop(rules);
            return Err(self.shed(Shed::Breaker, FetchError::unavailable(wait)));
        }
        rules.places.take(holder);
        self.show(rules.breaker.stand());
        drop(rules);
        self.metrics.upstream_in_flight.inc();
        Ok(Ticket {
            gate: Arc::clone(self),
            holder: holder.copied(),
            is_probe: leave == Leave::Probe,
            is_told: AtomicBool::new(false),
        })
    }

    /// The origin has asked a token to wait.
    pub(super) fn hold(&self, holder: &Scope, status: StatusCode, wait: Duration) {
        let now = self.clock.mono();
        self.lock().pauses.begin(holder, status, wait, now);
    }

    fn shed(&self, why: Shed, error: FetchError) -> FetchError {
        self.metrics.upstream_shed.of(why).inc();
        error
    }

    fn show(&self, stand: Stand) {
        self.metrics.upstream_breaker_state.set(stand as i64);
    }

    fn lock(&self) -> MutexGuard<'_, Rules> {
        // What is done under it does not panic half-way.
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// The origin has answered, whatever it said.
    pub(super) fn answered(&self) {
        self.is_told.store(true, Ordering::Relaxed);
        let mut rules = self.gate.lock();
        let stood = rules.breaker.stand();
        rules.breaker.answered();
        self.gate.show(Stand::Closed);
        drop(rules);
        if stood != Stand::Closed {
            tracing::info!("the origin answers again");
        }
    }

    /// The origin has not answered this target.
    pub(super) fn failed(&self, fault: Fault, target: &PathAndQuery) {
        let trouble = match fault {
            // It has said something, if nothing that makes sense.
            Fault::Protocol => return self.answered(),
            Fault::Dns
            | Fault::Refused
            | Fault::ConnectTimeout
            | Fault::Tls
            | Fault::Certificate => Trouble::Unreachable,
            Fault::Terminated | Fault::ResponseTimeout => {
                Trouble::Unanswered(self.gate.seed.hash_one(target.as_str()))
            }
            // The client's doing, or ours.
            _ => return,
        };
        self.is_told.store(true, Ordering::Relaxed);
        let mut rules = self.gate.lock();
        let stood = rules.breaker.stand();
        let now = self.gate.clock.mono();
        rules.breaker.failed(trouble, self.is_probe, now);
        let stands = rules.breaker.stand();
        self.gate.show(stands);
        drop(rules);
        if stood == Stand::Closed && stands == Stand::Open {
            let pause = humantime::format_duration(self.gate.pause);
            tracing::error!(
                "the origin does not answer: it is left alone, and tried once every {pause} \
                 (upstream.breaker_pause)"
            );
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut rules = self.gate.lock();
        rules.places.leave(self.holder.as_ref());
        if self.is_probe && !self.is_told.load(Ordering::Relaxed) {
            rules.breaker.abandoned(self.gate.clock.mono());
            self.gate.show(rules.breaker.stand());
        }
        drop(rules);
        self.gate.metrics.upstream_in_flight.dec();
    }
}
