//! §3: which responses may be stored.
//!
//! There are no rows for methods: a cacheable request is GET or HEAD, and both are fetched by GET.

use stuut_cache::config::{self, ClientDirectives, OriginRule, PrivateRule};
use stuut_cache::policy::{NotStored, Sharing};

use super::support::Fetched;

struct Case<'a> {
    section: &'a str,
    fetched: Fetched<'a>,
    then: Result<(), NotStored>,
    /// Why we depart from the section.
    departs: Option<&'a str>,
}

/// A 200 with these fields.
fn ok<'a>(response: &'a [&'a str]) -> Fetched<'a> {
    Fetched {
        response,
        ..Fetched::default()
    }
}

/// A response of another status with these fields.
fn status<'a>(status: u16, response: &'a [&'a str]) -> Fetched<'a> {
    Fetched {
        status,
        ..ok(response)
    }
}

fn row<'a>(section: &'a str, fetched: Fetched<'a>, then: Result<(), NotStored>) -> Case<'a> {
    Case {
        section,
        fetched,
        then,
        departs: None,
    }
}

#[track_caller]
fn check(cases: &[Case<'_>], settings: &config::Freshness) {
    for case in cases {
        let Fetched {
            status,
            request,
            response,
            ..
        } = case.fetched;
        let (_, stored) = case.fetched.assess(settings);
        assert_eq!(
            stored, case.then,
            "{}: {request:?} {status} {response:?}",
            case.section
        );
        assert_ne!(
            case.departs,
            Some(""),
            "{}: a departure needs a reason",
            case.section
        );
    }
}

#[test]
fn responses_are_stored_where_section_3_allows_it() {
    use NotStored::{NoFreshness, Status};
    let max_age: &[&str] = &["cache-control: max-age=60"];
    let mut cases = vec![
        row("3 explicit: max-age", status(418, max_age), Ok(())),
        row("3 explicit: s-maxage", status(500, &["cache-control: s-maxage=60"]), Ok(())),
        row("3 explicit: Expires", status(400, &["expires: Sun, 06 Nov 1994 08:50:37 GMT"]), Ok(())),
        row("3 explicit, but expired", status(500, &["cache-control: max-age=0"]), Err(NoFreshness)),
        row("3 explicit, but expired", status(500, &["cache-control: max-age=60", "age: 60"]), Err(NoFreshness)),
        row("3 public", status(302, &["cache-control: public"]), Ok(())),
        Case {
            section: "3 public",
            fetched: status(500, &["cache-control: public"]),
            then: Err(NoFreshness),
            departs: Some("with our default lifetime, an error could outlast its cause"),
        },
        row("3 status not final", status(103, max_age), Err(Status)),
        row("3 status 206 not understood", status(206, max_age), Err(Status)),
        row("3 status 304 not understood", status(304, max_age), Err(Status)),
        row("3 unknown final status", status(299, max_age), Ok(())),
        row("3 unknown final status", status(299, &[]), Err(NoFreshness)),
    ];
    for code in [401, 403, 407, 408, 425, 429] {
        cases.push(Case {
            section: "3 refusals",
            fetched: status(code, max_age),
            then: Err(Status),
            departs: Some("a refusal is for one token, a temporary failure soon obsolete; storing is a MAY"),
        });
    }
    check(&cases, &config::Freshness::default());
}

#[test]
fn heuristic_lifetimes_are_for_the_statuses_of_rfc_9110_15_1() {
    let settings = config::Freshness::default();
    for code in [200, 203, 204, 300, 301, 308, 404, 410] {
        check(&[row("4.2.2", status(code, &[]), Ok(()))], &settings);
    }
    for code in [201, 202, 302, 303, 307, 400, 402, 422, 500, 503] {
        let then = Err(NotStored::NoFreshness);
        check(&[row("4.2.2", status(code, &[]), then)], &settings);
    }
    for code in [405, 414, 501] {
        let case = Case {
            section: "4.2.2",
            fetched: status(code, &[]),
            then: Err(NotStored::NoFreshness),
            departs: Some("errors are stored only with an explicit lifetime"),
        };
        check(&[case], &settings);
    }
}

#[test]
fn response_fields_can_forbid_storing() {
    use NotStored::{NoStore, NotUnderstood, Private, SetCookie, Useless, Vary};
    let admitted = |response| Fetched {
        sharing: Sharing::Admitted,
        ..ok(response)
    };
    let cases = [
        row("5.2.2.5 no-store", ok(&["cache-control: no-store"]), Err(NoStore)),
        row("5.2.2.5 no-store", ok(&["cache-control: max-age=60", "cache-control: No-Store"]), Err(NoStore)),
        row("5.2.2.5 no-store", ok(&["cache-control: a=\"no-store\""]), Ok(())),
        row("5.2.2.3 understood", ok(&["cache-control: must-understand, no-store"]), Ok(())),
        row("5.2.2.3 not understood", status(299, &["cache-control: must-understand, max-age=60"]), Err(NotUnderstood)),
        row("5.2.2.3 not understood", status(299, &["cache-control: must-understand, no-store, max-age=60"]), Err(NotUnderstood)),
        Case {
            section: "5.2.2.7 private",
            fetched: ok(&["cache-control: private"]),
            then: Ok(()),
            departs: Some("a stored response of one token is in a private cache: only that user gets it"),
        },
        row("5.2.2.7 private", admitted(&["cache-control: private"]), Err(Private)),
        row("5.2.2.7 private=\"x\"", admitted(&["cache-control: private=\"x\""]), Err(Private)),
        row("4.1 Vary: *", ok(&["vary: *"]), Err(Vary)),
        row("4.1 Vary: *", ok(&["vary: accept, *"]), Err(Vary)),
        row("4.1 Vary: *", ok(&["vary: accept", "vary: *"]), Err(Vary)),
        row("4.1 Vary: authorization", ok(&["vary: Authorization"]), Ok(())),
        row("4.1 Vary: authorization", admitted(&["vary: Authorization"]), Err(Vary)),
        Case {
            section: "7.3 Set-Cookie",
            fetched: ok(&["set-cookie: a=b", "cache-control: max-age=60"]),
            then: Err(SetCookie),
            departs: Some("it does not inhibit caching, but must not be replayed"),
        },
        row("5.4 Pragma in a response", ok(&["pragma: no-cache"]), Ok(())),
        row("3 not useful", ok(&["cache-control: no-cache"]), Err(Useless)),
        row("3 not useful", ok(&["cache-control: max-age=0, must-revalidate"]), Err(Useless)),
        row("5.2.2.4 no-cache", ok(&["cache-control: no-cache", "etag: \"a\""]), Ok(())),
        row("5.2.1.2 max-stale", ok(&["cache-control: max-age=0"]), Ok(())),
    ];
    check(&cases, &config::Freshness::default());
}

#[test]
fn authenticated_responses_are_stored_for_their_tokens_only() {
    let of = |sharing, response| Fetched {
        sharing,
        ..ok(response)
    };
    let cases = [
        Case {
            section: "3.5",
            fetched: of(Sharing::OneToken, &["cache-control: max-age=60"]),
            then: Ok(()),
            departs: Some("only requests with the same credential are served from it"),
        },
        Case {
            section: "3.5",
            fetched: of(Sharing::Admitted, &["cache-control: max-age=60"]),
            then: Ok(()),
            departs: Some("only tokens that got a 2xx from the origin for this key are served from it"),
        },
    ];
    check(&cases, &config::Freshness::default());
}

#[test]
fn settings_change_which_responses_are_stored() {
    let request = &["cache-control: no-store"][..];
    let no_store = Fetched {
        request,
        ..Fetched::default()
    };
    let mut settings = config::Freshness::default();
    check(
        &[row("5.2.1.5", no_store, Err(NotStored::RequestNoStore))],
        &settings,
    );
    settings.client_directives = ClientDirectives::Ignore;
    check(
        &[Case { section: "5.2.1.5", fetched: no_store, then: Ok(()), departs: Some("client_directives = \"ignore\"") }],
        &settings,
    );
    settings.private = PrivateRule::Refuse;
    settings.origin = OriginRule::Override;
    let cases = [
        row("5.2.2.7", ok(&["cache-control: private"]), Err(NotStored::Private)),
        row("5.2.2.5", ok(&["cache-control: no-store"]), Err(NotStored::NoStore)),
        row("5.2.2.5", ok(&["cdn-cache-control: no-store"]), Err(NotStored::NoStore)),
        row("override", status(500, &["cache-control: max-age=60"]), Err(NotStored::NoFreshness)),
        row("override", ok(&["cache-control: no-cache"]), Ok(())),
    ];
    check(&cases, &settings);
}
