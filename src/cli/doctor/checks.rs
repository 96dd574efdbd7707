//! The paths that a response can take through the proxy, each tried with both tokens.

use std::time::Duration;

use futures_util::future::join_all;
use http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Map, Value};

use super::target::{BOTH, Baseline, Reply, Target, Who, fresh, nonce};
use super::{Finding, NotPassed};

/// Requests of each token at once.
const CROWD: usize = 8;

/// Crowds that are sent before the check for coalescing is skipped.
const CROWDS: usize = 5;

/// The view that is requested, and the members that it keeps.
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
    pub(super) async fn hit(&self) -> Finding {
        let target = fresh(self.call, "hit");
        let baseline = self.baseline().await?;
        let miss = self.own(&baseline, Who::First, &target).await?;
        if !miss.is_fetched() {
            fail!(
                "the first request for a new key got {:?}",
                miss.cache_status()
            );
        }
        if !miss.has("stored") {
            skip!("the call is not stored: {}", miss.cache_status());
        }
        let other = self.own(&baseline, Who::Second, &target).await?;
        if other.is_hit() {
            fail!("the second token's first request was a hit on the first token's response");
        }
        for who in [Who::First, Who::Second, Who::First] {
            let again = self.own(&baseline, who, &target).await?;
            if who == Who::First && !again.is_hit() {
                fail!("the stored response was not used: {}", again.cache_status());
            }
        }
        Ok("a hit is served only to the token it was fetched for".to_owned())
    }

    /// Many requests at once: one fetch for each token, and never one for both.
    pub(super) async fn collapse(&self) -> Finding {
        let baseline = self.baseline().await?;
        for _ in 0..CROWDS {
            let target = fresh(self.call, "collapse");
            let replies = self.all_at_once(2 * CROWD, &target, &[]).await?;
            for (who, reply) in &replies {
                self.is_own(&baseline, *who, reply).await?;
            }
            let first = |of: fn(&Reply) -> bool| {
                let replies = replies.iter();
                let first = replies.filter(|(who, reply)| *who == Who::First && of(reply));
                first.count()
            };
            let (fetches, collapsed) = (first(Reply::is_fetched), first(Reply::is_collapsed));
            if fetches != 1 {
                fail!("{CROWD} concurrent requests of one token made {fetches} fetches");
            }
            if collapsed > 0 {
                let all = replies.len();
                return Ok(format!(
                    "{all} concurrent requests of both tokens: {collapsed} of the first token's {CROWD} waited for its one fetch"
                ));
            }
        }
        skip!("the origin responds too fast for a request to wait for a fetch")
    }

    /// A part of a stored response is as private as the whole.
    pub(super) async fn view(&self) -> Finding {
        let baseline = self.baseline().await?;
        let whole = fresh(self.call, "view");
        let target = format!("{whole}&{VIEW}");
        self.own(&baseline, Who::First, &whole).await?;
        let view = self.proxy.get(Who::First, &target).await?;
        if view.body == baseline.of(Who::First).body {
            skip!("the option `fields` has another name here, or the call is not a JSON object");
        }
        for who in [Who::Second, Who::First, Who::Second] {
            let view = self.proxy.get(who, &target).await?;
            let (own, other) = (baseline.of(who), baseline.of(who.other()));
            let shown = part(&view);
            if view.status != own.status || (own.status.is_success() && shown != part(own)) {
                let what = if view.status.is_success() && shown == part(other) {
                    "the other token's"
                } else {
                    "something else"
                };
                fail!(
                    "{} requested a view and got {what} ({})",
                    who.name(),
                    view.status
                );
            }
        }
        if Some(object(&view)) != part(baseline.of(Who::First)).map(Some) {
            fail!("a view has more or fewer fields than requested");
        }
        Ok(format!(
            "?{VIEW} gives each token a part of its own response"
        ))
    }

    /// A 304 never tells one token that it has the other's bytes.
    pub(super) async fn not_modified(&self) -> Finding {
        let baseline = self.baseline().await?;
        if !baseline.differs() {
            skip!("both tokens get the same bytes");
        }
        let target = fresh(self.call, "304");
        let stored = self.own(&baseline, Who::First, &target).await?;
        let Some(tag) = stored.headers.get(ETAG) else {
            skip!("the call has no entity tag");
        };
        let condition = [(IF_NONE_MATCH, tag.clone())];
        let get = async |who| self.proxy.get_with(who, &target, &condition).await;
        for _ in 0..2 {
            let own = get(Who::First).await?;
            if own.status != StatusCode::NOT_MODIFIED {
                fail!("the first token's own entity tag got {}", own.status);
            }
            let other = get(Who::Second).await?;
            if other.status == StatusCode::NOT_MODIFIED {
                fail!("the second token got a 304 for the first token's entity tag");
            }
            self.is_own(&baseline, Who::Second, &other).await?;
        }
        Ok("a 304 is sent only to the token whose entity tag it is".to_owned())
    }

    /// A forced revalidation uses the token of its request.
    pub(super) async fn validate(&self) -> Finding {
        let baseline = self.baseline().await?;
        let target = fresh(self.call, "validate");
        for who in BOTH {
            self.own(&baseline, who, &target).await?;
        }
        let no_cache = [(CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
        let mut forwarded = true;
        for _ in 0..2 {
            for (who, reply) in self.all_at_once(CROWD, &target, &no_cache).await? {
                self.is_own(&baseline, who, &reply).await?;
                forwarded &= !reply.is_hit();
            }
        }
        if !forwarded {
            skip!("client Cache-Control is ignored here (freshness.client_directives)");
        }
        Ok("no-cache gets each token its own response from the origin".to_owned())
    }

    /// An invented token, and no token, get nothing that is stored.
    pub(super) async fn stranger(&self) -> Finding {
        let baseline = self.baseline().await?;
        let target = fresh(self.call, "stranger");
        self.own(&baseline, Who::First, &target).await?;
        self.own(&baseline, Who::First, &target).await?;
        let invented = format!("stuut-cache-doctor-{}", nonce()).into();
        for (token, name) in [(Some(&invented), "an unknown token"), (None, "no token")] {
            let reply = self.proxy.send(token, &target, &[]).await?;
            if reply.status.is_success() || reply.is_hit() {
                fail!("{name} got {}", reply.status);
            }
        }
        self.own(&baseline, Who::First, &target).await?;
        Ok("an unknown token, and no token, get nothing".to_owned())
    }

    /// A stale response, and the one that replaces it, are for one token only.
    pub(super) async fn stale(&self, young: &str, patience: Duration) -> Finding {
        let before = self.proxy.baseline(young).await?;
        let target = fresh(young, "stale");
        let stored = self.proxy.get(Who::First, &target).await?;
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
        self.proxy.get(Who::Second, &target).await?;
        tokio::time::sleep(ttl + Duration::from_secs(1)).await;
        let mut received = Vec::new();
        for _ in 0..2 {
            let replies = self.all_at_once(CROWD, &target, &[]).await?;
            // It may have changed meanwhile: before, at the first request, or by now.
            let now = self.proxy.baseline(young).await?;
            for (who, reply) in replies {
                stale_is_own(&stored, [&before, &now], who, &reply)?;
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

    /// So many requests at once, of the two tokens in turn.
    async fn all_at_once(
        &self,
        requests: usize,
        target: &str,
        fields: &[(HeaderName, HeaderValue)],
    ) -> Result<Vec<(Who, Reply)>, NotPassed> {
        let crowd = (0..requests).map(async |n| {
            let who = BOTH[n % 2];
            Ok((who, self.proxy.get_with(who, target, fields).await?))
        });
        join_all(crowd).await.into_iter().collect()
    }

    pub(super) async fn baseline(&self) -> Result<Baseline, NotPassed> {
        self.proxy.baseline(self.call).await
    }

    /// Sends a request, and accepts only the token's own reply.
    pub(super) async fn own(
        &self,
        baseline: &Baseline,
        who: Who,
        target: &str,
    ) -> Result<Reply, NotPassed> {
        let reply = self.proxy.get(who, target).await?;
        self.is_own(baseline, who, &reply).await?;
        Ok(reply)
    }

    async fn is_own(&self, baseline: &Baseline, who: Who, reply: &Reply) -> Result<(), NotPassed> {
        if baseline.is_own(who, reply) {
            return Ok(());
        }
        let (name, cache_status) = (who.name(), reply.cache_status());
        if baseline.is_foreign(who, reply) {
            fail!("{name} got the other token's response ({cache_status})");
        }
        // The call may have changed since.
        if self.baseline().await?.is_own(who, reply) {
            return Ok(());
        }
        let (status, size) = (reply.status, reply.body.len());
        fail!(
            "{name} got {status} and {size} bytes, unlike its response past the cache ({cache_status})"
        )
    }
}

/// Accepts a token's own reply, as it was before or is now, and for the first token what was stored.
fn stale_is_own(
    stored: &Reply,
    baselines: [&Baseline; 2],
    who: Who,
    reply: &Reply,
) -> Result<(), NotPassed> {
    let is_stored = reply.body == stored.body;
    let own = baselines.iter().any(|baseline| baseline.is_own(who, reply));
    let foreign = baselines
        .iter()
        .any(|baseline| baseline.is_foreign(who, reply))
        || (who == Who::Second && baselines[1].differs() && is_stored);
    if !foreign && (own || (who == Who::First && is_stored)) {
        return Ok(());
    }
    let whose = if foreign {
        "the other token's response"
    } else {
        "a response that is not its own"
    };
    fail!(
        "once stale, {} got {whose} ({}, {})",
        who.name(),
        reply.status,
        reply.cache_status()
    )
}

fn object(reply: &Reply) -> Option<Map<String, Value>> {
    serde_json::from_slice(&reply.body).ok()
}

/// The members of a reply that the view shows.
fn part(reply: &Reply) -> Option<Map<String, Value>> {
    let shown = |name: &String| IN_VIEW.contains(&name.as_str());
    object(reply).map(|whole| whole.into_iter().filter(|(name, _)| shown(name)).collect())
}
