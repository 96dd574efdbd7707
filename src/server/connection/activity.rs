//! The activity of a connection, from which one timer enforces all of its timeouts.
//!
//! hyper's own header timeout creates and drops a timer per request, and includes the idle time
//! between requests. Here bytes and requests set flags, which the connection's one timer checks.
//! The clock is read only for a head that arrives in several pieces. Any other event is only known
//! to have happened since the last check, so the idle timeouts are accurate to
//! `server.header_timeout`.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::time::Duration;

use tokio::time::Instant;

use crate::config;
use crate::in_transit::Account;
use crate::request::Peer;
use crate::telemetry::CloseReason;

/// How long a drain keeps an idle connection open for a request that its client has sent, or is
/// about to send, before it notices the drain.
const LATE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a request waits for the origin after its client has closed its sending side: a client
/// that only half-closes still reads, but a client that has left looks the same.
const HALF_CLOSED_WAIT: Duration = Duration::from_secs(2);

/// A head has begun, and may still arrive in one piece: the clock has not been read.
const JUST_BEGUN: u64 = u64::MAX;

/// The activity of a connection, shared by its socket, its requests and its timer.
///
/// Times are milliseconds after `opened`; 0 means unset.
#[derive(Debug)]
pub(in crate::server) struct Activity {
    opened: Instant,
    /// The bytes that it holds.
    pub(in crate::server) account: Arc<Account>,
    pub(in crate::server) peer: Peer,
    /// Requests whose responses have not ended.
    requests: AtomicUsize,
    /// Requests whose responses are being sent.
    responding: AtomicUsize,
    /// Bytes were transferred, or a request ended, since the last check.
    pub(super) moved: Flag,
    /// Time of the last check that found `moved`.
    last_moved: AtomicU64,
    /// Time of the first byte after the previous request and its body, or [`JUST_BEGUN`].
    head: AtomicU64,
    /// Time at which the drain of this connection began.
    draining: AtomicU64,
    /// HTTP/2: received bytes may be a ping or a window update, and do not begin a head.
    pub(super) http2: Flag,
    /// A request was HTTP/1.0: the end of the connection may be the end of a body.
    pub(in crate::server) http10: Flag,
    /// A request has had a body: only hyper knows where it ends.
    had_body: Flag,
    /// The next byte belongs to a body.
    in_body: Flag,
    /// The next byte belongs to a head that has begun.
    in_head: Flag,
    /// hyper has written bytes that it has not flushed yet.
    pub(super) unflushed: Flag,
    /// HTTP/1: the socket must be checked for a client that has left. hyper reads nothing while a
    /// request waits, and so does not notice.
    pub(super) probe_due: Flag,
    /// Time of the first check that found the client's sending side closed.
    input_ended: AtomicU64,
    /// The socket is shut down: bytes still received are not a request.
    pub(super) shut_down: Flag,
}

/// An atomic boolean, read and written with relaxed ordering.
#[derive(Debug, Default)]
pub(in crate::server) struct Flag(AtomicBool);

/// The state of a connection at a check.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ConnectionState {
    /// It is in use, or was a moment ago; the next check is due at this time.
    Active(Instant),
    /// HTTP/1 between two requests with nothing left to read or write; it times out at this time.
    Idle(Instant),
    /// It has timed out, for this reason.
    TimedOut(CloseReason),
}

/// A request on this connection; ends when dropped.
#[derive(Debug)]
pub(in crate::server) struct RequestGuard {
    activity: Arc<Activity>,
    responding: bool,
}

// === impl Activity ===

#[cfg(test)]
impl Activity {
    /// The activity of a connection from this machine, without a bound on memory.
    pub(in crate::server) fn unbounded() -> Arc<Self> {
        let account = crate::in_transit::Ledger::unbounded().open();
        Self::new(account, Peer::new([127, 0, 0, 1].into(), &Arc::default()))
    }
}

impl Activity {
    pub(in crate::server) fn new(account: Arc<Account>, peer: Peer) -> Arc<Self> {
        Arc::new(Self {
            opened: Instant::now(),
            account,
            peer,
            requests: AtomicUsize::default(),
            responding: AtomicUsize::default(),
            moved: Flag::default(),
            last_moved: AtomicU64::default(),
            head: AtomicU64::default(),
            draining: AtomicU64::default(),
            http2: Flag::default(),
            http10: Flag::default(),
            had_body: Flag::default(),
            in_body: Flag::default(),
            in_head: Flag::default(),
            unflushed: Flag::default(),
            probe_due: Flag::default(),
            input_ended: AtomicU64::default(),
            shut_down: Flag::default(),
        })
    }

