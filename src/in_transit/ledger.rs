//! The ledger: the total, its bound, and the choice of the connections that are closed at the bound.
//!
//! A fetch reserves bytes before its buffer grows, and is streamed if that fails. All other bytes are
//! few, or are held already when they are counted: they overdraw the ledger, and connections that have
//! held much for long are closed. So no new client is refused because of others that do not read.

use std::cmp::Reverse;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::Duration;

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

use super::backlog::{Backlog, score};
use crate::clock::Clock;
use crate::config::ByteSize;
use crate::request::Routes;
use crate::telemetry::{Holder, Metrics};

/// A failed reservation closes a connection only if it has held this much for this long: the bytes of
/// other fetches are free again soon.
const STALLED_BYTES: usize = 64 << 10;
const STALLED_TIME: Duration = Duration::from_secs(1);

/// An overdraft above this part of the bound closes any connection.
const OVERDRAFT_PART: i64 = 8;

/// The bytes in transit.
#[derive(Debug)]
pub struct Ledger {
    bound: i64,
    metrics: Arc<Metrics>,
    /// The connections, and some that have ended. A blocking mutex: held to open one, and at the bound.
    accounts: Mutex<Vec<Weak<Account>>>,
    clock: Clock,
}

/// Bytes of one holder; given back when dropped.
#[derive(Debug)]
pub struct Share {
    pub(super) ledger: Arc<Ledger>,
    bytes: usize,
    holder: Holder,
}

/// The bytes of a client connection.
#[derive(Debug)]
pub struct Account {
    ledger: Arc<Ledger>,
    /// A blocking mutex: held for a few additions.
    state: Mutex<State>,
    is_accepted: AtomicBool,
    is_closing: AtomicBool,
    waker: AtomicWaker,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes in the ledger: unfinished heads, and requests.
    own: usize,
    /// These, and the bytes of responses that the client has not read: the store counts those, or the
    /// ledger by another share.
    backlog: Backlog,
}

impl Ledger {
    /// An empty ledger with this bound.
    pub fn new(bound: ByteSize, metrics: &Arc<Metrics>, clock: Clock) -> Arc<Self> {
        let bound = i64::try_from(bound.0).unwrap_or(i64::MAX);
        metrics.in_transit_limit.set(bound);
        Arc::new(Self {
            bound,
            metrics: Arc::clone(metrics),
            accounts: Mutex::default(),
            clock,
        })
    }

    /// A ledger of its own without a bound, for tests and benchmarks.
    pub fn unbounded() -> Arc<Self> {
        let metrics = Arc::new(Metrics::new(&Routes::new(&[])));
        Self::new(ByteSize::MAX, &metrics, Clock::system())
    }

    /// Opens the account of a new connection.
    #[must_use]
    pub fn open(self: &Arc<Self>) -> Arc<Account> {
        let account = Arc::new(Account {
            ledger: Arc::clone(self),
            state: Mutex::default(),
            is_accepted: AtomicBool::default(),
            is_closing: AtomicBool::default(),
            waker: AtomicWaker::new(),
        });
        let mut accounts = self.accounts.lock();
        if accounts.len() == accounts.capacity() {
            accounts.retain(|account| account.strong_count() > 0);
            let open = accounts.len();
            accounts.reserve(open + 1);
        }
        accounts.push(Arc::downgrade(&account));
        account
    }

    /// Reserves bytes, if there are that many left.
    #[must_use]
    pub fn reserve(self: &Arc<Self>, bytes: usize, holder: Holder) -> Option<Share> {
        let ledger = Arc::clone(self);
        let mut share = Share {
            ledger,
            bytes: 0,
            holder,
        };
        share.grow(bytes).then_some(share)
    }

    /// Counts bytes that are held whether or not the ledger has them.
    #[must_use]
    pub fn overdraw(self: &Arc<Self>, bytes: usize, holder: Holder) -> Share {
        self.add(signed(bytes), holder);
        self.relieve();
        Share {
            ledger: Arc::clone(self),
            bytes,
            holder,
        }
    }

    fn add(&self, bytes: i64, holder: Holder) {
        self.metrics.in_transit.of(holder).add(bytes);
    }

    /// The bytes above the bound: of all holders, or of [`Holder::Other`] above half of it.
    fn excess(&self, among: Holder) -> i64 {
        let others = self.metrics.in_transit.of(Holder::Other).get();
        match among {
            Holder::Accepted => others + self.metrics.in_transit.of(among).get() - self.bound,
            Holder::Other => others - self.bound / 2,
        }
    }

