//! §3.2 and §4.3: conditions, validation, and what a 304 updates.

use http::{HeaderMap, StatusCode, header};
use stuut_cache::config;
use stuut_cache::policy::{
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

struct Received<'a> {
    section: &'a str,
    stored: &'a [&'a str],
    request: &'a [&'a str],
    then: Then,
}

fn received<'a>(
    section: &'a str,
    stored: &'a [&'a str],
    request: &'a [&'a str],
    then: Then,
) -> Received<'a> {
    Received {
        section,
        stored,
        request,
        then,
    }
}

#[test]
fn conditions_of_a_request_are_evaluated_from_the_store() {
    use Then::{NotModified, Send};
    let tagged = &["etag: \"a,b\""][..];
    let weak = &["etag: W/\"a\""][..];
    let dated = &[CHANGED, DATE][..];
    let cases = [
        received("RFC 9110 13.1.2", tagged, &["if-none-match: \"a,b\""], NotModified),
        received("RFC 9110 13.1.2", tagged, &["if-none-match: \"c\""], Send),
        received("RFC 9110 13.1.2 list", tagged, &["if-none-match: \"c\", \"a,b\""], NotModified),
        received("RFC 9110 13.1.2 lines", tagged, &["if-none-match: \"c\"", "if-none-match: \"a,b\""], NotModified),
        received("RFC 9110 13.1.2 weak comparison", tagged, &["if-none-match: W/\"a,b\""], NotModified),
        received("RFC 9110 13.1.2 weak comparison", weak, &["if-none-match: \"a\""], NotModified),
        received("RFC 9110 13.1.2 *", &[], &["if-none-match: *"], NotModified),
        received("RFC 9110 13.1.2 * alone", tagged, &["if-none-match: *, \"c\""], Send),
        received("RFC 9110 8.8.3 unquoted", tagged, &["if-none-match: a"], Send),
        received("RFC 9110 8.8.3 unquoted", &["etag: a"], &["if-none-match: a"], Send),
        received("RFC 9110 8.8.3 no tag", dated, &["if-none-match: \"a\""], Send),
        received("4.3.2 equal", dated, &["if-modified-since: Sun, 06 Nov 1994 07:00:00 GMT"], NotModified),
        received("4.3.2 later", dated, &["if-modified-since: Sun, 06 Nov 1994 07:00:01 GMT"], NotModified),
        received("4.3.2 earlier", dated, &["if-modified-since: Sun, 06 Nov 1994 06:59:59 GMT"], Send),
        received("4.3.2 else Date", &[DATE], &["if-modified-since: Sun, 06 Nov 1994 08:49:37 GMT"], NotModified),
        received("4.3.2 else Date", &[DATE], &["if-modified-since: Sun, 06 Nov 1994 08:49:36 GMT"], Send),
        received("4.3.2 else arrival", &[], &["if-modified-since: Sun, 06 Nov 1994 08:49:37 GMT"], NotModified),
        received("RFC 9110 13.1.3 invalid", dated, &["if-modified-since: tomorrow"], Send),
        received(
            "RFC 9110 13.1.3 two lines",
            dated,
            &[
                "if-modified-since: Sun, 06 Nov 1994 07:00:00 GMT",
                "if-modified-since: Sun, 06 Nov 1994 07:00:00 GMT",
            ],
            Send,
        ),
        received(
            "RFC 9110 13.2.2 precedence",
            &["etag: \"a\"", CHANGED],
            &[
                "if-none-match: \"c\"",
                "if-modified-since: Sun, 06 Nov 1994 07:00:00 GMT",
            ],
            Send,
        ),
        received(
            "RFC 9110 13.2.2 precedence",
            &["etag: \"a\"", CHANGED],
            &[
                "if-none-match: \"a\"",
                "if-modified-since: Sun, 06 Nov 1994 06:00:00 GMT",
            ],
            NotModified,
        ),
        received("RFC 9110 12.1 another coding", tagged, &["if-none-match: \"a,b--stuut-zstd\""], NotModified),
        received("RFC 9110 12.1 another coding", &["etag: \"a--stuut-identity\""], &["if-none-match: \"a--stuut-br\""], NotModified),
        received("RFC 9110 12.1 not ours", tagged, &["if-none-match: \"a,b-gzip\""], Send),
        received("4.3.2 none", tagged, &[], Send),
    ];
    for Received {
        section,
        stored,
        request,
        then,
    } in cases
    {
        let (stored, fields) = (head(stored), head(request));
        let ask = |status| match condition(
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
            ask(StatusCode::OK),
            then,
            "{section}: {stored:?} {request:?}"
        );
        assert_eq!(
            ask(StatusCode::NOT_FOUND),
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

struct Answered<'a> {
    section: &'a str,
    stored: &'a [&'a str],
    status: u16,
    answer: &'a [&'a str],
    then: Renewal,
    departs: Option<&'a str>,
}

