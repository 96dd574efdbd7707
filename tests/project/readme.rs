//! The README says what the program says: its tables are made from the program's own.
//!
//! `UPDATE=1 cargo test --test project readme` writes them anew.

use std::fmt::Write as _;
use std::fs;

use stuut_cache::telemetry::FAMILIES;

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");

#[test]
fn the_table_of_metrics_is_that_of_the_program() {
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
        .expect("a string takes it");
    }
    let readme = fs::read_to_string(README).expect("a README");
    let (before, rest) = readme
        .split_once("<!-- metrics:begin -->\n")
        .expect("a place for the table");
    let (found, after) = rest
        .split_once("<!-- metrics:end -->")
        .expect("an end of the table");
    if std::env::var_os("UPDATE").is_some() {
        let readme = format!("{before}<!-- metrics:begin -->\n{table}<!-- metrics:end -->{after}");
        fs::write(README, readme).expect("the README can be written");
        return;
    }
    assert_eq!(
        found, table,
        "run UPDATE=1 cargo test --test project readme"
    );
}
