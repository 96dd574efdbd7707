//! The pulse of a connection: what it is doing and since when, so that one timer can bound it.
//!
//! hyper's own header timeout makes and drops a timer a request, and counts the pause between
//! requests as part of a head. Here bytes and requests leave a mark each, and the connection's
//! one timer looks at the marks. Only the beginning of a head that does not come in one piece
//! asks what time it is; of all else it is enough to know whether it happened since the last look,
//! so the idle bounds are kept to within `server.header_timeout`.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::config;
use crate::telemetry::ConnectionBound;

/// How long a drain waits for another request on a connection that is not told yet that it ends.
/// A client that has just sent one, or is about to, gets its answer.
const LATE_REQUEST: Duration = Duration::from_secs(1);

/// A head has begun, and may yet turn out to be whole.
const JUST_BEGUN: u64 = u64::MAX;

/// What a connection is doing, shared by its socket, its requests and its timer.
#[derive(Debug)]
pub(super) struct Pulse {
    born: Instant,
    /// Requests whose responses have not ended.
    busy: AtomicUsize,
    /// Those of them whose responses are on their way to the client.
    answering: AtomicUsize,
    /// Whether bytes moved, or a request ended, since the last look.
    moved: AtomicBool,
    /// Milliseconds after `born` of the last look that found something moved.
    last: AtomicU64,
    /// Milliseconds after `born` of the first byte since the last request, or its body, ended; 0 is none,
    /// [`JUST_BEGUN`] one that nobody has asked the time for.
    head: AtomicU64,
    /// HTTP/2: what comes may be a ping or a window, and is not the beginning of a head.
    is_http2: AtomicBool,
    /// Whether a request has had a body: where it ends, only hyper knows.
    had_body: AtomicBool,
    /// Whether a request has come in HTTP/1.0: the end of the connection may be the end of a body.
    is_http10: AtomicBool,
    /// Whether what comes next belongs to a body.
    in_body: AtomicBool,
    /// Whether it belongs to a head that has begun.
    in_head: AtomicBool,
    /// Whether bytes were to be written that hyper has not flushed since.
    unsent: AtomicBool,
    /// Whether the proxy has said its last: what still comes is no request.
    ended: AtomicBool,
    /// Milliseconds after `born` at which a drain asked for the end; 0 is none.
    closing: AtomicU64,
}

/// What a connection is found doing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// Something, or nothing since just now; to be looked at again at this time.
    Busy(Instant),
    /// Nothing, in HTTP/1, and neither side owes the other a byte; it has until this time.
    Resting(Instant),
    /// It has reached this bound.
    Reached(ConnectionBound),
}

/// A request on this connection; ends when dropped.
#[derive(Debug)]
pub(super) struct Beat {
    pulse: Arc<Pulse>,
    answering: bool,
}

