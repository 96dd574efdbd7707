//! Valid lists and faults, one row each.

use super::*;

fn expanded(text: &str, list: List) -> Result<String, FaultAt> {
    let mut read = Paths::default();
    read.read(text, list)?;
    let mut out = String::new();
    for (n, path) in read.list.iter().enumerate() {
        for (m, segment) in path.iter().enumerate() {
            out.push_str(if m > 0 {
                "."
            } else if n > 0 {
                " "
            } else {
                ""
            });
            segment.write(m == 0, &mut out);
        }
    }
    Ok(out)
}

#[test]
fn groups_are_expanded() {
    for (text, paths) in [
        ("a", "a"),
        ("a,b.c", "a b.c"),
        ("a(b,c)", "a.b a.c"),
        ("a.b(c,d(e,f.g)),h", "a.b.c a.b.d.e a.b.d.f.g h"),
        ("a(b),c", "a.b c"),
        ("a(b(c))", "a.b.c"),
        ("*.a.*", "*.a.*"),
        ("**.a", "**.a"),
        ("**(a,b.*)", "**.a **.b.*"),
        ("a.**.b.**.c", "a.**.b.**.c"),
        (r"\e.a.\e", r"\e.a.\e"),
        (r"**.\e", r"**.\e"),
        (r"a\.b\,c\(d\)\*\\e\ f", r"a\.b\,c\(d\)\*\\e\ f"),
        (r"\*", r"\*"),
        ("naïve.日本", "naïve.日本"),
        ("a+b", "a+b"),
        (" a , b (\tc , d )\n, * , ** (e) ", "a b.c b.d * **.e"),
        (r"\ a\ ,b", r"\ a\  b"),
        (r"\$.a,b.$,$c", r"\$.a b.$ $c"),
        (r"\/a\/,b./c", r"\/a/ b./c"),
        (r"a\[0],[x],[],a[0]b", r"a\[0] [x] [] a[0]b"),
        (r"\/a\\\[1]", r"\/a\\\[1]"),
    ] {
        assert_eq!(expanded(text, List::Strip), Ok(paths.to_owned()), "{text}");
    }
}

