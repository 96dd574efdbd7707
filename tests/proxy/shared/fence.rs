//! An invalidation at one replica during the fetch of another: the response goes to the client of that
//! fetch, and to no later one at any replica.

use http::Method;

use crate::support::{Proxy, Replicas, Reply};

const CALL: &str = "/v1/calls/c1";

/// An event at the second replica while the first one fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Purge(&'static str),
    Write(&'static str),
    /// The origin refuses the token, on another call.
    Revoked,
    /// The origin refuses this token this call, with this status.
    Refused,
}

async fn number(replica: &Proxy) -> u64 {
    let response = replica.get(CALL).bearer("a").await.assert_status(200);
    response.json()["number"].as_u64().expect("a number")
}

#[tokio::test]
async fn a_response_that_began_before_an_invalidation_elsewhere_is_used_by_no_replica() {
    let test = "a_response_that_began_before_an_invalidation_elsewhere_is_used_by_no_replica";
    for event in [
        Event::Purge("call=c1"),
        Event::Purge("path=/v1/calls"),
        Event::Purge("all"),
        Event::Write(CALL),
        Event::Write("/v1/calls/c1/approve"),
        Event::Write("/v1/calls"),
        Event::Revoked,
        Event::Refused,
    ] {
        let Some(replicas) = Replicas::start(test, 3).await else {
            return;
        };
        let origin = &replicas.origin;
        // The token is known to every replica.
        for replica in replicas.iter() {
            let known = replica.get("/v1/calls/known").bearer("a");
            known.await.assert_status(200);
        }
        let before = origin.requests().len();
        let gate = origin.hold(CALL);
        let fetch = replicas[0].get(CALL).bearer("a").start();
        origin.wait_for_requests(before + 1).await;
        match event {
            Event::Purge(query) => {
                replicas.purge(1, query).await;
            }
            Event::Write(target) => {
                // The reply to the write is not held back with that to the fetch.
                if target == CALL {
                    gate.open();
                    gate.open();
                }
                let write = replicas[1].request(Method::PATCH, target).bearer("a");
                write.body("{}").await.assert_status(200);
            }
            Event::Revoked => {
                origin.reply("/v1/calls/c2", Reply::new(401));
                let refused = replicas[1].get("/v1/calls/c2").bearer("a");
                refused.await.assert_status(401);
            }
            Event::Refused => {
                origin.reply("/v1/calls/c1?", Reply::new(403));
                let refused = replicas[1].get("/v1/calls/c1?").bearer("a");
                refused.await.assert_status(403);
            }
        }
        gate.open_for_all();
        let own = fetch.await.assert_status(200).json();
        assert_eq!(own["number"], before + 1, "{event:?}");
        let old = u64::try_from(before).expect("small") + 1;
        for replica in replicas.iter() {
            let number = number(replica).await;
            assert!(number > old, "{event:?}: {number}, fetched before: {old}");
        }
    }
}

#[tokio::test]
async fn an_invalidation_between_the_fetch_and_its_sharing_counts() {
    let test = "an_invalidation_between_the_fetch_and_its_sharing_counts";
    let Some(replicas) = Replicas::start(test, 2).await else {
        return;
    };
    // Many times, so that the store of the entry and the purge meet in each order.
    for _ in 0..40 {
        let known = replicas.origin.requests().len();
        let fetch = replicas[0].get(CALL).bearer("a").start();
        let purge = replicas[1].admin(Method::POST, "/purge?call=c1").await;
        purge.assert_status(200);
        let at_purge = replicas.origin.requests().len();
        fetch.await.assert_status(200);
        for replica in replicas.iter() {
            let number = number(replica).await;
            assert!(number > u64::try_from(known).expect("small"), "{number}");
        }
        assert!(at_purge >= known);
    }
}
