//! The checks of the engine that the replicas share: its settings, and what it stores.

use serde_json::Value;

use super::{CheckResult, NotPassed};
use crate::config::Loaded;

/// Time to read what the engine stores.
#[cfg(feature = "shared")]
const TIMEOUT: std::time::Duration = std::time::Duration::from_mins(1);

/// The oldest version with the commands of the scripts.
const OLDEST: [u32; 2] = [6, 2];

/// The engine, as a replica sees it (`shared.engine` of `/status`).
///
/// # Errors
///
/// Why it breaks a promise of the shared level, and what to do.
pub(super) fn state(engine: &Value) -> Result<String, String> {
    let text = |field: &str| engine[field].as_str().unwrap_or_default();
    let [error, version, role, policy] = ["error", "version", "role", "eviction_policy"].map(text);
    let is = |field: &str| engine[field] == true;
    let seconds = |field: &str| engine[field].as_f64().unwrap_or_default();
    let [took, timeout] = ["seconds", "timeout_seconds"].map(|field| seconds(field) * 1_000.0);
    // Without a limit, nothing is evicted.
    let evicts = engine["maxmemory"] != 0 && !policy.starts_with("volatile-");
    let replicas = engine["replicas"].as_u64().unwrap_or_default();
    if !error.is_empty() {
        return Err(format!(
            "the engine does not answer a replica, which is alone until it does: {error} (shared.url, and the log of the replica)"
        ));
    }
    if is_old(version) {
        return Err(format!(
            "{version} is older than 6.2 and has not all commands that the replicas use; upgrade it"
        ));
    }
    if role != "master" {
        return Err(format!(
            "the engine is a {role}, not a primary, and accepts no invalidation; name the primary in shared.url, or the Sentinels and shared.sentinel"
        ));
    }
    if evicts {
        return Err(format!(
            "maxmemory-policy is {policy}: allkeys-* evicts the log, and noeviction refuses it when memory is full; set volatile-lru"
        ));
    }
    if replicas > 0 && !is("needs_replicas") && !is("cluster") {
        return Err(format!(
            "the engine has replicas ({replicas}), but no min-replicas-to-write: in a split brain, the old primary accepts purges that replicas on the new one do not see; set min-replicas-to-write 1, and min-replicas-max-lag below shared.lease"
        ));
    }
    if took > timeout / 2.0 {
        return Err(format!(
            "the engine needs {took:.1} ms for an answer, more than half of shared.timeout ({timeout:.0} ms), so misses will not find what others have stored; move it nearer, or raise shared.timeout"
        ));
    }
    let transport = if is("tls") {
        "over TLS"
    } else {
        "without TLS, so only for a private network"
    };
    Ok(format!(
        "{version}, a primary with {replicas} replicas, {policy}, answers in {took:.1} ms, {transport}"
    ))
}

fn is_old(version: &str) -> bool {
    let numbers = version.split_once(' ').map(|(_, numbers)| numbers);
    let mut numbers = numbers.unwrap_or_default().split('.');
    let mut next = || numbers.next().and_then(|number| number.parse().ok());
    let found: [Option<u32>; 2] = [next(), next()];
    matches!(found, [Some(major), Some(minor)] if [major, minor] < OLDEST)
}

