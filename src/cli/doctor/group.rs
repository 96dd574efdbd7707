//! The checks of several replicas: what one has fetched or invalidated, at another.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use futures_util::future::join_all;
use http::{Method, Request};
use secrecy::SecretString;

use super::checks::Checks;
use super::target::{BOTH, Baseline, Caller, Reply, Target, fresh};
use super::{CheckResult, NotPassed, engine};
use crate::config::Loaded;

/// Attempts to store a response, and the pause between two.
const ATTEMPTS: usize = 30;
const PAUSE: Duration = Duration::from_millis(100);

/// Concurrent requests of each token at each replica, and attempts: on a busy machine, a lookup can
/// take longer than `shared.timeout`.
const CONCURRENCY: usize = 4;
const RACES: usize = 5;

/// Readings of the engine's latency, of which the lowest counts.
const READINGS: usize = 5;

/// The replicas, and the call to request.
#[derive(Debug)]
pub(super) struct Replicas<'a> {
    pub(super) proxies: &'a [Target],
    /// The path of the call.
    pub(super) call: &'a str,
    /// The body of a PATCH to the call.
    pub(super) patch: Option<Bytes>,
    /// The token to revoke.
    pub(super) revocable: Option<Revocable>,
    /// The configuration of a user that may read the engine.
    pub(super) reader: Option<&'a Loaded>,
}

/// A token that may be revoked, and the request that does it.
#[derive(Debug)]
pub(super) struct Revocable {
    pub(super) token: SecretString,
    pub(super) method: Method,
    pub(super) path: String,
}

