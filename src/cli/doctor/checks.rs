//! The checks of the client-facing proxy, each with both tokens.

use std::time::Duration;

use futures_util::future::join_all;
use http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Map, Value};

use super::target::{BOTH, Baseline, Caller, Reply, Target, fresh, nonce};
use super::{CheckResult, NotPassed};

/// Concurrent requests of each token.
const CONCURRENCY: usize = 8;

/// Attempts to see coalescing before its check is skipped.
const ATTEMPTS: usize = 5;

/// The requested view, and the members that it keeps.
const VIEW: &str = "fields=id,status";
const IN_VIEW: [&str; 2] = ["id", "status"];

/// The checks of one call.
#[derive(Debug)]
pub(super) struct Checks<'a> {
    pub(super) proxy: &'a Target,
    /// The path of the call.
    pub(super) call: &'a str,
}

impl Checks<'_> {
    /// A response stored for one token is never served to the other.
    pub(super) async fn hit(&self) -> CheckResult {
        let target = fresh(self.call, "hit");
        let baseline = self.baseline().await?;
        let miss = self.get_own(&baseline, Caller::First, &target).await?;
        if !miss.is_fetched() {
            fail!(
                "the first request for a new key got {:?}",
                miss.cache_status()
            );
        }
        if let Some(cookies) = miss.forbidding_cookies() {
            skip!(
                "the call is not stored, because each response sets {cookies}; a balancer's or a CDN's cookie can be listed in cache.ignore_set_cookie"
            );
        }
        if !miss.has("stored") {
            skip!("the call is not stored: {}", miss.cache_status());
        }
        let other = self.get_own(&baseline, Caller::Second, &target).await?;
        if other.is_hit() {
            fail!("the second token's first request was a hit on the first token's response");
        }
        for caller in [Caller::First, Caller::Second, Caller::First] {
            let again = self.get_own(&baseline, caller, &target).await?;
            if caller == Caller::First && !again.is_hit() {
                fail!("the stored response was not used: {}", again.cache_status());
            }
        }
        Ok("a hit is served only to the token it was fetched for".to_owned())
    }

    /// Concurrent requests make one fetch per token, and never share one between tokens.
    pub(super) async fn collapse(&self) -> CheckResult {
        let baseline = self.baseline().await?;
        for _ in 0..ATTEMPTS {
            let target = fresh(self.call, "collapse");
            let replies = self.concurrent(2 * CONCURRENCY, &target, &[]).await?;
            for (caller, reply) in &replies {
                self.check_own(&baseline, *caller, reply).await?;
            }
            let first = |of: fn(&Reply) -> bool| {
                let replies = replies.iter();
                let first = replies.filter(|(caller, reply)| *caller == Caller::First && of(reply));
                first.count()
            };
            let (fetches, collapsed) = (first(Reply::is_fetched), first(Reply::is_collapsed));
            if fetches != 1 {
                fail!("{CONCURRENCY} concurrent requests of one token made {fetches} fetches");
            }
            if collapsed > 0 {
                let all = replies.len();
                return Ok(format!(
                    "{all} concurrent requests of both tokens: {collapsed} of the first token's {CONCURRENCY} waited for its one fetch"
                ));
            }
        }
        skip!("the origin responds too fast for a request to wait for a fetch")
    }

    /// A view of a stored response is as private as the whole.
    pub(super) async fn view(&self) -> CheckResult {
        let baseline = self.baseline().await?;
        let whole = fresh(self.call, "view");
        let target = format!("{whole}&{VIEW}");
        self.get_own(&baseline, Caller::First, &whole).await?;
        let view = self.proxy.get(Caller::First, &target).await?;
        if view.body == baseline.of(Caller::First).body {
            skip!("the option `fields` has another name here, or the call is not a JSON object");
        }
        for caller in [Caller::Second, Caller::First, Caller::Second] {
            let view = self.proxy.get(caller, &target).await?;
            let (own, other) = (baseline.of(caller), baseline.of(caller.other()));
            let members = part(&view);
            if view.status != own.status || (own.status.is_success() && members != part(own)) {
                let what = if view.status.is_success() && members == part(other) {
                    "the other token's"
                } else {
                    "something else"
                };
                fail!(
                    "{} requested a view and got {what} ({})",
                    caller.name(),
                    view.status
                );
            }
        }
        if Some(object(&view)) != part(baseline.of(Caller::First)).map(Some) {
            fail!("a view has more or fewer fields than requested");
        }
        Ok(format!(
            "?{VIEW} gives each token a part of its own response"
        ))
    }

    /// A token never gets a 304 for the other token's entity tag.
    pub(super) async fn not_modified(&self) -> CheckResult {
        let baseline = self.baseline().await?;
        if !baseline.differs() {
            skip!("both tokens get the same bytes");
        }
        let target = fresh(self.call, "304");
        let stored = self.get_own(&baseline, Caller::First, &target).await?;
        let Some(tag) = stored.headers.get(ETAG) else {
            skip!("the call has no entity tag");
        };
        let condition = [(IF_NONE_MATCH, tag.clone())];
        let get = async |caller| self.proxy.get_with(caller, &target, &condition).await;
        for _ in 0..2 {
            let own = get(Caller::First).await?;
            if own.status != StatusCode::NOT_MODIFIED {
                fail!("the first token's own entity tag got {}", own.status);
            }
            let other = get(Caller::Second).await?;
            if other.status == StatusCode::NOT_MODIFIED {
                fail!("the second token got a 304 for the first token's entity tag");
            }
            self.check_own(&baseline, Caller::Second, &other).await?;
        }
        Ok("a 304 is sent only to the token whose entity tag it is".to_owned())
    }

    /// A forced revalidation uses the token of its request.
    pub(super) async fn validate(&self) -> CheckResult {
        let baseline = self.baseline().await?;
        let target = fresh(self.call, "validate");
        for caller in BOTH {
            self.get_own(&baseline, caller, &target).await?;
        }
        let no_cache = [(CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
        let mut forwarded = true;
        for _ in 0..2 {
            for (caller, reply) in self.concurrent(CONCURRENCY, &target, &no_cache).await? {
                self.check_own(&baseline, caller, &reply).await?;
                forwarded &= !reply.is_hit();
            }
        }
        if !forwarded {
            skip!("client Cache-Control is ignored here (freshness.client_directives)");
        }
        Ok("no-cache gets each token its own response from the origin".to_owned())
    }

    /// A request with an unknown token, or with none, gets no stored response.
    pub(super) async fn stranger(&self) -> CheckResult {
        let baseline = self.baseline().await?;
        let target = fresh(self.call, "stranger");
        self.get_own(&baseline, Caller::First, &target).await?;
        self.get_own(&baseline, Caller::First, &target).await?;
        let unknown = format!("stuut-cache-doctor-{}", nonce()).into();
        for (token, name) in [(Some(&unknown), "an unknown token"), (None, "no token")] {
            let reply = self.proxy.send(token, &target, &[]).await?;
            if reply.status.is_success() || reply.is_hit() {
                fail!("{name} got {}", reply.status);
            }
        }
        self.get_own(&baseline, Caller::First, &target).await?;
        Ok("an unknown token, and no token, get nothing".to_owned())
    }

    /// A stale response, and the one that replaces it, are for one token only.
    pub(super) async fn stale(&self, young: &str, patience: Duration) -> CheckResult {
        let before = self.proxy.baseline(young).await?;
        let target = fresh(young, "stale");
        let stored = self.proxy.get(Caller::First, &target).await?;
        let (Some(ttl), StatusCode::OK) = (stored.ttl(), stored.status) else {
            skip!(
                "{young} is not stored ({}); name a call that is (--young-call)",
                stored.status
            );
        };
        let ttl = Duration::from_secs(ttl.unsigned_abs());
        if ttl > patience {
            let (ttl, patience) = (ttl.as_secs(), patience.as_secs());
            skip!(
                "{young} is fresh for another {ttl} s, and --patience is {patience} s; name one with a shorter lifetime (--young-call)"
            );
        }
        self.proxy.get(Caller::Second, &target).await?;
        tokio::time::sleep(ttl + Duration::from_secs(1)).await;
        let mut received = Vec::new();
        for _ in 0..2 {
            let replies = self.concurrent(CONCURRENCY, &target, &[]).await?;
            // The call may have changed in between: both baselines are accepted.
            let now = self.proxy.baseline(young).await?;
            for (caller, reply) in replies {
                check_stale(&stored, [&before, &now], caller, &reply)?;
                received.push(reply);
            }
        }
        let count = |of: fn(&Reply) -> bool| received.iter().filter(|reply| of(reply)).count();
        let stale = count(|reply| reply.ttl().is_some_and(|ttl| ttl <= 0));
        let (all, fetched) = (received.len(), count(Reply::is_fetched));
        Ok(format!(
            "{all} requests once stale, each got its own response: {stale} served stale, {fetched} fetched"
        ))
    }

    /// Sends concurrent requests, alternating between the tokens.
    async fn concurrent(
        &self,
        requests: usize,
        target: &str,
        fields: &[(HeaderName, HeaderValue)],
    ) -> Result<Vec<(Caller, Reply)>, NotPassed> {
        let sent = (0..requests).map(async |n| {
            let caller = BOTH[n % 2];
            Ok((caller, self.proxy.get_with(caller, target, fields).await?))
        });
        join_all(sent).await.into_iter().collect()
    }

    pub(super) async fn baseline(&self) -> Result<Baseline, NotPassed> {
        self.proxy.baseline(self.call).await
    }

    /// Sends a request, and fails on any reply but the token's own.
    pub(super) async fn get_own(
        &self,
        baseline: &Baseline,
        caller: Caller,
        target: &str,
    ) -> Result<Reply, NotPassed> {
        let reply = self.proxy.get(caller, target).await?;
        self.check_own(baseline, caller, &reply).await?;
        Ok(reply)
    }

    async fn check_own(
        &self,
        baseline: &Baseline,
        caller: Caller,
        reply: &Reply,
    ) -> Result<(), NotPassed> {
        if baseline.is_own(caller, reply) {
            return Ok(());
        }
        let (name, cache_status) = (caller.name(), reply.cache_status());
        if baseline.is_foreign(caller, reply) {
            fail!("{name} got the other token's response ({cache_status})");
        }
        // The call may have changed since.
        if self.baseline().await?.is_own(caller, reply) {
            return Ok(());
        }
        let (status, size) = (reply.status, reply.body.len());
        fail!(
            "{name} got {status} and {size} bytes, unlike its response past the cache ({cache_status})"
        )
    }
}

/// Fails unless the reply is the token's own, by either baseline; the stored response counts as the
/// first token's own.
fn check_stale(
    stored: &Reply,
    baselines: [&Baseline; 2],
    caller: Caller,
    reply: &Reply,
) -> Result<(), NotPassed> {
    let is_stored = reply.body == stored.body;
    let own = baselines
        .iter()
        .any(|baseline| baseline.is_own(caller, reply));
    let foreign = baselines
        .iter()
        .any(|baseline| baseline.is_foreign(caller, reply))
        || (caller == Caller::Second && baselines[1].differs() && is_stored);
    if !foreign && (own || (caller == Caller::First && is_stored)) {
        return Ok(());
    }
    let what = if foreign {
        "the other token's response"
    } else {
        "a response that is not its own"
    };
    fail!(
        "once stale, {} got {what} ({}, {})",
        caller.name(),
        reply.status,
        reply.cache_status()
    )
}

fn object(reply: &Reply) -> Option<Map<String, Value>> {
    serde_json::from_slice(&reply.body).ok()
}

/// The members of a reply that the view keeps.
fn part(reply: &Reply) -> Option<Map<String, Value>> {
    let is_kept = |name: &String| IN_VIEW.contains(&name.as_str());
    object(reply).map(|whole| {
        whole
            .into_iter()
            .filter(|(name, _)| is_kept(name))
            .collect()
    })
}
