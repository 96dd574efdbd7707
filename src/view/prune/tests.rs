//! Removed and kept members, and whitespace: one row each.

use super::*;

fn pruned(body: &str, fields: &str, strip: &str) -> String {
    let list = |text: &'static str| (!text.is_empty()).then_some(text);
    let fields = list(String::leak(fields.to_owned()));
    let strip = list(String::leak(strip.to_owned()));
    let view = View::parse(fields, strip)
        .expect("the rows are valid lists")
        .expect("the rows do not show everything");
    let body = Bytes::copy_from_slice(body.as_bytes());
    let out = match prune(&body, &view) {
        Pruned::Whole(whole) => {
            assert_eq!(whole.as_ptr(), body.as_ptr(), "not a copy");
            assert_eq!(whole, body);
            whole
        }
        Pruned::Part(part) => {
            assert!(part.len() < body.len());
            part
        }
        Pruned::Skipped(fault) => return format!("{fault:?}"),
    };
    String::from_utf8(out.to_vec()).expect("cut at character boundaries")
}

#[test]
fn strip_removes_members() {
    for (strip, body, expected) in [
        ("a", r#"{"a":1}"#, "{}"),
        ("a", r#"{"a":1,"b":2}"#, r#"{"b":2}"#),
        ("b", r#"{"a":1,"b":2}"#, r#"{"a":1}"#),
        ("b", r#"{"a":1,"b":2,"c":3}"#, r#"{"a":1,"c":3}"#),
        ("b,c", r#"{"a":1,"b":2,"c":3}"#, r#"{"a":1}"#),
        ("a,c", r#"{"a":1,"b":2,"c":3}"#, r#"{"b":2}"#),
        ("a", r#"{"a":1,"b":{"a":1},"a":{}}"#, r#"{"b":{"a":1}}"#),
        ("a.b", r#"{"a":{"b":1}}"#, r#"{"a":{}}"#),
        ("a.b", r#"{"a":null,"b":1}"#, r#"{"a":null,"b":1}"#),
        (
            "a.b",
            r#"{"a":[{"b":1},2,[{"b":3,"c":4}]]}"#,
            r#"{"a":[{},2,[{"c":4}]]}"#,
        ),
        ("*", r#"{"a":1,"b":{}}"#, "{}"),
        (
            "*.a",
            r#"{"a":1,"b":{"a":2,"c":3}}"#,
            r#"{"a":1,"b":{"c":3}}"#,
        ),
        (
            "**.a",
            r#"{"a":1,"b":{"a":2,"c":[{"a":[{"a":1}]}]}}"#,
            r#"{"b":{"c":[{}]}}"#,
        ),
        (
            "x.**.a",
            r#"{"a":1,"x":{"a":2,"b":{"a":3}},"y":{"x":{"a":4}}}"#,
            r#"{"a":1,"x":{"b":{}},"y":{"x":{"a":4}}}"#,
        ),
        (
            "**.a.b",
            r#"{"a":{"a":{"b":1},"b":2},"b":3}"#,
            r#"{"a":{"a":{}},"b":3}"#,
        ),
        (
            "**.a.**.b",
            r#"{"b":1,"a":{"b":2,"a":{"c":{"b":3,"d":4}}}}"#,
            r#"{"b":1,"a":{"a":{"c":{"d":4}}}}"#,
        ),
        (
            "a",
            r#"[{"a":1},[{"a":2,"b":3}],"a"]"#,
            r#"[{},[{"b":3}],"a"]"#,
        ),
        ("a", r#""a""#, r#""a""#),
        (r"\e", r#"{"":1,"a":2}"#, r#"{"a":2}"#),
        (r"a\.b", r#"{"a.b":1,"a":{"b":2}}"#, r#"{"a":{"b":2}}"#),
        ("é", r#"{"\u00e9":1,"é":2,"e":3}"#, r#"{"e":3}"#),
        ("😀", r#"{"\ud83d\ude00":1,"\ud83d":2}"#, r#"{"\ud83d":2}"#),
        ("a\u{fffd}", r#"{"a\ud800":1}"#, r#"{"a\ud800":1}"#),
        ("*", r#"{"a\ud800":1}"#, "{}"),
        ("a", r#"{"\u0061":1,"b":"\u0061"}"#, r#"{"b":"\u0061"}"#),
    ] {
        assert_eq!(pruned(body, "", strip), expected, "{strip} of {body}");
    }
}

#[test]
fn fields_keeps_members() {
    for (fields, body, expected) in [
        ("a", r#"{"a":1,"b":2}"#, r#"{"a":1}"#),
        ("a", r#"{"b":2}"#, "{}"),
        ("a", r#"{"a":{"b":{"c":1}}}"#, r#"{"a":{"b":{"c":1}}}"#),
        (
            "p(id)",
            r#"{"p":{"id":1,"n":2},"id":3}"#,
            r#"{"p":{"id":1}}"#,
        ),
        ("p(id)", r#"{"p":null,"q":null}"#, r#"{"p":null}"#),
        ("p(id)", r#"{"p":"text","q":[]}"#, r#"{"p":"text"}"#),
        (
            "p(id)",
            r#"{"p":[1,{"id":2,"n":3},[{"n":4}]]}"#,
            r#"{"p":[1,{"id":2},[{}]]}"#,
        ),
        ("p.id", r#"{"p":{"n":1}}"#, r#"{"p":{}}"#),
        (
            "*.id",
            r#"{"a":{"id":1,"n":2},"b":3}"#,
            r#"{"a":{"id":1},"b":3}"#,
        ),
        (
            "*.id,a",
            r#"{"a":{"id":1,"n":2},"b":{"n":3}}"#,
            r#"{"a":{"id":1,"n":2},"b":{}}"#,
        ),
        (
            "a.*",
            r#"{"a":{"b":{"c":1}},"d":1}"#,
            r#"{"a":{"b":{"c":1}}}"#,
        ),
        ("id", r#"[{"id":1,"n":2},{"n":3},4]"#, r#"[{"id":1},{},4]"#),
        ("a", "17", "17"),
    ] {
        assert_eq!(pruned(body, fields, ""), expected, "{fields} of {body}");
    }
}

#[test]
fn fields_are_selected_first_then_stripped() {
    for (fields, strip, body, expected) in [
        (
            "a",
            "a.b",
            r#"{"a":{"b":1,"c":2},"d":3}"#,
            r#"{"a":{"c":2}}"#,
        ),
        ("a", "a", r#"{"a":1,"b":2}"#, "{}"),
        ("a.b", "a", r#"{"a":{"b":1}}"#, "{}"),
        (
            "a(b,c)",
            "**.c",
            r#"{"a":{"b":{"c":1},"c":2,"d":3}}"#,
            r#"{"a":{"b":{}}}"#,
        ),
        (
            "*.b",
            "**.c",
            r#"{"a":{"b":{"c":1,"d":2},"c":2}}"#,
            r#"{"a":{"b":{"d":2}}}"#,
        ),
    ] {
        assert_eq!(
            pruned(body, fields, strip),
            expected,
            "{fields} {strip} of {body}"
        );
    }
}

#[test]
fn whitespace_is_removed_with_the_member_after_it() {
    for (strip, body, expected) in [
        ("a", "{\n  \"a\": 1,\n  \"b\": 2\n}\n", "{\n  \"b\": 2\n}\n"),
        ("b", "{\n  \"a\": 1,\n  \"b\": 2\n}\n", "{\n  \"a\": 1\n}\n"),
        (
            "b",
            "{\n  \"a\": 1,\n  \"b\": 2,\n\"c\":3}",
            "{\n  \"a\": 1,\n\"c\":3}",
        ),
        ("a,b", "{\n  \"a\": 1,\n  \"b\": 2\n}", "{\n}"),
        ("b", r#"{"a":1 ,"b":2 }"#, r#"{"a":1 }"#),
        ("b", r#"{"a":1 , "b":2 , "c":3 }"#, r#"{"a":1 , "c":3 }"#),
        ("a", r#"{ "a" : 1 }"#, "{ }"),
        (
            "a",
            r#" [ { "a" : 1 , "b" : [ ] } ] "#,
            r#" [ { "b" : [ ] } ] "#,
        ),
    ] {
        assert_eq!(pruned(body, "", strip), expected, "{strip} of {body}");
    }
}

#[test]
fn invalid_bodies_are_skipped_with_the_reason() {
    for (body, reason) in [
        ("", "NotJson"),
        ("{", "NotJson"),
        (r#"{"b":1"#, "NotJson"),
        (r#"{"b":1,}"#, "NotJson"),
        (r#"{,"b":1}"#, "NotJson"),
        (r#"{"a":[1,]}"#, "NotJson"),
        (r#"{"a":nul,"b":1}"#, "NotJson"),
        (r#"{"b":{"a":1]}"#, "NotJson"),
        (r#"{"a":1}}"#, "NotJson"),
        (r#"{"a":1} x"#, "NotJson"),
        (r#"{"b" 1}"#, "NotJson"),
        ("[1 2]", "NotJson"),
        ("[,]", "NotJson"),
    ] {
        for strip in ["a", "**.a", "x"] {
            assert_eq!(pruned(body, "", strip), reason, "{body}");
        }
        assert_eq!(pruned(body, "a", ""), reason, "{body}");
    }
    let latin = Bytes::from_static(b"{\"a\":\"\xe9\"}");
    let view = View::parse(None, Some("a"))
        .expect("a list")
        .expect("a view");
    assert_eq!(prune(&latin, &view), Pruned::Skipped(JsonFault::NotJson));
}

#[test]
fn the_depth_limit_is_the_same_inside_and_outside_of_paths() {
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}"), (r#"{"b":"#, "}")] {
        for strip in ["**.a", "b", "a", "a.a.a.a", "b.b.b.x"] {
            let nested = |depth: usize| open.repeat(depth) + "[]" + &close.repeat(depth);
            assert_ne!(pruned(&nested(MAX_DEPTH - 1), "", strip), "TooDeep");
            assert_eq!(pruned(&nested(MAX_DEPTH), "", strip), "TooDeep");
        }
    }
}

#[test]
fn the_paths_that_match_nothing_are_reported() {
    let body = Bytes::from(r#"{"a":1,"b":[{"c":2},{"d":{"e":3}}],"n":null,"o":{}}"#);
    let long = (10..50)
        .map(|n| format!("x{n}.y"))
        .collect::<Vec<_>>()
        .join(",");
    let table = [
        (None, "a,A,b.c,b.C", vec!["A", "b.C"]),
        (None, "**.e,**.E,b.*.e,b.d.*", vec!["**.E"]),
        // Nothing is left to match.
        (None, "b,**.e", vec!["**.e"]),
        (None, "o.*,n.x", vec!["n.x", "o.*"]),
        (Some("a,b.d.e,n.x,z"), "a,q", vec!["n.x", "z", "q"]),
        // More than 64 steps.
        (Some(&*long), "a,q", long.split(',').chain(["q"]).collect()),
    ];
    for (fields, strip, unmatched) in table {
        let view = View::parse(fields, Some(strip))
            .expect("valid")
            .expect("a view");
        assert_eq!(
            prune_and_match(&body, &view).1,
            unmatched,
            "{fields:?} {strip}"
        );
    }
    let view = View::parse(None, Some("a"))
        .expect("valid")
        .expect("a view");
    assert_eq!(prune_and_match(&Bytes::from("[1]"), &view).1, ["a"]);
    assert_eq!(prune_and_match(&Bytes::from("7"), &view).1, ["a"]);
}
