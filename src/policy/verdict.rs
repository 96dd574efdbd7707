//! How a stored response may be used for a request (RFC 9111 §4.2, §5.2.1).

use std::time::Duration;

use super::directives::RequestDirectives;
use super::exchange::Moment;
use super::freshness::{Freshness, StaleUse};
use super::view_limits::ViewLimits;
use crate::config;

/// How a stored response may be used for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Serve it.
    Fresh {
        /// How long it stays fresh.
        ttl: Duration,
    },
    /// Serve it now, and revalidate it in the background.
    Usable {
        /// How long it has been stale.
        stale_for: Duration,
    },
    /// Validate it with the origin, or fetch it if it has no validator, before it is served.
    Stale {
        /// If the origin fails, it may be served while `now.mono` is less than this.
        on_error_until: Option<Duration>,
    },
    /// Fetch without conditions: even a validated body must not be served.
    Unusable,
}

/// Decides how a stored response may be used now, in a view with these limits, for a request with
/// these directives.
pub fn verdict(
    freshness: &Freshness,
    limits: ViewLimits,
    request: &RequestDirectives,
    now: Moment,
) -> Verdict {
    let end = end(freshness, limits, now);
    let Some(left) = positive(end, now.mono) else {
        return Verdict::Unusable;
    };
    let age = freshness.age(now);
    let length = length(freshness, limits);
    let must_validate = Verdict::Stale {
        on_error_until: None,
    };
    if request.no_cache || request.max_age.is_some_and(|most| is_too_old(age, most)) {
        return must_validate;
    }
    if let Some(fresh) = positive(length, age) {
        let ttl = fresh.min(left);
        let enough = request.min_fresh.is_none_or(|least| ttl >= least);
        // A response that is not fresh enough for the client is not served on an error either.
        return if enough {
            Verdict::Fresh { ttl }
        } else {
            must_validate
        };
    }
    let StaleUse::Allowed {
        while_revalidate,
        if_error,
    } = freshness.stale_use
    else {
        return must_validate;
    };
    // §5.2.1.1, §5.2.1.3: a request with `min-fresh`, or with `max-age` but no `max-stale`,
    // accepts no stale response.
    if request.min_fresh.is_some() || request.max_age.is_some() && request.max_stale.is_none() {
        return must_validate;
    }
    let stale_for = age.saturating_sub(length);
    if stale_for < while_revalidate || request.max_stale.is_some_and(|most| stale_for <= most) {
        return Verdict::Usable { stale_for };
    }
    let on_error_until =
        positive(if_error, stale_for).map(|more| now.mono.saturating_add(more).min(end));
    Verdict::Stale { on_error_until }
}

/// Whether a stored response is fresh in a view, regardless of the request's directives.
pub fn is_fresh(freshness: &Freshness, limits: ViewLimits, now: Moment) -> bool {
    positive(length(freshness, limits), freshness.age(now)).is_some()
        && positive(end(freshness, limits, now), now.mono).is_some()
}

/// The time for which a stored response can still be served without validation, fresh or stale.
pub fn remaining_life(freshness: &Freshness, now: Moment) -> Duration {
    let stale = match freshness.stale_use {
        StaleUse::Forbidden => Duration::ZERO,
        StaleUse::Allowed {
            while_revalidate,
            if_error,
        } => while_revalidate.max(if_error),
    };
    let end = freshness.lifetime.length.saturating_add(stale);
    end.min(freshness.hard_limit)
        .saturating_sub(freshness.age(now))
}

/// The shortest time between two fetches of a response that clients wait for.
const MIN_POLL: Duration = Duration::from_secs(1);

/// The time until a response that clients wait for is fetched again: when it is no longer fresh. If the
/// origin has it validated before every use, that is at the pace of `freshness.status`.
pub fn next_poll(
    freshness: &Freshness,
    limits: ViewLimits,
    settings: &config::Freshness,
    now: Moment,
) -> Duration {
    let verdict = verdict(freshness, limits, &RequestDirectives::default(), now);
    let (left, pace) = if let Verdict::Fresh { ttl } = verdict {
        (ttl, Duration::ZERO)
    } else {
        let pace = freshness.status.map(|status| settings.status.of(status));
        (Duration::ZERO, pace.unwrap_or_default())
    };
    let received = freshness.received.mono;
    let earliest = received.saturating_add(pace.max(MIN_POLL));
    left.max(earliest.saturating_sub(now.mono))
}

