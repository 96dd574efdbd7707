//! §3.2 and §4.3: conditions, validation, and the update by a 304.

use http::{HeaderMap, StatusCode, header};
use stuut_cache::config;
use stuut_cache::policy::{
    RouteRule,
    Condition, Exchange, Facts, assess, condition, is_failure, is_gone, is_validated,
    make_conditional, storable, update,
};

use super::support::{after, head};

const DATE: &str = "date: Sun, 06 Nov 1994 08:49:37 GMT";
const CHANGED: &str = "last-modified: Sun, 06 Nov 1994 07:00:00 GMT";
const LATER: &str = "last-modified: Sun, 06 Nov 1994 07:00:01 GMT";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Send,
    NotModified,
}

struct ConditionCase<'a> {
    section: &'a str,
    stored: &'a [&'a str],
    request: &'a [&'a str],
    then: Then,
}

fn row<'a>(
    section: &'a str,
    stored: &'a [&'a str],
    request: &'a [&'a str],
    then: Then,
) -> ConditionCase<'a> {
    ConditionCase {
        section,
        stored,
        request,
        then,
    }
}

#[test]
fn conditions_are_evaluated_against_the_stored_response() {
    use Then::{NotModified, Send};
    let tagged = &["etag: \"a,b\""][..];
    let weak = &["etag: W/\"a\""][..];
    let dated = &[CHANGED, DATE][..];
    let cases = [
        row("RFC 9110 13.1.2", tagged, &["if-none-match: \"a,b\""], NotModified),
        row("RFC 9110 13.1.2", tagged, &["if-none-match: \"c\""], Send),
        row("RFC 9110 13.1.2 list", tagged, &["if-none-match: \"c\", \"a,b\""], NotModified),
        row("RFC 9110 13.1.2 lines", tagged, &["if-none-match: \"c\"", "if-none-match: \"a,b\""], NotModified),
        row("RFC 9110 13.1.2 weak comparison", tagged, &["if-none-match: W/\"a,b\""], NotModified),
        row("RFC 9110 13.1.2 weak comparison", weak, &["if-none-match: \"a\""], NotModified),
        row("RFC 9110 13.1.2 *", &[], &["if-none-match: *"], NotModified),
        row("RFC 9110 13.1.2 * alone", tagged, &["if-none-match: *, \"c\""], Send),
        row("RFC 9110 8.8.3 unquoted", tagged, &["if-none-match: a"], Send),
        row("RFC 9110 8.8.3 unquoted", &["etag: a"], &["if-none-match: a"], Send),
        row("RFC 9110 8.8.3 no tag", dated, &["if-none-match: \"a\""], Send),
        row("4.3.2 equal", dated, &["if-modified-since: Sun, 06 Nov 1994 07:00:00 GMT"], NotModified),
        row("4.3.2 later", dated, &["if-modified-since: Sun, 06 Nov 1994 07:00:01 GMT"], NotModified),
        row("4.3.2 earlier", dated, &["if-modified-since: Sun, 06 Nov 1994 06:59:59 GMT"], Send),
        row("4.3.2 else Date", &[DATE], &["if-modified-since: Sun, 06 Nov 1994 08:49:37 GMT"], NotModified),
        row("4.3.2 else Date", &[DATE], &["if-modified-since: Sun, 06 Nov 1994 08:49:36 GMT"], Send),
        row("4.3.2 else arrival", &[], &["if-modified-since: Sun, 06 Nov 1994 08:49:37 GMT"], NotModified),
        row("RFC 9110 13.1.3 invalid", dated, &["if-modified-since: tomorrow"], Send),
        row(
            "RFC 9110 13.1.3 two lines",
            dated,
            &[
                "if-modified-since: Sun, 06 Nov 1994 07:00:00 GMT",
                "if-modified-since: Sun, 06 Nov 1994 07:00:00 GMT",
            ],
            Send,
        ),
        row(
            "RFC 9110 13.2.2 precedence",
            &["etag: \"a\"", CHANGED],
            &[
                "if-none-match: \"c\"",
                "if-modified-since: Sun, 06 Nov 1994 07:00:00 GMT",
            ],
            Send,
        ),
        row(
            "RFC 9110 13.2.2 precedence",
            &["etag: \"a\"", CHANGED],
            &[
                "if-none-match: \"a\"",
                "if-modified-since: Sun, 06 Nov 1994 06:00:00 GMT",
            ],
            NotModified,
        ),
        row("RFC 9110 12.1 another coding", tagged, &["if-none-match: \"a,b--stuut-zstd\""], NotModified),
        row("RFC 9110 12.1 another coding", &["etag: \"a--stuut-identity\""], &["if-none-match: \"a--stuut-br\""], NotModified),
        row("RFC 9110 12.1 not ours", tagged, &["if-none-match: \"a,b-gzip\""], Send),
        row("4.3.2 none", tagged, &[], Send),
    ];
    for ConditionCase {
        section,
        stored,
        request,
        then,
    } in cases
    {
        let (stored, fields) = (head(stored), head(request));
        let evaluate = |status| match condition(
            &fields,
            status,
            stored.get(header::ETAG),
            &stored,
            after(0).wall,
        ) {
            Condition::NotModified(_) => Then::NotModified,
            Condition::Send => Then::Send,
        };
        assert_eq!(
            evaluate(StatusCode::OK),
            then,
            "{section}: {stored:?} {request:?}"
        );
        assert_eq!(
            evaluate(StatusCode::NOT_FOUND),
            Send,
            "RFC 9110 13.2.1: {request:?}"
        );
    }
}

