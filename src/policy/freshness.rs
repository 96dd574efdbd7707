//! The freshness of a response, assessed on arrival and stored with it.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::directive::DeltaSeconds;
use super::directives::ResponseDirectives;
use super::exchange::{Exchange, Moment};
use super::facts::Facts;
use super::lifetime::{self, Lifetime, RouteRule};
use crate::config::{self, CallStatus, OriginRule};

/// The stored basis of every [`verdict`](super::verdict()) on a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freshness {
    /// When the response arrived; on the wall clock, the later of our time and its `Date`.
    pub received: Moment,
    /// When the origin sent the body, by the earlier of both clocks.
    pub body_sent: SystemTime,
    /// Its age on arrival (`corrected_initial_age`, RFC 9111 §4.2.3).
    pub initial_age: Duration,
    /// How long it is fresh, and why.
    pub lifetime: Lifetime,
    /// How it may be used once stale.
    pub stale_use: StaleUse,
    /// The age at which it becomes unusable (`freshness.hard_limit`).
    pub hard_limit: Duration,
    /// The status of the call, if the response is one.
    pub status: Option<CallStatus>,
    /// Whether it is a call whose status is unknown: any live part may be in any view.
    pub is_unknown: bool,
}

/// How a response may be used after its lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StaleUse {
    /// Not at all: `must-revalidate`, `proxy-revalidate`, `no-cache` or `s-maxage`
    /// (RFC 9111 §4.2.4, §5.2.2.10).
    Forbidden,
    /// It may be served for this long after its lifetime (RFC 5861).
    Allowed {
        /// While it is revalidated in the background.
        while_revalidate: Duration,
        /// If the origin fails.
        if_error: Duration,
    },
}

/// Assesses a response: its age, its lifetime, its stale use.
///
/// `facts` are those of the whole body; the limits of a view apply at each use
/// ([`verdict`](super::verdict())).
pub fn assess(
    exchange: &Exchange<'_>,
    facts: &Facts,
    settings: &config::Freshness,
    route: RouteRule,
) -> Freshness {
    assess_at(exchange.initial_age(), exchange, facts, settings, route)
}

/// Assesses a stored response again, by other settings. `exchange` has its stored head.
pub fn reassess(
    stored: &Freshness,
    exchange: &Exchange<'_>,
    facts: &Facts,
    settings: &config::Freshness,
    route: RouteRule,
) -> Freshness {
    Freshness {
        body_sent: stored.body_sent,
        ..assess_at(stored.initial_age, exchange, facts, settings, route)
    }
}

fn assess_at(
    initial_age: Duration,
    exchange: &Exchange<'_>,
    facts: &Facts,
    settings: &config::Freshness,
    route: RouteRule,
) -> Freshness {
    let directives = obeyed(&exchange.directives, settings.origin);
    let lifetime = lifetime::lifetime(exchange, &directives, facts, settings, route, initial_age);
    let received = exchange.received;
    Freshness {
        received: Moment {
            wall: received.wall.max(exchange.date()),
            ..received
        },
        body_sent: exchange.sent(),
        initial_age,
        lifetime,
        stale_use: stale_use(&directives, exchange.status, facts, settings, lifetime),
        hard_limit: settings.hard_limit,
        status: facts.status.filter(|_| exchange.status == StatusCode::OK),
        is_unknown: lifetime::is_unknown(exchange.status, facts, route),
    }
}

// === impl Freshness ===

impl Freshness {
    /// `current_age` (RFC 9111 §4.2.3); in whole seconds, the value of `Age`.
    pub fn age(&self, now: Moment) -> Duration {
        let resident = now.mono.saturating_sub(self.received.mono);
        self.initial_age.saturating_add(resident)
    }
}

/// The directives to obey. Under `freshness.origin = "override"` only those about storing: the
/// configuration sets lifetime and stale use.
fn obeyed(directives: &ResponseDirectives, origin: OriginRule) -> ResponseDirectives {
    match origin {
        OriginRule::Obey => directives.clone(),
        OriginRule::Override => ResponseDirectives {
            no_store: directives.no_store,
            private: directives.private,
            public: directives.public,
            must_understand: directives.must_understand,
            ..ResponseDirectives::default()
        },
    }
}

