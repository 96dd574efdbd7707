//! §3.2 and §4.3: conditions, validation, and the update by a 304.

use http::{HeaderMap, StatusCode, header};
use stuut_cache::config;
use stuut_cache::policy::{
    RouteRule,
    Condition, Exchange, Facts, Renewal, assess, condition, make_conditional,
    renewal, storable, update,
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

struct RenewalCase<'a> {
    section: &'a str,
    stored: &'a [&'a str],
    status: u16,
    response: &'a [&'a str],
    then: Renewal,
    departs: Option<&'a str>,
}

fn renewal_row<'a>(
    section: &'a str,
    stored: &'a [&'a str],
    response: &'a [&'a str],
    then: Renewal,
) -> RenewalCase<'a> {
    RenewalCase {
        section,
        stored,
        status: 304,
        response,
        then,
        departs: None,
    }
}

#[test]
fn a_304_selects_by_its_validators() {
    use Renewal::{Ended, Failed, Mistaken, Renewed, Replaced};
    let mut cases = vec![
        renewal_row("4.3.4 strong", &["etag: \"a\""], &["etag: \"a\""], Renewed),
        renewal_row("4.3.4 strong", &["etag: \"a\""], &["etag: \"b\""], Mistaken),
        renewal_row("4.3.4 strong", &["etag: W/\"a\""], &["etag: \"a\""], Mistaken),
        renewal_row("4.3.4 strong", &[CHANGED], &["etag: \"a\"", CHANGED], Mistaken),
        renewal_row("4.3.4 strong decides", &["etag: \"a\"", CHANGED], &["etag: \"a\"", LATER], Renewed),
        renewal_row("4.3.4 weak", &["etag: W/\"a\""], &["etag: W/\"a\""], Renewed),
        renewal_row("4.3.4 weak", &["etag: \"a\""], &["etag: W/\"a\""], Renewed),
        renewal_row("4.3.4 weak", &["etag: W/\"a\""], &["etag: W/\"b\""], Mistaken),
        renewal_row("4.3.4 date", &[CHANGED], &[CHANGED], Renewed),
        renewal_row("4.3.4 date", &[CHANGED], &[LATER], Mistaken),
        renewal_row("4.3.4 date", &[CHANGED], &["last-modified: x"], Mistaken),
        renewal_row("4.3.4 none at all", &[], &[], Renewed),
        renewal_row("4.3.4 unreadable", &["etag: \"a\""], &["etag: a"], Mistaken),
        RenewalCase {
            departs: Some(
                "we validate exactly one stored response, so the 304 cannot mean another",
            ),
            ..renewal_row("4.3.4 none in the 304", &["etag: \"a\"", CHANGED], &[DATE], Renewed)
        },
    ];
    let statuses = [
        (200, Replaced, None),
        (301, Replaced, None),
        (501, Replaced, None),
        (500, Failed, None),
        (502, Failed, None),
        (503, Failed, None),
        (504, Failed, None),
        (408, Failed, Some("a temporary refusal, which does not concern the stored response")),
        (425, Failed, Some("a temporary refusal, which does not concern the stored response")),
        (429, Failed, Some("a temporary refusal, which does not concern the stored response")),
        (401, Ended, Some("a refusal revokes the access of the token at once")),
        (403, Ended, Some("a refusal revokes the access of the token at once")),
        (404, Ended, Some("a deleted resource must not be served, not even on an error")),
        (410, Ended, Some("a deleted resource must not be served, not even on an error")),
    ];
    for (status, then, departs) in statuses {
        cases.push(RenewalCase {
            status,
            departs,
            ..renewal_row("4.3.3", &["etag: \"a\""], &[], then)
        });
    }
    for RenewalCase {
        section,
        stored,
        status,
        response,
        then,
        departs,
    } in cases
    {
        let status = StatusCode::from_u16(status).expect("a status");
        let effect = renewal(&head(stored), status, &head(response), after(0).wall);
        assert_eq!(effect, then, "{section}: {stored:?} {status} {response:?}");
        assert_ne!(departs, Some(""), "{section}: a departure needs a reason");
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
    let exchange = Exchange {
        status: StatusCode::OK,
        response: &stored,
        requested: after(600),
        received: after(600),
    };
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
