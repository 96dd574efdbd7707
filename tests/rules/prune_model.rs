//! Pruning against two models that are slow and plain: one on the text, one on values.

use std::collections::BTreeSet;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;
use stuut_cache::view::{Pruned, View, prune};

// === The model ===

/// A step of a path, as it was written.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Any,
    Deep,
    Name(String),
}

/// Both lists of a view.
struct Lists {
    fields: Option<Vec<Vec<Step>>>,
    strip: Vec<Vec<Step>>,
}

/// The lists as they were written, without groups: the model knows nothing of canonical forms.
fn lists(fields: Option<&str>, strip: Option<&str>) -> Lists {
    Lists {
        fields: fields.map(paths),
        strip: strip.map(paths).unwrap_or_default(),
    }
}

fn paths(text: &str) -> Vec<Vec<Step>> {
    let step = |step: &str| match step {
        "*" => Step::Any,
        "**" => Step::Deep,
        r"\e" => Step::Name(String::new()),
        name => Step::Name(name.replace('\\', "")),
    };
    text.split(',')
        .map(|path| path.split('.').map(step).collect())
        .collect()
}

/// Whether a path leads exactly to this member.
fn leads_to(path: &[Step], member: &[Vec<u16>]) -> bool {
    match (path, member) {
        ([], []) => true,
        ([Step::Deep, rest @ ..], _) => {
            leads_to(rest, member) || !member.is_empty() && leads_to(path, &member[1..])
        }
        ([Step::Any, rest @ ..], [_, below @ ..]) => leads_to(rest, below),
        ([Step::Name(name), rest @ ..], [first, below @ ..]) => {
            name.encode_utf16().eq(first.iter().copied()) && leads_to(rest, below)
        }
        _ => false,
    }
}

/// Whether a path leads to this member, to one around it or to one that could be inside.
fn leads_by(path: &[Step], member: &[Vec<u16>]) -> bool {
    (0..=path.len()).any(|n| leads_to(&path[..n], member))
        || (0..=member.len()).any(|n| leads_to(path, &member[..n]))
}

impl Lists {
    fn shows(&self, member: &[Vec<u16>]) -> bool {
        let kept = match &self.fields {
            Some(fields) => fields.iter().any(|path| leads_by(path, member)),
            None => true,
        };
        kept && !self.strip.iter().any(|path| leads_to(path, member))
    }
}

/// Rewrites a text by recursion, token by token; `None` where it is no JSON.
struct Model<'a> {
    text: &'a [u8],
    at: usize,
    lists: &'a Lists,
}