/// How a response may be used once stale (RFC 9111 §4.2.4, RFC 5861). Without directives of the
/// origin, the settings are the prior agreement that §4.2.4 requires.
fn stale_use(
    directives: &ResponseDirectives,
    code: StatusCode,
    facts: &Facts,
    settings: &config::Freshness,
    lifetime: Lifetime,
) -> StaleUse {
    if directives.must_revalidate
        || directives.proxy_revalidate
        || directives.no_cache
        || directives.s_maxage.is_some()
    {
        return StaleUse::Forbidden;
    }
    let has_ended = facts.status.is_some_and(config::CallStatus::is_terminal);
    // A stale error is not worth serving.
    let is_error = code.is_client_error() || code.is_server_error();
    let or = |directive: Option<DeltaSeconds>, applies, ours| match directive {
        Some(delta) => delta.length(),
        None if applies => ours,
        None => Duration::ZERO,
    };
    StaleUse::Allowed {
        while_revalidate: or(
            directives.stale_while_revalidate,
            has_ended && code == StatusCode::OK && !lifetime.rule.is_of_origin(),
            settings.stale_while_revalidate,
        ),
        if_error: or(
            directives.stale_if_error,
            !is_error,
            settings.stale_if_error,
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use http::{HeaderMap, header};

    use super::*;
    use crate::label::Label as _;
    use crate::policy::Rule;

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_mins(1);

    fn received() -> Moment {
        Moment {
            mono: MINUTE,
            wall: SystemTime::UNIX_EPOCH + Duration::from_hours(24 * 365 * 50),
        }
    }

    fn assessed(
        status: u16,
        fields: &[(header::HeaderName, &'static str)],
        facts: &Facts,
        settings: &config::Freshness,
    ) -> Freshness {
        let mut response = HeaderMap::new();
        for (name, value) in fields {
            response.append(name, header::HeaderValue::from_static(value));
        }
        let status = StatusCode::from_u16(status).expect("a status");
        let exchange = Exchange::new(status, &response, received(), received());
        assess(&exchange, facts, settings, RouteRule::default())
    }

    fn ended(status: CallStatus, ago: Duration) -> Facts {
        Facts {
            status: Some(status),
            end_time: Some(received().wall - ago),
            ..Facts::default()
        }
    }

    fn lifetime(facts: &Facts) -> (Duration, Rule) {
        let settings = config::Freshness::default();
        let Lifetime { length, rule } = assessed(200, &[], facts, &settings).lifetime;
        (length, rule)
    }

    #[test]
    fn the_lifetime_of_a_call_depends_on_its_status() {
        for &status in CallStatus::ALL {
            let settings = config::Freshness::default();
            let then = (settings.status.of(status), Rule::Status);
            assert_eq!(lifetime(&ended(status, MINUTE * 60)), then, "{status:?}");
        }
        assert_eq!(lifetime(&Facts::default()), (MINUTE, Rule::Default));
    }

    #[test]
    fn a_call_that_has_just_ended_has_the_settling_lifetime() {
        let settling = (SECOND * 10, Rule::Settling);
        let settled = (MINUTE * 10, Rule::Status);
        assert_eq!(lifetime(&ended(CallStatus::Failed, MINUTE * 9)), settling);
        assert_eq!(lifetime(&ended(CallStatus::Failed, MINUTE * 10)), settled);
        let modified = |ago| Facts {
            end_time: None,
            modified_at: Some(received().wall - ago),
            ..ended(CallStatus::Busy, MINUTE)
        };
        assert_eq!(lifetime(&modified(MINUTE)), settling);
        assert_eq!(lifetime(&modified(MINUTE * 11)), settled);
        let undated = Facts {
            end_time: None,
            ..ended(CallStatus::Busy, MINUTE)
        };
        assert_eq!(lifetime(&undated), settling);
        // A call in progress is not settling, whenever it was modified.
        let in_progress = (SECOND * 2, Rule::Status);
        assert_eq!(lifetime(&ended(CallStatus::Ringing, SECOND)), in_progress);
    }

    #[test]
    fn a_call_with_missing_parts_is_unfinished_whenever_it_ended() {
        let facts = Facts {
            unfinished: true,
            ..ended(CallStatus::Completed, MINUTE * 600)
        };
        assert_eq!(lifetime(&facts), (SECOND * 10, Rule::Unfinished));
    }

    #[test]
    fn settling_is_judged_at_the_time_the_response_was_generated() {
        let settings = config::Freshness::default();
        let facts = ended(CallStatus::Completed, MINUTE * 12);
        let age = [(header::AGE, "300")];
        let then = assessed(200, &age, &facts, &settings).lifetime.rule;
        assert_eq!(then, Rule::Settling);
    }

    #[test]
    fn directives_of_the_origin_take_precedence_unless_overridden() {
        let facts = ended(CallStatus::Completed, MINUTE * 60);
        let fields = [
            (
                header::CACHE_CONTROL,
                "no-cache, must-revalidate, max-age=1",
            ),
            (header::EXPIRES, "0"),
        ];
        let mut settings = config::Freshness::default();
        let obeyed = assessed(200, &fields, &facts, &settings);
        assert_eq!(obeyed.lifetime.rule, Rule::NoCache);
        assert_eq!(obeyed.stale_use, StaleUse::Forbidden);

        settings.origin = OriginRule::Override;
        let ours = assessed(200, &fields, &facts, &settings);
        assert_eq!(ours.lifetime.rule, Rule::Status);
        let then = StaleUse::Allowed {
            while_revalidate: SECOND * 5,
            if_error: MINUTE * 5,
        };
        assert_eq!(ours.stale_use, then);
    }

    #[test]
    fn background_revalidation_by_default_is_for_ended_calls_only() {
        let settings = config::Freshness::default();
        let windows = |status, facts: &Facts| assessed(status, &[], facts, &settings).stale_use;
        let allowed = |revalidate, error| StaleUse::Allowed {
            while_revalidate: SECOND * revalidate,
            if_error: SECOND * error,
        };
        assert_eq!(
            windows(200, &ended(CallStatus::Busy, MINUTE)),
            allowed(5, 300)
        );
        assert_eq!(
            windows(200, &ended(CallStatus::Queued, MINUTE)),
            allowed(0, 300)
        );
        assert_eq!(windows(200, &Facts::default()), allowed(0, 300));
        assert_eq!(windows(404, &Facts::default()), allowed(0, 0));
    }

    #[test]
    fn no_response_is_fresh_beyond_the_hard_limit() {
        let settings = config::Freshness {
            hard_limit: MINUTE,
            ..config::Freshness::default()
        };
        let fields = [(header::CACHE_CONTROL, "max-age=9999")];
        let freshness = assessed(200, &fields, &Facts::default(), &settings);
        assert_eq!(freshness.lifetime.length, MINUTE);
        assert_eq!(freshness.lifetime.rule, Rule::MaxAge);
    }
}
