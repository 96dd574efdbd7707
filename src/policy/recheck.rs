//! Rechecks: how long stored responses are served to a token after the origin last accepted it.
//!
//! Freshness is about the response; a token can be revoked while the response is fresh.

use std::time::Duration;

/// The use of a stored response, by the time since the last acceptance of its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recheck {
    /// As its freshness allows.
    NotDue,
    /// The same, but recheck the token in the background.
    Due,
    /// Revalidate it first.
    Overdue {
        /// Whether it may be served if the origin fails.
        on_error: bool,
    },
}

/// Decides how a stored response may be used at `now` for a token that was last accepted at `last`,
/// both monotonic. `every` is `scope.recheck`, `if_error` `freshness.stale_if_error`.
pub fn recheck(
    last: Duration,
    every: Option<Duration>,
    if_error: Duration,
    now: Duration,
) -> Recheck {
    let Some(every) = every else {
        return Recheck::NotDue;
    };
    let age = now.saturating_sub(last);
    if age < every * 4 / 5 {
        Recheck::NotDue
    } else if age < every {
        Recheck::Due
    } else {
        Recheck::Overdue {
            on_error: age < if_error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recheck_is_due_then_overdue_then_no_failure_excuses_it() {
        let second = Duration::from_secs(1);
        let overdue = |on_error| Recheck::Overdue { on_error };
        for (seconds, then) in [
            (0, Recheck::NotDue),
            (47, Recheck::NotDue),
            (48, Recheck::Due),
            (59, Recheck::Due),
            (60, overdue(true)),
            (299, overdue(true)),
            (300, overdue(false)),
        ] {
            let (last, now) = (second * 7, second * (7 + seconds));
            let rule = |every| recheck(last, every, second * 300, now);
            assert_eq!(rule(Some(second * 60)), then, "{seconds}");
            assert_eq!(rule(None), Recheck::NotDue);
        }
        // A request sent after `now` was read.
        assert_eq!(
            recheck(second, Some(second), second, Duration::ZERO),
            Recheck::NotDue
        );
    }
}