    /// Begins a request.
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

    /// Switches to HTTP/2: the bytes received so far were a preface, not the beginning of a head.
    pub(super) fn switch_to_http2(&self) {
        self.http2.set(true);
        self.head.store(0, Relaxed);
    }

    /// Records that bytes were received.
    pub(super) fn received(&self) {
        if self.http2.get() {
            // Not progress either: a client could send a head frame by frame forever, or pings
            // without reading its responses.
            return;
        }
        if self.requests.load(Relaxed) == 0 && self.head.load(Relaxed) == 0 {
            self.head.store(JUST_BEGUN, Relaxed);
        }
        self.moved.set(true);
    }

    /// Records whether the received bytes end in a body, in a head, or between requests. A body may
    /// outlast its response, and does not begin a head.
    pub(super) fn set_position(&self, in_body: bool, in_head: bool) {
        self.in_head.set(in_head);
        if self.in_body.get() != in_body {
            self.in_body.set(in_body);
            self.head.store(0, Relaxed);
        }
    }

    /// Records that the client has closed its sending side.
    pub(super) fn input_ended(&self) {
        if self.input_ended.load(Relaxed) == 0 {
            self.input_ended.store(self.now(), Relaxed);
        }
    }

    /// Begins the drain: the next response is the last, and the idle timeout is short.
    pub(super) fn begin_drain(&self) {
        self.draining.store(self.now(), Relaxed);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Relaxed) > 0
    }

    /// Called when all received bytes were read: a head that is still incomplete is timed from now
    /// on, or, if it was pipelined, from the end of the previous request.
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
        // A head may begin at any time: check at least once in each header timeout.
        let next_check = Instant::now() + interval.min(settings.header_timeout);
        let requests = self.requests.load(Relaxed);
        self.probe_due.set(requests > 0 && !self.http2.get());
        if requests > self.responding.load(Relaxed) {
            // A request waits for the origin, which has deadlines of its own.
            let input_ended = self.input_ended.load(Relaxed);
            let given_up = self.opened + Duration::from_millis(input_ended) + HALF_CLOSED_WAIT;
            return if input_ended > 0 && given_up <= Instant::now() {
                ConnectionState::TimedOut(CloseReason::HalfClosed)
            } else {
                ConnectionState::Active(next_check)
            };
        }
        let (since, limit, reason) = self.timeout(settings);
        let deadline = self.opened + Duration::from_millis(since) + limit;
        let may_idle = requests == 0 && (self.is_draining() || !moved) && self.is_quiescent();
        if deadline <= Instant::now() {
            ConnectionState::TimedOut(reason)
        } else if may_idle {
            ConnectionState::Idle(deadline)
        } else {
            ConnectionState::Active(deadline.min(next_check))
        }
    }

    /// The timeout that applies now: its start, its length and the reason to close after it.
    fn timeout(&self, settings: &config::Server) -> (u64, Duration, CloseReason) {
        let idle = settings.idle_timeout;
        let head = self.head.load(Relaxed);
        let last_moved = self.last_moved.load(Relaxed);
        let draining = self.draining.load(Relaxed);
        if self.requests.load(Relaxed) > 0 {
            (last_moved, idle, CloseReason::Stalled)
        } else if self.in_body.get() {
            // The response has ended, and the client may still complete its body.
            let since = if head > 0 { head } else { last_moved };
            (since, idle, CloseReason::Stalled)
        } else if head > 0 {
            let limit = settings.header_timeout;
            (head, limit, CloseReason::HeaderTimeout)
        } else if self.unflushed.get() {
            // hyper is still writing a response whose request has ended.
            (last_moved, idle, CloseReason::Stalled)
        } else if draining > 0 && !self.http2.get() {
            let since = last_moved.max(draining);
            (since, LATE_TIMEOUT.min(idle), CloseReason::IdleTimeout)
        } else if last_moved == 0 {
            // Not one byte yet: the connection is not idle, its first head is late.
            (0, settings.header_timeout, CloseReason::HeaderTimeout)
        } else {
            (last_moved, idle, CloseReason::IdleTimeout)
        }
    }

    /// Whether every request has its response, and that is sent.
    pub(super) fn has_responded(&self) -> bool {
        self.requests.load(Relaxed) == 0 && !self.unflushed.get()
    }

    /// Whether hyper has no bytes of this connection left to read or write, and has not shut it
    /// down.
    fn is_quiescent(&self) -> bool {
        let hyper_has = [&self.http2, &self.had_body, &self.unflushed];
        self.head.load(Relaxed) == 0
            && !self.shut_down.get()
            && !hyper_has.into_iter().any(Flag::get)
    }

    /// Milliseconds since the connection was opened; at least one, since 0 means unset.
    fn now(&self) -> u64 {
        let age = self.opened.elapsed().as_millis();
        u64::try_from(age).unwrap_or(u64::MAX).max(1)
    }
}

