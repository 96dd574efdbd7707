//! The activity of a connection and its times, so that one timer can bound it.
//!
//! hyper's own header timeout creates and drops a timer per request, and counts the pause between
//! requests as part of a head. Here bytes and requests set marks, and the connection's one timer
//! checks them. Only a head that does not arrive in one piece reads the clock; for everything else
//! it is enough to know whether it happened since the last check, so the idle timeouts are kept to
//! within `server.header_timeout`.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::time::Duration;

use tokio::time::Instant;

use crate::config;
use crate::telemetry::ConnectionBound;

/// How long a drain waits for another request on a connection whose client does not yet know that
/// it ends. A request that is already sent, or about to be, gets its response.
const LATE_REQUEST: Duration = Duration::from_secs(1);

/// A head has begun, and may still arrive in one piece: the clock has not been read.
const JUST_BEGUN: u64 = u64::MAX;

/// The activity of a connection, shared by its socket, its requests and its timer.
///
/// Times are milliseconds after `opened`; 0 means unset.
#[derive(Debug)]
pub(in crate::server) struct Activity {
    opened: Instant,
    /// Requests whose responses have not ended.
    requests: AtomicUsize,
    /// Those of them whose responses are being sent.
    responding: AtomicUsize,
    /// Bytes moved, or a request ended, since the last check.
    pub(super) moved: Mark,
    /// Time of the last check that found `moved`.
    last_moved: AtomicU64,
    /// Time of the first byte since the last request, or its body, ended; or [`JUST_BEGUN`].
    head: AtomicU64,
    /// Time at which a drain began to end this connection.
    draining: AtomicU64,
    /// HTTP/2: received bytes may be a ping or a window update, and do not begin a head.
    pub(super) http2: Mark,
    /// A request was in HTTP/1.0: the end of the connection may be the end of a body.
    pub(in crate::server) http10: Mark,
    /// A request has had a body: only hyper knows where it ends.
    had_body: Mark,
    /// The next byte belongs to a body.
    in_body: Mark,
    /// The next byte belongs to a head that has begun.
    in_head: Mark,
    /// hyper has written bytes that it has not flushed yet.
    pub(super) unflushed: Mark,
    /// The socket is shut down: bytes still received are no request.
    pub(super) shut_down: Mark,
}

/// A boolean that orders no other memory.
#[derive(Debug, Default)]
pub(in crate::server) struct Mark(AtomicBool);

/// The state of a connection at a check.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ConnectionState {
    /// It is in use, or was a moment ago; the next check is due at this time.
    Active(Instant),
    /// HTTP/1 between two requests with nothing left to read or write; it may stay so until this
    /// time.
    Idle(Instant),
    /// It has reached this bound.
    TimedOut(ConnectionBound),
}

/// A request on this connection; ends when dropped.
#[derive(Debug)]
pub(in crate::server) struct RequestGuard {
    activity: Arc<Activity>,
    responding: bool,
}

// === impl Activity ===

impl Activity {
    pub(in crate::server) fn new() -> Arc<Self> {
        Arc::new(Self {
            opened: Instant::now(),
            requests: AtomicUsize::default(),
            responding: AtomicUsize::default(),
            moved: Mark::default(),
            last_moved: AtomicU64::default(),
            head: AtomicU64::default(),
            draining: AtomicU64::default(),
            http2: Mark::default(),
            http10: Mark::default(),
            had_body: Mark::default(),
            in_body: Mark::default(),
            in_head: Mark::default(),
            unflushed: Mark::default(),
            shut_down: Mark::default(),
        })
    }

    /// A request has begun.
    pub(in crate::server) fn begin_request(self: &Arc<Self>, has_body: bool) -> RequestGuard {
        if has_body {
            self.had_body.set(true);
        }
        self.requests.fetch_add(1, Relaxed);
        self.head.store(0, Relaxed);
        RequestGuard {
            activity: Arc::clone(self),
            responding: false,
        }
    }

