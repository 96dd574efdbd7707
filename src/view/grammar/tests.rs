//! Lists and their faults, one row each.

use super::*;

fn written_out(text: &str, list: List) -> Result<String, Wrong> {
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
            segment.write(&mut out);
        }
    }
    Ok(out)
}

#[test]
fn lists_are_written_out() {
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
    ] {
        assert_eq!(
            written_out(text, List::Strip),
            Ok(paths.to_owned()),
            "{text}"
        );
    }
}

#[test]
fn faults_say_where() {
    use ViewFaultKind::*;
    for (text, place, kind) in [
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
        ("a, b", 3, Blank),
        (" a", 1, Blank),
        ("a\t", 2, Blank),
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
        ("a(b)c", 5, BehindGroup),
        ("a(b).c", 5, BehindGroup),
        ("a(b)(c)", 5, BehindGroup),
    ] {
        assert_eq!(
            written_out(text, List::Strip),
            Err((place, kind)),
            "{text:?}"
        );
    }
    for (text, place) in [("**.a", 1), ("a,b.**.c", 5), ("a(**(b))", 3)] {
        assert_eq!(
            written_out(text, List::Fields),
            Err((place, DeepInFields)),
            "{text}"
        );
    }
}

#[test]
fn limits_hold() {
    let names = |count: usize| vec!["a"; count].join(",");
    let steps = |count: usize| vec!["a"; count].join(".");
    for (text, wrong) in [
        (names(64), None),
        (names(65), Some((129, ViewFaultKind::TooManyPaths))),
        (
            format!("a({})", names(65)),
            Some((131, ViewFaultKind::TooManyPaths)),
        ),
        (steps(32), None),
        (steps(33), Some((65, ViewFaultKind::TooManySegments))),
        (
            format!("{}(b,c.d)", steps(31)),
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
        // 8 * 32 segments, and one more.
        ([&*steps(32); 8].join(","), None),
        (
            [&*steps(32); 8].join(",") + ",a",
            Some((513, ViewFaultKind::TooManyTogether)),
        ),
        (format!("*.*.**({})", names(64)), None),
        (
            format!("*.*.**({},a.a)", names(63)),
            Some((134, ViewFaultKind::TooManyTogether)),
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
        assert_eq!(written_out(&text, List::Strip).err(), wrong, "{text}");
    }
    let long = [&*"é".repeat(128); 8].join(",");
    assert_eq!(
        written_out(&long, List::Strip),
        Err((1028, ViewFaultKind::TooLong)),
        "2,055 bytes"
    );
}

#[test]
fn limits_count_over_several_texts() {
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
        Err((193, ViewFaultKind::TooManyTogether)),
        "20 paths of 8 segments, and the 13th of the same"
    );
}
