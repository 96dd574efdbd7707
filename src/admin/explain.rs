//! `GET /explain?path=/v1/calls/ID[&scope=DIGEST]`: why a call is, or is not, a hit.
//!
//! For each stored response of the path: its scope, age, lifetime and the rule that set it, the
//! limits of each view, and whether it was invalidated. Also why the last request was not a hit, and the
//! request fields that fetches do not forward, of which the origin's response may depend. Queries, and so
//! the lists of views, and names of a body are shown only with the admin token.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::query::{self, parameters};
use super::{Admin, AdminResponse, json as json_response, text};
use crate::cache::{Entry, Inspection, Representation};
use crate::coding::Coding;
use crate::config::CacheMode;
use crate::label::Label as _;
use crate::policy::{self, Moment, Recheck, RequestDirectives, StaleUse, Verdict};
use crate::request::ScopeId;
use crate::telemetry::Unserved;
use crate::upstream::BreakerState;
use crate::view;

/// Most stored responses that are looked for in the shared level.
const MAX_PEEKS: usize = 64;

/// Shown instead of what needs the admin token.
pub(super) const HIDDEN: &str = "hidden: needs the admin token";

impl Admin {
    /// `is_admin`: with the admin token. Queries and bodies may contain personal data.
    pub(super) fn explain(&self, query: Option<&str>, is_admin: bool) -> AdminResponse {
        let Some((path, scope)) = parse(query.unwrap_or_default()) else {
            return text(
                StatusCode::BAD_REQUEST,
                "specify ?path=/v1/calls/ID without a query, and &scope=DIGEST for one scope only\n",
            );
        };
        let now = self.clock.now();
        let found = self.store.inspect(&path, scope);
        let mut stored: Vec<_> = found
            .iter()
            .map(|stored| self.describe_response(stored, is_admin, now))
            .collect();
        let peeks = found
            .iter()
            .take(MAX_PEEKS)
            .map(|stored| self.shared.explain(&stored.key));
        let shared = Handle::current().block_on(join_all(peeks));
        for (described, shared) in stored.iter_mut().zip(shared) {
            described["shared"] = shared.into();
        }
        let route = self.routes.find(&path);
        let route = route.map(|route| self.routes.name(route));
        let summary = match (route, stored.is_empty()) {
            _ if self.mode() == CacheMode::Off => {
                "cache.mode is \"off\": every request is forwarded"
            }
            (None, _) => "no cacheable route matches: every request for it is forwarded",
            (Some(_), true) if self.state().origin.breaker != BreakerState::Closed => {
                "nothing is stored, and the circuit breaker is open: the next request gets 503 unless a probe succeeds"
            }
            (Some(_), true) if self.shared.seen().is_some() => {
                "nothing is stored here; the next request may find the response of another replica"
            }
            (Some(_), true) => "nothing is stored: the next request for it is a miss",
            (Some(_), false) => {
                "the stored responses are listed below; any other request is a miss"
            }
        };
        json_response(
            StatusCode::OK,
            &json!({
                "summary": summary,
                "route": route,
                "stored": stored,
                "last": self.last_reasons(&path, scope, now),
                "waiting": self.waiting.of_path(&path, scope),
                "fields_left_out": self.metrics.left_out.counts(),
            }),
        )
    }

    /// Why the last request was not a hit, and the last response not stored, for each scope.
    fn last_reasons(&self, path: &str, scope: Option<ScopeId>, now: Moment) -> Vec<Value> {
        let reason = |name: &str, meaning: &str, at: Duration| {
            let ago = now.mono.saturating_sub(at).as_secs();
            json!({ "reason": name, "meaning": meaning, "seconds_ago": ago })
        };
        let last = self.metrics.reasons.of(path, scope).into_iter();
        let last = last.map(|(scope, last)| {
            let miss = last.miss.map(|(why, at)| match why {
                Unserved::NotHit(why) => reason(why.as_str(), why.sentence(), at),
                Unserved::Bypass(why) => reason(why.as_str(), why.sentence(), at),
            });
            let not_stored = last.not_stored;
            json!({
                "scope": scope.map(|scope| scope.to_string()),
                "last_miss": miss,
                "last_not_stored":
                    not_stored.map(|(why, at)| reason(why.as_str(), why.sentence(), at)),
            })
        });
        last.collect()
    }