    /// The HTTP/2 preface is complete, in however many pieces: they did not begin a head.
    pub(super) fn switch_to_http2(&self) {
        self.http2.set(true);
        self.head.store(0, Relaxed);
    }

    /// Bytes were received.
    pub(super) fn received(&self) {
        if self.http2.get() {
            // They are no progress either: a head could arrive frame by frame forever, or pings
            // from a client that does not read.
            return;
        }
        if self.requests.load(Relaxed) == 0 && self.head.load(Relaxed) == 0 {
            self.head.store(JUST_BEGUN, Relaxed);
        }
        self.moved.set(true);
    }

    /// The received bytes end in a body, in a head, or between requests. A body may outlast its
    /// response, and does not begin a head.
    pub(super) fn set_position(&self, in_body: bool, in_head: bool) {
        self.in_head.set(in_head);
        if self.in_body.get() != in_body {
            self.in_body.set(in_body);
            self.head.store(0, Relaxed);
        }
    }

    /// The proxy drains: the next response is the last, and the wait for another request short.
    pub(super) fn begin_drain(&self) {
        self.draining.store(self.now(), Relaxed);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Relaxed) > 0
    }

    /// All received bytes were read. A head that has begun without becoming a request is slow, and
    /// is timed from now on; one received with the request before it, after that request's end.
    pub(super) fn time_slow_head(&self) {
        let is_slow = match self.head.load(Relaxed) {
            JUST_BEGUN => true,
            0 => {
                self.in_head.get()
                    && self.requests.load(Relaxed) == 0
                    && !self.in_body.get()
                    && !self.unflushed.get()
            }
            _ => false,
        };
        if is_slow {
            self.head.store(self.now(), Relaxed);
        }
    }

    /// Returns the state; if active, the next check is due after `interval` at most.
    pub(super) fn check(&self, settings: &config::Server, interval: Duration) -> ConnectionState {
        self.time_slow_head();
        let moved = self.moved.get();
        if moved {
            self.moved.set(false);
            self.last_moved.store(self.now(), Relaxed);
        }
        // A head may begin at any time: check at least as often as one may take.
        let next_check = Instant::now() + interval.min(settings.header_timeout);
        let requests = self.requests.load(Relaxed);
        if requests > self.responding.load(Relaxed) {
            // It waits for the origin, which has deadlines of its own.
            return ConnectionState::Active(next_check);
        }
        let (since, limit, bound) = self.bound(settings);
        let deadline = self.opened + Duration::from_millis(since) + limit;
        let may_idle = requests == 0 && (self.is_draining() || !moved) && self.is_quiescent();
        if deadline <= Instant::now() {
            ConnectionState::TimedOut(bound)
        } else if may_idle {
            ConnectionState::Idle(deadline)
        } else {
            ConnectionState::Active(deadline.min(next_check))
        }
    }

    /// The bound that applies now: since when, for how long, and its name.
    fn bound(&self, settings: &config::Server) -> (u64, Duration, ConnectionBound) {
        let idle = settings.idle_timeout;
        let head = self.head.load(Relaxed);
        let last_moved = self.last_moved.load(Relaxed);
        let draining = self.draining.load(Relaxed);
        if self.requests.load(Relaxed) > 0 {
            (last_moved, idle, ConnectionBound::Stalled)
        } else if self.in_body.get() {
            // Its response has ended, and the body may still come to its end.
            let since = if head > 0 { head } else { last_moved };
            (since, idle, ConnectionBound::Stalled)
        } else if head > 0 {
            let limit = settings.header_timeout;
            (head, limit, ConnectionBound::HeaderTimeout)
        } else if self.unflushed.get() {
            // hyper has the rest of a response; the request itself has ended.
            (last_moved, idle, ConnectionBound::Stalled)
        } else if draining > 0 && !self.http2.get() {
            let since = last_moved.max(draining);
            (since, LATE_REQUEST.min(idle), ConnectionBound::IdleTimeout)
        } else {
            (last_moved, idle, ConnectionBound::IdleTimeout)
        }
    }

    /// Whether hyper holds nothing of this connection that remains to be read or written, and has
    /// not ended it.
    fn is_quiescent(&self) -> bool {
        let hyper_has = [&self.http2, &self.had_body, &self.unflushed];
        self.head.load(Relaxed) == 0
            && !self.shut_down.get()
            && !hyper_has.into_iter().any(Mark::get)
    }

    /// Milliseconds since the connection was opened; at least one, since 0 means unset.
    fn now(&self) -> u64 {
        let age = self.opened.elapsed().as_millis();
        u64::try_from(age).unwrap_or(u64::MAX).max(1)
    }
}

