//! §4.2.3 and §5.1: the age of a response.

use std::time::Duration;

use http::StatusCode;
use stuut_cache::config;
use stuut_cache::policy::{Exchange, Facts, Moment, RouteRule, assess};

use super::support::{after, head};

struct Case<'a> {
    section: &'a str,
    response: &'a [&'a str],
    /// Seconds from request to response.
    delay: u64,
    /// Seconds in the store.
    resident: u64,
    then: u64,
}

#[test]
fn the_age_is_computed_as_in_section_4_2_3() {
    let cases = [
        Case { section: "4.2.3 nothing known", response: &[], delay: 0, resident: 7, then: 7 },
        Case { section: "4.2.3 age_value", response: &["age: 100"], delay: 0, resident: 7, then: 107 },
        Case { section: "4.2.3 response_delay", response: &["age: 100"], delay: 3, resident: 7, then: 110 },
        Case { section: "4.2.3 apparent_age", response: &["date: Sun, 06 Nov 1994 08:48:37 GMT", "age: 0"], delay: 3, resident: 7, then: 67 },
        Case { section: "4.2.3 apparent_age", response: &["date: Sun, 06 Nov 1994 08:48:37 GMT", "via: 1.1 cdn"], delay: 3, resident: 7, then: 67 },
        Case { section: "4.2.3 a clock behind", response: &["date: Sun, 06 Nov 1994 08:48:37 GMT"], delay: 3, resident: 7, then: 10 },
        Case { section: "4.2.3 the larger", response: &["date: Sun, 06 Nov 1994 08:48:37 GMT", "age: 100"], delay: 0, resident: 0, then: 100 },
        Case { section: "4.2.3 Date ahead", response: &["date: Sun, 06 Nov 1994 09:48:37 GMT"], delay: 0, resident: 7, then: 7 },
        Case { section: "RFC 9110 6.6.1 no valid Date", response: &["date: soon"], delay: 0, resident: 7, then: 7 },
        Case { section: "5.1 first member", response: &["age: 100, 0"], delay: 0, resident: 0, then: 100 },
        Case { section: "5.1 first member", response: &["age: 0, 100"], delay: 0, resident: 0, then: 0 },
        Case { section: "5.1 first line", response: &["age: 100", "age: 0"], delay: 0, resident: 0, then: 100 },
        Case { section: "5.1 invalid is ignored", response: &["age: -100"], delay: 0, resident: 0, then: 0 },
        Case { section: "5.1 invalid is ignored", response: &["age: 100.0"], delay: 0, resident: 0, then: 0 },
        Case { section: "5.1 invalid is ignored", response: &["age: 100s"], delay: 0, resident: 0, then: 0 },
        Case { section: "5.1 invalid is ignored", response: &["age: x, 100"], delay: 0, resident: 0, then: 0 },
        Case { section: "5.1 invalid is ignored", response: &["age: 100; x=1"], delay: 0, resident: 0, then: 0 },
        Case { section: "1.2.2 overflow", response: &["age: 4294967297"], delay: 0, resident: 0, then: 1 << 31 },
    ];
    for case in cases {
        let requested = after(0);
        let later = |from: Moment, seconds| Moment {
            mono: from.mono + Duration::from_secs(seconds),
            ..from
        };
        let received = later(requested, case.delay);
        let response = head(case.response);
        let exchange = Exchange::new(StatusCode::OK, &response, requested, received);
        let settings = config::Freshness::default();
        let freshness = assess(&exchange, &Facts::default(), &settings, RouteRule::default());
        let age = freshness.age(later(received, case.resident)).as_secs();
        assert_eq!(age, case.then, "{}: {:?}", case.section, case.response);
    }
}
