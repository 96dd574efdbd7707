//! The checks of several replicas: what one has fetched or invalidated, at another.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::checks::Checks;
use super::target::{BOTH, Baseline, Caller, Target, fresh};
use super::{CheckResult, NotPassed};

/// Attempts to store a response, and the pause between two.
const ATTEMPTS: usize = 30;
const PAUSE: Duration = Duration::from_millis(100);

/// The replicas, and the call to request.
#[derive(Debug)]
pub(super) struct Replicas<'a> {
    pub(super) proxies: &'a [Target],
    /// The path of the call.
    pub(super) call: &'a str,
    /// The body of a PATCH to the call.
    pub(super) patch: Option<Bytes>,
}

impl Replicas<'_> {
    /// The replicas are one group, in step, on an engine that keeps its log.
    pub(super) async fn group(&self) -> CheckResult {
        let mut group = Vec::new();
        for proxy in self.proxies {
            let document = proxy.admin.get("/status").await?;
            let status: Value = serde_json::from_slice(&document).unwrap_or_default();
            let state = status["shared"].clone();
            if let Some(fault) = fault(&state) {
                fail!("{}: {fault}", proxy.admin.address);
            }
            group.push(state);
        }
        let first = &group[0];
        if group.iter().any(|state| state["key"] != first["key"]) {
            fail!("the replicas have different keys (scope.key_file)");
        }
        if group
            .iter()
            .any(|state| state["members"] != first["members"])
        {
            fail!("the replicas are not one group: is their engine, or shared.prefix, another?");
        }
        let engine = |field: &str| first["engine"][field].as_str().unwrap_or_default();
        Ok(format!(
            "{} of {} replicas, in step, with one key, on {} ({})",
            group.len(),
            first["replicas"],
            engine("version"),
            engine("eviction_policy")
        ))
    }

    /// A replica serves what another has fetched, and only to the token it was fetched for.
    pub(super) async fn shared(&self) -> CheckResult {
        let baseline = self.proxies[0].baseline(self.call).await?;
        for [one, other] in self.pairs() {
            let target = fresh(self.call, "shared");
            store(&one, &baseline, &target).await?;
            let shared = other.get_own(&baseline, Caller::First, &target).await?;
            if !shared.is_hit() {
                let (base, status) = (&other.proxy.base, shared.cache_status());
                fail!("{base} did not use a response that another replica has stored: {status}");
            }
            let reply = other.get_own(&baseline, Caller::Second, &target).await?;
            if reply.is_hit() {
                fail!("the second token's first request was a hit on the first token's response");
            }
        }
        Ok("a hit at every replica, only for the token it was fetched for".to_owned())
    }

    /// After a purge at one replica, no other serves what was stored before it.
    pub(super) async fn purge(&self) -> CheckResult {
        self.invalidated("purge", async |one| one.purge_call().await)
            .await?;
        Ok("a purge at one replica is one at every replica".to_owned())
    }

    /// After a write through one replica, no other serves what was stored before it.
    pub(super) async fn write(&self) -> CheckResult {
        let Some(patch) = &self.patch else {
            skip!("no write is sent to this API; --patch JSON sends one to the call");
        };
        let write = async |one: &Checks<'_>| {
            let written = one.proxy.patch(self.call, patch.clone()).await?;
            if !written.status.is_success() {
                skip!("the PATCH got {}", written.status);
            }
            Ok(())
        };
        self.invalidated("write", write).await?;
        Ok("a write through one replica is seen at every replica".to_owned())
    }

    /// Invalidates at each replica what each other one has stored.
    async fn invalidated(
        &self,
        check: &str,
        invalidate: impl AsyncFn(&Checks<'_>) -> Result<(), NotPassed>,
    ) -> Result<(), NotPassed> {
        for [one, other] in self.pairs() {
            let baseline = self.proxies[0].baseline(self.call).await?;
            let target = fresh(self.call, check);
            store(&other, &baseline, &target).await?;
            other.get_own(&baseline, Caller::Second, &target).await?;
            invalidate(&one).await?;
            for caller in BOTH {
                let reply = other.get_own(&baseline, caller, &target).await?;
                if reply.is_hit() {
                    let (base, name) = (&other.proxy.base, caller.name());
                    fail!("{base} served {name} a response from before the {check}");
                }
            }
        }
        Ok(())
    }

    /// Each replica with the next one.
    fn pairs(&self) -> impl Iterator<Item = [Checks<'_>; 2]> {
        let next = self.proxies.iter().cycle().skip(1);
        let pairs = self.proxies.iter().zip(next);
        pairs.map(|pair| {
            [pair.0, pair.1].map(|proxy| Checks {
                proxy,
                call: self.call,
            })
        })
    }
}

/// Stores a response of the first token: not within the time after a write.
async fn store(checks: &Checks<'_>, baseline: &Baseline, target: &str) -> Result<(), NotPassed> {
    for _ in 0..ATTEMPTS {
        let reply = checks.get_own(baseline, Caller::First, target).await?;
        if reply.is_hit() {
            return Ok(());
        }
        if !reply.has("stored") {
            tokio::time::sleep(PAUSE).await;
        }
    }
    skip!("the call is not stored")
}

/// Why a replica, or its engine, is not as it should be.
fn fault(shared: &Value) -> Option<String> {
    let engine = &shared["engine"];
    let [state, policy, error, role] = [
        &shared["state"],
        &engine["eviction_policy"],
        &engine["error"],
        &engine["role"],
    ]
    .map(|field| field.as_str().unwrap_or_default());
    // Without a limit, nothing is evicted.
    let evicts = engine["maxmemory"] != 0 && !policy.starts_with("volatile-");
    Some(match state {
        "" => "no shared level (shared.url)".to_owned(),
        "in_step" if !error.is_empty() => error.to_owned(),
        "in_step" if role != "master" => format!("the engine is a {role}, not a primary"),
        "in_step" if evicts => {
            format!("maxmemory-policy is {policy}; set volatile-lru, which keeps the log")
        }
        "in_step" => return None,
        _ => format!("not in step with the other replicas: {state}"),
    })
}
