//! The checks that need the admin listener: purges, and secrets on its pages.

use std::time::Duration;

use super::checks::Checks;
use super::target::{BOTH, Baseline, Caller, fresh};
use super::{CheckResult, NotPassed};
use crate::cli::admin_client::AdminError;
use crate::cli::stats_document::StatsDocument;

/// Races that must take place.
const RACES: usize = 3;

/// Attempts at a race: some fetches end before the purge, or meet other clients' requests.
const ATTEMPTS: usize = 30;

/// Polls of the number of requests in flight, per race.
const POLLS: usize = 500;

/// Time after which every completed request has been counted.
const SETTLED: Duration = Duration::from_millis(100);

impl Checks<'_> {
    /// After a purge, no response stored before it is served.
    pub(super) async fn purge(&self) -> CheckResult {
        let baseline = self.baseline().await?;
        let target = fresh(self.call, "purge");
        for caller in [Caller::First, Caller::Second, Caller::First] {
            self.get_own(&baseline, caller, &target).await?;
        }
        self.purge_call().await?;
        for caller in BOTH {
            let reply = self.get_own(&baseline, caller, &target).await?;
            if reply.is_hit() {
                let name = caller.name();
                fail!("after the purge, {name} got a hit");
            }
        }
        Ok("after a purge, both tokens get a response from the origin".to_owned())
    }

    /// A fetch that began before a purge is not stored after it.
    pub(super) async fn race(&self) -> CheckResult {
        let baseline = self.baseline().await?;
        let mut races = 0;
        for _ in 0..ATTEMPTS {
            races += usize::from(self.run_race(&baseline).await?);
            if races == RACES {
                return Ok(format!(
                    "{races} purges while both tokens' fetches were in flight: no fetch was stored"
                ));
            }
        }
        skip!(
            "only {races} of {ATTEMPTS} purges met both fetches in flight: the origin is too fast, or other clients use the proxy"
        )
    }

    /// Runs a race. Returns whether the purge took place while both fetches, and no other client's,
    /// were in flight.
    async fn run_race(&self, baseline: &Baseline) -> Result<bool, NotPassed> {
        let before = self.stats().await?;
        if before.upstream_in_flight > 0 {
            return Ok(false);
        }
        let target = fresh(self.call, "race");
        let (first, second, purged) = tokio::join!(
            self.get_own(baseline, Caller::First, &target),
            self.get_own(baseline, Caller::Second, &target),
            self.purge_in_flight(&before)
        );
        first?;
        second?;
        if !purged? {
            return Ok(false);
        }
        let mut after = Vec::new();
        for caller in BOTH {
            after.push((caller, self.get_own(baseline, caller, &target).await?));
        }
        // Only our four requests may have been counted: among other clients' requests, the fetch may
        // be theirs. A request is counted a moment after its response has been read.
        tokio::time::sleep(SETTLED).await;
        if self.stats().await?.total.all_requests() > before.total.all_requests() + 4 {
            return Ok(false);
        }
        for (caller, reply) in after {
            if reply.is_hit() || reply.is_collapsed() {
                fail!(
                    "after a purge, {} got the response of a fetch from before it ({})",
                    caller.name(),
                    reply.cache_status()
                );
            }
        }
        Ok(true)
    }

    /// Purges once both fetches are in flight; false if they ended before.
    async fn purge_in_flight(&self, before: &StatsDocument) -> Result<bool, NotPassed> {
        for _ in 0..POLLS {
            let now = self.stats().await?;
            if now.upstream_in_flight == 2 {
                return self.purge_call().await.map(|()| true);
            }
            if now.total.all_requests() > before.total.all_requests() {
                break;
            }
        }
        Ok(false)
    }

    /// No page for operators contains a token or the id of a call.
    pub(super) async fn secrets(&self, id: &str) -> CheckResult {
        let pages = ["/metrics", "/status", "/stats?after=0"];
        for page in pages {
            let text = self.proxy.admin.get(page).await?;
            if self.proxy.is_token_in(&text) {
                fail!("{page} contains a token");
            }
            if memchr::memmem::find(&text, id.as_bytes()).is_some() {
                fail!("{page} contains the id of a call");
            }
        }
        let pages = pages.join(", ");
        Ok(format!("no token and no id of a call in {pages}"))
    }

    pub(super) async fn purge_call(&self) -> Result<(), NotPassed> {
        let target = format!("/purge?path={}", self.call);
        Ok(self.proxy.admin.post(&target).await.map(drop)?)
    }

    async fn stats(&self) -> Result<StatsDocument, NotPassed> {
        let document = self.proxy.admin.get("/stats").await?;
        serde_json::from_slice(&document)
            .or_else(|_| skip!("/stats cannot be read; is the proxy of an older version?"))
    }
}

/// Without an admin listener, these checks are skipped.
impl From<AdminError> for NotPassed {
    fn from(error: AdminError) -> Self {
        Self::Skipped(error.to_string())
    }
}