#[test]
fn validation_sends_the_stored_validators_only() {
    let table: &[(&str, &[&str], &[&str])] = &[
        ("4.3.1 tag", &["etag: \"a\""], &["if-none-match: \"a\""]),
        ("4.3.1 weak tag", &["etag: W/\"a\""], &["if-none-match: W/\"a\""]),
        ("4.3.1 both", &["etag: \"a\"", CHANGED], &["if-none-match: \"a\"", "if-modified-since: Sun, 06 Nov 1994 07:00:00 GMT"]),
        ("4.3.1 date", &[CHANGED], &["if-modified-since: Sun, 06 Nov 1994 07:00:00 GMT"]),
        ("4.3.1 not from Date", &[DATE], &[]),
        ("4.3.1 no valid one", &["etag: a", "last-modified: x"], &[]),
        ("4.3.1 two tags", &["etag: \"a\"", "etag: \"b\""], &[]),
    ];
    for (section, stored, then) in table {
        let mut request = head(&[
            "if-none-match: \"client\"",
            "if-match: \"client\"",
            "if-range: x",
        ]);
        let any = make_conditional(&head(stored), &mut request);
        assert_eq!(request, head(then), "{section}: {stored:?}");
        assert_eq!(any, !then.is_empty(), "{section}");
    }
}

#[test]
fn a_304_validates_by_its_validators() {
    let departs = "4.3.4 none in the 304; departs: only one stored response is validated";
    let table: &[(_, &[&str], &[&str], _)] = &[
        ("4.3.4 strong", &["etag: \"a\""], &["etag: \"a\""], true),
        ("4.3.4 strong", &["etag: \"a\""], &["etag: \"b\""], false),
        ("4.3.4 strong", &["etag: W/\"a\""], &["etag: \"a\""], false),
        ("4.3.4 strong", &[CHANGED], &["etag: \"a\"", CHANGED], false),
        ("4.3.4 strong decides", &["etag: \"a\"", CHANGED], &["etag: \"a\"", LATER], true),
        ("4.3.4 weak", &["etag: W/\"a\""], &["etag: W/\"a\""], true),
        ("4.3.4 weak", &["etag: \"a\""], &["etag: W/\"a\""], true),
        ("4.3.4 weak", &["etag: W/\"a\""], &["etag: W/\"b\""], false),
        ("4.3.4 date", &[CHANGED], &[CHANGED], true),
        ("4.3.4 date", &[CHANGED], &[LATER], false),
        ("4.3.4 date", &[CHANGED], &["last-modified: x"], false),
        ("4.3.4 none at all", &[], &[], true),
        ("4.3.4 unreadable", &["etag: \"a\""], &["etag: a"], false),
        (departs, &["etag: \"a\"", CHANGED], &[DATE], true),
    ];
    for (section, stored, response, then) in table {
        let validated = is_validated(&head(stored), &head(response), after(0).wall);
        assert_eq!(validated, *then, "{section}: {stored:?} {response:?}");
    }
}