    fn describe_response(&self, stored: &Inspection, is_admin: bool, now: Moment) -> Value {
        let Inspection {
            key,
            entry,
            is_valid,
        } = stored;
        let freshness = &entry.freshness;
        let acceptance = entry.acceptance().map(|acceptance| acceptance.last());
        let (every, if_error) = self.reloadable.load().recheck;
        let recheck = acceptance.map_or(Recheck::NotDue, |last| {
            policy::recheck(last, every, if_error, now.mono)
        });
        let views = entry.views();
        let views = views.iter().map(|(view, derived)| {
            let mut described = describe(entry, derived, *is_valid, recheck, now);
            let unmatched = view::misspelt(&entry.whole.body, view);
            let unmatched = unmatched
                .iter()
                .map(|path| json!({ "path": path.path, "nearest": path.nearest }));
            described["unmatched"] = unmatched.collect();
            (view.as_str().to_owned(), described)
        });
        json!({
            "scope": key.scope().id().to_string(),
            "query": match key.target().query() {
                Some(_) if !is_admin => Some(HIDDEN),
                query => query,
            },
            "varies_by": entry.vary.names().map(ToString::to_string).collect::<Vec<_>>(),
            "status": entry.whole.status.as_u16(),
            "invalidated": !is_valid,
            "age_seconds": freshness.age(now).as_secs(),
            "accepted_seconds_ago": acceptance.map(|last| now.mono.saturating_sub(last).as_secs()),
            "rule": freshness.lifetime.rule.as_str(),
            "rule_lifetime_seconds": freshness.lifetime.length.as_secs(),
            "stale": stale_use(freshness.stale_use),
            "weight_bytes": entry.weight(),
            "whole": describe(entry, &entry.whole, *is_valid, recheck, now),
            "views": match is_admin {
                true => views.collect(),
                false if views.len() == 0 => json!({}),
                false => json!(HIDDEN),
            },
        })
    }
}

/// The path to explain, and the scope if one is given; `None` if the query is invalid.
fn parse(query: &str) -> Option<(String, Option<ScopeId>)> {
    let [path, scope] = parameters(query, ["path", "scope"])?;
    let scope = match scope {
        Some(digest) => Some(ScopeId::parse(digest)?),
        None => None,
    };
    Some((query::path(path?)?, scope))
}

/// Describes a representation and the outcome of a request for it now.
fn describe(
    entry: &Entry,
    representation: &Representation,
    is_valid: bool,
    recheck: Recheck,
    now: Moment,
) -> Value {
    let verdict = policy::verdict(
        &entry.freshness,
        representation.limits,
        &RequestDirectives::default(),
        now,
    );
    let next_request = match verdict {
        _ if !is_valid => "miss: invalidated by a purge, a write or a refused token",
        Verdict::Unusable => {
            "fetched again: a pre-signed URL has expired, or freshness.hard_limit is reached"
        }
        _ if let Recheck::Overdue { on_error } = recheck => {
            let is_forbidden = matches!(
                verdict,
                Verdict::Stale {
                    on_error_until: None
                }
            );
            if on_error && !is_forbidden {
                "revalidated with the origin to recheck the token; served stale if that fails"
            } else {
                "revalidated with the origin to recheck the token"
            }
        }
        Verdict::Fresh { .. } => "hit",
        Verdict::Usable { .. } => "hit, stale, refreshed in the background",
        Verdict::Stale {
            on_error_until: Some(_),
        } => "revalidated with the origin; served stale if that fails",
        Verdict::Stale {
            on_error_until: None,
        } => "revalidated with the origin",
    };
    let lifetime = entry.freshness.lifetime.length;
    let live = representation.limits.live.filter(|live| *live < lifetime);
    let encoded = Coding::ALL.iter().filter_map(|&coding| {
        let encoding = representation.encodings.get(coding)?;
        Some((coding.as_str().to_owned(), encoding.body.len().into()))
    });
    json!({
        "next_request": next_request,
        "ttl_seconds": policy::ttl_seconds(&entry.freshness, representation.limits, now),
        "lifetime_seconds": live.unwrap_or(lifetime).as_secs(),
        "limited_by": live.map(|_| "live parts (freshness.live)"),
        "signed_until": representation.limits.signed_until.map(date),
        "body_bytes": representation.body.len(),
        "coded_bytes": encoded.collect::<serde_json::Map<_, _>>(),
    })
}

/// A time found in a body, clamped to what a timestamp can represent.
fn date(time: SystemTime) -> String {
    let timestamp = Timestamp::try_from(time).unwrap_or(if time < UNIX_EPOCH {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    });
    timestamp.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn stale_use(stale: StaleUse) -> Value {
    match stale {
        StaleUse::Forbidden => json!("forbidden"),
        StaleUse::Allowed {
            while_revalidate,
            if_error,
        } => json!({
            "while_revalidate_seconds": while_revalidate.as_secs(),
            "if_error_seconds": if_error.as_secs(),
        }),
    }
}