impl Pulse {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            born: Instant::now(),
            busy: AtomicUsize::new(0),
            answering: AtomicUsize::new(0),
            moved: AtomicBool::new(false),
            last: AtomicU64::new(0),
            head: AtomicU64::new(0),
            is_http2: AtomicBool::new(false),
            had_body: AtomicBool::new(false),
            is_http10: AtomicBool::new(false),
            in_body: AtomicBool::new(false),
            in_head: AtomicBool::new(false),
            unsent: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            closing: AtomicU64::new(0),
        })
    }

    /// A request has begun.
    pub(super) fn begin(self: &Arc<Self>, has_body: bool) -> Beat {
        if has_body {
            self.had_body.store(true, Ordering::Relaxed);
        }
        self.busy.fetch_add(1, Ordering::Relaxed);
        self.head.store(0, Ordering::Relaxed);
        Beat {
            pulse: Arc::clone(self),
            answering: false,
        }
    }

    /// The whole preface has come, in however many pieces: what these began was no head.
    pub(super) fn turn_to_http2(&self) {
        self.is_http2.store(true, Ordering::Relaxed);
        self.head.store(0, Ordering::Relaxed);
    }

    /// Bytes have come.
    pub(super) fn read(&self) {
        if self.is_http2() {
            // Nor is it life: a head could drip in, frame by frame, for ever, or pings from a client
            // that does not read.
            return;
        }
        if self.busy.load(Ordering::Relaxed) == 0 && self.head.load(Ordering::Relaxed) == 0 {
            self.head.store(JUST_BEGUN, Ordering::Relaxed);
        }
        self.mark();
    }

    /// What has come ends in a body, in a head, or between requests. A body may outlast its answer,
    /// and is then no head.
    pub(super) fn follow(&self, in_body: bool, in_head: bool) {
        self.in_head.store(in_head, Ordering::Relaxed);
        if self.in_body.load(Ordering::Relaxed) != in_body {
            self.in_body.store(in_body, Ordering::Relaxed);
            self.head.store(0, Ordering::Relaxed);
        }
    }

    /// All that has come was read. A head that has begun without becoming a request is a slow
    /// one, and from now on it is watched; one that came with what was before it, when that has ended.
    pub(super) fn pause(&self) {
        let is_slow = match self.head.load(Ordering::Relaxed) {
            JUST_BEGUN => true,
            0 => {
                let others = [&self.in_body, &self.unsent];
                self.in_head.load(Ordering::Relaxed)
                    && self.busy.load(Ordering::Relaxed) == 0
                    && !others.iter().any(|mark| mark.load(Ordering::Relaxed))
            }
            _ => false,
        };
        if is_slow {
            self.head.store(self.now(), Ordering::Relaxed);
        }
    }

    /// The proxy ends: the next response is the last, and the wait for another request short.
    pub(super) fn close(&self) {
        self.closing.store(self.now(), Ordering::Relaxed);
    }

    /// Whether [`Pulse::close`] was called.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed) > 0
    }

    /// A request has come in HTTP/1.0.
    pub(super) fn speak_http10(&self) {
        self.is_http10.store(true, Ordering::Relaxed);
    }

    /// Whether [`Pulse::speak_http10`] was called.
    pub(super) fn speaks_http10(&self) -> bool {
        self.is_http10.load(Ordering::Relaxed)
    }

    /// Whether the socket was shut down.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// What the client broke, when the connection ends with this error. To go away is no fault.
    pub(super) fn blame(&self, error: &hyper::Error) -> Option<ConnectionBound> {
        if error.is_parse() {
            // hyper has answered 400, 414 or 431 by itself, as no request.
            return Some(ConnectionBound::Malformed);
        }
        let mut causes = std::iter::successors(Some(error as &dyn Error), |&cause| cause.source());
        let has_gone = causes.any(<dyn Error>::is::<io::Error>);
        (self.is_http2() && !has_gone).then_some(ConnectionBound::ProtocolError)
    }

    /// Whether [`Pulse::turn_to_http2`] was called.
    pub(super) fn is_http2(&self) -> bool {
        self.is_http2.load(Ordering::Relaxed)
    }

    /// Whether hyper has something that it wants written, and has not flushed.
    pub(super) fn owe(&self, owed: bool) {
        self.unsent.store(owed, Ordering::Relaxed);
    }

    /// The socket is shut down.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// Something has moved.
    pub(super) fn mark(&self) {
        self.moved.store(true, Ordering::Relaxed);
    }

    /// Milliseconds of life; at least one, since 0 means "none".
    fn now(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis())
            .unwrap_or(u64::MAX)
            .max(1)
    }

    /// What the connection is doing; where that is something, to be looked at again after
    /// `interval`.
    pub(super) fn check(&self, settings: &config::Server, interval: Duration) -> Check {
        self.pause();
        let moved = self.moved.swap(false, Ordering::Relaxed);
        if moved {
            self.last.store(self.now(), Ordering::Relaxed);
        }
        let busy = self.busy.load(Ordering::Relaxed);
        // A head may begin at any time: look at least as often as one may take.
        let next_look = Instant::now() + interval.min(settings.header_timeout);
        let head = self.head.load(Ordering::Relaxed);
        let last = self.last.load(Ordering::Relaxed);
        let closing = self.closing.load(Ordering::Relaxed);
        let (since, limit, bound) = if busy > self.answering.load(Ordering::Relaxed) {
            // It waits for the origin, which has deadlines of its own.
            return Check::Busy(next_look);
        } else if busy > 0 {
            (last, settings.idle_timeout, ConnectionBound::Stalled)
        } else if self.in_body.load(Ordering::Relaxed) {
            // It has been answered already, and may come to its end.
            let since = if head > 0 { head } else { last };
            (since, settings.idle_timeout, ConnectionBound::Stalled)
        } else if head > 0 {
            (
                head,
                settings.header_timeout,
                ConnectionBound::HeaderTimeout,
            )
        } else if self.unsent.load(Ordering::Relaxed) {
            // hyper has the rest of a response; the request itself has ended.
            (last, settings.idle_timeout, ConnectionBound::Stalled)
        } else if closing > 0 && !self.is_http2() {
            (
                last.max(closing),
                LATE_REQUEST.min(settings.idle_timeout),
                ConnectionBound::IdleTimeout,
            )
        } else {
            (last, settings.idle_timeout, ConnectionBound::IdleTimeout)
        };
        let deadline = self.born + Duration::from_millis(since) + limit;
        if deadline <= Instant::now() {
            Check::Reached(bound)
        } else if busy == 0 && head == 0 && (closing > 0 || !moved) && self.is_square() {
            Check::Resting(deadline)
        } else {
            Check::Busy(deadline.min(next_look))
        }
    }

    /// Whether hyper holds nothing of this connection that is still to be read or written, and has
    /// not ended it.
    fn is_square(&self) -> bool {
        let any = [&self.is_http2, &self.had_body, &self.unsent, &self.ended];
        any.iter().all(|mark| !mark.load(Ordering::Relaxed))
    }
}

