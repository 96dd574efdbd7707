//! One exchange with the origin, and the age of its response on arrival (RFC 9111 §4.2.3).

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, StatusCode, header};
use serde::{Deserialize, Serialize};

use super::dates::DateField;
use super::directive;
use super::directives::ResponseDirectives;
use super::list::{self, Quotes};

/// A point in time on both clocks.
///
/// Ages are measured on `mono`, which never steps; dates from the origin are compared with `wall`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// The monotonic time. It means nothing to another process.
    #[serde(skip)]
    pub mono: Duration,
    /// The wall-clock time.
    pub wall: SystemTime,
}

/// A response from the origin, and when it was requested and received.
///
/// For a stored response that a 304 has renewed, `status` and `response` are the stored ones with
/// the fields updated, and the moments those of the new exchange.
#[derive(Clone, Debug)]
pub struct Exchange<'a> {
    /// The status of the response.
    pub(super) status: StatusCode,
    /// The fields of the response.
    pub(super) response: &'a HeaderMap,
    /// When the request was sent to the origin (`request_time`).
    requested: Moment,
    /// When the response head arrived (`response_time`).
    pub(super) received: Moment,
    /// Its `Date`, if valid.
    dated: Option<SystemTime>,
    /// Its cache directives.
    pub(super) directives: ResponseDirectives,
}

impl<'a> Exchange<'a> {
    /// A response that was requested and received then.
    pub fn new(
        status: StatusCode,
        response: &'a HeaderMap,
        requested: Moment,
        received: Moment,
    ) -> Self {
        Self {
            status,
            response,
            requested,
            received,
            dated: DateField::read(response, &header::DATE, received.wall).valid(),
            directives: ResponseDirectives::read(response),
        }
    }

    /// The age of the response on arrival: `corrected_initial_age`.
    ///
    /// Without `Age` and `Via`, no cache has delayed the response: a `Date` in the past is only a
    /// clock that is behind, and the apparent age is not used, as §4.2.3 permits.
    pub(super) fn initial_age(&self) -> Duration {
        let delay = self.received.mono.saturating_sub(self.requested.mono);
        let corrected = self.age_value().saturating_add(delay);
        if self.is_direct() {
            corrected
        } else {
            self.apparent_age().max(corrected)
        }
    }

    /// Whether the origin itself has answered, as far as the fields show.
    fn is_direct(&self) -> bool {
        !self.response.contains_key(header::AGE) && !self.response.contains_key(header::VIA)
    }

    /// How far the origin's clock is ahead of ours, in seconds; `None` if the response has no `Date`,
    /// or may be from another cache.
    pub fn clock_skew(&self) -> Option<i64> {
        let date = self.dated.filter(|_| self.is_direct())?;
        let seconds = |length: Duration| i64::try_from(length.as_secs()).unwrap_or(i64::MAX);
        Some(match date.duration_since(self.received.wall) {
            Ok(ahead) => seconds(ahead),
            Err(behind) => -seconds(behind.duration()),
        })
    }

    /// When the origin sent the response, by the earlier of its clock and ours.
    pub fn sent(&self) -> SystemTime {
        self.date().min(self.received.wall)
    }

    /// When the response was generated: `date_value`.
    ///
    /// Without a single valid `Date`, the time of arrival (RFC 9110 §6.6.1).
    pub(super) fn date(&self) -> SystemTime {
        self.dated.unwrap_or(self.received.wall)
    }

    /// A date field of the response.
    pub(super) fn date_in(&self, name: &HeaderName) -> DateField {
        DateField::read(self.response, name, self.received.wall)
    }

    /// `age_value`: the first member of `Age`; 0 if that is not a number (RFC 9111 §5.1).
    fn age_value(&self) -> Duration {
        let seconds = list::elements(self.response, &header::AGE, Quotes::Escaped)
            .next()
            .and_then(directive::seconds)
            .unwrap_or(0);
        Duration::from_secs(seconds.into())
    }

    /// `apparent_age`, in whole seconds, since `Date` has no fraction.
    fn apparent_age(&self) -> Duration {
        let age = self.received.wall.duration_since(self.date());
        Duration::from_secs(age.unwrap_or_default().as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn age(fields: &[(header::HeaderName, &'static str)]) -> Duration {
        let mut head = HeaderMap::new();
        for (name, value) in fields {
            head.append(name, header::HeaderValue::from_static(value));
        }
        // Sun, 06 Nov 1994 08:49:37.9 GMT, two seconds after the request.
        let wall = SystemTime::UNIX_EPOCH + Duration::from_millis(784_111_777_900);
        let moment = |seconds| Moment {
            mono: SECOND * seconds,
            wall,
        };
        Exchange::new(StatusCode::OK, &head, moment(10), moment(12)).initial_age()
    }

    #[test]
    fn the_first_member_of_age_counts_if_it_is_a_number() {
        let table: &[(&[&'static str], u32)] = &[
            (&[], 0),
            (&["0"], 0),
            (&["007"], 7),
            (&["7, 9"], 7),
            (&["9, 7"], 9),
            (&["7", "9"], 7),
            (&["x, 9"], 0),
            (&["", "9"], 9),
            (&["-7"], 0),
            (&["+7"], 0),
            (&["7.0"], 0),
            (&["7;x=1"], 0),
            (&["7 9"], 0),
            (&["x7"], 0),
            (&["\"7\""], 0),
            (&["99999999999999"], 1 << 31),
        ];
        for (lines, then) in table {
            let fields: Vec<_> = lines.iter().map(|line| (header::AGE, *line)).collect();
            assert_eq!(age(&fields), SECOND * 2 + SECOND * *then, "{lines:?}");
        }
    }

    #[test]
    fn a_date_in_the_past_adds_to_the_age_of_a_response_from_a_cache() {
        let table = [
            ("Sun, 06 Nov 1994 08:49:37 GMT", 2),
            ("Sun, 06 Nov 1994 08:49:36 GMT", 2),
            ("Sun, 06 Nov 1994 08:48:37 GMT", 60),
            ("Sun, 06 Nov 1994 09:49:37 GMT", 2),
            ("yesterday", 2),
        ];
        for (date, then) in table {
            for (name, value) in [(header::AGE, "0"), (header::VIA, "1.1 cdn")] {
                let fields = [(header::DATE, date), (name, value)];
                assert_eq!(age(&fields), SECOND * then, "{date}");
            }
            // The origin itself: its clock may be behind.
            assert_eq!(age(&[(header::DATE, date)]), SECOND * 2, "{date}");
        }
    }
}
