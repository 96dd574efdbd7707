//! Announcements of a group without random faults.

use std::sync::Arc;
use std::time::Duration;

use super::engine::Link;
use super::replica::Replica;
use super::{Confirmation, Invalidation, LEASE, Sim};

/// Runs a story of three replicas that are in step, and whose era is older than a lease.
fn story<T>(story: impl AsyncFnOnce(&Sim, [Replica; 3]) -> T) -> T {
    let sim = Sim::new(None);
    sim.run(async {
        let engine = Arc::default();
        let replicas = [1, 2, 3].map(|id| Replica::start(&Link::new(&sim, &engine), id));
        sim.sleep(LEASE * 2).await;
        story(&sim, replicas).await
    })
}

async fn announce(replica: &Replica) -> (usize, usize) {
    let invalidation = Invalidation::of_paths(["/v1/calls/a"].into_iter());
    let Confirmation {
        replicas,
        confirmed,
        ..
    } = replica.group.announce(invalidation).await;
    (replicas, confirmed)
}

fn applied(sim: &Sim, replica: &Replica) -> Option<u64> {
    let position = replica.group.position(sim.now());
    position.map(|position| position.id)
}

#[test]
fn an_announcement_is_answered_when_every_replica_has_applied_it() {
    story(async |sim, replicas| {
        assert_eq!(announce(&replicas[0]).await, (3, 3));
        for replica in &replicas {
            assert_eq!(applied(sim, replica), Some(1));
        }
    });
}

#[test]
fn a_replica_that_has_left_is_not_waited_for() {
    story(async |sim, replicas| {
        replicas[2].group.leave().await;
        assert_eq!(applied(sim, &replicas[2]), None);
        assert_eq!(announce(&replicas[0]).await, (2, 2));
    });
}

#[test]
fn a_frozen_replica_has_no_lease_when_an_announcement_is_answered() {
    story(async |sim, replicas| {
        replicas[2].link.freeze(LEASE * 20);
        assert_eq!(announce(&replicas[0]).await, (3, 2));
        assert_eq!(applied(sim, &replicas[2]), None);
        // Its lease has ended: it is not waited for again.
        let before = sim.now();
        assert_eq!(announce(&replicas[0]).await, (3, 2));
        assert!(sim.now() < before + LEASE);
    });
}

#[test]
fn what_could_not_be_announced_follows_when_the_engine_answers() {
    story(async |sim, replicas| {
        replicas[0].link.cut(LEASE * 3);
        assert_eq!(announce(&replicas[0]).await, (3, 1));
        assert_eq!(applied(sim, &replicas[1]), Some(0));
        sim.sleep(LEASE * 3).await;
        for replica in &replicas {
            assert_eq!(applied(sim, replica), Some(1));
        }
    });
}

#[test]
fn while_its_invalidations_are_not_in_the_log_a_replica_shares_nothing() {
    story(async |sim, replicas| {
        replicas[0].link.refuse_appends(LEASE * 3);
        assert_eq!(announce(&replicas[0]).await, (3, 1));
        assert_eq!(applied(sim, &replicas[0]), None);
        assert!(replicas[0].group.lease.is_held(sim.now()));
        sim.sleep(LEASE * 3 + Duration::from_millis(10)).await;
        assert_eq!(applied(sim, &replicas[0]), Some(1));
    });
}

#[test]
fn after_a_failover_everything_is_forgotten_and_announcements_go_on() {
    story(async |sim, replicas| {
        assert_eq!(announce(&replicas[0]).await, (3, 3));
        replicas[0].link.fail_over();
        let resets = &sim.metrics.shared_resets;
        assert_eq!(announce(&replicas[1]).await, (3, 3));
        let begun = resets.of(crate::telemetry::Reset::Begun).get();
        let followed = resets.of(crate::telemetry::Reset::Era).get();
        assert_eq!((begun, followed), (1, 2));
        for replica in &replicas {
            assert_eq!(
                applied(sim, replica),
                Some(1),
                "the new era begins with an empty log"
            );
        }
    });
}
