//! The freshness lifetime of a response: the rules, in the order of their precedence.

use std::time::{Duration, SystemTime};

use http::{StatusCode, header};

use super::dates::DateField;
use super::directive::DeltaSeconds;
use super::directives::ResponseDirectives;
use super::exchange::Exchange;
use super::facts::Facts;
use crate::config::{self, OriginRule};
use crate::label::labels;

/// A freshness lifetime and the rule that set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// The age up to which the response is fresh. Zero: validated before every use.
    pub length: Duration,
    /// The first rule that spoke.
    pub rule: Rule,
}

labels! {
    /// The rules that set a lifetime, in the order of their precedence.
    pub enum Rule {
        /// `no-cache`: validated before every use.
        NoCache => "no-cache",
        /// The origin's lifetime is unreadable or contradicts itself: stale at once.
        Invalid => "invalid",
        /// `CDN-Cache-Control`.
        CdnCacheControl => "cdn-cache-control",
        /// `s-maxage`.
        SMaxAge => "s-maxage",
        /// `max-age`.
        MaxAge => "max-age",
        /// `Expires` less `Date`.
        Expires => "expires",
        /// The status of the call (`freshness.status`).
        Status => "status",
        /// The call has just ended (`freshness.settling`).
        Settling => "settling",
        /// The call has ended, and parts of it are still to come (`freshness.settling`).
        Unfinished => "unfinished",
        /// A 404 or 410 that says nothing about itself (`freshness.not_found`).
        NotFound => "not-found",
        /// A tenth of the time since `Last-Modified`.
        Heuristic => "heuristic",
        /// The route's own `ttl`.
        Route => "route",
        /// `freshness.default`.
        Default => "default",
        /// No rule applies to such a status without an explicit lifetime.
        Silent => "silent",
    }
}

/// The lifetime of a response, by the first rule that speaks.
///
/// `initial_age` tells when it was made: what an older cache hands on is judged as of then.
pub(super) fn lifetime(
    exchange: &Exchange<'_>,
    said: &ResponseDirectives,
    facts: &Facts,
    settings: &config::Freshness,
    route_ttl: Option<Duration>,
    initial_age: Duration,
) -> Lifetime {
    let received = exchange.received.wall;
    let made = received
        .checked_sub(initial_age)
        .unwrap_or(SystemTime::UNIX_EPOCH);
    let Lifetime { length, rule } = by_origin(said, exchange, settings.origin)
        .or_else(|| by_call(exchange.status, facts, settings, made))
        .or_else(|| by_status_code(exchange.status, said, settings))
        .or_else(|| by_last_modified(exchange))
        .unwrap_or_else(|| match route_ttl {
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
}

/// RFC 9111 §4.2.1, with RFC 9213 before it.
fn by_origin(
    said: &ResponseDirectives,
    exchange: &Exchange<'_>,
    origin: OriginRule,
) -> Option<Lifetime> {
    if said.no_cache {
        return Some(Rule::NoCache.lasting(Duration::ZERO));
    }
    if said.malformed {
        return Some(Rule::Invalid.lasting(Duration::ZERO));
    }
    let named = [(said.s_maxage, Rule::SMaxAge), (said.max_age, Rule::MaxAge)];
    for (delta, rule) in named {
        let rule = if said.targeted {
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
    if said.targeted || origin == OriginRule::Override {
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

/// A body that is a call lives as long as its status is likely to last.
///
/// `made` is when the response was generated: what an older cache hands on is judged as of
/// then.
fn by_call(
    code: StatusCode,
    facts: &Facts,
    settings: &config::Freshness,
    made: SystemTime,
) -> Option<Lifetime> {
    let status = facts.status.filter(|_| code == StatusCode::OK)?;
    if status.is_terminal() {
        if facts.unfinished {
            return Some(Rule::Unfinished.lasting(settings.settling));
        }
        // A call that does not say when it ended may have ended just now.
        let settling = facts.end_time.or(facts.modified_at).is_none_or(|end| {
            end.checked_add(settings.settling_window)
                .is_none_or(|settled| made < settled)
        });
        if settling {
            return Some(Rule::Settling.lasting(settings.settling));
        }
    }
    let length = settings.status.of(status);
    Some(Rule::Status.lasting(length))
}

/// Statuses that our own rules do not stretch to.
///
/// Errors live by an explicit lifetime alone, 404 and 410 briefly. Of the others, the
/// heuristically cacheable ones of RFC 9110 §15.1 go on to the next rule, and with `public`
/// any (RFC 9111 §4.2.2).
fn by_status_code(
    code: StatusCode,
    said: &ResponseDirectives,
    settings: &config::Freshness,
) -> Option<Lifetime> {
    match code.as_u16() {
        404 | 410 => Some(Rule::NotFound.lasting(settings.not_found)),
        200 | 203 | 204 | 300 | 301 | 308 => None,
        200..400 if said.public => None,
        _ => Some(Rule::Silent.lasting(Duration::ZERO)),
    }
}

/// A tenth of the time that it has not changed for (RFC 9111 §4.2.2).
fn by_last_modified(exchange: &Exchange<'_>) -> Option<Lifetime> {
    let changed = exchange.date_in(&header::LAST_MODIFIED).valid()?;
    let unchanged = exchange.date().duration_since(changed).ok()?;
    Some(Rule::Heuristic.lasting(unchanged / 10))
}