/// A full response that is neither a failure nor ends the resource replaces the stored one.
#[test]
fn a_failure_does_not_replace_the_stored_response() {
    let refusal = "4.3.3; departs: a temporary refusal does not concern the stored response";
    let gone = "4.3.3; departs: a deleted resource must not be served, not even on an error";
    let table = [
        ("4.3.3", &[200, 301, 501, 401, 403][..], (false, false)),
        ("4.3.3", &[500, 502, 503, 504], (true, false)),
        (refusal, &[408, 425, 429], (true, false)),
        (gone, &[404, 410], (false, true)),
    ];
    for (section, statuses, then) in table {
        for status in statuses {
            let status = StatusCode::from_u16(*status).expect("a status");
            let effect = (is_failure(status), is_gone(status));
            assert_eq!(effect, then, "{section}: {status}");
        }
    }
}

#[test]
fn a_304_updates_the_stored_fields() {
    let mut stored = head(&[
        DATE,
        "age: 500",
        "etag: W/\"a\"",
        "cache-control: max-age=1",
        "content-length: 10",
        "content-type: application/json",
        "content-encoding: x",
        "x-kept: 1",
        "x-lines: 1",
        "x-lines: 2",
    ]);
    let response = head(&[
        "date: Sun, 06 Nov 1994 08:59:37 GMT",
        "etag: \"a\"",
        "cache-control: max-age=600",
        "content-length: 0",
        "content-type: text/json",
        "content-encoding: gzip",
        "content-range: bytes 0-0/1",
        "set-cookie: a=b",
        "connection: x-hop",
        "x-hop: 1",
        "x-lines: 3",
    ]);
    update(&mut stored, &response, after(600).wall);
    let then = head(&[
        "date: Sun, 06 Nov 1994 08:59:37 GMT",
        "etag: \"a\"",
        "cache-control: max-age=600",
        "content-length: 10",
        "content-type: text/json",
        "content-encoding: x",
        "x-kept: 1",
        "x-lines: 3",
    ]);
    assert_eq!(sorted(&stored), sorted(&then), "3.2");
}

#[test]
fn a_304_without_age_and_date_resets_the_age() {
    let mut stored = head(&[DATE, "age: 500", "cache-control: max-age=60"]);
    update(&mut stored, &head(&[]), after(600).wall);
    let exchange = Exchange::new(StatusCode::OK, &stored, after(600), after(600));
    let freshness = assess(
        &exchange,
        &Facts::default(),
        &config::Freshness::default(),
        RouteRule::default(),
    );
    assert_eq!(freshness.age(after(600)).as_secs(), 0, "4.3.4");
}

#[test]
fn hop_by_hop_fields_are_not_stored() {
    let response = head(&[
        DATE,
        "connection: close, x-hop",
        "x-hop: 1",
        "keep-alive: 5",
        "te: x",
        "x-end: 1",
    ]);
    let then = head(&[DATE, "x-end: 1"]);
    assert_eq!(storable(&response, after(0).wall), then, "3.1");
}

fn sorted(head: &HeaderMap) -> Vec<String> {
    let mut lines: Vec<_> = head
        .iter()
        .map(|(name, value)| format!("{name}: {value:?}"))
        .collect();
    lines.sort();
    lines
}