// === impl Flag ===

impl Flag {
    pub(in crate::server) fn get(&self) -> bool {
        self.0.load(Relaxed)
    }

    pub(in crate::server) fn set(&self, value: bool) {
        self.0.store(value, Relaxed);
    }

    /// Unsets it; returns whether it was set.
    pub(super) fn take(&self) -> bool {
        self.get() && self.0.swap(false, Relaxed)
    }
}

// === impl RequestGuard ===

impl RequestGuard {
    /// Begins the response: from now on a stall is the client's.
    pub(in crate::server) fn respond(&mut self) {
        self.responding = true;
        self.activity.responding.fetch_add(1, Relaxed);
        self.activity.moved.set(true);
    }

    pub(in crate::server) fn activity(&self) -> &Activity {
        &self.activity
    }

    /// The account of its connection.
    pub(in crate::server) fn account(&self) -> &Arc<Account> {
        &self.activity.account
    }

    /// Whether this response is the last one of an HTTP/1 connection.
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

    fn timed_out(activity: &Activity) -> Option<CloseReason> {
        match activity.check(&Config::default().server, Duration::MAX) {
            ConnectionState::TimedOut(reason) => Some(reason),
            ConnectionState::Active(_) | ConnectionState::Idle(_) => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_head_response_and_idle_time_each_time_out() {
        let settings = Config::default().server;
        let advance = tokio::time::advance;

        let activity = Activity::unbounded();
        advance(Duration::from_secs(9)).await;
        assert_eq!(timed_out(&activity), None);
        advance(Duration::from_secs(1)).await;
        assert_eq!(timed_out(&activity), Some(CloseReason::HeaderTimeout));

        let activity = Activity::unbounded();
        advance(Duration::from_secs(1)).await;
        activity.received();
        activity.time_slow_head();
        for _ in 0..9 {
            advance(Duration::from_secs(1)).await;
            // Single bytes do not extend the header timeout.
            activity.received();
            assert_eq!(timed_out(&activity), None);
        }
        advance(Duration::from_secs(1)).await;
        assert_eq!(timed_out(&activity), Some(CloseReason::HeaderTimeout));

        let mut request = activity.begin_request(false);
        advance(2 * settings.idle_timeout).await;
        assert_eq!(timed_out(&activity), None, "it waits for the origin");
        request.respond();
        assert_eq!(timed_out(&activity), None);
        advance(settings.idle_timeout).await;
        assert_eq!(timed_out(&activity), Some(CloseReason::Stalled));
        activity.moved.set(true);
        assert_eq!(timed_out(&activity), None);

        drop(request);
        assert_eq!(timed_out(&activity), None);
        advance(settings.idle_timeout).await;
        assert_eq!(timed_out(&activity), Some(CloseReason::IdleTimeout));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_of_a_half_closed_client_waits_two_seconds() {
        let activity = Activity::unbounded();
        let mut request = activity.begin_request(false);
        assert_eq!(timed_out(&activity), None);
        assert!(activity.probe_due.get());
        tokio::time::advance(Duration::from_secs(9)).await;
        for _ in 0..2 {
            activity.input_ended();
            assert_eq!(timed_out(&activity), None);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(timed_out(&activity), Some(CloseReason::HalfClosed));
        // A client that receives its response is not given up.
        request.respond();
        assert_eq!(timed_out(&activity), None);
    }

    #[tokio::test(start_paused = true)]
    async fn http2_frames_between_requests_are_neither_a_head_nor_progress() {
        let activity = Activity::unbounded();
        activity.switch_to_http2();
        drop(activity.begin_request(false));
        for _ in 0..74 {
            tokio::time::advance(Duration::from_secs(1)).await;
            activity.received();
            assert_eq!(timed_out(&activity), None);
        }
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(timed_out(&activity), Some(CloseReason::IdleTimeout));
    }
}