impl Model<'_> {
    fn run(text: &str, lists: &Lists) -> Option<String> {
        let mut model = Model {
            text: text.as_bytes(),
            at: 0,
            lists,
        };
        let before = model.blanks();
        let value = model.value(&mut Vec::new())?;
        let behind = model.blanks();
        (model.at == text.len()).then(|| before + &value + &behind)
    }

    fn blanks(&mut self) -> String {
        self.while_in(b" \t\r\n")
    }

    fn while_in(&mut self, set: &[u8]) -> String {
        let mut out = String::new();
        while let Some(byte) = self.text.get(self.at).filter(|byte| set.contains(byte)) {
            out.push(char::from(*byte));
            self.at += 1;
        }
        out
    }

    fn take(&mut self, mark: &str) -> Option<()> {
        let here = self.text[self.at..].starts_with(mark.as_bytes());
        self.at += if here { mark.len() } else { 0 };
        here.then_some(())
    }

    fn value(&mut self, path: &mut Vec<Vec<u16>>) -> Option<String> {
        match self.text.get(self.at)? {
            b'{' => self.object(path),
            b'[' => self.array(path),
            b'"' => Some(self.string()?.0),
            _ => {
                let word = self.while_in(b"-+.0123456789aeEflnrstu");
                let good = serde_json::from_str::<Value>(&word).is_ok();
                good.then_some(word)
            }
        }
    }

    fn array(&mut self, path: &mut Vec<Vec<u16>>) -> Option<String> {
        self.take("[")?;
        let mut out = "[".to_owned() + &self.blanks();
        if self.take("]").is_some() {
            return Some(out + "]");
        }
        loop {
            out += &self.value(path)?;
            out += &self.blanks();
            if self.take("]").is_some() {
                return Some(out + "]");
            }
            self.take(",")?;
            out += ",";
            out += &self.blanks();
        }
    }

    fn object(&mut self, path: &mut Vec<Vec<u16>>) -> Option<String> {
        self.take("{")?;
        let mut before = self.blanks();
        if self.take("}").is_some() {
            return Some(format!("{{{before}}}"));
        }
        // What stays: the member with the blanks before it, and the blanks behind it.
        let mut stay: Vec<(String, String)> = Vec::new();
        loop {
            let (name, meant) = self.string()?;
            let colon = self.blanks();
            self.take(":")?;
            let gap = self.blanks();
            path.push(meant);
            let shown = self.lists.shows(path);
            let value = self.value(path)?;
            path.pop();
            let behind = self.blanks();
            if shown {
                let member = format!("{before}{name}{colon}:{gap}{value}");
                stay.push((member, behind.clone()));
            }
            if self.take("}").is_some() {
                if let Some(last) = stay.last_mut() {
                    last.1.clear();
                }
                let members: Vec<_> = stay.into_iter().map(|(a, b)| a + &b).collect();
                return Some(format!("{{{}{behind}}}", members.join(",")));
            }
            self.take(",")?;
            before = self.blanks();
        }
    }

    /// A string as it stands, and the UTF-16 it means.
    fn string(&mut self) -> Option<(String, Vec<u16>)> {
        let begin = self.at;
        self.take("\"")?;
        let mut meant = Vec::new();
        let text = std::str::from_utf8(self.text).ok()?;
        let mut chars = text[self.at..].chars();
        loop {
            let char = chars.next()?;
            match char {
                '"' => break,
                '\\' => match chars.next()? {
                    'u' => {
                        let hex: String = chars.by_ref().take(4).collect();
                        let hex = (hex.len() == 4 && !hex.starts_with('+')).then_some(hex)?;
                        meant.push(u16::from_str_radix(&hex, 16).ok()?);
                    }
                    'n' => meant.push(10),
                    mark @ ('"' | '\\' | '/') => meant.push(mark as u16),
                    'b' | 'f' | 'r' | 't' => meant.push(0),
                    _ => return None,
                },
                control if control < ' ' => return None,
                plain => meant.extend(plain.encode_utf16(&mut [0; 2]).iter()),
            }
        }
        self.at = text.len() - chars.as_str().len();
        Some((text[begin..self.at].to_owned(), meant))
    }
}

// === What is tried ===

/// Few names, so that paths meet them.
fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "a",
        "b",
        "c",
        "id",
        "linked_integration",
        "",
        "é",
        "x.y",
        "😀",
        "a b",
    ])
}

/// A name as a document may write it.
fn written(name: &str) -> BoxedStrategy<String> {
    let plain = format!("\"{name}\"");
    let escaped = name.encode_utf16().fold(String::new(), |escaped, unit| {
        escaped + &format!("\\u{unit:04x}")
    });
    prop_oneof![
        8 => Just(plain),
        1 => Just(format!("\"{escaped}\"")),
    ]
    .boxed()
}

fn blanks() -> impl Strategy<Value = &'static str> {
    prop_oneof![6 => Just(""), 1 => Just(" "), 1 => Just("\n  "), 1 => Just("\t\r\n          ")]
}

fn scalar() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "null",
            "true",
            "false",
            "0",
            "-1.50e+3",
            "1e2",
            "\"\"",
            r#""\ud800""#,
            r#""a\"b,}]""#,
            r#"" a long string, with { braces } and \\ ""#,
            "\"日本\"",
        ])
        .prop_map(str::to_owned),
        Just("12345678901234567890123".to_owned()),
    ]
}

fn document() -> impl Strategy<Value = String> {
    scalar().prop_recursive(5, 60, 6, |inner| {
        let member = (blanks(), name().prop_flat_map(written), blanks(), blanks(), inner.clone(), blanks())
            .prop_map(|(a, name, b, c, value, d)| format!("{a}{name}{b}:{c}{value}{d}"));
        let element =
            (blanks(), inner, blanks()).prop_map(|(a, value, b)| format!("{a}{value}{b}"));
        let members = prop::collection::vec(member, 1..6);
        prop_oneof![
            4 => members.prop_map(|all| format!("{{{}}}", all.join(","))),
            2 => prop::collection::vec(element, 1..5).prop_map(|all| format!("[{}]", all.join(","))),
            1 => blanks().prop_map(|a| format!("{{{a}}}")),
        ]
    })
}