/// Nothing under the prefix of the group contains a token, an id or a body.
#[cfg(feature = "shared")]
pub(super) async fn dump(configuration: &Loaded, secrets: &[(&str, Vec<u8>)]) -> CheckResult {
    use crate::cache::shared::redis;
    use crate::units::bytes;

    let finders = secrets
        .iter()
        .map(|(name, secret)| (*name, memchr::memmem::Finder::new(secret)));
    let finders: Vec<_> = finders.collect();
    let mut found = None;
    let mut visit = |content: &[u8]| {
        let secret = finders
            .iter()
            .find(|(_, secret)| secret.find(content).is_some());
        found = found.or(secret.map(|(name, _)| *name));
    };
    let settings = &configuration.config.shared;
    let dumped = tokio::time::timeout(TIMEOUT, redis::dump(settings, &mut visit)).await;
    if let Some(name) = found {
        fail!(
            "the engine has {name} in clear under {}: keep other programs from this prefix (shared.prefix), and report it if there are none",
            settings.prefix
        );
    }
    let Ok(dumped) = dumped else {
        skip!("the engine was not read within {TIMEOUT:?}");
    };
    let dumped = match dumped {
        Ok(dumped) => dumped,
        Err(error) => skip!(
            "the engine cannot be read: {error}; the user of --engine-config needs +scan and +type besides"
        ),
    };
    if dumped.keys == 0 {
        skip!(
            "nothing is stored under {}: is the prefix, or the engine of --engine-config, another?",
            settings.prefix
        );
    }
    let extent = if dumped.is_complete {
        "all"
    } else {
        "the first"
    };
    Ok(format!(
        "no token, id or body in {extent} {} keys of the engine ({})",
        dumped.keys,
        bytes(dumped.bytes as u64)
    ))
}

/// The same without a client of the engine.
#[cfg(not(feature = "shared"))]
#[expect(clippy::unused_async, reason = "as with one")]
pub(super) async fn dump(_: &Loaded, _: &[(&str, Vec<u8>)]) -> CheckResult {
    skip!("this program has no client of an engine; build it with --features shared")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Each fault alone makes the engine unfit.
    #[test]
    fn an_engine_that_breaks_a_promise_is_named_with_the_remedy() {
        let good = json!({
            "version": "redis 7.0.15", "role": "master", "maxmemory": 0, "replicas": 0,
            "eviction_policy": "noeviction", "needs_replicas": false, "cluster": false, "tls": false,
            "seconds": 0.0004, "timeout_seconds": 0.05,
        });
        for (change, expected) in [
            (
                json!({}),
                Ok(
                    "redis 7.0.15, a primary with 0 replicas, noeviction, answers in 0.4 ms, without TLS",
                ),
            ),
            (json!({"tls": true}), Ok("over TLS")),
            (
                json!({"error": "refused: x"}),
                Err("does not answer a replica, which is alone until it does: refused: x"),
            ),
            (
                json!({"version": "redis 6.0.16"}),
                Err("redis 6.0.16 is older than 6.2"),
            ),
            (json!({"version": "redis 6.2.0"}), Ok("redis 6.2.0")),
            (json!({"version": "valkey 10.0.1"}), Ok("valkey 10.0.1")),
            (
                json!({"role": "slave"}),
                Err("the engine is a slave, not a primary"),
            ),
            (
                json!({"maxmemory": 1}),
                Err("maxmemory-policy is noeviction"),
            ),
            (
                json!({"maxmemory": 1, "eviction_policy": "allkeys-lru"}),
                Err("maxmemory-policy is allkeys-lru"),
            ),
            (
                json!({"maxmemory": 1, "eviction_policy": "volatile-ttl"}),
                Ok("volatile-ttl"),
            ),
            (json!({"replicas": 1}), Err("no min-replicas-to-write")),
            (
                json!({"replicas": 1, "needs_replicas": true}),
                Ok("a primary with 1 replicas"),
            ),
            (json!({"replicas": 1, "cluster": true}), Ok("a primary")),
            (
                json!({"seconds": 0.026}),
                Err("needs 26.0 ms for an answer"),
            ),
        ] {
            let mut engine = good.clone();
            for (field, value) in change.as_object().expect("an object") {
                engine[field] = value.clone();
            }
            match (state(&engine), expected) {
                (Ok(text), Ok(part)) | (Err(text), Err(part)) => {
                    assert!(text.contains(part), "{change}: {text}");
                }
                (other, _) => panic!("{change}: {other:?}"),
            }
        }
    }
}
