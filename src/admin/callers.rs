//! The callers in `/stats`: the scopes with the most requests in the last minutes, and those with names.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::UNIX_EPOCH;

use serde_json::{Value, json};

use crate::request::ScopeId;
use crate::telemetry::{BusiestCounts, Callers, REFUSALS, Traffic, hit_ratio};

/// Maximum scopes, and paths, listed by the number of their requests.
pub(super) const MAX_BUSIEST: usize = 20;

/// The same for scopes with `callers=1`; named ones can be more.
const MAX_CALLERS: usize = 100;

/// The callers with the most requests first; those with names are all listed. `waiting`: the requests that
/// wait, by scope.
pub(super) fn callers(
    counts: &BusiestCounts,
    named: &Callers,
    mut waiting: HashMap<ScopeId, usize>,
    all: bool,
) -> Value {
    let named = named.all();
    let scopes = counts.scopes();
    let mut listed: HashSet<_> = scopes.iter().map(|(scope, _)| *scope).collect();
    let mut quiet: Vec<_> = named.iter().collect();
    quiet.sort_by_key(|(scope, caller)| (&caller.name, **scope));
    let quiet = quiet.into_iter().map(|(scope, caller)| {
        let last = caller.last();
        let traffic = Traffic {
            last,
            ..Traffic::default()
        };
        (*scope, traffic)
    });
    // Their first requests have not ended.
    let new = waiting.keys().map(|scope| (*scope, Traffic::default()));
    let others: Vec<_> = quiet
        .chain(new)
        .filter(|(scope, _)| listed.insert(*scope))
        .collect();
    let limit = if all { MAX_CALLERS } else { MAX_BUSIEST };
    let mut described = Vec::new();
    for (scope, traffic) in scopes.into_iter().chain(others) {
        let name = named.get(&scope).map(|caller| &caller.name);
        if described.len() >= limit && name.is_none() {
            continue;
        }
        let mut caller = counts_of("scope", &scope.to_string(), &traffic);
        caller["name"] = json!(name);
        caller["waiting"] = json!(waiting.remove(&scope).unwrap_or_default());
        described.push(caller);
    }
    described.into()
}

/// The counts of a scope or a path, which this member names.
pub(super) fn counts_of(member: &str, key: &str, traffic: &Traffic) -> Value {
    let last = traffic
        .last
        .and_then(|last| last.duration_since(UNIX_EPOCH).ok());
    let refused = REFUSALS.iter().zip(traffic.refused);
    json!({
        member: key,
        "requests": traffic.requests,
        "hit_ratio": hit_ratio(traffic.hits, traffic.misses),
        "bytes": traffic.bytes,
        "origin_requests": traffic.origin_requests,
        "refused": refused.map(|(status, count)| (status.as_str(), count)).collect::<BTreeMap<_, _>>(),
        "views": traffic.views,
        "last_seen": last.map(|last| last.as_secs()),
    })
}