#[test]
fn faults_have_a_position() {
    use ViewFaultKind::*;
    for (text, position, kind) in [
        ("", 1, MissingName),
        (",", 1, MissingName),
        ("a,", 3, MissingName),
        ("a,,b", 3, MissingName),
        (".a", 1, MissingName),
        ("a.", 3, MissingName),
        ("a..b", 3, MissingName),
        ("a()", 3, MissingName),
        ("a(b,)", 5, MissingName),
        ("(a)", 1, MissingName),
        ("a.(b)", 3, MissingName),
        ("é..b", 3, MissingName),
        ("a b", 2, Blank),
        ("a .b", 2, Blank),
        ("a. b", 3, Blank),
        ("* .b", 1, Star),
        ("a, ", 4, MissingName),
        (" ", 2, MissingName),
        ("a. ", 3, MissingName),
        ("a(b) c", 6, AfterGroup),
        ("a*", 2, Star),
        ("*a", 1, Star),
        ("a.***", 3, Star),
        (r"*\e", 1, Star),
        (r"\**", 3, Star),
        (r"\e*", 1, Escape),
        ("**", 1, DeepWithoutName),
        ("a.**", 3, DeepWithoutName),
        ("**.*", 1, DeepWithoutName),
        ("a.**.**.b", 3, DeepWithoutName),
        ("**(a,*)", 1, DeepWithoutName),
        ("b,**(**.c)", 3, DeepWithoutName),
        (r"a\b", 2, Escape),
        (r"a\", 2, Escape),
        (r"\ea", 1, Escape),
        (r"a\e", 2, Escape),
        (r"\e\e", 1, Escape),
        ("a(b", 2, Unclosed),
        ("a(b(c)", 2, Unclosed),
        ("a)", 2, Unopened),
        ("a(b))", 5, Unopened),
        ("a(b)c", 5, AfterGroup),
        ("a(b).c", 5, AfterGroup),
        ("a(b)(c)", 5, AfterGroup),
    ] {
        assert_eq!(
            expanded(text, List::Strip),
            Err((position, kind)),
            "{text:?}"
        );
    }
    for (text, position, character, path) in [
        ("b,$.invoices", 3, '$', "invoices"),
        ("$", 1, '$', ""),
        ("/invoices/0/id", 1, '/', "invoices.id"),
        ("$.invoices[0].id", 1, '$', "invoices.id"),
        ("a(invoices[12].id)", 3, '[', "invoices.id"),
        (r"a\\[0]", 1, '[', r"a\\"),
        (r"\/a[0]", 1, '[', r"\/a"),
    ] {
        assert_eq!(
            expanded(text, List::Fields),
            Err((position, Foreign(character, path.to_owned()))),
            "{text}"
        );
    }
    for (text, position) in [("**.a", 1), ("a,b.**.c", 5), ("a(**(b))", 3)] {
        assert_eq!(
            expanded(text, List::Fields),
            Err((position, DeepInFields)),
            "{text}"
        );
    }
}

#[test]
fn lists_over_a_limit_are_rejected() {
    let names = |count: usize| vec!["a"; count].join(",");
    let path = |count: usize| vec!["a"; count].join(".");
    for (text, fault) in [
        (names(64), None),
        (names(65), Some((129, ViewFaultKind::TooManyPaths))),
        (
            format!("a({})", names(65)),
            Some((131, ViewFaultKind::TooManyPaths)),
        ),
        (path(32), None),
        (path(33), Some((65, ViewFaultKind::TooManySegments))),
        (
            format!("{}(b,c.d)", path(31)),
            Some((67, ViewFaultKind::TooManySegments)),
        ),
        ("a".repeat(256), None),
        ("a".repeat(257), Some((1, ViewFaultKind::NameTooLong))),
        ("é".repeat(128), None),
        (
            "b.".to_owned() + &"é".repeat(129),
            Some((3, ViewFaultKind::NameTooLong)),
        ),
        (r"\.".repeat(256), None),
        (format!("{},a", r"\.".repeat(256)), None),
        ([&*"a".repeat(255); 8].join(",") + "b", None),
        // 8 * 32 segments, and then one more.
        ([&*path(32); 8].join(","), None),
        (
            [&*path(32); 8].join(",") + ",a",
            Some((513, ViewFaultKind::TooManyInTotal)),
        ),
        (format!("*.*.**({})", names(64)), None),
        (
            format!("*.*.**({},a.a)", names(63)),
            Some((134, ViewFaultKind::TooManyInTotal)),
        ),
        // 8 * 255 bytes, 7 commas, and one byte or two more.
        (format!("{}(b,c,d,e,f,g,h,ij)", "a".repeat(253)), None),
        (format!(r"{}(b,c,d,e,f,g,h,\e)", "a".repeat(253)), None),
        (
            format!("{}(b,c,d,e,f,g,h,ijk)", "a".repeat(253)),
            Some((269, ViewFaultKind::TooLong)),
        ),
        (
            format!(r"{}(b,c,d,e,f,g,h,i\.)", "a".repeat(253)),
            Some((269, ViewFaultKind::TooLong)),
        ),
    ] {
        assert_eq!(expanded(&text, List::Strip).err(), fault, "{text}");
    }
    let long = [&*"é".repeat(128); 8].join(",");
    assert_eq!(
        expanded(&long, List::Strip),
        Err((1028, ViewFaultKind::TooLong)),
        "2,055 bytes"
    );
}

#[test]
fn limits_apply_to_all_texts_of_a_list_together() {
    let mut read = Paths::default();
    let text = vec!["a"; 40].join(",");
    assert_eq!(read.read(&text, List::Strip), Ok(()));
    assert_eq!(
        read.read(&text, List::Strip),
        Err((49, ViewFaultKind::TooManyPaths))
    );
    let mut read = Paths::default();
    let text = vec!["a".repeat(200); 6].join(",");
    assert_eq!(read.read(&text, List::Strip), Ok(()));
    assert_eq!(
        read.read(&text, List::Strip),
        Err((844, ViewFaultKind::TooLong))
    );
    let mut read = Paths::default();
    let text = ["a.b.c.d.e.f.g.h"; 20].join(",");
    assert_eq!(read.read(&text, List::Strip), Ok(()));
    assert_eq!(
        read.read(&text, List::Strip),
        Err((193, ViewFaultKind::TooManyInTotal)),
        "20 paths of 8 segments, and the 13th of the same"
    );
}