// === impl Mark ===

impl Mark {
    pub(in crate::server) fn get(&self) -> bool {
        self.0.load(Relaxed)
    }

    pub(in crate::server) fn set(&self, value: bool) {
        self.0.store(value, Relaxed);
    }
}

// === impl RequestGuard ===

impl RequestGuard {
    /// The response is on its way: from now on the client may be the slow side.
    pub(in crate::server) fn respond(&mut self) {
        self.responding = true;
        self.activity.responding.fetch_add(1, Relaxed);
        self.activity.moved.set(true);
    }

    /// Whether this response is the last one in HTTP/1.
    pub(in crate::server) fn is_last(&self) -> bool {
        self.activity.is_draining()
    }

    /// Whether the client is still sending a body, in HTTP/1.
    pub(in crate::server) fn is_in_body(&self) -> bool {
        self.activity.in_body.get()
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.activity.moved.set(true);
        if self.responding {
            self.activity.responding.fetch_sub(1, Relaxed);
        }
        self.activity.requests.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn reached(activity: &Activity) -> Option<ConnectionBound> {
        match activity.check(&Config::default().server, Duration::MAX) {
            ConnectionState::TimedOut(bound) => Some(bound),
            ConnectionState::Active(_) | ConnectionState::Idle(_) => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn idle_head_and_response_have_a_bound_each() {
        let settings = Config::default().server;
        let advance = tokio::time::advance;

        let activity = Activity::new();
        advance(Duration::from_secs(74)).await;
        assert_eq!(reached(&activity), None);
        advance(Duration::from_secs(1)).await;
        assert_eq!(reached(&activity), Some(ConnectionBound::IdleTimeout));

        let activity = Activity::new();
        advance(Duration::from_secs(1)).await;
        activity.received();
        activity.time_slow_head();
        for _ in 0..9 {
            advance(Duration::from_secs(1)).await;
            // A byte now and then does not prolong a head.
            activity.received();
            assert_eq!(reached(&activity), None);
        }
        advance(Duration::from_secs(1)).await;
        assert_eq!(reached(&activity), Some(ConnectionBound::HeaderTimeout));

        let mut request = activity.begin_request(false);
        advance(2 * settings.idle_timeout).await;
        assert_eq!(reached(&activity), None, "it waits for the origin");
        request.respond();
        assert_eq!(reached(&activity), None);
        advance(settings.idle_timeout).await;
        assert_eq!(reached(&activity), Some(ConnectionBound::Stalled));
        activity.moved.set(true);
        assert_eq!(reached(&activity), None);

        drop(request);
        assert_eq!(reached(&activity), None);
        advance(settings.idle_timeout).await;
        assert_eq!(reached(&activity), Some(ConnectionBound::IdleTimeout));
    }

    #[tokio::test(start_paused = true)]
    async fn http2_frames_between_requests_are_neither_a_head_nor_progress() {
        let activity = Activity::new();
        activity.switch_to_http2();
        drop(activity.begin_request(false));
        for _ in 0..74 {
            tokio::time::advance(Duration::from_secs(1)).await;
            activity.received();
            assert_eq!(reached(&activity), None);
        }
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(reached(&activity), Some(ConnectionBound::IdleTimeout));
    }
}
