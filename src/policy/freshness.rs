//! The freshness of a response, assessed on arrival and stored with it.

use std::time::Duration;

use http::{HeaderMap, StatusCode};

use super::directive::DeltaSeconds;
use super::directives::ResponseDirectives;
use super::exchange::{Exchange, Moment};
use super::facts::Facts;
use super::lifetime::{self, Lifetime};
use crate::config::{self, OriginRule};

/// The stored basis of every later [`verdict`](super::verdict()) on a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// When the response arrived.
    pub received: Moment,
    /// How old it was then (`corrected_initial_age`, RFC 9111 §4.2.3).
    pub initial_age: Duration,
    /// For how long it is fresh.
    pub lifetime: Lifetime,
    /// Its use after that.
    pub stale_use: StaleUse,
    /// The age from which it is not used at all (`freshness.hard_limit`).
    pub hard_limit: Duration,
}

/// The use of a response after its lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaleUse {
    /// Nothing: `must-revalidate`, `proxy-revalidate`, `no-cache` or `s-maxage`
    /// (RFC 9111 §4.2.4, §5.2.2.10).
    Forbidden,
    /// It may be served for these lengths (RFC 5861).
    Allowed {
        /// While it is refreshed in the background.
        while_revalidate: Duration,
        /// When the origin fails.
        if_error: Duration,
    },
}

/// Assesses a response: its age, its lifetime, its stale use.
///
/// `facts` are those of the whole body; what a view shows of it is judged at each use
/// ([`verdict`](super::verdict())). `route_ttl` stands in for `freshness.default`.
#[must_use]
pub fn assess(
    exchange: &Exchange<'_>,
    facts: &Facts,
    settings: &config::Freshness,
    route_ttl: Option<Duration>,
) -> Freshness {
    let said = heeded(exchange.response, settings.origin);
    let initial_age = exchange.initial_age();
    let lifetime = lifetime::lifetime(exchange, &said, facts, settings, route_ttl, initial_age);
    Freshness {
        received: exchange.received,
        initial_age,
        lifetime,
        stale_use: stale_use(&said, exchange.status, facts, settings),
        hard_limit: settings.hard_limit,
    }
}

// === impl Freshness ===

impl Freshness {
    /// `current_age` (RFC 9111 §4.2.3); whole seconds of it are the `Age` field.
    #[must_use]
    pub fn age(&self, now: Moment) -> Duration {
        let resident = now.mono.saturating_sub(self.received.mono);
        self.initial_age.saturating_add(resident)
    }
}

/// Under `freshness.origin = "override"` only the directives about storing count: lifetime and stale
/// use are then set by the configuration.
fn heeded(head: &HeaderMap, origin: OriginRule) -> ResponseDirectives {
    let said = ResponseDirectives::read(head);
    match origin {
        OriginRule::Obey => said,
        OriginRule::Override => ResponseDirectives {
            no_store: said.no_store,
            private: said.private,
            public: said.public,
            must_understand: said.must_understand,
            ..ResponseDirectives::default()
        },
    }
}

/// RFC 9111 §4.2.4 and RFC 5861; where the origin does not say, the settings stand for the
/// agreement that §4.2.4 asks for.
fn stale_use(
    said: &ResponseDirectives,
    code: StatusCode,
    facts: &Facts,
    settings: &config::Freshness,
) -> StaleUse {
    if said.must_revalidate || said.proxy_revalidate || said.no_cache || said.s_maxage.is_some() {
        return StaleUse::Forbidden;
    }
    let has_ended = facts.status.is_some_and(config::CallStatus::is_terminal);
    // A stale error is not worth repeating.
    let is_error = code.is_client_error() || code.is_server_error();
    let or = |directive: Option<DeltaSeconds>, applies, ours| match directive {
        Some(delta) => delta.length(),
        None if applies => ours,
        None => Duration::ZERO,
    };
    StaleUse::Allowed {
        while_revalidate: or(
            said.stale_while_revalidate,
            has_ended && code == StatusCode::OK,
            settings.stale_while_revalidate,
        ),
        if_error: or(said.stale_if_error, !is_error, settings.stale_if_error),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use http::header;

    use super::*;
    use crate::config::CallStatus;
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
        let exchange = Exchange {
            status: StatusCode::from_u16(status).expect("a status"),
            response: &response,
            requested: received(),
            received: received(),
        };
        assess(&exchange, facts, settings, None)
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
    fn a_call_lives_by_its_status() {
        for &status in CallStatus::ALL {
            let settings = config::Freshness::default();
            let then = (settings.status.of(status), Rule::Status);
            assert_eq!(lifetime(&ended(status, MINUTE * 60)), then, "{status:?}");
        }
        assert_eq!(lifetime(&Facts::default()), (MINUTE, Rule::Default));
    }

    #[test]
    fn a_call_that_has_just_ended_settles() {
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
        // One that still moves does not settle, whenever it changed.
        let moving = (SECOND * 2, Rule::Status);
        assert_eq!(lifetime(&ended(CallStatus::Ringing, SECOND)), moving);
    }

    #[test]
    fn a_call_with_parts_to_come_is_unfinished_whenever_it_ended() {
        let facts = Facts {
            unfinished: true,
            ..ended(CallStatus::Completed, MINUTE * 600)
        };
        assert_eq!(lifetime(&facts), (SECOND * 10, Rule::Unfinished));
    }

    #[test]
    fn a_call_from_an_older_cache_is_judged_as_of_then() {
        let settings = config::Freshness::default();
        let facts = ended(CallStatus::Completed, MINUTE * 12);
        let age = [(header::AGE, "300")];
        let then = assessed(200, &age, &facts, &settings).lifetime.rule;
        assert_eq!(then, Rule::Settling);
    }

    #[test]
    fn the_origin_speaks_first_unless_it_is_overridden() {
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
    fn background_refresh_by_our_own_rule_is_for_ended_calls() {
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
    fn nothing_is_fresh_beyond_the_hard_limit() {
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