/// The remaining lifetime in whole seconds, rounded down; negative if stale. The `ttl` of
/// `Cache-Status` (RFC 9211 §2.4).
pub fn ttl_seconds(freshness: &Freshness, limits: ViewLimits, now: Moment) -> i64 {
    let age = freshness.age(now);
    let length = length(freshness, limits);
    let end = end(freshness, limits, now);
    let whole = |length: Duration| i64::try_from(length.as_secs()).unwrap_or(i64::MAX);
    if let (Some(fresh), Some(left)) = (positive(length, age), positive(end, now.mono)) {
        return whole(fresh.min(left));
    }
    let overdue = age.saturating_sub(length).max(now.mono.saturating_sub(end));
    -whole(overdue) - i64::from(overdue.subsec_nanos() > 0)
}

/// The largest `max-age` for a view with these limits, in seconds; `None` without limits.
pub fn view_max_age(freshness: &Freshness, limits: ViewLimits, now: Moment) -> Option<u64> {
    let until_expiry = limits.signed_until.map(|_| {
        let left = end(freshness, limits, now).saturating_sub(now.mono);
        freshness.age(now).as_secs().saturating_add(left.as_secs())
    });
    let live = limits.live.map(|live| live.as_secs());
    [until_expiry, live].into_iter().flatten().min()
}

/// The freshness lifetime in a view.
fn length(freshness: &Freshness, limits: ViewLimits) -> Duration {
    freshness
        .lifetime
        .length
        .min(limits.live.unwrap_or(Duration::MAX))
}

/// The amount by which `more` exceeds `less`; `None` if it does not.
fn positive(more: Duration, less: Duration) -> Option<Duration> {
    more.checked_sub(less).filter(|rest| !rest.is_zero())
}

/// Whether a response is older than the client accepts. `max-age=0` always requires validation,
/// even at an age of zero.
fn is_too_old(age: Duration, most: Duration) -> bool {
    age > most || most.is_zero()
}

