//! Tokens that the origin has asked to wait: `429` or `503` with `Retry-After` (RFC 9110
//! §10.2.3). Pure: `now` is a parameter.

use std::collections::HashMap;
use std::time::Duration;

use http::StatusCode;

use crate::request::Scope;

/// Tokens that are remembered. One more, while all of these still wait, is not: its requests go
/// to the origin, which can say so again.
const MAX_PAUSES: usize = 4_096;

/// Who is to wait, and until when.
#[derive(Debug)]
pub(super) struct Pauses {
    /// The longest wait that is honoured; zero honours none.
    longest: Duration,
    by_token: HashMap<Scope, Pause>,
}

#[derive(Clone, Copy, Debug)]
struct Pause {
    until: Duration,
    status: StatusCode,
}

impl Pauses {
    pub(super) fn new(longest: Duration) -> Self {
        Self {
            longest,
            by_token: HashMap::new(),
        }
    }

    /// The origin has asked a token to wait. Of two waits the longer one stands.
    pub(super) fn begin(&mut self, of: &Scope, status: StatusCode, wait: Duration, now: Duration) {
        let until = now + wait.min(self.longest);
        if until == now {
            return;
        }
        if self.by_token.len() >= MAX_PAUSES {
            self.by_token.retain(|_, pause| pause.until > now);
        }
        if self.by_token.len() < MAX_PAUSES || self.by_token.contains_key(of) {
            let pause = self.by_token.entry(*of).or_insert(Pause { until, status });
            if pause.until <= until {
                *pause = Pause { until, status };
            }
        }
    }

    /// What the origin has answered this token, and for how long it is still to wait.
    pub(super) fn of(&mut self, token: &Scope, now: Duration) -> Option<(StatusCode, Duration)> {
        let Pause { until, status } = *self.by_token.get(token)?;
        let left = until.saturating_sub(now);
        if left.is_zero() {
            self.by_token.remove(token);
            return None;
        }
        Some((status, left))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::request::ScopeKey;

    const SECOND: Duration = Duration::from_secs(1);
    const BUSY: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
    const MANY: StatusCode = StatusCode::TOO_MANY_REQUESTS;

    fn token(key: &ScopeKey, number: usize) -> Scope {
        key.scope(&HeaderValue::from(number))
    }

    #[test]
    fn a_token_waits_as_long_as_it_was_asked_to_and_no_longer_than_is_honoured() {
        let key = ScopeKey::random();
        let (one, other) = (token(&key, 1), token(&key, 2));
        let mut pauses = Pauses::new(SECOND * 60);
        pauses.begin(&one, MANY, SECOND * 10, SECOND);
        assert_eq!(pauses.of(&one, SECOND), Some((MANY, SECOND * 10)));
        assert_eq!(pauses.of(&other, SECOND), None);
        // A shorter one that comes later does not end it.
        pauses.begin(&one, BUSY, SECOND, SECOND * 2);
        assert_eq!(pauses.of(&one, SECOND * 2), Some((MANY, SECOND * 9)));
        assert_eq!(pauses.of(&one, SECOND * 11), None);

        pauses.begin(&other, BUSY, SECOND * 3_600, Duration::ZERO);
        assert_eq!(pauses.of(&other, Duration::ZERO), Some((BUSY, SECOND * 60)));
    }

    #[test]
    fn many_tokens_take_no_more_room_than_there_is() {
        let key = ScopeKey::random();
        let mut pauses = Pauses::new(SECOND * 60);
        for number in 0..MAX_PAUSES + 10 {
            pauses.begin(&token(&key, number), MANY, SECOND, Duration::ZERO);
        }
        assert_eq!(pauses.by_token.len(), MAX_PAUSES);
        let late = token(&key, MAX_PAUSES + 1);
        assert_eq!(pauses.of(&late, Duration::ZERO), None);
        // When the others have waited, there is room again.
        pauses.begin(&late, MANY, SECOND, SECOND);
        assert_eq!(pauses.of(&late, SECOND), Some((MANY, SECOND)));
        assert_eq!(pauses.by_token.len(), 1);
    }

    #[test]
    fn none_is_honoured_where_that_is_configured() {
        let one = token(&ScopeKey::random(), 1);
        let mut pauses = Pauses::new(Duration::ZERO);
        pauses.begin(&one, MANY, SECOND, SECOND);
        assert_eq!(pauses.of(&one, SECOND), None);
    }
}