impl Replicas<'_> {
    /// The replicas are one group, in step.
    pub(super) async fn group(&self) -> CheckResult {
        let mut group = Vec::new();
        for proxy in self.proxies {
            let state = shared_status(proxy).await?;
            let address = &proxy.admin.address;
            match state["state"].as_str() {
                Some("in_step") => group.push(state),
                Some(state) => fail!(
                    "{address} is not in step with the other replicas ({state}), so it does not use what it has stored; see its log"
                ),
                None => fail!("{address} has no shared level (shared.url), so it shares nothing"),
            }
        }
        let first = &group[0];
        if group.iter().any(|state| state["key"] != first["key"]) {
            fail!(
                "the replicas have different keys, so none can open what another has stored; copy one scope.key_file to all"
            );
        }
        let is_same = |state: &&Value| state["member"] == first["member"];
        if group.iter().filter(is_same).count() > 1 {
            fail!("two of these addresses are one replica; write the address of each (--admin)");
        }
        if group
            .iter()
            .any(|state| state["members"] != first["members"])
        {
            fail!("the replicas are not one group: is their engine, or shared.prefix, another?");
        }
        let (known, all) = (group.len(), &first["replicas"]);
        Ok(format!("{known} of {all} replicas, in step, with one key"))
    }

    /// The engine keeps the promises of the shared level.
    pub(super) async fn engine(&self) -> CheckResult {
        let mut described = String::new();
        for proxy in self.proxies {
            let mut best = shared_status(proxy).await?["engine"].take();
            for _ in 1..READINGS {
                let engine = shared_status(proxy).await?["engine"].take();
                if engine["seconds"].as_f64() < best["seconds"].as_f64() {
                    best = engine;
                }
            }
            if best.is_null() {
                skip!("{} has no engine (shared.url)", proxy.admin.address);
            }
            described = engine::state(&best).map_err(NotPassed::Failed)?;
        }
        Ok(described)
    }

    /// The keys and values in the engine reveal nothing.
    pub(super) async fn dump(&self, id: &str) -> CheckResult {
        let Some(reader) = self.reader else {
            skip!("the engine is not read; --engine-config names one whose user may");
        };
        let baseline = self.proxies[0].baseline(self.call).await?;
        for replica in self.replicas() {
            store(&replica, &baseline, &fresh(self.call, "dump")).await?;
        }
        let mut secrets = vec![("the id of a call", id.as_bytes().to_vec())];
        let tokens = self.proxies[0].tokens();
        secrets.extend(tokens.map(|token| ("a token", token.as_bytes().to_vec())));
        let bodies = BOTH.map(|caller| baseline.of(caller).body.to_vec());
        secrets.extend(
            bodies
                .into_iter()
                .filter(|body| !body.is_empty())
                .map(|body| ("a body", body)),
        );
        engine::dump(reader, &secrets).await
    }

    /// Concurrent requests at all replicas make one fetch for each token.
    pub(super) async fn together(&self) -> CheckResult {
        let baseline = &self.proxies[0].baseline(self.call).await?;
        let replicas: Vec<_> = self.replicas().collect();
        store(&replicas[0], baseline, &fresh(self.call, "together")).await?;
        let (all, mut fetches) = (CONCURRENCY * replicas.len(), 0);
        for _ in 0..RACES {
            let target = &fresh(self.call, "together");
            let sent = (0..CONCURRENCY)
                .flat_map(|_| &replicas)
                .flat_map(|replica| {
                    BOTH.map(async |caller| {
                        Ok((caller, replica.get_own(baseline, caller, target).await?))
                    })
                });
            let replies = join_all(sent).await;
            let replies = replies.into_iter().collect::<Result<Vec<_>, NotPassed>>()?;
            let is_first =
                |(caller, reply): &&(Caller, Reply)| *caller == Caller::First && reply.is_fetched();
            fetches = replies.iter().filter(is_first).count();
            if fetches == 1 {
                return Ok(format!(
                    "one fetch for {all} concurrent requests of a token at all replicas"
                ));
            }
        }
        fail!(
            "{all} concurrent requests of a token at all replicas made {fetches} fetches, and must make one: the replicas do not share what they fetch (see the check of the group), or the engine is slower than shared.timeout"
        )
    }

    /// A token that the origin has refused at one replica gets no stored response at any.
    pub(super) async fn revoked(&self) -> CheckResult {
        let Some(Revocable {
            token,
            method,
            path,
        }) = &self.revocable
        else {
            skip!(
                "no token is revoked at this API; --revocable-token-file names one, and --revoke how"
            );
        };
        let token = Some(token);
        let target = fresh(self.call, "revoked");
        for proxy in self.proxies {
            let mut attempts = 0..ATTEMPTS;
            loop {
                let reply = proxy.send(token, &target, &[]).await?;
                if !reply.status.is_success() {
                    skip!("the token to revoke gets {} for the call", reply.status);
                }
                if reply.is_hit() {
                    break;
                }
                if attempts.next().is_none() {
                    skip!("the call is not stored for the token to revoke");
                }
            }
        }
        let first = &self.proxies[0];
        let revoke = Request::builder().method(method);
        let revoke = revoke.uri(format!("{}{path}", first.base));
        let revoked = first.exchange(revoke, token, &[], Bytes::new()).await?;
        if !revoked.status.is_success() {
            skip!(
                "{method} {path} got {}, so no token is revoked",
                revoked.status
            );
        }
        // The first replica learns of it by the origin's 401.
        let refused = first.send(token, &fresh(self.call, "refused"), &[]).await?;
        if refused.status.is_success() {
            skip!(
                "{method} {path} got {}, but the origin still accepts the token",
                revoked.status
            );
        }
        for proxy in self.proxies {
            let reply = proxy.send(token, &target, &[]).await?;
            if reply.is_hit() || reply.status.is_success() {
                fail!(
                    "{} serves a stored response to a token that the origin has refused at another replica; it does so for up to scope.recheck",
                    proxy.base
                );
            }
        }
        Ok("a token that the origin refuses gets nothing at any replica".to_owned())
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
                fail!(
                    "{base} did not use a response that another replica has stored ({status}), so each replica fetches every call; see the check of the group"
                );
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
                    fail!(
                        "{base} served {name} a response from before a {check} at another replica, and may do so for the lifetime of the call; see the check of the group"
                    );
                }
            }
        }
        Ok(())
    }

    fn replicas(&self) -> impl Iterator<Item = Checks<'_>> + Clone {
        let call = self.call;
        self.proxies.iter().map(move |proxy| Checks { proxy, call })
    }

    /// Each replica with the next one.
    fn pairs(&self) -> impl Iterator<Item = [Checks<'_>; 2]> {
        let next = self.replicas().cycle().skip(1);
        self.replicas().zip(next).map(|(one, other)| [one, other])
    }
}

/// The shared level of a replica in its `/status`.
async fn shared_status(proxy: &Target) -> Result<Value, NotPassed> {
    let document = proxy.admin.get("/status").await?;
    let mut status: Value = serde_json::from_slice(&document).unwrap_or_default();
    Ok(status["shared"].take())
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
