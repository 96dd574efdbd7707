//! §4.1: the requests that a stored response may be used for.

use stuut_cache::policy::Selecting;

use super::support::head;

struct Case<'a> {
    section: &'a str,
    vary: &'a [&'a str],
    first: &'a [&'a str],
    second: &'a [&'a str],
    then: bool,
    departs: Option<&'a str>,
}

fn row<'a>(
    section: &'a str,
    vary: &'a [&'a str],
    first: &'a [&'a str],
    second: &'a [&'a str],
    then: bool,
) -> Case<'a> {
    Case {
        section,
        vary,
        first,
        second,
        then,
        departs: None,
    }
}

#[test]
fn nominated_fields_select_the_stored_response() {
    let cases = [
        row("4.1 none nominated", &[], &["a: 1"], &["a: 2"], true),
        row("4.1 equal", &["vary: a"], &["a: 1"], &["a: 1"], true),
        row("4.1 not equal", &["vary: a"], &["a: 1"], &["a: 2"], false),
        row("4.1 others", &["vary: a"], &["a: 1", "b: 1"], &["a: 1", "b: 2"], true),
        row("4.1 names in any case", &["vary: A"], &["a: 1"], &["a: 2"], false),
        row("4.1 both absent", &["vary: a"], &[], &[], true),
        row("4.1 one absent", &["vary: a"], &["a: 1"], &[], false),
        row("4.1 one absent", &["vary: a"], &[], &["a: 1"], false),
        row("4.1 several", &["vary: a, b"], &["a: 1", "b: 1"], &["a: 1", "b: 2"], false),
        row("4.1 lines", &["vary: a", "vary: b"], &["a: 1", "b: 1"], &["a: 1", "b: 2"], false),
        row("4.1 empty elements", &["vary: , ,a,"], &["a: 1"], &["a: 2"], false),
        row("4.1 *", &["vary: *"], &[], &[], false),
        row("4.1 * among others", &["vary: a, *"], &["a: 1"], &["a: 1"], false),
        row("4.1 * in a line", &["vary: a", "vary: *"], &["a: 1"], &["a: 1"], false),
        row("4.1 invalid field name", &["vary: a b"], &["a: 1"], &["a: 1"], false),
        row("4.1 lines combined", &["vary: a"], &["a: 1", "a: 2"], &["a: 1, 2"], true),
        row("4.1 whitespace", &["vary: a"], &["a: 1,2"], &["a: 1 , 2"], true),
        row("4.1 order", &["vary: a"], &["a: 1, 2"], &["a: 2, 1"], false),
        Case {
            departs: Some("a MAY that requires the semantics of each field"),
            ..row("4.1 normalised language", &["vary: accept-language"], &["accept-language: EN"], &["accept-language: en"], false)
        },
    ];
    for case in cases {
        let selecting = Selecting::capture(&head(case.vary), &head(case.first), &[]);
        let matches = selecting.is_some_and(|selecting| selecting.matches(&head(case.vary), &head(case.second)));
        let Case {
            section,
            vary,
            first,
            second,
            departs,
            ..
        } = case;
        assert_eq!(
            matches, case.then,
            "{section}: {vary:?} {first:?} {second:?}"
        );
        assert_ne!(departs, Some(""), "{section}: a departure needs a reason");
    }
}
