//! §4.2.1, §4.2.2, §5.2.2, §5.3 and RFC 9213: the freshness lifetime of a response.

use std::time::Duration;

use stuut_cache::config;
use stuut_cache::policy::Rule;

use super::support::Fetched;

struct Case<'a> {
    section: &'a str,
    status: u16,
    response: &'a [&'a str],
    /// Seconds, and the rule that set them.
    then: (u64, Rule),
    departs: Option<&'a str>,
}

fn row<'a>(section: &'a str, response: &'a [&'a str], seconds: u64, rule: Rule) -> Case<'a> {
    Case {
        section,
        status: 200,
        response,
        then: (seconds, rule),
        departs: None,
    }
}

#[track_caller]
fn check(cases: &[Case<'_>]) {
    let settings = config::Freshness {
        hard_limit: Duration::MAX,
        ..config::Freshness::default()
    };
    for case in cases {
        let fetched = Fetched {
            status: case.status,
            response: case.response,
            ..Fetched::default()
        };
        let (freshness, _) = fetched.assess(&settings);
        let then = (freshness.lifetime.length.as_secs(), freshness.lifetime.rule);
        assert_eq!(then, case.then, "{}: {:?}", case.section, case.response);
        assert_ne!(
            case.departs,
            Some(""),
            "{}: a departure needs a reason",
            case.section
        );
    }
}

#[test]
fn explicit_lifetimes_have_an_order_of_precedence() {
    use Rule::{Default, Expires, Invalid, MaxAge, NoCache, SMaxAge};
    let in_an_hour = "expires: Sun, 06 Nov 1994 09:49:37 GMT";
    check(&[
        row("4.2.1 none", &[], 60, Default),
        row("4.2.1 s-maxage first", &["cache-control: max-age=1, s-maxage=9", in_an_hour], 9, SMaxAge),
        row("4.2.1 max-age second", &["cache-control: max-age=9", in_an_hour], 9, MaxAge),
        row("4.2.1 Expires last", &["cache-control: public", in_an_hour], 3_600, Expires),
        row("4.2.1 max-age=0", &["cache-control: max-age=0", in_an_hour], 0, MaxAge),
        row("4.2.1 conflict", &["cache-control: max-age=9, max-age=8"], 0, Invalid),
        row("4.2.1 conflict", &["cache-control: max-age=9", "cache-control: max-age=8"], 0, Invalid),
        row("4.2.1 no conflict", &["cache-control: max-age=9, max-age=9"], 9, MaxAge),
        row("4.2.1 invalid, no fallback", &["cache-control: max-age=x", in_an_hour], 0, Invalid),
        row("4.2.1 invalid s-maxage", &["cache-control: s-maxage=x, max-age=9"], 0, Invalid),
        row("1.2.2 overflow", &["cache-control: max-age=2147483649"], 1 << 31, MaxAge),
        row("5.2 quoted", &["cache-control: max-age=\"9\""], 9, MaxAge),
        row("5.2 case", &["cache-control: MAX-AGE=9"], 9, MaxAge),
        row("5.2 empty elements", &["cache-control: ,, max-age=9,"], 9, MaxAge),
        row("5.2 negative", &["cache-control: max-age=-9"], 0, Invalid),
        row("5.2 fraction", &["cache-control: max-age=9.5"], 0, Invalid),
        row("5.2 blank", &["cache-control: max-age = 9"], 0, Invalid),
        row("5.2 inside a quote", &["cache-control: x=\"max-age=1\", max-age=9"], 9, MaxAge),
        row("5.2 semicolons", &["cache-control: public; max-age=9"], 0, Invalid),
        row("5.2.3 extensions", &["cache-control: x, y=1, max-age=9, z=\"1,2\""], 9, MaxAge),
        row("5.2.2.4 no-cache", &["cache-control: no-cache, max-age=9"], 0, NoCache),
        Case {
            departs: Some("fields are not stored separately, so the whole response is validated (§5.2.2.4)"),
            ..row("5.2.2.4 no-cache=\"x\"", &["cache-control: no-cache=\"x\", max-age=9"], 0, NoCache)
        },
        row("5.4 Pragma", &["pragma: no-cache", "cache-control: max-age=9"], 9, MaxAge),
    ]);
}

#[test]
fn an_invalid_expires_is_in_the_past() {
    use Rule::{Default, Expires};
    let date = "date: Sun, 06 Nov 1994 08:49:07 GMT";
    check(&[
        row("5.3 minus Date", &["expires: Sun, 06 Nov 1994 08:49:37 GMT", date], 30, Expires),
        row("5.3 without Date", &["expires: Sun, 06 Nov 1994 08:50:37 GMT"], 60, Expires),
        row("5.3 invalid Date", &["expires: Sun, 06 Nov 1994 08:50:37 GMT", "date: x"], 60, Expires),
        row("5.3 past", &["expires: Sun, 06 Nov 1994 08:49:07 GMT"], 0, Expires),
        row("5.3 equal to Date", &["expires: Sun, 06 Nov 1994 08:49:07 GMT", date], 0, Expires),
        row("5.3 RFC 850", &["expires: Sunday, 06-Nov-94 08:50:37 GMT"], 60, Expires),
        row("5.3 asctime", &["expires: Sun Nov  6 08:50:37 1994"], 60, Expires),
        row("4.2 letter case", &["expires: sun, 06 NOV 1994 08:50:37 gmt"], 60, Expires),
        row("5.3 zero", &["expires: 0"], 0, Expires),
        row("5.3 empty", &["expires:"], 0, Expires),
        row("4.2 zone", &["expires: Sun, 06 Nov 1994 08:50:37 AEST"], 0, Expires),
        Case {
            departs: Some("§4.2 permits either for UTC; the grammar has only GMT, and stale is safer"),
            ..row("4.2 zone", &["expires: Sun, 06 Nov 1994 08:50:37 UTC"], 0, Expires)
        },
        row("5.3 weekday", &["expires: Mon, 06 Nov 1994 08:50:37 GMT"], 0, Expires),
        row("5.3 one-digit day", &["expires: Sun, 6 Nov 1994 08:50:37 GMT"], 0, Expires),
        row("5.3 two-digit year", &["expires: Sun, 06 Nov 94 08:50:37 GMT"], 0, Expires),
        row("5.3 two lines", &["expires: Sun, 06 Nov 1994 08:50:37 GMT", "expires: Sun, 06 Nov 1994 08:50:37 GMT"], 0, Expires),
        row("5.3 far", &["expires: Fri, 31 Dec 9999 23:59:59 GMT"], 252_618_189_022, Expires),
        row("5.3 absent", &["x: y"], 60, Default),
    ]);
}

#[test]
fn a_heuristic_lifetime_is_a_tenth_of_the_time_since_last_modified() {
    use Rule::{Default, Expires, Heuristic, MaxAge, NotFound, Silent};
    let changed = "last-modified: Sun, 06 Nov 1994 07:49:37 GMT";
    let of = |status, case| Case { status, ..case };
    check(&[
        row("4.2.2", &[changed], 360, Heuristic),
        row("4.2.2 minus Date", &[changed, "date: Sun, 06 Nov 1994 07:59:37 GMT"], 60, Heuristic),
        row("4.2.2 in the future", &["last-modified: Sun, 06 Nov 1994 08:59:37 GMT"], 60, Default),
        row("4.2.2 invalid", &["last-modified: x"], 60, Default),
        row("4.2.2 explicit takes precedence", &[changed, "cache-control: max-age=9"], 9, MaxAge),
        row("4.2.2 explicit takes precedence", &[changed, "expires: 0"], 0, Expires),
        of(301, row("4.2.2 status", &[changed], 360, Heuristic)),
        of(302, row("4.2.2 status", &[changed], 0, Silent)),
        of(302, row("4.2.2 public", &[changed, "cache-control: public"], 360, Heuristic)),
        of(404, row("4.2.2 not found", &[changed], 5, NotFound)),
        of(410, row("4.2.2 not found", &["cache-control: max-age=9"], 9, MaxAge)),
        of(500, row("4.2.2 errors", &[changed], 0, Silent)),
    ]);
}

#[test]
fn cdn_cache_control_overrides_cache_control_and_expires() {
    use Rule::{CdnCacheControl, Default, Expires, Invalid, MaxAge, NoCache};
    let max_age = "cache-control: max-age=9";
    let no_cache = "cache-control: no-cache";
    let expires = "expires: Sun, 06 Nov 1994 08:50:38 GMT";
    check(&[
        row("RFC 9213 2.1", &["cdn-cache-control: max-age=7", max_age], 7, CdnCacheControl),
        row("RFC 9213 2.1", &["cdn-cache-control: max-age=7", no_cache], 7, CdnCacheControl),
        row("RFC 9213 2.1", &["cdn-cache-control: no-cache", max_age], 0, NoCache),
        row("RFC 9213 2.1 Expires", &["cdn-cache-control: x", expires], 60, Default),
        row("RFC 9213 2.1 unknown only", &["cdn-cache-control: x", max_age], 60, Default),
        row("RFC 9213 2.1 empty", &["cdn-cache-control:", max_age], 9, MaxAge),
        row("RFC 9213 2.1 invalid", &["cdn-cache-control: max-age=7,", max_age], 9, MaxAge),
        row("RFC 9213 2.1 invalid", &["cdn-cache-control: Max-Age=7", expires], 61, Expires),
        row("RFC 9213 2.1 type", &["cdn-cache-control: max-age=\"7\"", max_age], 60, Default),
        row("RFC 9213 2.1 type", &["cdn-cache-control: max-age=7.5", max_age], 60, Default),
        row("RFC 9213 2.1 type", &["cdn-cache-control: no-cache=1, max-age=7"], 7, CdnCacheControl),
        row("RFC 9213 2.1 parameters", &["cdn-cache-control: max-age=7;a=b"], 7, CdnCacheControl),
        row("RFC 9213 2.1 negative", &["cdn-cache-control: max-age=-7", max_age], 0, Invalid),
        row("RFC 9651 4.2 last counts", &["cdn-cache-control: max-age=1, max-age=7"], 7, CdnCacheControl),
        row("RFC 9651 4.2 lines", &["cdn-cache-control: max-age=1", "cdn-cache-control: s-maxage=7"], 7, CdnCacheControl),
    ]);
}
