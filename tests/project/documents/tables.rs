//! Tables made from the program: `UPDATE=1 cargo test --test project documents` writes them anew.

use std::fmt::Write as _;
use std::fs;

use stuut_cache::proxy::problems;
use stuut_cache::telemetry::FAMILIES;
use stuut_cache::upstream::headers;

use super::{path, text};

/// The table between the two comments of this name.
#[track_caller]
fn holds(document: &str, name: &str, table: &str) {
    let page = text(document);
    let (begin, end) = (
        format!("<!-- {name}:begin -->\n"),
        format!("<!-- {name}:end -->"),
    );
    let (before, rest) = page.split_once(&begin).expect("a begin");
    let (found, after) = rest.split_once(&end).expect("an end");
    if std::env::var_os("UPDATE").is_some() {
        let page = format!("{before}{begin}{table}{end}{after}");
        fs::write(path(document), page).expect("the document can be written");
        return;
    }
    let command = "UPDATE=1 cargo test --test project documents";
    assert_eq!(found, table, "{document}: run {command}");
}

#[test]
fn the_table_of_metrics_is_the_programs() {
    let mut table = String::from("| name | kind | labels | meaning |\n|---|---|---|---|\n");
    for family in FAMILIES {
        let labels = family.labels.iter().map(|label| format!("`{label}`"));
        let labels = labels.collect::<Vec<_>>().join(" ");
        let (name, kind, help) = (family.name, family.kind, family.help);
        writeln!(table, "| `{name}` | {kind} | {labels} | {help} |").expect("a string");
    }
    holds("docs/metrics.md", "metrics", &table);
}

#[test]
fn the_table_of_problem_types_is_the_programs() {
    let mut table = String::from("| `type` | status |\n|---|---|\n");
    for (slug, status) in problems() {
        writeln!(table, "| `urn:stuut-cache:{slug}` | {status} |").expect("a string");
    }
    holds("docs/operations.md", "problems", &table);
}

#[test]
fn the_table_of_forwarded_fields_is_the_programs() {
    let mut table = String::from("| field |\n|---|\n");
    for name in headers::ALLOWED {
        writeln!(table, "| `{name}` |").expect("a string");
    }
    holds("docs/configuration.md", "forwarded", &table);
}