fn answered<'a>(
    section: &'a str,
    stored: &'a [&'a str],
    answer: &'a [&'a str],
    then: Renewal,
) -> Answered<'a> {
    Answered {
        section,
        stored,
        status: 304,
        answer,
        then,
        departs: None,
    }
}

#[test]
fn a_304_selects_by_its_validators() {
    use Renewal::{Ended, Failed, Mistaken, Renewed, Replaced};
    let mut cases = vec![
        answered("4.3.4 strong", &["etag: \"a\""], &["etag: \"a\""], Renewed),
        answered("4.3.4 strong", &["etag: \"a\""], &["etag: \"b\""], Mistaken),
        answered("4.3.4 strong", &["etag: W/\"a\""], &["etag: \"a\""], Mistaken),
        answered("4.3.4 strong", &[CHANGED], &["etag: \"a\"", CHANGED], Mistaken),
        answered("4.3.4 strong decides", &["etag: \"a\"", CHANGED], &["etag: \"a\"", LATER], Renewed),
        answered("4.3.4 weak", &["etag: W/\"a\""], &["etag: W/\"a\""], Renewed),
        answered("4.3.4 weak", &["etag: \"a\""], &["etag: W/\"a\""], Renewed),
        answered("4.3.4 weak", &["etag: W/\"a\""], &["etag: W/\"b\""], Mistaken),
        answered("4.3.4 date", &[CHANGED], &[CHANGED], Renewed),
        answered("4.3.4 date", &[CHANGED], &[LATER], Mistaken),
        answered("4.3.4 date", &[CHANGED], &["last-modified: x"], Mistaken),
        answered("4.3.4 none at all", &[], &[], Renewed),
        answered("4.3.4 unreadable", &["etag: \"a\""], &["etag: a"], Mistaken),
        Answered {
            departs: Some(
                "we asked about one response with its own validators; it can mean no other",
            ),
            ..answered("4.3.4 none in the answer", &["etag: \"a\"", CHANGED], &[DATE], Renewed)
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
        (408, Failed, Some("it tells of this moment, and nothing of what is stored")),
        (425, Failed, Some("it tells of this moment, and nothing of what is stored")),
        (429, Failed, Some("it tells of this moment, and nothing of what is stored")),
        (401, Ended, Some("a refusal ends what a token may see, at once")),
        (403, Ended, Some("a refusal ends what a token may see, at once")),
        (404, Ended, Some("what is gone is not served for the sake of an error")),
        (410, Ended, Some("what is gone is not served for the sake of an error")),
    ];
    for (status, then, departs) in statuses {
        cases.push(Answered {
            status,
            departs,
            ..answered("4.3.3", &["etag: \"a\""], &[], then)
        });
    }
    for Answered {
        section,
        stored,
        status,
        answer,
        then,
        departs,
    } in cases
    {
        let status = StatusCode::from_u16(status).expect("a status");
        let means = renewal(&head(stored), status, &head(answer), after(0).wall);
        assert_eq!(means, then, "{section}: {stored:?} {status} {answer:?}");
        assert_ne!(departs, Some(""), "{section}: a departure says why");
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
    let answer = head(&[
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
    update(&mut stored, &answer, after(600).wall);
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
fn a_304_without_age_and_date_makes_a_response_young_again() {
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
        None,
    );
    assert_eq!(freshness.age(after(600)).as_secs(), 0, "4.3.4");
}

#[test]
fn fields_of_one_connection_are_not_stored() {
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
