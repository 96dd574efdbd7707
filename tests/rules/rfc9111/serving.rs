//! §4.2, §4.2.4, §5.2.1 and RFC 5861: how a stored response may be used.

use stuut_cache::config::{self, ClientDirectives};
use stuut_cache::policy::{RequestDirectives, Verdict, ViewLimits, verdict};

use super::support::{Fetched, after, head};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    Fresh,
    Usable,
    Stale,
    StaleIfError,
    Unusable,
}
use Then::{Fresh, Stale, StaleIfError, Unusable, Usable};

struct Case<'a> {
    section: &'a str,
    response: &'a [&'a str],
    request: &'a [&'a str],
    after: u64,
    then: Then,
    departs: Option<&'a str>,
}

fn row<'a>(
    section: &'a str,
    response: &'a [&'a str],
    request: &'a [&'a str],
    after: u64,
    then: Then,
) -> Case<'a> {
    Case {
        section,
        response,
        request,
        after,
        then,
        departs: None,
    }
}

#[track_caller]
fn check(cases: &[Case<'_>]) {
    let settings = config::Freshness::default();
    for case in cases {
        let fetched = Fetched {
            response: case.response,
            ..Fetched::default()
        };
        let (freshness, _) = fetched.assess(&settings);
        let directives = RequestDirectives::read(&head(case.request), ClientDirectives::Obey);
        let then = match verdict(&freshness, ViewLimits::default(), &directives, after(case.after)) {
            Verdict::Fresh { .. } => Fresh,
            Verdict::Usable { .. } => Usable,
            Verdict::Stale {
                on_error_until: None,
            } => Stale,
            Verdict::Stale { .. } => StaleIfError,
            Verdict::Unusable => Unusable,
        };
        let Case {
            section,
            response,
            request,
            after,
            departs,
            ..
        } = case;
        assert_eq!(
            then, case.then,
            "{section}: {response:?} {request:?} after {after} s"
        );
        assert_ne!(*departs, Some(""), "{section}: a departure needs a reason");
    }
}

#[test]
fn a_response_is_fresh_until_its_age_reaches_its_lifetime() {
    check(&[
        row("4.2", &["cache-control: max-age=60"], &[], 59, Fresh),
        row("4.2", &["cache-control: max-age=60"], &[], 60, StaleIfError),
        row("4.2 age on arrival", &["cache-control: max-age=60", "age: 30"], &[], 29, Fresh),
        row("4.2 age on arrival", &["cache-control: max-age=60", "age: 30"], &[], 30, StaleIfError),
        row("4.2 Age and CDN", &["cdn-cache-control: max-age=60", "age: 30"], &[], 30, StaleIfError),
        row("5.2.2.4 no-cache", &["cache-control: no-cache"], &[], 0, Stale),
        row("hard limit", &["cache-control: max-age=999999"], &[], 86_399, Fresh),
        row("hard limit", &["cache-control: max-age=999999"], &[], 86_400, Unusable),
    ]);
}

#[test]
fn stale_responses_are_served_where_section_4_2_4_allows_it() {
    let with = "cache-control: max-age=10, stale-while-revalidate=20, stale-if-error=30";
    check(&[
        row("RFC 5861 3", &[with], &[], 10, Usable),
        row("RFC 5861 3", &[with], &[], 29, Usable),
        row("RFC 5861 4", &[with], &[], 30, StaleIfError),
        row("RFC 5861 4", &[with], &[], 39, StaleIfError),
        row("RFC 5861 4", &[with], &[], 40, Stale),
        row("RFC 5861 zero", &["cache-control: max-age=10, stale-if-error=0"], &[], 10, Stale),
        row("RFC 5861 invalid", &["cache-control: max-age=10, stale-if-error=x"], &[], 10, Stale),
        row("5.2.2.2 must-revalidate", &[with, "cache-control: must-revalidate"], &[], 10, Stale),
        row("5.2.2.8 proxy-revalidate", &[with, "cache-control: proxy-revalidate"], &[], 10, Stale),
        row("5.2.2.10 s-maxage", &[with, "cache-control: s-maxage=10"], &[], 10, Stale),
        row("5.2.2.4 no-cache", &[with, "cache-control: no-cache"], &[], 10, Stale),
        row("RFC 9213", &["cdn-cache-control: max-age=9, must-revalidate", with], &[], 10, Stale),
        Case {
            departs: Some("freshness.stale_if_error is the prior agreement that 4.2.4 requires"),
            ..row("4.2.4", &["cache-control: max-age=10"], &[], 10, StaleIfError)
        },
    ]);
}

#[test]
fn request_directives_restrict_or_extend_the_use() {
    let minute = &["cache-control: max-age=60"][..];
    let strict = &["cache-control: max-age=60, must-revalidate"][..];
    let lenient = &["cache-control: max-age=60, stale-while-revalidate=60"][..];
    check(&[
        row("5.2.1.1 max-age", minute, &["cache-control: max-age=30"], 30, Fresh),
        row("5.2.1.1 max-age", minute, &["cache-control: max-age=30"], 31, Stale),
        row("5.2.1.1 max-age=0", minute, &["cache-control: max-age=0"], 0, Stale),
        row("5.2.1.1 invalid", minute, &["cache-control: max-age=x"], 1, Stale),
        row("5.2.1.1 does not prolong", minute, &["cache-control: max-age=90"], 60, Stale),
        row("5.2.1.1 not stale", lenient, &["cache-control: max-age=90"], 60, Stale),
        row("5.2.1.1 with max-stale", lenient, &["cache-control: max-age=90, max-stale"], 60, Usable),
        row("5.2.1.2 max-stale", minute, &["cache-control: max-stale=10"], 70, Usable),
        row("5.2.1.2 max-stale", minute, &["cache-control: max-stale=10"], 71, StaleIfError),
        row("5.2.1.2 any staleness", minute, &["cache-control: max-stale"], 9_999, Usable),
        row("5.2.1.2 invalid", minute, &["cache-control: max-stale=x"], 61, StaleIfError),
        row("4.2.4 not against the origin", strict, &["cache-control: max-stale"], 60, Stale),
        row("5.2.1.3 min-fresh", minute, &["cache-control: min-fresh=10"], 50, Fresh),
        row("5.2.1.3 min-fresh", minute, &["cache-control: min-fresh=10"], 51, Stale),
        row("5.2.1.3 not stale", lenient, &["cache-control: min-fresh=0"], 60, Stale),
        row("5.2.1.4 no-cache", minute, &["cache-control: no-cache"], 0, Stale),
        row("5.4 Pragma", minute, &["pragma: no-cache"], 0, Stale),
        row("5.4 Pragma", minute, &["pragma: no-cache", "cache-control: x"], 0, Fresh),
        row("5.2.1.5 no-store", minute, &["cache-control: no-store"], 0, Fresh),
    ]);
}

#[test]
fn only_if_cached_is_met_only_by_a_response_that_needs_no_fetch() {
    let section = "5.2.1.7";
    let directives = RequestDirectives::read(
        &head(&["cache-control: only-if-cached"]),
        ClientDirectives::Obey,
    );
    let (freshness, _) = Fetched::default().assess(&config::Freshness::default());
    assert!(directives.only_if_cached, "{section}");
    let then = |seconds| verdict(&freshness, ViewLimits::default(), &directives, after(seconds));
    assert!(matches!(then(59), Verdict::Fresh { .. }), "{section}");
    assert!(matches!(then(60), Verdict::Stale { .. }), "{section}: 504");
}
