//! The callers in `/stats`: the scopes with the most requests in the last minutes, and those with names.

use std::collections::BTreeMap;
use std::time::UNIX_EPOCH;

use serde_json::{Value, json};

use crate::telemetry::{BusiestCounts, Callers, REFUSALS, Traffic, hit_ratio};

/// Maximum scopes, and paths, listed by the number of their requests.
pub(super) const MAX_BUSIEST: usize = 20;

/// The callers with the most requests first; those with names are all listed.
pub(super) fn callers(counts: &BusiestCounts, named: &Callers, all: bool) -> Value {
    let mut unlisted = (*named.all()).clone();
    let limit = if all { usize::MAX } else { MAX_BUSIEST };
    let mut listed = Vec::new();
    for (scope, traffic) in counts.scopes() {
        let caller = unlisted.remove(&scope);
        if listed.len() < limit || caller.is_some() {
            listed.push((scope, caller, traffic));
        }
    }
    let mut quiet: Vec<_> = unlisted.into_iter().collect();
    quiet.sort_by(|(_, a), (_, b)| a.name.cmp(&b.name));
    listed.extend(quiet.into_iter().map(|(scope, caller)| {
        let last = caller.last();
        let traffic = Traffic {
            last,
            ..Traffic::default()
        };
        (scope, Some(caller), traffic)
    }));
    let described = listed.iter().map(|(scope, caller, traffic)| {
        let mut described = counts_of("scope", &scope.to_string(), traffic);
        described["name"] = json!(caller.as_ref().map(|caller| &caller.name));
        described
    });
    described.collect()
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
