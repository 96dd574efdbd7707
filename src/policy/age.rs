//! How old a response is: the arithmetic of RFC 9111 §4.2.3.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header};

use super::Moment;
use super::dates::DateField;
use super::directive;
use super::list::{self, Quotes};

/// The age a response had when it arrived: `corrected_initial_age`.
pub(super) fn on_arrival(head: &HeaderMap, requested: Moment, received: Moment) -> Duration {
    let delay = received.mono.saturating_sub(requested.mono);
    apparent(head, received).max(written(head).saturating_add(delay))
}

/// When the response was generated, as far as we know: `date_value`.
///
/// Without one valid `Date`, the time it arrived (RFC 9110 §6.6.1).
pub(super) fn date(head: &HeaderMap, received: Moment) -> SystemTime {
    DateField::read(head, &header::DATE, received.wall)
        .valid()
        .unwrap_or(received.wall)
}

/// `age_value`: the first member of the field; if that is not a number, there is no age
/// (RFC 9111 §5.1).
fn written(head: &HeaderMap) -> Duration {
    let seconds = list::elements(head, &header::AGE, Quotes::Escaped)
        .next()
        .and_then(directive::seconds)
        .unwrap_or(0);
    Duration::from_secs(seconds.into())
}

/// `apparent_age`, in whole seconds: a `Date` has no fraction, and that ours has one makes
/// nothing older.
fn apparent(head: &HeaderMap, received: Moment) -> Duration {
    let age = received
        .wall
        .duration_since(date(head, received))
        .unwrap_or_default();
    Duration::from_secs(age.as_secs())
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
        on_arrival(&head, moment(10), moment(12))
    }

    #[test]
    fn the_first_member_counts_if_it_is_a_number() {
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
    fn a_date_in_the_past_is_an_age() {
        let table = [
            ("Sun, 06 Nov 1994 08:49:37 GMT", 2),
            ("Sun, 06 Nov 1994 08:49:36 GMT", 2),
            ("Sun, 06 Nov 1994 08:48:37 GMT", 60),
            ("Sun, 06 Nov 1994 09:49:37 GMT", 2),
            ("yesterday", 2),
        ];
        for (date, then) in table {
            assert_eq!(age(&[(header::DATE, date)]), SECOND * then, "{date}");
        }
    }
}
