//! The freshness lifetime of a response: the rules that set it, in order of precedence.

use std::time::{Duration, SystemTime};

use http::{StatusCode, header};
use serde::{Deserialize, Serialize};

use super::dates::DateField;
use super::directive::DeltaSeconds;
use super::directives::ResponseDirectives;
use super::exchange::Exchange;
use super::facts::Facts;
use crate::config::{self, CallStatus, OriginRule};
use crate::label::{Label as _, labels};

/// A freshness lifetime and the rule that set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifetime {
    /// The age at which the response becomes stale. Zero: validated before every use.
    pub length: Duration,
    /// The first rule that applied.
    pub rule: Rule,
}

/// The rules of a route for lifetimes.
#[derive(Clone, Copy, Debug, Default)]
pub struct RouteRule {
    /// The route's own `ttl`, which replaces `freshness.default`.
    pub ttl: Option<Duration>,
    /// Whether its resources are calls, whose JSON has a `status`.
    pub is_call: bool,
}

labels! {
    /// The rules that set a lifetime, in order of precedence.
    #[derive(Serialize, Deserialize)]
    pub enum Rule {
        NoCache => "no-cache": "`no-cache`: validated before every use",
        Invalid => "invalid": "The origin's lifetime is invalid or contradictory: stale at once",
        CdnCacheControl => "cdn-cache-control": "`CDN-Cache-Control`",
        SMaxAge => "s-maxage": "`s-maxage`",
        MaxAge => "max-age": "`max-age`",
        Expires => "expires": "`Expires` minus `Date`",
        Status => "status": "The status of the call (`freshness.status`)",
        Settling => "settling": "The call has just ended (`freshness.settling`)",
        Unfinished => "unfinished": "The call has ended, but parts of it are still missing (`freshness.settling`)",
        Unknown => "unknown": "A call without a status that we know: the shortest lifetime configured",
        NotFound => "not-found": "A 404 or 410 without an explicit lifetime (`freshness.not_found`)",
        Heuristic => "heuristic": "A tenth of the time since `Last-Modified`",
        Route => "route": "The route's own `ttl`",
        Default => "default": "`freshness.default`",
        Silent => "silent": "No rule gives this status a lifetime, and it has no explicit one",
    }
}

/// The lifetime of a response, by the first rule that applies.
///
/// `initial_age` dates a response from another cache: its call is judged as of that time.
pub(super) fn lifetime(
    exchange: &Exchange<'_>,
    directives: &ResponseDirectives,
    facts: &Facts,
    settings: &config::Freshness,
    route: RouteRule,
    initial_age: Duration,
) -> Lifetime {
    let received = exchange.received.wall;
    let generated = received
        .checked_sub(initial_age)
        .unwrap_or(SystemTime::UNIX_EPOCH);
    let Lifetime { length, rule } = by_origin(directives, exchange, settings.origin)
        .or_else(|| by_call(exchange.status, facts, settings, generated))
        .or_else(|| {
            let shortest = || Rule::Unknown.lasting(shortest(settings, route));
            is_unknown(exchange.status, facts, route).then(shortest)
        })
        .or_else(|| by_status_code(exchange.status, directives, settings))
        .or_else(|| by_last_modified(exchange))
        .unwrap_or_else(|| match route.ttl {
            Some(length) => Rule::Route.lasting(length),
            None => Rule::Default.lasting(settings.default),
        });
    rule.lasting(length.min(settings.hard_limit))
}

// === impl Rule ===

impl Rule {
    fn lasting(self, length: Duration) -> Lifetime {
        Lifetime { length, rule: self }
    }

    /// Whether the origin has set the lifetime.
    pub(super) fn is_of_origin(self) -> bool {
        match self {
            Self::NoCache
            | Self::Invalid
            | Self::CdnCacheControl
            | Self::SMaxAge
            | Self::MaxAge
            | Self::Expires => true,
            Self::Status
            | Self::Settling
            | Self::Unfinished
            | Self::Unknown
            | Self::NotFound
            | Self::Heuristic
            | Self::Route
            | Self::Default
            | Self::Silent => false,
        }
    }
}

