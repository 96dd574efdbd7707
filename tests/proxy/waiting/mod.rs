//! Requests that wait for a status or a change of a call (`?wait=`).

mod bounds;
mod ends;
mod memory;
mod polls;

use stuut_cache::config::{Config, Freshness};

use crate::support::{Origin, Pending, Proxy, Reply, Request, Response};

const CALL: &str = "/v1/calls/c1";

/// A proxy with the default rules of freshness: a live call is fresh for two seconds.
struct Story {
    origin: Origin,
    proxy: Proxy,
}

/// A call in this status, with a part that a view can leave out.
fn call(status: &str, summary: &str) -> Reply {
    Reply::json(&body(status, summary))
}

fn body(status: &str, summary: &str) -> String {
    format!(r#"{{"id":"c1","status":"{status}","summary":"{summary}"}}"#)
}

impl Story {
    async fn start() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let origin = Origin::start().await;
        let proxy = Proxy::with(&origin, |config| {
            config.freshness = Freshness::default();
            change(config);
        });
        let proxy = proxy.await;
        origin.reply(CALL, call("in_progress", "a"));
        Self { origin, proxy }
    }

    /// A request without a query.
    fn get_plain(&self) -> Request {
        self.proxy.get(CALL).bearer("a")
    }

    fn get(&self, query: &str) -> Request {
        self.proxy.get(&format!("{CALL}?{query}")).bearer("a")
    }

    /// Begins to wait.
    async fn wait(&self, query: &str) -> Pending {
        let before = self.count("waiting").await;
        let pending = self.get(query).start();
        self.is_waiting(before + 1).await;
        pending
    }

    /// Waits until this many requests wait.
    async fn is_waiting(&self, count: u32) {
        let metric = "stuut_cache_waiting";
        self.proxy.wait_for_metric(metric, count).await;
    }

    /// A metric that counts.
    async fn count(&self, metric: &str) -> u32 {
        let value = self.proxy.metric(&format!("stuut_cache_{metric}")).await;
        value.to_string().parse().expect("a number")
    }

    /// The requests for the call that the origin has got.
    fn calls(&self) -> usize {
        let requests = self.origin.requests();
        requests
            .iter()
            .filter(|request| request.method() == "GET" && request.target() == CALL)
            .count()
    }

    /// Lets a poller that does not rest send its next requests.
    async fn settle(&self) {
        for number in 0..10 {
            let other = self.proxy.get(&format!("/v1/calls/other{number}"));
            other.bearer("other").await;
        }
    }

    /// Lets the next poll happen, of a call that is polled every two seconds.
    async fn polled(&self) {
        let count = self.origin.requests().len();
        self.proxy.advance_waiters(3);
        self.origin.wait_for_requests(count + 1).await;
    }
}

/// Asserts why a wait has ended.
#[track_caller]
fn assert_ended(response: Response, end: &str) -> Response {
    let field = response.header("stuut-cache-wait").unwrap_or_default();
    let name = field.split(';').next();
    assert_eq!(name, Some(end), "{response}");
    response
}