fn path(deep: bool) -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        6 => name().prop_map(|name| match name {
            "" => r"\e".to_owned(),
            name => name.replace(' ', "\\ "),
        }),
        2 => Just("*".to_owned()),
    ];
    let deeply = prop::bool::weighted(if deep { 0.25 } else { 0.0 });
    prop::collection::vec((deeply, segment), 1..4).prop_map(|steps| {
        let step = |(deeply, segment): &(bool, String)| match segment.as_str() {
            "*" => "*".to_owned(),
            // The model's reader cuts at dots, so a dot in a name is left to other tests.
            name if *deeply => format!("**.{}", name.replace("x.y", "a")),
            name => name.replace("x.y", "b"),
        };
        steps.iter().map(step).collect::<Vec<_>>().join(".")
    })
}

fn list(deep: bool) -> impl Strategy<Value = String> {
    prop::collection::vec(path(deep), 1..5).prop_map(|paths| paths.join(","))
}

/// Few names, many stars, and more steps than a word has bits.
fn winding() -> impl Strategy<Value = String> {
    let step = prop::sample::select(vec!["*", "a", "b", "**.a", "**.b", "**.id"]);
    let path = (prop::collection::vec(step, 0..5), name()).prop_map(|(steps, last)| {
        let last = match last {
            "" => r"\e",
            "x.y" => "c",
            "a b" => r"a\ b",
            name => name,
        };
        steps
            .into_iter()
            .chain([last])
            .collect::<Vec<_>>()
            .join(".")
    });
    prop::collection::vec(path, 8..28).prop_map(|paths| paths.join(","))
}

fn asked() -> impl Strategy<Value = (Option<String>, Option<String>)> {
    prop_oneof![
        3 => list(true).prop_map(|strip| (None, Some(strip))),
        2 => winding().prop_map(|strip| (None, Some(strip))),
        1 => (winding(), winding()).prop_map(|(fields, strip)| {
            (Some(fields.replace("**.", "*.")), Some(strip))
        }),
        2 => list(false).prop_map(|fields| (Some(fields), None)),
        2 => (list(false), list(true)).prop_map(|(fields, strip)| (Some(fields), Some(strip))),
    ]
}

/// What a client gets for `fields` and `strip`.
fn shown(body: &str, fields: Option<&str>, strip: Option<&str>) -> Option<String> {
    let view = View::parse(fields, strip).expect("the strategies make lists");
    let body = Bytes::copy_from_slice(body.as_bytes());
    let out = match view.map_or_else(|| Pruned::Whole(body.clone()), |view| prune(&body, &view)) {
        Pruned::Whole(whole) => {
            assert_eq!(whole.as_ptr(), body.as_ptr(), "nothing went: not a copy");
            assert_eq!(whole.len(), body.len());
            whole
        }
        Pruned::Part(part) => {
            assert!(part.len() < body.len(), "something went");
            part
        }
        Pruned::Skipped(_) => return None,
    };
    Some(String::from_utf8(out.to_vec()).expect("what stays is UTF-8"))
}

/// The same on values, where no name is twice in one object.
fn shown_value(value: Value, lists: &Lists, path: &mut Vec<Vec<u16>>) -> Value {
    match value {
        Value::Array(elements) => elements
            .into_iter()
            .map(|element| shown_value(element, lists, path))
            .collect(),
        Value::Object(members) => members
            .into_iter()
            .filter_map(|(name, value)| {
                path.push(name.encode_utf16().collect());
                let shown = lists
                    .shows(path)
                    .then(|| (name, shown_value(value, lists, path)));
                path.pop();
                shown
            })
            .collect::<serde_json::Map<_, _>>()
            .into(),
        scalar => scalar,
    }
}

