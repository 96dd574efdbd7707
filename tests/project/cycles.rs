//! Dependency cycles of files: `a.rs` uses an item of `b.rs`, which uses an item of `a.rs`.
//!
//! Paths that begin with `crate`, `super`, `self`, a child module or an imported name are followed
//! to the file that defines the item: `super::X`, where `mod.rs` re-exports `X` from a sibling,
//! counts as a use of that sibling. Uses between a file and the files of the modules below it do
//! not count: `mod.rs` re-exports and assembles its children, and they use its items.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::LazyLock;

use regex::Regex;

/// The segments of a path.
type Segments = Vec<String>;

/// The paths in one file.
struct File<'a> {
    path: &'a str,
    /// The names of its items.
    defines: BTreeSet<String>,
    /// Imports and re-exports: the path, and its name here.
    imports: Vec<(Segments, String)>,
    /// Paths in its code, imports included.
    used: Vec<Segments>,
}

static COMMENT: LazyLock<Regex> = LazyLock::new(|| regex("//.*"));
static IMPORT: LazyLock<Regex> =
    LazyLock::new(|| regex(r"(?m)^ *(?:pub(?:\(.*?\))? )?use ([\w:{}*,\s]+);"));
static PATH: LazyLock<Regex> = LazyLock::new(|| regex(r"[A-Za-z_]\w*(?:::[A-Za-z_]\w*)+"));
static ITEM: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?m)^(?:pub(?:\(.*?\))? )?(?:(?:async|const) )*(?:fn|struct|enum|trait|type|const|static|macro_rules!) (\w+)",
    )
});

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a pattern")
}

/// The cycles among these files (path below `src`, text), each with the uses that form it.
pub(crate) fn find<'a>(sources: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<String> {
    let files: BTreeMap<Segments, File<'a>> = sources
        .map(|(path, text)| (module(path), File::read(path, text)))
        .collect();
    let uses: BTreeMap<&Segments, BTreeSet<Segments>> = files
        .iter()
        .map(|(module, file)| {
            let used = file.used.iter().map(|path| resolve(&files, module, path));
            let others = used.filter(|used| !used.starts_with(module) && !module.starts_with(used));
            (module, others.collect())
        })
        .collect();
    let reached: BTreeMap<_, _> = uses
        .keys()
        .map(|from| (*from, reach(&uses, from)))
        .collect();
    let cycles: BTreeSet<Vec<_>> = reached
        .iter()
        .filter(|(from, reached)| reached.contains(**from))
        .map(|(from, targets)| {
            let reaches_back = |other: &&Segments| reached[*other].contains(*from);
            targets.iter().filter(reaches_back).collect()
        })
        .collect();
    let describe = |cycle: &Vec<&Segments>| {
        let mut text = String::new();
        for from in cycle {
            for to in uses[*from].iter().filter(|to| cycle.contains(to)) {
                let (from, to) = (files[*from].path, files[to].path);
                writeln!(text, "  {from} -> {to}").expect("writing to a string cannot fail");
            }
        }
        text
    };
    cycles.iter().map(describe).collect()
}

/// All files that this one uses, directly or through others.
fn reach(uses: &BTreeMap<&Segments, BTreeSet<Segments>>, from: &Segments) -> BTreeSet<Segments> {
    let mut reached = BTreeSet::new();
    let mut next = vec![from];
    while let Some(module) = next.pop() {
        next.extend(
            uses[module]
                .iter()
                .filter(|used| reached.insert((*used).clone())),
        );
    }
    reached
}

/// The module of a file.
fn module(path: &str) -> Segments {
    let path = path.trim_end_matches(".rs").trim_end_matches("/mod");
    path.split('/').map(str::to_owned).collect()
}