/// When a response becomes unusable in a view, on the clock of `now.mono`: at the hard limit, or at
/// the expiry of a pre-signed URL.
fn end(freshness: &Freshness, limits: ViewLimits, now: Moment) -> Duration {
    let arrived = freshness.received.mono;
    let limit = arrived.saturating_add(freshness.hard_limit.saturating_sub(freshness.initial_age));
    let Some(signed_until) = limits.signed_until else {
        return limit;
    };
    // If the wall clock was set back after the arrival, expired URLs must stay expired.
    let wall = freshness
        .received
        .wall
        .checked_add(now.mono.saturating_sub(arrived))
        .map_or(now.wall, |elapsed| elapsed.max(now.wall));
    match signed_until.duration_since(wall) {
        Ok(left) => limit.min(now.mono.saturating_add(left)),
        Err(passed) => limit.min(now.mono.saturating_sub(passed.duration())),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::super::facts::{self, Facts};
    use super::super::lifetime::{Lifetime, Rule};
    use super::*;
    use crate::config;

    const HOUR: u64 = 3_600;

    fn at(seconds: u64) -> Moment {
        Moment {
            mono: Duration::from_secs(seconds),
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
        }
    }

    /// A response that arrived at 0 and is fresh for a minute.
    fn freshness() -> Freshness {
        Freshness {
            received: at(0),
            body_sent: at(0).wall,
            initial_age: Duration::ZERO,
            lifetime: Lifetime {
                length: Duration::from_mins(1),
                rule: Rule::MaxAge,
            },
            stale_use: StaleUse::Allowed {
                while_revalidate: Duration::from_secs(5),
                if_error: Duration::from_mins(5),
            },
            hard_limit: Duration::from_secs(HOUR),
            status: None,
            is_unknown: false,
        }
    }

    fn of(limits: ViewLimits, seconds: u64) -> (Verdict, i64) {
        let verdict = verdict(
            &freshness(),
            limits,
            &RequestDirectives::default(),
            at(seconds),
        );
        (verdict, ttl_seconds(&freshness(), limits, at(seconds)))
    }

    #[test]
    fn verdicts_go_from_fresh_to_unusable_with_age() {
        let seconds = Duration::from_secs;
        let table = [
            (0, Verdict::Fresh { ttl: seconds(60) }, 60),
            (59, Verdict::Fresh { ttl: seconds(1) }, 1),
            (
                60,
                Verdict::Usable {
                    stale_for: seconds(0),
                },
                0,
            ),
            (
                64,
                Verdict::Usable {
                    stale_for: seconds(4),
                },
                -4,
            ),
            (
                65,
                Verdict::Stale {
                    on_error_until: Some(seconds(360)),
                },
                -5,
            ),
            (
                359,
                Verdict::Stale {
                    on_error_until: Some(seconds(360)),
                },
                -299,
            ),
            (
                360,
                Verdict::Stale {
                    on_error_until: None,
                },
                -300,
            ),
            (
                HOUR - 1,
                Verdict::Stale {
                    on_error_until: None,
                },
                -3_539,
            ),
            (HOUR, Verdict::Unusable, -3_540),
        ];
        for (second, then, ttl) in table {
            assert_eq!(of(ViewLimits::default(), second), (then, ttl), "{second}");
        }
    }

    #[test]
    fn a_response_is_polled_when_it_expires_or_at_the_pace_of_its_status() {
        let settings = config::Freshness::default();
        let poll = |seconds, status, second| {
            let mut freshness = freshness();
            freshness.lifetime.length = Duration::from_secs(seconds);
            freshness.status = status;
            let left = next_poll(&freshness, ViewLimits::default(), &settings, at(second));
            left.as_secs()
        };
        let queued = Some(config::CallStatus::Queued);
        for (lifetime, status, second, expected) in [
            (60, None, 0, 60),
            (60, queued, 59, 1),
            (60, None, 61, 0),
            (0, None, 0, 1),
            (0, queued, 0, 15),
            (0, queued, 14, 1),
            (0, queued, 20, 0),
        ] {
            assert_eq!(
                poll(lifetime, status, second),
                expected,
                "{lifetime} {status:?} {second}"
            );
        }
    }

    #[test]
    fn the_shortest_live_part_limits_the_lifetime_of_a_view() {
        let settings = config::Freshness {
            live: [("a", 40), ("b", 20), ("c", 1)]
                .map(|(name, seconds)| (name.to_owned(), Duration::from_secs(seconds)))
                .to_vec(),
            ..config::Freshness::default()
        };
        let shown = facts::read(br#"{"a":{},"b":[]}"#, &settings.live, at(0).wall);
        let limits = ViewLimits::of(&shown, &settings, false);
        assert_eq!(limits.live, Some(Duration::from_secs(20)));
        let ttl = Duration::from_secs(10);
        assert_eq!(of(limits, 10), (Verdict::Fresh { ttl }, 10));
        let stale_for = Duration::from_secs(1);
        assert_eq!(of(limits, 21), (Verdict::Usable { stale_for }, -1));
        assert_eq!(view_max_age(&freshness(), limits, at(10)), Some(20));
        assert_eq!(
            view_max_age(&freshness(), ViewLimits::default(), at(10)),
            None
        );
        assert_eq!(
            ViewLimits::of(&Facts::default(), &settings, false),
            ViewLimits::default()
        );
    }

    #[test]
    fn a_view_with_an_expired_url_is_unusable() {
        let shown = Facts {
            signed_until: Some(at(80).wall),
            ..Facts::default()
        };
        // 80 s minus the margin of 30 s.
        let limits = ViewLimits::of(&shown, &config::Freshness::default(), false);
        let ttl = Duration::from_secs(1);
        assert_eq!(of(limits, 49), (Verdict::Fresh { ttl }, 1));
        assert_eq!(of(limits, 50), (Verdict::Unusable, 0));
        assert_eq!(of(limits, 55), (Verdict::Unusable, -5));
        for (second, most) in [(0, 50), (10, 50), (49, 50), (55, 55)] {
            assert_eq!(view_max_age(&freshness(), limits, at(second)), Some(most));
        }
    }

    #[test]
    fn setting_the_wall_clock_back_revives_no_expired_url() {
        let limits = ViewLimits {
            live: None,
            signed_until: Some(at(50).wall),
        };
        let set_back = Moment {
            wall: at(0).wall,
            ..at(55)
        };
        let request = RequestDirectives::default();
        assert_eq!(
            verdict(&freshness(), limits, &request, set_back),
            Verdict::Unusable
        );
    }

    #[test]
    fn the_stale_if_error_window_ends_at_the_hard_limit() {
        let freshness = Freshness {
            hard_limit: Duration::from_secs(100),
            ..freshness()
        };
        let request = RequestDirectives::default();
        let on_error_until = Some(Duration::from_secs(100));
        assert_eq!(
            verdict(&freshness, ViewLimits::default(), &request, at(70)),
            Verdict::Stale { on_error_until }
        );
    }
}