/// The value of a text; of two members with one name, the last.
fn value_of(text: &str) -> Value {
    // serde_json wants surrogates in pairs.
    serde_json::from_str(&text.replace(r"\ud800", "")).expect("the strategies make JSON")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn pruning_is_the_model_on_the_text(body in document(), (fields, strip) in asked()) {
        let lists = lists(fields.as_deref(), strip.as_deref());
        let model = Model::run(&body, &lists);
        prop_assert!(model.is_some(), "the model reads {body}");
        prop_assert_eq!(shown(&body, fields.as_deref(), strip.as_deref()), model);
    }

    #[test]
    fn pruning_is_the_model_on_values(body in document(), (fields, strip) in asked()) {
        let lists = lists(fields.as_deref(), strip.as_deref());
        let value = value_of(&body);
        let body = value.to_string();
        let model = shown_value(value, &lists, &mut Vec::new());
        let out = shown(&body, fields.as_deref(), strip.as_deref()).expect("it is JSON");
        prop_assert_eq!(value_of(&out), model);
    }

    #[test]
    fn pruning_twice_changes_nothing_more(body in document(), (fields, strip) in asked()) {
        let once = shown(&body, fields.as_deref(), strip.as_deref()).expect("it is JSON");
        prop_assert_eq!(shown(&once, fields.as_deref(), strip.as_deref()), Some(once));
    }

    #[test]
    fn strips_commute(body in document(), one in list(true), other in list(true)) {
        let strip = |body: &str, list: &str| shown(body, None, Some(list)).expect("it is JSON");
        let both = strip(&body, &format!("{one},{other}"));
        prop_assert_eq!(&strip(&strip(&body, &one), &other), &both);
        prop_assert_eq!(&strip(&strip(&body, &other), &one), &both);
    }

    #[test]
    fn fields_come_first_and_then_strips(
        body in document(), fields in list(false), strip in list(true),
    ) {
        let kept = shown(&body, Some(&fields), None).expect("it is JSON");
        prop_assert_eq!(
            shown(&kept, None, Some(&strip)),
            shown(&body, Some(&fields), Some(&strip))
        );
    }

    #[test]
    fn spellings_of_one_view_are_equal(
        paths in prop::collection::vec(path(true), 1..6), seed in any::<prop::sample::Index>(),
    ) {
        let view = |list: &str| View::parse(None, Some(list)).expect("a list").expect("a view");
        let first = view(&paths.join(","));
        prop_assert_eq!(&view(&first.as_str()["strip=".len()..]), &first, "it reads itself");
        let turn = seed.index(paths.len());
        let turned = [&paths[turn..], &paths[..turn], &paths[..1]].concat().join(",");
        prop_assert_eq!(&view(&turned), &first, "order and repetition mean nothing");
        let covered = format!("{},{}.a,{}.b.**.c", paths.join(","), paths[turn], paths[0]);
        prop_assert_eq!(&view(&covered), &first, "covered paths mean nothing");
        // a.b,a.c is a(b,c).
        let mut heads = BTreeSet::new();
        for path in &paths {
            heads.insert(path.split_once('.').filter(|(head, _)| *head != "**").map_or(
                path.clone(),
                |(head, _)| {
                    let inside = |path: &String| {
                        path.strip_prefix(head)?.strip_prefix('.').map(str::to_owned)
                    };
                    let tails: Vec<_> = paths.iter().filter_map(inside).collect();
                    format!("{head}({})", tails.join(","))
                },
            ));
        }
        let grouped = heads.into_iter().collect::<Vec<_>>().join(",");
        prop_assert_eq!(&view(&grouped), &first, "a group is its paths");
    }

    #[test]
    fn dropping_covered_paths_changes_no_document(
        body in document(), paths in prop::collection::vec(path(true), 2..6),
    ) {
        let strip = |body: &str, list: &str| shown(body, None, Some(list)).expect("it is JSON");
        let one_by_one = paths.iter().fold(body.clone(), |body, path| strip(&body, path));
        prop_assert_eq!(strip(&body, &paths.join(",")), one_by_one);
    }

    #[test]
    fn a_changed_byte_is_noticed_alike(
        body in document(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
        (fields, strip) in asked(),
    ) {
        let mut bytes = body.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let view = View::parse(fields.as_deref(), strip.as_deref()).expect("a list");
        if let Some(view) = view {
            let valid = stuut_cache::json::check(&bytes).is_ok();
            let pruned = prune(&Bytes::from(bytes), &view);
            prop_assert_eq!(valid, !matches!(pruned, Pruned::Skipped(_)));
        }
    }

    #[test]
    fn arbitrary_bytes_and_lists_are_answered(
        bytes in prop::collection::vec(any::<u8>(), 0..80),
        fields in prop::option::of(r"[ab.,()*\\e ]{0,12}"),
        strip in prop::option::of(r"[ab.,()*\\e ]{0,12}"),
    ) {
        match View::parse(fields.as_deref(), strip.as_deref()) {
            Ok(Some(view)) => drop(prune(&Bytes::from(bytes), &view)),
            Ok(None) => {}
            Err(fault) => {
                let text = if fault.option == "fields" { fields } else { strip };
                let length = text.expect("the faulty list").chars().count();
                prop_assert!((1..=length + 1).contains(&fault.position), "{fault}");
            }
        }
    }
}