/// The module whose file defines the item of a path in module `from`; `from` if that is unknown or
/// outside of the crate.
fn resolve(files: &BTreeMap<Segments, File<'_>>, from: &[String], path: &[String]) -> Segments {
    let mut at = from.to_vec();
    let mut rest = path;
    while let Some((first, more)) = rest.split_first() {
        match first.as_str() {
            "crate" => at.clear(),
            "super" => drop(at.pop()),
            "self" => {}
            name => {
                let child = [at.as_slice(), &[name.to_owned()]].concat();
                let here = files.get(&at);
                if here.is_some_and(|file| file.defines.contains(name)) {
                    return at;
                } else if files.contains_key(&child) {
                    at = child;
                } else {
                    let import = here.and_then(|file| file.import(name));
                    return import.map_or(at.clone(), |import| {
                        resolve(files, &at, &[import, more].concat())
                    });
                }
            }
        }
        rest = more;
    }
    at
}

impl<'a> File<'a> {
    fn read(path: &'a str, text: &str) -> Self {
        let code = COMMENT.replace_all(text, "");
        let items = ITEM.captures_iter(&code).map(|item| item[1].to_owned());
        let mut imports = Vec::new();
        for import in IMPORT.captures_iter(&code) {
            flatten(&[], &import[1], &mut imports);
        }
        let code = IMPORT.replace_all(&code, "");
        let paths = PATH.find_iter(&code).map(|path| segments(path.as_str()));
        let imported = imports.iter().map(|(path, _)| path.clone());
        Self {
            path,
            defines: items.collect(),
            used: imported.chain(paths).collect(),
            imports,
        }
    }

    /// The path of an imported name; `None` for a crate imported by its own name.
    fn import(&self, name: &str) -> Option<&[String]> {
        let (path, _) = self
            .imports
            .iter()
            .find(|(path, alias)| alias == name && path[0] != name)?;
        Some(path)
    }
}

fn segments(path: &str) -> Segments {
    path.split("::")
        .map(|segment| segment.trim().to_owned())
        .collect()
}

/// The paths of a use tree, each with its name in this file.
fn flatten(before: &[String], tree: &str, imports: &mut Vec<(Segments, String)>) {
    let Some((path, group)) = tree.split_once('{') else {
        let (path, alias) = tree.split_once(" as ").unwrap_or((tree, ""));
        let mut path = [before, &segments(path)].concat();
        path.pop_if(|last| last == "self");
        let alias = match alias.trim() {
            "" => path[path.len() - 1].clone(),
            alias => alias.to_owned(),
        };
        return imports.push((path, alias));
    };
    let mut before = before.to_vec();
    if let Some(path) = path.trim().strip_suffix("::") {
        before.extend(segments(path));
    }
    let group = &group[..group.rfind('}').expect("a closing brace")];
    let mut depth = 0;
    let parts = group.split(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    });
    for part in parts.filter(|part| !part.trim().is_empty()) {
        flatten(&before, part, imports);
    }
}

#[test]
fn cycles_are_found_and_nothing_else() {
    let parent = "mod a;\nmod b;\npub use a::A;\nuse b::{self, B as Other};\npub struct Own;";
    for (a, b, cycles) in [
        ("use super::b::B;", "use super::a::A;", 1),
        // Through the re-exports of the parent, in a group, under another name, and in a path.
        ("use super::Other;", "use super::{Own, A};", 1),
        (
            "use crate::m::{b::{B, C}, Own};",
            "fn f() { crate::m::a::f() }",
            1,
        ),
        (
            "use super::b;",
            "use super::Own; fn f() { super::A::new() }",
            1,
        ),
        // Items of the parent connect no siblings, and uses in one direction are no cycle.
        ("use super::b::B;", "use super::Own;", 0),
        ("use super::Own;", "use crate::m::Own;", 0),
        ("use super::b::B; // not super::a", "// use super::a::A;", 0),
    ] {
        let (a, b) = (format!("{a}\npub struct A;"), format!("{b}\npub struct B;"));
        let files = [("m/mod.rs", parent), ("m/a.rs", &a), ("m/b.rs", &b)];
        assert_eq!(find(files.into_iter()).len(), cycles, "{a} {b}");
    }
}