/// Whether a response is a call whose status is missing, written in an unknown way, or not known to
/// this version: how soon it changes is unknown, too.
pub(super) fn is_unknown(code: StatusCode, facts: &Facts, route: RouteRule) -> bool {
    route.is_call && code == StatusCode::OK && facts.status.is_none()
}

/// The shortest lifetime configured for a call.
fn shortest(settings: &config::Freshness, route: RouteRule) -> Duration {
    let of_status = |status: &CallStatus| settings.status.of(*status);
    let others = [Some(settings.settling), Some(settings.default), route.ttl];
    let all = CallStatus::ALL.iter().map(of_status);
    all.chain(others.into_iter().flatten())
        .min()
        .unwrap_or_default()
}

/// The origin's explicit lifetime (RFC 9111 §4.2.1); RFC 9213 takes precedence.
fn by_origin(
    directives: &ResponseDirectives,
    exchange: &Exchange<'_>,
    origin: OriginRule,
) -> Option<Lifetime> {
    if directives.no_cache {
        return Some(Rule::NoCache.lasting(Duration::ZERO));
    }
    if directives.malformed {
        return Some(Rule::Invalid.lasting(Duration::ZERO));
    }
    let deltas = [
        (directives.s_maxage, Rule::SMaxAge),
        (directives.max_age, Rule::MaxAge),
    ];
    for (delta, rule) in deltas {
        let rule = if directives.targeted {
            Rule::CdnCacheControl
        } else {
            rule
        };
        match delta {
            Some(DeltaSeconds::Invalid) => return Some(Rule::Invalid.lasting(Duration::ZERO)),
            Some(delta) => return Some(rule.lasting(delta.length())),
            None => {}
        }
    }
    if directives.targeted || origin == OriginRule::Override {
        return None;
    }
    match exchange.date_in(&header::EXPIRES) {
        DateField::Absent => None,
        // Also `Expires: 0` (§5.3).
        DateField::Invalid => Some(Rule::Expires.lasting(Duration::ZERO)),
        DateField::At(end) => {
            let length = end.duration_since(exchange.date());
            Some(Rule::Expires.lasting(length.unwrap_or_default()))
        }
    }
}

/// The lifetime by a call's status: as long as the status is likely to last.
///
/// `generated` is when the origin generated the response.
fn by_call(
    code: StatusCode,
    facts: &Facts,
    settings: &config::Freshness,
    generated: SystemTime,
) -> Option<Lifetime> {
    let status = facts.status.filter(|_| code == StatusCode::OK)?;
    if status.is_terminal() {
        if facts.unfinished {
            return Some(Rule::Unfinished.lasting(settings.settling));
        }
        // A call without an end time may have just ended.
        let settling = facts.end_time.or(facts.modified_at).is_none_or(|end| {
            end.checked_add(settings.settling_window)
                .is_none_or(|settled| generated < settled)
        });
        if settling {
            return Some(Rule::Settling.lasting(settings.settling));
        }
    }
    let length = settings.status.of(status);
    Some(Rule::Status.lasting(length))
}

/// The lifetime of status codes to which the heuristic and the default do not apply.
///
/// Errors need an explicit lifetime, except 404 and 410 (`freshness.not_found`). `None` for the
/// heuristically cacheable status codes of RFC 9110 §15.1, and with `public` for any other that is
/// not an error (RFC 9111 §4.2.2).
fn by_status_code(
    code: StatusCode,
    directives: &ResponseDirectives,
    settings: &config::Freshness,
) -> Option<Lifetime> {
    match code.as_u16() {
        404 | 410 => Some(Rule::NotFound.lasting(settings.not_found)),
        200 | 203 | 204 | 300 | 301 | 308 => None,
        200..400 if directives.public => None,
        _ => Some(Rule::Silent.lasting(Duration::ZERO)),
    }
}

/// A tenth of the time since `Last-Modified` (RFC 9111 §4.2.2).
fn by_last_modified(exchange: &Exchange<'_>) -> Option<Lifetime> {
    let changed = exchange.date_in(&header::LAST_MODIFIED).valid()?;
    let unchanged = exchange.date().duration_since(changed).ok()?;
    Some(Rule::Heuristic.lasting(unchanged / 10))
}