    /// Closes connections if the overdraft is large.
    fn relieve(&self) {
        for among in [Holder::Accepted, Holder::Other] {
            let excess = self.excess(among);
            if excess > self.bound / OVERDRAFT_PART {
                self.close(among, excess, |_, _| true);
            }
        }
    }

    /// Closes the connections that have held the most for the longest, of all that hold enough, until
    /// this many bytes will be given back; those that are being closed count first.
    fn close(&self, among: Holder, mut excess: i64, is_enough: fn(usize, Duration) -> bool) {
        let now = self.clock.mono();
        let accounts = self.accounts.lock();
        let open = accounts.iter().filter_map(Weak::upgrade);
        let held = open.filter_map(|account| {
            let (bytes, age) = account.held(among, now);
            let score = if account.must_close(None) {
                u128::MAX
            } else {
                score(bytes, age)
            };
            let counts = bytes > 0 && (account.must_close(None) || is_enough(bytes, age));
            counts.then_some((score, bytes, account))
        });
        let mut held = held.collect::<Vec<_>>();
        held.sort_unstable_by_key(|(score, ..)| Reverse(*score));
        for (_, bytes, account) in held {
            if excess <= 0 {
                break;
            }
            excess -= signed(bytes);
            account.is_closing.store(true, Relaxed);
            account.waker.wake();
        }
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

impl Share {
    /// Grows to this size, if the ledger has the bytes. If not, the connection that has stalled for the
    /// longest with the most is closed, so that later reservations succeed.
    pub fn grow(&mut self, to: usize) -> bool {
        let more = to.saturating_sub(self.bytes);
        self.ledger.add(signed(more), self.holder);
        self.bytes += more;
        let bounds: &[Holder] = match self.holder {
            Holder::Accepted => &[Holder::Accepted],
            Holder::Other => &[Holder::Accepted, Holder::Other],
        };
        let full = bounds.iter().find(|among| self.ledger.excess(**among) > 0);
        if let Some(among) = full {
            let is_stalled = |bytes, age| bytes >= STALLED_BYTES && age >= STALLED_TIME;
            self.ledger.close(*among, 1, is_stalled);
            self.shrink(to - more);
        }
        full.is_none()
    }

    /// Its size.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Shrinks to this size.
    pub fn shrink(&mut self, to: usize) {
        self.ledger
            .add(signed(to) - signed(self.bytes), self.holder);
        self.bytes = to;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

impl Account {
    /// Whether a request with an accepted token was made on the connection.
    pub fn is_accepted(&self) -> bool {
        self.is_accepted.load(Relaxed)
    }

    /// Records such a request.
    pub fn accept(&self) {
        let state = self.state.lock();
        if !self.is_accepted.swap(true, Relaxed) {
            self.ledger.add(-signed(state.own), Holder::Other);
            self.ledger.add(signed(state.own), Holder::Accepted);
        }
    }

    /// Whether the connection must close. If not, this task is woken when it must.
    pub fn must_close(&self, waker: Option<&Waker>) -> bool {
        if let Some(waker) = waker {
            self.waker.register(waker);
        }
        self.is_closing.load(Relaxed)
    }

    /// Counts bytes of a response that the client has not read.
    pub fn add_unsent(&self, bytes: usize, now: Duration) {
        self.state.lock().backlog.add(bytes, || now);
    }

    /// Records that the client has read bytes.
    pub(super) fn read(&self, bytes: usize) {
        let now = || self.ledger.clock.mono();
        self.state.lock().backlog.read(bytes, now);
    }

    /// The opposite of [`Self::add_unsent`]; the client has not read `unread` of them.
    pub fn release_unsent(&self, bytes: usize, unread: usize) {
        let now = || self.ledger.clock.mono();
        self.state.lock().backlog.release(bytes, unread, now);
    }

    /// Changes the number of bytes in the ledger.
    pub(super) fn change(&self, from: usize, to: usize) {
        let mut state = self.state.lock();
        state.own = state.own + to - from;
        let now = || self.ledger.clock.mono();
        state.backlog.add(to.saturating_sub(from), now);
        let less = from.saturating_sub(to);
        state.backlog.release(less, less, now);
        let holder = if self.is_accepted() {
            Holder::Accepted
        } else {
            Holder::Other
        };
        self.ledger.add(signed(to) - signed(from), holder);
        // The ledger locks accounts.
        drop(state);
        if to > from {
            self.ledger.relieve();
        }
    }

    /// The bytes that closing it may give back, and their age.
    fn held(&self, among: Holder, now: Duration) -> (usize, Duration) {
        let state = self.state.lock();
        let bytes = match among {
            Holder::Accepted => state.backlog.bytes,
            Holder::Other if self.is_accepted() => 0,
            Holder::Other => state.own,
        };
        (bytes, state.backlog.age(now))
    }
}