impl Beat {
    /// The response is on its way: from here on it is the client who may be slow.
    pub(super) fn answer(&mut self) {
        self.answering = true;
        self.pulse.answering.fetch_add(1, Ordering::Relaxed);
        self.pulse.mark();
    }

    /// Whether this response is to be the last in HTTP/1.
    pub(super) fn is_last(&self) -> bool {
        self.pulse.is_closing()
    }

    /// Whether a body is still on its way from the client, in HTTP/1.
    pub(super) fn is_in_body(&self) -> bool {
        self.pulse.in_body.load(Ordering::Relaxed)
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        self.pulse.mark();
        if self.answering {
            self.pulse.answering.fetch_sub(1, Ordering::Relaxed);
        }
        self.pulse.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const LONG: Duration = Duration::MAX;

    #[tokio::test(start_paused = true)]
    async fn idle_head_and_busy_have_a_bound_each() {
        let settings = Config::default().server;
        let pass = tokio::time::advance;

        let pulse = Pulse::new();
        pass(Duration::from_secs(74)).await;
        assert!(matches!(
            pulse.check(&settings, LONG),
            Check::Busy(_) | Check::Resting(_)
        ));
        pass(Duration::from_secs(1)).await;
        assert_eq!(
            pulse.check(&settings, LONG),
            Check::Reached(ConnectionBound::IdleTimeout)
        );

        let pulse = Pulse::new();
        pass(Duration::from_secs(1)).await;
        pulse.read();
        pulse.pause();
        for _ in 0..9 {
            pass(Duration::from_secs(1)).await;
            // A byte now and then does not prolong a head.
            pulse.read();
            assert!(matches!(
                pulse.check(&settings, LONG),
                Check::Busy(_) | Check::Resting(_)
            ));
        }
        pass(Duration::from_secs(1)).await;
        assert_eq!(
            pulse.check(&settings, LONG),
            Check::Reached(ConnectionBound::HeaderTimeout)
        );

        let mut beat = pulse.begin(false);
        pass(2 * settings.idle_timeout).await;
        assert!(
            matches!(
                pulse.check(&settings, LONG),
                Check::Busy(_) | Check::Resting(_)
            ),
            "it waits for the origin"
        );
        beat.answer();
        assert!(matches!(
            pulse.check(&settings, LONG),
            Check::Busy(_) | Check::Resting(_)
        ));
        pass(settings.idle_timeout).await;
        assert_eq!(
            pulse.check(&settings, LONG),
            Check::Reached(ConnectionBound::Stalled)
        );
        pulse.mark();
        assert!(matches!(
            pulse.check(&settings, LONG),
            Check::Busy(_) | Check::Resting(_)
        ));

        drop(beat);
        assert!(matches!(
            pulse.check(&settings, LONG),
            Check::Busy(_) | Check::Resting(_)
        ));
        pass(settings.idle_timeout).await;
        assert_eq!(
            pulse.check(&settings, LONG),
            Check::Reached(ConnectionBound::IdleTimeout)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn http2_frames_between_requests_are_neither_a_head_nor_life() {
        let settings = Config::default().server;
        let pulse = Pulse::new();
        pulse.turn_to_http2();
        drop(pulse.begin(false));
        for _ in 0..74 {
            tokio::time::advance(Duration::from_secs(1)).await;
            pulse.read();
            assert!(matches!(
                pulse.check(&settings, LONG),
                Check::Busy(_) | Check::Resting(_)
            ));
        }
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(
            pulse.check(&settings, LONG),
            Check::Reached(ConnectionBound::IdleTimeout)
        );
    }
}
