//! The README's table of metrics is generated from the program's.
//!
//! `UPDATE=1 cargo test --test project readme` regenerates it.

use std::fmt::Write as _;
use std::fs;

use stuut_cache::telemetry::FAMILIES;

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");

#[test]
fn the_readme_has_the_programs_metrics() {
    let mut table = String::from("| name | kind | labels | what it tells |\n|---|---|---|---|\n");
    for family in FAMILIES {
        let labels: Vec<_> = family
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let (name, kind, help) = (family.name, family.kind, family.help);
        writeln!(
            table,
            "| `{name}` | {kind} | {} | {help} |",
            labels.join(" ")
        )
        .expect("writing to a string cannot fail");
    }
    let readme = fs::read_to_string(README).expect("a README");
    let (before, rest) = readme
        .split_once("<!-- metrics:begin -->\n")
        .expect("the table's begin marker");
    let (committed, after) = rest
        .split_once("<!-- metrics:end -->")
        .expect("the table's end marker");
    if std::env::var_os("UPDATE").is_some() {
        let readme = format!("{before}<!-- metrics:begin -->\n{table}<!-- metrics:end -->{after}");
        fs::write(README, readme).expect("the README is writable");
        return;
    }
    assert_eq!(
        committed, table,
        "run UPDATE=1 cargo test --test project readme"
    );
}
