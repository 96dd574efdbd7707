//! The rules of the ledger: shares, accounts, loans, and who is closed at the bound.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Buf as _, Bytes};

use super::{Held, Ledger, StoredBody, Unsent};
use crate::clock::Clock;
use crate::config::ByteSize;
use crate::request::Routes;
use crate::telemetry::Holder::{Accepted, Other};
use crate::telemetry::Metrics;

const KIB: usize = 1 << 10;

struct Fixture {
    ledger: Arc<Ledger>,
    metrics: Arc<Metrics>,
    clock: Clock,
}

impl Fixture {
    /// A ledger of 800 KiB.
    fn new() -> Self {
        let metrics = Arc::new(Metrics::new(&Routes::new(&[])));
        let clock = Clock::manual(SystemTime::UNIX_EPOCH);
        Self {
            ledger: Ledger::new(ByteSize(800 << 10), &metrics, clock.clone()),
            metrics,
            clock,
        }
    }

    /// The bytes of accepted tokens, and of others.
    fn used(&self) -> [usize; 2] {
        [Accepted, Other]
            .map(|holder| usize::try_from(self.metrics.in_transit.of(holder).get()).expect("≥ 0"))
    }
}

#[test]
fn a_reservation_fails_at_the_bound_and_at_half_of_it_without_an_accepted_token() {
    let it = Fixture::new();
    let mut other = it.ledger.reserve(300 * KIB, Other).expect("free");
    assert!(!other.grow(401 * KIB));
    assert!(other.grow(400 * KIB));
    let mut share = it.ledger.reserve(0, Accepted).expect("free");
    assert!(!share.grow(401 * KIB));
    assert!(share.grow(400 * KIB));
    assert_eq!(it.used(), [400 * KIB; 2]);
    drop(other);
    assert!(share.grow(800 * KIB));
    drop(share);
    assert_eq!(it.used(), [0, 0]);
}

#[test]
fn the_longest_stalled_holder_of_much_is_closed_at_the_bound() {
    let it = Fixture::new();
    let accounts = [(); 3].map(|()| it.ledger.open());
    for account in &accounts {
        account.accept();
    }
    let closed = || [0, 1, 2].map(|at: usize| accounts[at].must_close(None));
    let stalled = Held::new(&accounts[0], 300 * KIB);
    it.clock.advance(Duration::from_secs(5));
    let _young = Held::new(&accounts[1], 400 * KIB);
    let _small = Held::new(&accounts[2], 10 * KIB);
    it.clock.advance(Duration::from_secs(2));
    let _more = it.ledger.overdraw(150 * KIB, Accepted);
    assert_eq!(closed(), [false; 3], "a small overdraft");
    let _more = it.ledger.overdraw(50 * KIB, Accepted);
    assert_eq!(closed(), [true, false, false]);
    // Its bytes count as paid back before they are.
    let _more = it.ledger.overdraw(100 * KIB, Accepted);
    assert!(it.ledger.reserve(1, Accepted).is_none());
    assert_eq!(closed(), [true, false, false]);
    drop(stalled);
    assert!(it.ledger.reserve(50 * KIB, Accepted).is_some());
}

#[test]
fn a_failed_reservation_closes_one_holder_that_has_stalled_and_no_other() {
    let it = Fixture::new();
    let accounts = [(); 2].map(|()| it.ledger.open());
    for account in &accounts {
        account.accept();
    }
    let _held = [&accounts[0], &accounts[1]].map(|account| Held::new(account, 300 * KIB));
    assert!(it.ledger.reserve(400 * KIB, Accepted).is_none());
    let closed = || {
        accounts
            .iter()
            .filter(|account| account.must_close(None))
            .count()
    };
    assert_eq!(closed(), 0);
    it.clock.advance(Duration::from_secs(1));
    assert!(it.ledger.reserve(400 * KIB, Accepted).is_none());
    assert_eq!(closed(), 1);
}

#[test]
fn others_are_closed_for_others_until_they_are_accepted() {
    let it = Fixture::new();
    let accounts = [(); 3].map(|()| it.ledger.open());
    let _first = Held::new(&accounts[0], 250 * KIB);
    let _second = Held::new(&accounts[1], 150 * KIB);
    accounts[0].accept();
    accounts[0].accept();
    assert_eq!(it.used(), [250 * KIB, 150 * KIB]);
    let _third = Held::new(&accounts[2], 400 * KIB);
    let closed = accounts.each_ref().map(|account| account.must_close(None));
    assert_eq!(closed, [false, false, true]);
    accounts[2].accept();
    assert_eq!(it.used(), [650 * KIB, 150 * KIB]);
}

#[test]
fn unsent_bytes_choose_the_holder_and_are_not_counted_themselves() {
    let it = Fixture::new();
    let reader = it.ledger.open();
    let waiter = it.ledger.open();
    let _waiting = Held::new(&waiter, 50 * KIB);
    reader.add_unsent(200 * KIB, Duration::ZERO);
    let mut part = Unsent::new(vec![b'x'; 200 * KIB].into(), &reader);
    assert_eq!(it.used(), [0, 50 * KIB]);
    part.advance(20 * KIB);
    let _lent = it.ledger.overdraw(860 * KIB, Accepted);
    assert!(reader.must_close(None) && !waiter.must_close(None));
    drop(part);
    drop(reader);
    let _next = it.ledger.overdraw(0, Accepted);
    assert_eq!(it.used(), [860 * KIB, 50 * KIB]);
    assert!(waiter.must_close(None), "the reader has paid nothing back");
}

#[test]
fn a_body_is_counted_while_it_is_fetched_and_while_it_is_read_after_eviction() {
    let it = Fixture::new();
    let share = it.ledger.reserve(200 * KIB, Accepted).expect("free");
    let body = StoredBody::fetched(vec![b'x'; 100 * KIB].into(), share);
    assert_eq!(it.used(), [100 * KIB, 0]);
    body.stored();
    assert_eq!(it.used(), [0, 0]);
    let renewed = body.clone();
    let reading = Bytes::clone(&body);
    drop(body);
    assert_eq!(it.used(), [0, 0], "the renewed response has it");
    drop(renewed);
    assert_eq!(it.used(), [100 * KIB, 0]);
    let rest = reading.slice(10..);
    drop(reading);
    assert_eq!(it.used(), [100 * KIB, 0]);
    drop(rest);
    assert_eq!(it.used(), [0, 0]);
}

#[test]
fn a_body_without_readers_is_not_counted_when_it_is_evicted() {
    let it = Fixture::new();
    let body = StoredBody::new(vec![b'x'; 900 * KIB].into(), &it.ledger);
    let account = it.ledger.open();
    account.add_unsent(10, Duration::ZERO);
    drop(body);
    assert_eq!(it.used(), [0, 0]);
    assert!(!account.must_close(None));
}

#[test]
fn a_body_that_is_not_stored_is_counted_until_it_is_sent() {
    let it = Fixture::new();
    let share = it.ledger.reserve(KIB, Other).expect("free");
    let body = StoredBody::fetched(vec![b'x'; KIB].into(), share);
    let reading = Bytes::clone(&body);
    drop(body);
    assert_eq!(it.used(), [0, KIB]);
    drop(reading);
    assert_eq!(it.used(), [0, 0]);
}
